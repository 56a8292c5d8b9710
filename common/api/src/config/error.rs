//! Errors of the configuration.

use std::path::PathBuf;

use crate::address::AddressError;

/// An error of the configuration. Its text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No variable names a folder or a file.
    #[error("cannot find the configuration: HOME is not set; set it, or PACH_CONFIG to a file")]
    NoHome,
    /// The file exists but cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file has another format.
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
    /// The file does not have the context.
    #[error("context {name:?} does not exist; {}", known_contexts(.known))]
    NoSuchContext {
        /// Name of the context.
        name: String,
        /// Names of all contexts.
        known: Vec<String>,
    },
    /// The port that is forwarded to the server is not a port.
    #[error("context {context:?} has the port {port} for \"pachd\", expected a number from 1 to 65535")]
    Port {
        /// Name of the context.
        context: String,
        /// The number.
        port: u32,
    },
    /// The address in use is not valid.
    #[error("{place}: {source}")]
    Address {
        /// Where the address comes from.
        place: String,
        /// Why.
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
