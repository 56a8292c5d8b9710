//! The environment variables that override a configuration file.

use std::path::{Path, PathBuf};

use super::error::ConfigError;

/// Where a configuration mounted into a container is found.
const MOUNTED_CONFIG: &str = "/pachctl/config.json";

/// The environment variables that matter; a value, so that tests need not touch the process.
#[derive(Debug, Clone, Default)]
pub struct Env {
    /// `PACH_CONFIG`: the file to use.
    pub config: Option<PathBuf>,
    /// `PACH_CONTEXT`: the context to use instead of the active one.
    pub context: Option<String>,
    /// `PACHD_ADDRESS`: the address to use instead of the context's.
    pub address: Option<String>,
    /// `PACH_IN_WORKER` with `PACHD_PEER_SERVICE_HOST` and `_PORT`: the server a worker belongs to.
    pub peer: Option<String>,
    /// `HOME`.
    pub home: Option<PathBuf>,
}

impl Env {
    /// Reads the process's environment; an empty variable counts as unset.
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
            home: var("HOME").map(PathBuf::from),
        }
    }

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
