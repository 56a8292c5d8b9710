//! The contract of a place for objects, and its implementations.
//!
//! * [`FsBackend`]: a local folder; large files are written by `direct`. [`RemoteBackend`]: an S3-compatible server.
//!   [`MemoryBackend`]: for tests. [`fault::FaultBackend`]: wraps another one and fails on demand.
//!
//! A backend knows keys and bytes, and no chunks, trees or logs. Its contract, which one conformance suite
//! (`tests/conformance.rs`) checks for every implementation:
//! * a `put` or `put_if_absent` that has returned survives a loss of power;
//! * a reader sees a whole object or none, also after a crash in the middle of a write;
//! * of any number of concurrent `put_if_absent` of one key exactly one returns [`PutOutcome::Created`], if
//!   [`Backend::supports_put_if_absent`] is true;
//! * a write is visible to every later read and list.

use std::fmt;
use std::ops::Range;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::BackendError;

mod direct;
pub mod fault;
mod fs;
pub mod memory;
mod remote;

pub use fs::FsBackend;
pub use memory::MemoryBackend;
pub use remote::{RemoteBackend, S3Config};

/// The result of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object did not exist and has been written.
    Created,
    /// An object of this key existed and is unchanged.
    Exists,
}

/// Key, size and age of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last written; `None` if the backend does not know.
    pub modified: Option<SystemTime>,
}

/// A place for objects; see the head of the module for the contract.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Returns the name of the place for messages.
    fn describe(&self) -> String;

    /// Tells whether [`Backend::put_if_absent`] is atomic. May need a request.
    async fn supports_put_if_absent(&self) -> Result<bool, BackendError>;

    /// Reads an object; `None` if it does not exist.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BackendError>;

    /// Reads a range of an object, cut off at its end; `None` if the object does not exist.
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, BackendError>;

    /// Returns size and age of an object; `None` if it does not exist.
    async fn stat(&self, key: &str) -> Result<Option<ObjectMeta>, BackendError>;

    /// Writes an object, and replaces a former one.
    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BackendError>;

    /// Writes an object unless one exists. After an error the object may or may not exist.
    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<PutOutcome, BackendError>;

    /// Tells whether `put_if_absent` looks for the object before it transfers the bytes, so that a `stat` of the caller
    /// saves nothing.
    fn looks_before_writing(&self) -> bool {
        true
    }

    /// Tells whether objects are on this machine, so that a request costs microseconds.
    fn is_near(&self) -> bool {
        true
    }

    /// Removes an object. Succeeds if it does not exist.
    async fn delete(&self, key: &str) -> Result<(), BackendError>;

    /// Lists the objects whose keys begin with `prefix` and, if given, come after `after`, sorted by key.
    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>, BackendError>;
}
