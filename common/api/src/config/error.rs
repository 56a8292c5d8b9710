//! Errors of the configuration.

use std::path::PathBuf;

use crate::address::AddressError;

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
