//! Finds the credentials for a registry: explicit ones, and those that `docker login` stores.
//!
//! Reads Docker's `config.json` with its `auths`, `credHelpers` and `credsStore`. The code is our own because
//! `docker_credential` waits for a credential helper without a time limit, asks it for one spelling of the
//! registry only, prefers `auths` to `credsStore` (Docker does the opposite), and reports errors without their
//! cause.
//!
//! An unreadable file and a failing helper are logged and mean "no credentials": most images need
//! none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::super::RegistryAuth;
use super::reference::DOCKER_HUB;

/// Key under which Docker stores the login to Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Time limit for the answer of a credential helper.
const HELPER_LIMIT: Duration = Duration::from_secs(20);

/// Sources of credentials.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Credentials by registry host. They take precedence over the file.
    pub explicit: BTreeMap<String, RegistryAuth>,
    /// Path of a `config.json` in Docker's format.
    pub config_file: Option<PathBuf>,
}

/// The parts of `config.json` that concern credentials. Unknown keys are ignored, because the file
/// belongs to other tools.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DockerConfigFile {
    auths: BTreeMap<String, AuthEntry>,
    /// Helper for all registries.
    creds_store: Option<String>,
    /// Helpers for single registries.
    cred_helpers: BTreeMap<String, String>,
}

/// Credentials of one registry in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// Output of a credential helper.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperOutput {
    username: String,
    secret: String,
}

impl Credentials {
    /// Returns the credentials for a registry.
    ///
    /// Reads the file each time, so that a login takes effect while the worker runs.
    pub async fn for_registry(&self, registry: &str) -> Option<RegistryAuth> {
        if let Some(auth) = self.explicit.get(registry) {
            return Some(auth.clone());
        }
        let path = self.config_file.as_deref()?;
        match from_file(path, registry).await {
            Ok(auth) => auth,
            Err(reason) => {
                tracing::warn!(path = %path.display(), registry, "no registry credentials: {reason}");
                None
            }
        }
    }
}

async fn from_file(path: &Path, registry: &str) -> Result<Option<RegistryAuth>, String> {
    let text = match tokio::fs::read(path).await {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| e.to_string())?,
    };
    let file: DockerConfigFile = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    let keys = keys_of(registry);
    let helper = keys
        .iter()
        .find_map(|key| file.cred_helpers.get(key))
        .or(file.creds_store.as_ref());
    if let Some(helper) = helper {
        for key in &keys {
            if let Some(auth) = ask_helper(helper, key).await? {
                return Ok(Some(for_server(auth, registry)));
            }
        }
    }
    let entry = keys.iter().find_map(|key| file.auths.get(key));
    let auth = entry.map(decode_entry).transpose()?.flatten();
    Ok(auth.map(|auth| for_server(auth, registry)))
}

/// Returns the keys that the file may use for a registry.
fn keys_of(registry: &str) -> Vec<String> {
    let mut keys = vec![registry.to_owned()];
    if registry == DOCKER_HUB {
        keys.extend([HUB_KEY, "index.docker.io", "registry-1.docker.io"].map(str::to_owned));
    } else {
        keys.extend(["https://", "http://"].map(|scheme| format!("{scheme}{registry}")));
    }
    let with_slash: Vec<String> = keys
        .iter()
        .filter(|key| !key.ends_with('/'))
        .map(|key| format!("{key}/"))
        .collect();
    keys.extend(with_slash);
    keys
}

fn for_server(auth: RegistryAuth, registry: &str) -> RegistryAuth {
    let server = if registry == DOCKER_HUB { HUB_KEY } else { registry };
    RegistryAuth {
        server: Some(server.to_owned()),
        ..auth
    }
}

fn decode_entry(entry: &AuthEntry) -> Result<Option<RegistryAuth>, String> {
    let (username, password) = match (&entry.auth, &entry.username) {
        (Some(auth), _) if !auth.is_empty() => {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(auth.trim())
                .map_err(|e| format!("its \"auth\" is not base64: {e}"))?;
            let text = String::from_utf8(bytes).map_err(|_| "its \"auth\" does not hold text".to_owned())?;
            let (user, password) = text.split_once(':').ok_or("its \"auth\" does not hold user:password")?;
            (user.to_owned(), password.trim_end_matches('\0').to_owned())
        }
        (_, Some(user)) => (user.clone(), entry.password.clone().unwrap_or_default()),
        _ => (String::new(), String::new()),
    };
    let identity_token = entry.identitytoken.clone().filter(|t| !t.is_empty());
    if username.is_empty() && identity_token.is_none() {
        return Ok(None);
    }
    Ok(Some(RegistryAuth {
        username,
        password,
        identity_token,
        server: None,
    }))
}

