//! Objects by key.

pub(crate) mod config;
pub mod keys;
