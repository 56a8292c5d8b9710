//! The stages of the linear regression example.
//!
//! - [`least_squares`]: the numerical core;
//! - [`data`]: training tables and patients, read from files;
//! - [`model`]: the output of training and the input of prediction;
//! - [`flags`]: the few command-line flags of the programs;
//! - [`stage`]: the two stages themselves, shared by the programs in `src/bin`.
//!
//! A stage is an ordinary program: it reads files under `/pfs`, writes files into `/pfs/out`, and
//! prints errors to standard error. No code here depends on Howdah.

pub mod data;
pub mod flags;
pub mod least_squares;
pub mod model;
pub mod stage;
