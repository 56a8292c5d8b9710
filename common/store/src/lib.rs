//! Everything Howdah keeps: objects, file chunks, trees, filesets, the metadata log.
//!
//! Object storage is the only truth of the system, and this crate is the only one that talks to it.
//!
//! ```text
//!  FileEdits, FileTree           files        paths, directories, globs, collisions
//!        │         PackWriter    pack, read   bytes ◄─► chunks
//!        ▼              │
//!       Tree            │        tree         ordered map: sorted edits, ranges, diff, totals
//!        │              │        log          MetaLog: numbered records, snapshots
//!        ▼              ▼          │
//!  ─────────────── Store ──────────┴────────  objects by key, caches, memory limits
//!  FsBackend · RemoteBackend (S3) · MemoryBackend · FaultBackend (tests)      backend
//! ```
//!
//! * [`Store`]: `Store::open(&StoreConfig::new("file:///srv/howdah"))`; cheap to clone. Raw objects by
//!   `get`, `put`, `put_if_absent`, `list` ...; their keys are made by [`keys`]. A tests' store:
//!   [`Store::in_memory`], or [`Store::with_backend`] with a [`backend::fault::FaultBackend`].
//! * [`PackWriter`]: `begin(tag)`, `write(bytes)`, `end()` for each file, then `finish()` gives the
//!   [`FileContent`] of each. [`Store::read_file`] streams it back; [`read_file_from`] does so through any
//!   [`ChunkSource`], such as a worker's disk cache in front of the store.
//! * [`FileContent`] is size, hash and places of a file's bytes; [`FileEntry`] adds the datum that made
//!   it and is what trees of files hold.
//! * [`FileTree`] reads a commit's files by path (`inspect`, `list`, `walk`, `glob`, `diff`, `files`);
//!   [`FileEdits`] changes them: `put`, `append`, `delete`, `copy`, then `apply(&store, &base)`. Edits can
//!   wait, too: [`ClosedEdits::stage`], [`Store::put_staged`], [`FileEdits::add_staged`].
//! * [`Tree`] is the map below, for every other index: [`Value::plain`], [`Edit::put`], [`Edit::remove`],
//!   `apply`, `range`, `diff`, `aggregate`.
//! * [`MetaLog`]: `MetaLog::open(&store)` gives snapshot, records and the writing end, whose
//!   `append_events` is the fence between coordinators.
//!
//! Promises: what a call acknowledged is durable. Every byte read has been checked against a hash; damage
//! is an error that names the object ([`StoreError::is_damage`]). Content is stored once: writing what is
//! there already writes nothing. A root depends on the content only, never on history or on which chunks
//! the bytes lie in.
//!
//! What is not here: commits, jobs, what events mean (`howdah-model`), garbage collection, queues. A
//! collector of garbage must know two things: an object seen in the store is believed to be there for
//! fifteen minutes without asking again, so anything young must be spared; and nodes must go before
//! the chunks they refer to, because a node found in the store is trusted to have its chunks. Staged edits refer to
//! chunks, too.
//! Everything runs inside a Tokio runtime.

pub mod backend;
mod chunk;
mod error;
pub mod files;
mod format;
mod log;
mod memory;
mod objects;
pub mod pack;
pub mod sort;
mod store;
#[cfg(test)]
mod testing;
pub mod tree;

pub use backend::{ObjectMeta, PutOutcome};
pub use chunk::{ChunkSource, read_file_from, slices_from};
pub use error::{BackendError, Result, StoreError};
pub use files::{
    ClosedEdits, Collision, EditError, FileDiff, FileEdits, FileKind, FileNode, FileTree, MAX_STAGED_BYTES, Page,
    PathError, PathRules, StagedEdits, StagedObject, StagedPaths, StepNumber, check_path, clean_path,
};
pub use format::codec::DecodeError;
pub use format::content::{ChunkHash, FileContent, FileEntry, Slice};
pub use log::{AppendError, LogRecord, MetaLog, OpenedLog, Settled, Snapshot};
pub use objects::config::{Limits, S3Config, StoreConfig};
pub use objects::keys;
pub use pack::PackWriter;
pub use store::{Capabilities, Store};
pub use tree::{Aggregate, DiffItem, Edit, Entry, KeyRange, Tree, Value};
