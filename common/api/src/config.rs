//! The client's configuration file and the environment variables that override it.
//!
//! The file is `$PACH_CONFIG`, else `/pachctl/config.json` (as mounted into containers), else
//! `~/.pachyderm/config.json`. It is shared with other clients, some of which refuse a file with a
//! key they do not know: never add one of our own.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::address::{Address, AddressError};
use crate::{DEFAULT_PORT, convert};

/// Where a configuration mounted into a container is found.
const MOUNTED_CONFIG: &str = "/pachctl/config.json";

/// The name of the context that is made when there is none.
const DEFAULT_CONTEXT: &str = "default";

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// 32 hex digits that tell one installation from another.
    #[serde(default, alias = "userId")]
    pub user_id: String,
    /// The section of 1.x clients; read and turned into a context, never written.
    #[serde(default, skip_serializing)]
    v1: Option<ConfigV1>,
    /// The contexts and settings.
    #[serde(default)]
    pub v2: ConfigV2,
}

/// The section that 1.x clients wrote.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
struct ConfigV1 {
    #[serde(default, alias = "pachdAddress")]
    pachd_address: String,
    #[serde(default, alias = "serverCas")]
    server_cas: String,
    #[serde(default, alias = "sessionToken")]
    session_token: String,
    #[serde(default, alias = "activeTransaction")]
    active_transaction: String,
}

/// The contexts and settings of a configuration file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigV2 {
    /// The context in use.
    #[serde(default, alias = "activeContext")]
    pub active_context: String,
    /// The context of the enterprise server, kept for other clients.
    #[serde(default, alias = "activeEnterpriseContext", skip_serializing_if = "String::is_empty")]
    pub active_enterprise_context: String,
    /// All contexts by name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
    /// Whether clients may send usage metrics; ours never does.
    #[serde(default)]
    pub metrics: bool,
    /// How many names a shell completion offers at most; 0 means the default.
    #[serde(default, alias = "maxShellCompletions", skip_serializing_if = "is_zero")]
    pub max_shell_completions: i64,
}

/// One server and how to use it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// Where the context came from: 0 made here, 1 migrated from a 1.x file, others imported.
    #[serde(default)]
    pub source: serde_json::Value,
    /// The server's address.
    #[serde(default, alias = "pachdAddress", skip_serializing_if = "String::is_empty")]
    pub pachd_address: String,
    /// Trusted certificates, base64 of PEM.
    #[serde(default, alias = "serverCas", skip_serializing_if = "String::is_empty")]
    pub server_cas: String,
    /// The token of the session.
    #[serde(default, alias = "sessionToken", skip_serializing_if = "String::is_empty")]
    pub session_token: String,
    /// The transaction that changes are appended to.
    #[serde(default, alias = "activeTransaction", skip_serializing_if = "String::is_empty")]
    pub active_transaction: String,
    /// The cluster's name in a Kubernetes configuration.
    #[serde(default, alias = "clusterName", skip_serializing_if = "String::is_empty")]
    pub cluster_name: String,
    /// The user's name in a Kubernetes configuration.
    #[serde(default, alias = "authInfo", skip_serializing_if = "String::is_empty")]
    pub auth_info: String,
    /// The namespace in a Kubernetes cluster.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Ports forwarded from this machine, by service.
    #[serde(default, alias = "portForwarders", skip_serializing_if = "BTreeMap::is_empty")]
    pub port_forwarders: BTreeMap<String, u16>,
    /// The deployment id the server had when it was first met.
    #[serde(default, alias = "clusterDeploymentId", skip_serializing_if = "String::is_empty")]
    pub cluster_deployment_id: String,
    /// Whether this is an enterprise server, kept for other clients.
    #[serde(default, alias = "enterpriseServer", skip_serializing_if = "is_false")]
    pub enterprise_server: bool,
    /// The project that names without a project belong to; empty means `default`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub project: String,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Default for ConfigV2 {
    fn default() -> Self {
        Self {
            active_context: DEFAULT_CONTEXT.to_owned(),
            active_enterprise_context: String::new(),
            contexts: BTreeMap::from([(DEFAULT_CONTEXT.to_owned(), Context::local())]),
            metrics: false,
            max_shell_completions: 0,
        }
    }
}

impl Context {
    /// Makes a context without an address: the server on this machine.
    pub fn local() -> Self {
        Self {
            source: serde_json::Value::from(0),
            ..Self::default()
        }
    }

    /// Makes a context for an address.
    pub fn at(address: &Address) -> Self {
        Self {
            pachd_address: address.to_string(),
            ..Self::local()
        }
    }

    /// Returns the project in use.
    pub fn project(&self) -> &str {
        match self.project.as_str() {
            "" => convert::DEFAULT_PROJECT,
            name => name,
        }
    }
}

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

    fn path(&self) -> Result<PathBuf, ConfigError> {
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

/// What went wrong with the configuration, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is nowhere to look.
    #[error("cannot find the configuration: HOME is not set; set it, or PACH_CONFIG to a file")]
    NoHome,
    /// The file is there but cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the configuration {} is not valid: {source}; correct it or move it away", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the configuration {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A context is asked for that the file does not have.
    #[error("context {name:?} does not exist; {}", known_contexts(.known))]
    NoSuchContext {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The address in use is not one.
    #[error("{place}: {source}")]
    Address {
        /// Where the address was found.
        place: String,
        /// What is wrong with it.
        source: AddressError,
    },
}

fn known_contexts(names: &[String]) -> String {
    if names.is_empty() {
        "there are none yet, `howdah connect ADDRESS` makes one".to_owned()
    } else {
        format!("there are: {}", names.join(", "))
    }
}

/// A server to talk to, once file and environment have been weighed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The server's address.
    pub address: Address,
    /// The name of the context it came from; none with `PACHD_ADDRESS` and inside a worker.
    pub context: Option<String>,
    /// The session token to present.
    pub token: Option<String>,
    /// The transaction that changes are appended to.
    pub transaction: Option<String>,
    /// The project in use.
    pub project: String,
}

