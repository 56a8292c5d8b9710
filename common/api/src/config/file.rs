//! A configuration file: loading, saving, and the server it leads to.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::env::Env;
use super::error::ConfigError;
use super::format::{Config, DEFAULT_CONTEXT, ServerContext, migrate};
use crate::DEFAULT_PORT;
use crate::address::Address;

/// The server to connect to, from file and environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionTarget {
    /// The server's address.
    pub address: Address,
    /// Name of the context of the address; `None` with `PACHD_ADDRESS` and inside a worker.
    pub context: Option<String>,
    /// Session token to send.
    pub token: Option<String>,
    /// Certificates that the server's must be signed by: PEM in base64. `None` means those that the system trusts.
    pub server_cas: Option<String>,
    /// Files with the certificate of this client and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Id of the transaction that changes are appended to.
    pub transaction: Option<String>,
    /// Project in use.
    pub project: String,
}

/// A configuration and the path of its file.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// Path of the file.
    pub path: PathBuf,
    /// Content.
    pub config: Config,
}

impl ConfigFile {
    /// Reads the configuration file. Without a file, returns the default configuration.
    ///
    /// A 1.x file is migrated in memory; the next [`save`](Self::save) writes the new form.
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

    /// Writes the configuration file, readable by its owner only.
    ///
    /// The new content is written to another file, which then replaces the old one: a crash leaves the old content or
    /// the new one, never a part. If the path is a symbolic link, the file that it leads to is replaced.
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
        // Renaming over a link would leave the file that it leads to as it was.
        let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let folder = path.parent().filter(|path| !path.as_os_str().is_empty());
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder).map_err(fail)?;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // A random name: another process may write the configuration at the same time.
        let temporary = path.with_file_name(format!(".{name}.{}", uuid::Uuid::new_v4().simple()));
        let written = write_private(&temporary, &text).and_then(|()| std::fs::rename(&temporary, &path));
        written.map_err(|error| {
            // The first error is reported, also if the removal fails too.
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
    pub fn context(&self, env: &Env) -> Result<&ServerContext, ConfigError> {
        let name = self.context_name(env);
        self.config
            .v2
            .contexts
            .get(name)
            .ok_or_else(|| self.no_such_context(name))
    }

    /// Returns the context in use, to change it. Creates the default one if it is missing.
    pub fn context_mut(&mut self, env: &Env) -> Result<&mut ServerContext, ConfigError> {
        let name = self.context_name(env).to_owned();
        if name != DEFAULT_CONTEXT && !self.config.v2.contexts.contains_key(&name) {
            return Err(self.no_such_context(&name));
        }
        Ok(self.config.v2.contexts.entry(name).or_insert_with(ServerContext::local))
    }

    fn no_such_context(&self, name: &str) -> ConfigError {
        ConfigError::NoSuchContext {
            name: name.to_owned(),
            known: self.config.v2.contexts.keys().cloned().collect(),
        }
    }

    /// Adds or replaces the context of an address, activates it, and returns its name, which is the address.
    pub fn connect(&mut self, address: &Address) -> String {
        let name = address.to_string();
        self.config.v2.contexts.insert(name.clone(), ServerContext::at(address));
        self.config.v2.active_context.clone_from(&name);
        name
    }

    /// Returns the server to connect to. The environment has priority over the file.
    pub fn target(&self, env: &Env) -> Result<ConnectionTarget, ConfigError> {
        let parse = |text: &str, place: String| {
            text.parse::<Address>()
                .map_err(|source| ConfigError::Address { place, source })
        };
        let name = self.context_name(env);
        let context = match self.config.v2.contexts.get(name) {
            Some(context) => context.clone(),
            // With an address in the environment, the file need not have a context.
            None if env.context.is_none()
                && (env.address.is_some() || env.peer.is_some() || name == DEFAULT_CONTEXT) =>
            {
                ServerContext::local()
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
            let port = match context.port_forwarders.get("pachd") {
                None => DEFAULT_PORT,
                Some(port) => u16::try_from(*port).map_err(|_| ConfigError::Port {
                    context: name.to_owned(),
                    port: *port,
                })?,
            };
            (Address::tcp("localhost", port), Some(name.to_owned()))
        };
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(ConnectionTarget {
            address,
            context: origin,
            token: some(&context.session_token),
            server_cas: some(&context.server_cas),
            identity: env.client_cert.clone().zip(env.client_key.clone()),
            transaction: some(&context.active_transaction),
            project: context.project().to_owned(),
        })
    }
}

/// Writes a new file that only its owner may read.
fn write_private(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(text)?;
    file.sync_all()
}
