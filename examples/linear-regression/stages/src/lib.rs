//! The stages of the linear regression example.
//!
//! - [`least_squares`]: the numerical core;
//! - [`data`]: training tables and patients, read from files;
//! - [`model`]: what training writes and prediction reads;
//! - [`flags`]: the few command-line flags of the programs;
//! - [`stage`]: the two stages themselves, shared by the programs in `src/bin`.
//!
//! A stage is an ordinary program: it reads files under `/pfs`, writes files into `/pfs/out`, and
//! says what is wrong on standard error. Nothing here knows of Howdah.

pub mod data;
pub mod flags;
pub mod least_squares;
pub mod model;
pub mod stage;