/// A configuration together with the file it belongs to.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// Where it is kept.
    pub path: PathBuf,
    /// What it holds.
    pub config: Config,
}

impl ConfigFile {
    /// Reads the configuration; a file that does not exist reads as the default one.
    ///
    /// A 1.x file is migrated in memory and gets its new form at the next [`save`](Self::save).
    pub fn load(env: &Env) -> Result<Self, ConfigError> {
        let path = env.path()?;
        let config = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice::<Config>(&text).map_err(|source| ConfigError::Parse {
                path: path.clone(),
                source,
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Config::default(),
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        Ok(Self {
            path,
            config: migrate(config),
        })
    }

    /// Writes the configuration, readable by its owner only; the old file stays whole until the
    /// new one is complete.
    pub fn save(&self) -> Result<(), ConfigError> {
        let fail = |source| ConfigError::Write {
            path: self.path.clone(),
            source,
        };
        let mut config = self.config.clone();
        if config.user_id.is_empty() {
            config.user_id = uuid::Uuid::new_v4().simple().to_string();
        }
        let mut text = serde_json::to_vec_pretty(&config).map_err(|error| fail(error.into()))?;
        text.push(b'\n');
        let folder = self.path.parent().filter(|path| !path.as_os_str().is_empty());
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder).map_err(fail)?;
        }
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = self.path.with_file_name(format!(".{name}.{}", std::process::id()));
        write_private(&temporary, &text).map_err(fail)?;
        std::fs::rename(&temporary, &self.path).map_err(|error| {
            // The rename's error is the one to report, whatever becomes of the left-over.
            let _ = std::fs::remove_file(&temporary);
            fail(error)
        })
    }

    /// Returns the name of the context in use: `PACH_CONTEXT`, else the active one.
    pub fn context_name<'a>(&'a self, env: &'a Env) -> &'a str {
        match &env.context {
            Some(name) => name,
            None if self.config.v2.active_context.is_empty() => DEFAULT_CONTEXT,
            None => &self.config.v2.active_context,
        }
    }

    /// Returns the context in use.
    pub fn context(&self, env: &Env) -> Result<&Context, ConfigError> {
        let name = self.context_name(env);
        self.config
            .v2
            .contexts
            .get(name)
            .ok_or_else(|| self.no_such_context(name))
    }

    /// Returns the context in use for changing; made if it is the default one and missing.
    pub fn context_mut(&mut self, env: &Env) -> Result<&mut Context, ConfigError> {
        let name = self.context_name(env).to_owned();
        if name != DEFAULT_CONTEXT && !self.config.v2.contexts.contains_key(&name) {
            return Err(self.no_such_context(&name));
        }
        Ok(self.config.v2.contexts.entry(name).or_insert_with(Context::local))
    }

    fn no_such_context(&self, name: &str) -> ConfigError {
        ConfigError::NoSuchContext {
            name: name.to_owned(),
            known: self.config.v2.contexts.keys().cloned().collect(),
        }
    }

    /// Makes or replaces a context for an address, named like the address, and makes it active.
    ///
    /// Returns the context's name.
    pub fn connect(&mut self, address: &Address) -> String {
        let name = address.to_string();
        self.config.v2.contexts.insert(name.clone(), Context::at(address));
        self.config.v2.active_context.clone_from(&name);
        name
    }

    /// Weighs file and environment and returns the server to talk to.
    pub fn target(&self, env: &Env) -> Result<Target, ConfigError> {
        let parse = |text: &str, place: String| {
            text.parse::<Address>()
                .map_err(|source| ConfigError::Address { place, source })
        };
        let name = self.context_name(env);
        let context = match self.config.v2.contexts.get(name) {
            Some(context) => context.clone(),
            // Somebody who names the server by hand need not have a context at all.
            None if env.context.is_none()
                && (env.address.is_some() || env.peer.is_some() || name == DEFAULT_CONTEXT) =>
            {
                Context::local()
            }
            None => return Err(self.no_such_context(name)),
        };
        let (address, origin) = if let Some(text) = &env.address {
            (parse(text, "PACHD_ADDRESS".to_owned())?, None)
        } else if let Some(text) = &env.peer {
            let place = "PACHD_PEER_SERVICE_HOST and PACHD_PEER_SERVICE_PORT";
            (parse(text, place.to_owned())?, None)
        } else if !context.pachd_address.is_empty() {
            let place = format!("context {name:?} in {}", self.path.display());
            (parse(&context.pachd_address, place)?, Some(name.to_owned()))
        } else {
            let port = context.port_forwarders.get("pachd").copied();
            let address = Address::tcp("localhost", port.unwrap_or(DEFAULT_PORT));
            (address, Some(name.to_owned()))
        };
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Target {
            address,
            context: origin,
            token: some(&context.session_token),
            transaction: some(&context.active_transaction),
            project: context.project().to_owned(),
        })
    }
}

/// Turns a 1.x section into the context `default`, unless there are contexts already.
fn migrate(mut config: Config) -> Config {
    let Some(old) = config.v1.take() else {
        return config;
    };
    if config.v2 != ConfigV2::default() {
        return config;
    }
    config.v2.contexts.insert(
        DEFAULT_CONTEXT.to_owned(),
        Context {
            source: serde_json::Value::from(1),
            pachd_address: old.pachd_address,
            server_cas: old.server_cas,
            session_token: old.session_token,
            active_transaction: old.active_transaction,
            ..Context::default()
        },
    );
    config
}

fn write_private(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