/// Asks the program `docker-credential-<helper>` for the credentials stored under `key`.
async fn ask_helper(helper: &str, key: &str) -> Result<Option<RegistryAuth>, String> {
    let program = format!("docker-credential-{helper}");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("{program} cannot be started: {e}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper may end without reading its input. Its exit code then tells the result.
        let _ = stdin.write_all(key.as_bytes()).await;
    }
    let output = tokio::time::timeout(HELPER_LIMIT, child.wait_with_output())
        .await
        .map_err(|_| format!("{program} did not answer within {} s", HELPER_LIMIT.as_secs()))?
        .map_err(|e| format!("{program}: {e}"))?;
    if !output.status.success() {
        // A helper exits with an error when it has no credentials for the registry.
        return Ok(None);
    }
    let found: HelperOutput =
        serde_json::from_slice(&output.stdout).map_err(|e| format!("the output of {program} is not valid: {e}"))?;
    // By convention this user name marks an identity token.
    Ok(Some(if found.username == "<token>" {
        RegistryAuth {
            identity_token: Some(found.secret),
            ..RegistryAuth::default()
        }
    } else {
        RegistryAuth {
            username: found.username,
            password: found.secret,
            ..RegistryAuth::default()
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn find(config: &str, registry: &str) -> Option<RegistryAuth> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, config).unwrap();
        let credentials = Credentials {
            config_file: Some(path),
            ..Credentials::default()
        };
        credentials.for_registry(registry).await
    }

    #[tokio::test]
    async fn logins_are_found_under_every_key_of_a_registry() {
        // "user:pass:word"
        let auth = r#"{"auth": "dXNlcjpwYXNzOndvcmQ="}"#;
        for (key, registry) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("docker.io", "docker.io"),
            ("quay.io", "quay.io"),
            ("https://quay.io", "quay.io"),
            ("http://localhost:5000/", "localhost:5000"),
        ] {
            let config = format!(r#"{{"auths": {{"{key}": {auth}}}, "psFormat": "x"}}"#);
            let found = find(&config, registry).await.unwrap();
            assert_eq!(found.username, "user");
            assert_eq!(found.password, "pass:word");
            assert!(find(&config, "other.example").await.is_none());
        }
    }

    #[tokio::test]
    async fn tokens_and_plain_fields_are_read() {
        let found = find(r#"{"auths": {"r.io": {"identitytoken": "abc"}}}"#, "r.io")
            .await
            .unwrap();
        assert_eq!(found.identity_token.as_deref(), Some("abc"));
        let found = find(r#"{"auths": {"r.io": {"username": "u", "password": "p"}}}"#, "r.io")
            .await
            .unwrap();
        assert_eq!((found.username.as_str(), found.password.as_str()), ("u", "p"));
        // `docker login` with a credential store writes an empty entry.
        assert!(find(r#"{"auths": {"r.io": {}}}"#, "r.io").await.is_none());
    }

    #[tokio::test]
    async fn a_broken_or_missing_file_means_no_credentials() {
        assert!(find("{", "r.io").await.is_none());
        assert!(find(r#"{"auths": {"r.io": {"auth": "***"}}}"#, "r.io").await.is_none());
        let credentials = Credentials {
            config_file: Some("/no/such/config.json".into()),
            ..Credentials::default()
        };
        assert!(credentials.for_registry("r.io").await.is_none());
    }

    #[tokio::test]
    async fn explicit_credentials_take_precedence() {
        let mut credentials = Credentials::default();
        let auth = RegistryAuth {
            username: "u".into(),
            ..RegistryAuth::default()
        };
        credentials.explicit.insert("r.io".into(), auth.clone());
        assert_eq!(credentials.for_registry("r.io").await, Some(auth));
        assert_eq!(credentials.for_registry("s.io").await, None);
    }

    #[test]
    fn debug_output_omits_secrets() {
        let auth = RegistryAuth {
            username: "user".into(),
            password: "hunter2".into(),
            identity_token: Some("tok".into()),
            server: None,
        };
        let text = format!("{auth:?}");
        assert!(text.contains("user") && !text.contains("hunter2") && !text.contains("tok"));
    }
}
