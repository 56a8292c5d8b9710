//! The environment variables that override a configuration file.

use std::path::{Path, PathBuf};

use super::error::ConfigError;

/// Path of a configuration file that is mounted into a container.
const MOUNTED_CONFIG: &str = "/pachctl/config.json";

/// The environment variables that clients read. A value, so that tests need not change those of the process.
#[derive(Debug, Clone, Default)]
pub struct Env {
    /// `PACH_CONFIG`: the file to use.
    pub config: Option<PathBuf>,
    /// `PACH_CONTEXT`: the context to use instead of the active one.
    pub context: Option<String>,
    /// `PACHD_ADDRESS`: the address to use instead of the context's.
    pub address: Option<String>,
    /// `PACHD_PEER_SERVICE_HOST` and `_PORT`, if `PACH_IN_WORKER` is set: the server of a worker.
    pub peer: Option<String>,
    /// `HOWDAH_CLIENT_CERT`: file with the certificate of the client, for servers that ask for one.
    pub client_cert: Option<PathBuf>,
    /// `HOWDAH_CLIENT_KEY`: file with its key.
    pub client_key: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
}

impl Env {
    /// Reads the environment of the process. An empty variable is the same as none.
    pub fn from_process() -> Self {
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let peer = var("PACH_IN_WORKER").and_then(|_| {
            let host = var("PACHD_PEER_SERVICE_HOST")?;
            let port = var("PACHD_PEER_SERVICE_PORT")?;
            Some(format!("{host}:{port}"))
        });
        Self {
            config: var("PACH_CONFIG").map(PathBuf::from),
            context: var("PACH_CONTEXT"),
            address: var("PACHD_ADDRESS"),
            peer,
            client_cert: var("HOWDAH_CLIENT_CERT").map(PathBuf::from),
            client_key: var("HOWDAH_CLIENT_KEY").map(PathBuf::from),
            home: var("HOME").map(PathBuf::from),
        }
    }

    /// Returns the path of the configuration file.
    pub(super) fn path(&self) -> Result<PathBuf, ConfigError> {
        if let Some(path) = &self.config {
            return Ok(path.clone());
        }
        let mounted = Path::new(MOUNTED_CONFIG);
        if mounted.is_file() {
            return Ok(mounted.to_owned());
        }
        let home = self.home.as_ref().ok_or(ConfigError::NoHome)?;
        Ok(home.join(".pachyderm").join("config.json"))
    }
}
