//! The configuration file of clients, and the environment variables that override it.
//!
//! The file is `$PACH_CONFIG`, else `/pachctl/config.json` (mounted into containers), else `~/.pachyderm/config.json`.
//! Other clients use the same file, and some refuse a file with an unknown key: never add a key. Keys that are there are
//! kept, whatever they are.
//!
//! - [`ConfigFile`]: loads and saves the file, and returns the server to connect to ([`ConnectionTarget`]).
//! - [`Config`], [`ConfigV2`], [`ServerContext`]: its content.
//! - [`Env`]: the environment variables.
//! - [`ConfigError`]: the file cannot be found, read or written, or names something that does not exist.

mod env;
mod error;
mod file;
mod format;

pub use env::Env;
pub use error::ConfigError;
pub use file::{ConfigFile, ConnectionTarget};
pub use format::{Config, ConfigV2, ServerContext};

#[cfg(test)]
mod tests;
