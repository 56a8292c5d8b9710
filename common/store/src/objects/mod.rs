//! Objects by key: bytes with a name, whatever they mean.
//!
//! * [`ObjectStore`]: reads, writes, lists; checks the version marker of the store when it is opened.
//! * [`keys`]: a list of the keys of all objects, and functions that make them.
//! * `config`: where the store is and how much memory it may use.
//! * `known`: which content-addressed objects need not be asked for again.
//!
//! Every error names the object. Requests are not repeated here: the S3 backend repeats those that failed for the
//! moment, and the log repeats creations of records.

pub(crate) mod config;
pub mod keys;
mod known;
mod object_store;

pub use object_store::{Capabilities, ObjectStore};
