//! Reaching a container engine, and turning its errors into ours.

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};

use bollard::errors::Error as ApiError;
use bollard::{API_DEFAULT_VERSION, Docker};

use super::super::RuntimeError;

/// Seconds that the engine may take to begin an answer. Starting a container on a busy machine or
/// contacting a slow registry takes its time.
const TIMEOUT_SECONDS: u64 = 300;

/// A connected engine.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Its API, in a version that both sides know.
    pub api: Docker,
    /// Where it answered.
    pub address: String,
    /// Owner that root in a container is out here: ourselves, with a rootless engine.
    pub rootless: bool,
}

/// Connects to the engine at `host`, or else at `DOCKER_HOST`, or else at the usual places.
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
            // Of the usual places most do not exist; only what exists is worth a word.
            Err(Failure::Missing) if !chosen => {}
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

/// Returns the sockets of Docker and Podman, system-wide and rootless.
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

enum Failure {
    /// There is nothing at this address.
    Missing,
    /// Nobody listens there.
    Refused,
    /// We may not open it.
    Denied,
    /// We do not speak this protocol.
    Scheme,
    /// Anything else, in words.
    Other(String),
}

impl Failure {
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

async fn try_connect(address: &str) -> Result<Engine, Failure> {
    let api = if let Some(path) = address.strip_prefix("unix://") {
        // Asked beforehand, for the library's answer does not tell missing from forbidden.
        match Path::new(path).symlink_metadata() {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Err(Failure::Denied),
            Err(_) => return Err(Failure::Missing),
            Ok(_) => Docker::connect_with_unix(address, TIMEOUT_SECONDS, API_DEFAULT_VERSION),
        }
    } else if address.starts_with("tcp://") || address.starts_with("http://") {
        Docker::connect_with_http(address, TIMEOUT_SECONDS, API_DEFAULT_VERSION)
    } else {
        return Err(Failure::Scheme);
    };
    let api = match api {
        Ok(api) => api.negotiate_version().await.map_err(classify)?,
        Err(e) => return Err(classify(e)),
    };
    let info = api.info().await.map_err(classify)?;
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

fn classify(error: ApiError) -> Failure {
    if matches!(error, ApiError::SocketNotFoundError(_)) {
        return Failure::Missing;
    }
    match io_kind(&error) {
        Some(io::ErrorKind::PermissionDenied) => Failure::Denied,
        Some(io::ErrorKind::ConnectionRefused) => Failure::Refused,
        Some(io::ErrorKind::NotFound) => Failure::Missing,
        _ => Failure::Other(message(&error)),
    }
}

/// Returns the kind of the system error at the bottom of an API error.
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

/// Says whether the engine itself could not be reached.
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

/// Returns the HTTP status of the engine's answer, if it was one.
pub fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Returns the engine's own words, without the library's wrapping.
pub fn message(error: &ApiError) -> String {
    match error {
        ApiError::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        ApiError::DockerStreamError { error } => error.trim().to_owned(),
        other => {
            // Some of the library's errors print their source, some do not.
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

/// Makes our error of a failed operation.
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
    async fn what_is_wrong_with_the_engine_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.sock");
        let address = format!("unix://{}", path.display());
        let said = text(&address).await;
        assert!(said.contains("there is no such socket"), "{said}");

        // A socket whose server has gone.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let said = text(&address).await;
        assert!(said.contains("no container engine answers at"), "{said}");
        assert!(said.contains(&address), "{said}");

        let said = text("ssh://somewhere").await;
        assert!(said.contains("is not supported"), "{said}");
    }

    #[tokio::test]
    async fn a_closed_socket_says_how_to_open_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return; // Root may open everything.
        }
        let said = text(&format!("unix://{}", path.display())).await;
        assert!(
            said.contains("permission denied") && said.contains("group docker"),
            "{said}"
        );
    }
}
