//! Connects to a container engine, and maps its errors to [`RuntimeError`].
//!
//! - [`connect`]: finds the engine and returns an [`Engine`], or an error that says what to do;
//! - [`is_unreachable`], [`status`], [`message`] and [`failed`]: errors of the engine's API.

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};

use bollard::errors::Error as ApiError;
use bollard::{API_DEFAULT_VERSION, Docker};

use super::super::RuntimeError;

/// Time limit in seconds until the engine starts to answer a request.
///
/// It is long, because an engine needs time to start a container on a busy machine or to contact a
/// slow registry.
const TIMEOUT_SECONDS: u64 = 300;

/// A connected engine.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Client of its API, in a version that both sides support.
    pub api: Docker,
    /// Its address.
    pub address: String,
    /// Whether the engine is rootless: root in a container is then the engine's own user outside.
    pub rootless: bool,
}

/// Connects to the engine at `host`, or else at `DOCKER_HOST`, or else at the usual sockets.
pub async fn connect(host: Option<&str>) -> Result<Engine, RuntimeError> {
    let from_env = std::env::var("DOCKER_HOST").ok().filter(|h| !h.is_empty());
    let (addresses, chosen) = match (host, from_env) {
        (Some(host), _) => (vec![host.to_owned()], true),
        (None, Some(host)) => (vec![host], true),
        (None, None) => (usual_addresses(), false),
    };
    let mut failures = Vec::new();
    for address in addresses {
        match try_connect(&address).await {
            Ok(engine) => {
                tracing::debug!(address, version = %engine.api.client_version(), "container engine");
                return Ok(engine);
            }
            // Most of the usual sockets do not exist. An error lists only sockets that exist.
            Err(ConnectFailure::Missing) if !chosen => {}
            Err(failure) => failures.push(failure.explain(&address)),
        }
    }
    if failures.is_empty() {
        failures.push(
            "no container engine is running: there is no Docker or Podman socket at any of the \
             usual places; install Docker (Debian: apt-get install docker.io) and start it \
             (systemctl start docker), or set DOCKER_HOST"
                .to_owned(),
        );
    }
    Err(RuntimeError::EngineUnavailable {
        text: failures.join("; "),
    })
}

/// Returns the addresses of the sockets of Docker and Podman, system-wide and rootless.
fn usual_addresses() -> Vec<String> {
    let mut paths = vec![PathBuf::from("/var/run/docker.sock")];
    let user_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    if let Some(dir) = &user_dir {
        paths.push(dir.join("docker.sock"));
        paths.push(dir.join("podman/podman.sock"));
    }
    paths.push(PathBuf::from("/run/podman/podman.sock"));
    paths
        .into_iter()
        .map(|path| format!("unix://{}", path.display()))
        .collect()
}

/// The cause of a failed connection to an engine.
enum ConnectFailure {
    /// The socket does not exist.
    Missing,
    /// No server accepts connections on the socket.
    Refused,
    /// This user has no permission for the socket.
    Denied,
    /// The scheme of the address is not supported.
    Scheme,
    /// Another error, with its text.
    Other(String),
}

impl ConnectFailure {
    /// Returns the error text for the user.
    fn explain(&self, address: &str) -> String {
        match self {
            Self::Missing => format!(
                "no container engine is running at {address}: there is no such socket; start it \
                 (systemctl start docker) or correct DOCKER_HOST"
            ),
            Self::Refused => format!("no container engine answers at {address}; start it (systemctl start docker)"),
            Self::Denied => format!(
                "permission denied on the container engine's socket {address}; add this user to \
                 the group docker (usermod -aG docker USER, then log in again) or run as root"
            ),
            Self::Scheme => format!(
                "container engine address {address} is not supported: use unix:///path or \
                 tcp://host:port (without TLS)"
            ),
            Self::Other(text) => format!("the container engine at {address} does not work: {text}"),
        }
    }
}

