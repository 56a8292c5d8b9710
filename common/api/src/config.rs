//! The client's configuration file and the environment variables that override it.
//!
//! The file is `$PACH_CONFIG`, else `/pachctl/config.json` (as mounted into containers), else
//! `~/.pachyderm/config.json`. It is shared with other clients, some of which refuse a file with a
//! key they do not know: never add one of our own.

mod env;
mod error;
mod file;
mod format;

pub use env::Env;
pub use error::ConfigError;
pub use file::{ConfigFile, Target};
pub use format::{Config, ConfigV2, Context};

#[cfg(test)]
mod tests;
