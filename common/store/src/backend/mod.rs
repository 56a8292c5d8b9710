//! What the store asks of a place that keeps objects, and the places there are.
//!
//! A backend knows keys and bytes, nothing of chunks, trees or logs. Its promises, checked by one
//! conformance suite (`tests/conformance.rs`) over every implementation:
//! * what a returned `put` or `put_if_absent` acknowledged survives the loss of power;
//! * an object is seen whole or not at all, also after a crash in the middle of a write;
//! * of any number of concurrent `put_if_absent` on one key exactly one answers
//!   [`PutOutcome::Created`], where [`Backend::supports_put_if_absent`] says so;
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
mod memory;
mod remote;

pub use fs::FsBackend;
pub use memory::MemoryBackend;
pub use remote::RemoteBackend;

/// What became of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object was not there and is now.
    Created,
    /// An object of this key was there already and is untouched.
    Exists,
}

/// What a listing tells about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last written, where the backend knows.
    pub modified: Option<SystemTime>,
}

/// A place that keeps objects under keys.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Names the place in messages.
    fn describe(&self) -> String;

    /// Tells whether [`Backend::put_if_absent`] is atomic. Finding out may need a request.
    async fn supports_put_if_absent(&self) -> Result<bool, BackendError>;

    /// Reads an object; `None` if there is none.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BackendError>;

    /// Reads a part of an object, cut off at its end; `None` if there is no such object.
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, BackendError>;

    /// Tells size and age of an object; `None` if there is none.
    async fn stat(&self, key: &str) -> Result<Option<ObjectMeta>, BackendError>;

    /// Writes an object, replacing any former one.
    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BackendError>;

    /// Writes an object unless there is one. After an error the object may or may not exist.
    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<PutOutcome, BackendError>;

    /// Tells whether `put_if_absent` looks for the object before it takes the bytes, so that
    /// looking first is of no use to the caller.
    fn looks_before_writing(&self) -> bool {
        true
    }

    /// Tells whether objects are on this machine, so that a request costs microseconds.
    fn is_near(&self) -> bool {
        true
    }

    /// Removes an object; it need not exist.
    async fn delete(&self, key: &str) -> Result<(), BackendError>;

    /// Lists the objects whose keys begin with `prefix` and, if given, come after `after`, by key.
    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>, BackendError>;
}