async fn try_connect(address: &str) -> Result<Engine, ConnectFailure> {
    let api = if let Some(path) = address.strip_prefix("unix://") {
        // Checked before connecting, because the library's error is the same for a missing socket
        // and for one without permission.
        match Path::new(path).symlink_metadata() {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Err(ConnectFailure::Denied),
            Err(_) => return Err(ConnectFailure::Missing),
            Ok(_) => Docker::connect_with_unix(address, TIMEOUT_SECONDS, API_DEFAULT_VERSION),
        }
    } else if address.starts_with("tcp://") || address.starts_with("http://") {
        Docker::connect_with_http(address, TIMEOUT_SECONDS, API_DEFAULT_VERSION)
    } else {
        return Err(ConnectFailure::Scheme);
    };
    let api = match api {
        Ok(api) => api.negotiate_version().await.map_err(|e| classify(&e))?,
        Err(e) => return Err(classify(&e)),
    };
    let info = api.info().await.map_err(|e| classify(&e))?;
    let rootless = info
        .security_options
        .unwrap_or_default()
        .iter()
        .any(|option| option.contains("rootless"));
    Ok(Engine {
        api,
        address: address.to_owned(),
        rootless,
    })
}

fn classify(error: &ApiError) -> ConnectFailure {
    if matches!(error, ApiError::SocketNotFoundError(_)) {
        return ConnectFailure::Missing;
    }
    match io_kind(error) {
        Some(io::ErrorKind::PermissionDenied) => ConnectFailure::Denied,
        Some(io::ErrorKind::ConnectionRefused) => ConnectFailure::Refused,
        Some(io::ErrorKind::NotFound) => ConnectFailure::Missing,
        _ => ConnectFailure::Other(message(error)),
    }
}

/// Returns the kind of the system error that caused an API error.
fn io_kind(error: &ApiError) -> Option<io::ErrorKind> {
    let mut cause = error.source();
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = current.source();
    }
    None
}

/// Returns whether the error means that the connection to the engine failed.
pub fn is_unreachable(error: &ApiError) -> bool {
    matches!(
        error,
        ApiError::SocketNotFoundError(_)
            | ApiError::HyperLegacyError { .. }
            | ApiError::HyperResponseError { .. }
            | ApiError::IOError { .. }
            | ApiError::RequestTimeoutError
    )
}

/// Returns the HTTP status of the engine's answer, or `None` if the error is not an answer.
pub fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Returns the engine's message, without the text that the library adds.
pub fn message(error: &ApiError) -> String {
    match error {
        ApiError::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        ApiError::DockerStreamError { error } => error.trim().to_owned(),
        other => {
            // Only some of the library's errors print their source.
            let mut text = other.to_string();
            let mut cause = other.source();
            while let Some(current) = cause {
                let words = current.to_string();
                if !text.contains(&words) {
                    text.push_str(": ");
                    text.push_str(&words);
                }
                cause = current.source();
            }
            text
        }
    }
}

/// Returns the [`RuntimeError`] for a request that failed. `operation` is a verb with its object.
pub fn failed(operation: &'static str, error: &ApiError) -> RuntimeError {
    if is_unreachable(error) {
        return RuntimeError::EngineUnavailable {
            text: format!(
                "the container engine went away while asked to {operation}: {}",
                message(error)
            ),
        };
    }
    RuntimeError::Engine {
        operation,
        detail: message(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    async fn text(address: &str) -> String {
        connect(Some(address)).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn errors_distinguish_missing_and_refusing_engines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.sock");
        let address = format!("unix://{}", path.display());
        let message = text(&address).await;
        assert!(message.contains("there is no such socket"), "{message}");

        // A socket whose server has ended.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let message = text(&address).await;
        assert!(message.contains("no container engine answers at"), "{message}");
        assert!(message.contains(&address), "{message}");

        let message = text("ssh://somewhere").await;
        assert!(message.contains("is not supported"), "{message}");
    }

    #[tokio::test]
    async fn a_permission_error_tells_how_to_get_the_permission() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return; // Root may open everything.
        }
        let message = text(&format!("unix://{}", path.display())).await;
        assert!(
            message.contains("permission denied") && message.contains("group docker"),
            "{message}"
        );
    }
}
