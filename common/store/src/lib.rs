//! Everything that Howdah keeps: objects, chunks of file bytes, trees, files by path, the metadata log.
//!
//! Object storage is the only source of truth of the system, and this crate is the only one that talks to it.
//!
//! Modules import only from modules below them, and no two files import each other:
//!
//! ```text
//!   check      objects compared with their names, damaged ones taken away
//!   files      files by path: read, list, diff; edits, staged edits, collisions
//!   tree       ordered map over nodes
//!   pack       writing files: bytes to chunks
//!   chunk      reading files: chunks by hash, streams of slices
//!   store      the handle: caches, write buffer, limits
//!   log        metadata log: records, snapshots
//!   objects    objects by key; configuration, keys
//!   memory     cache with shared loads, buffers
//!   backend    where objects are: folder, S3, memory; fault injection
//!   format     bytes of chunks, nodes, entries; no I/O
//!   offload    threads for long computations
//!   sort       external sort
//!   error
//! ```
//!
//! * [`Store`]: `Store::open(&StoreConfig::new("file:///srv/howdah"))`; cheap to clone. It dereferences to
//!   [`ObjectStore`]: objects by `get`, `put`, `put_if_absent`, `list` ...; [`keys`] makes their keys. A store for
//!   tests: [`Store::in_memory`], or [`Store::with_backend`] with a [`backend::fault::FaultBackend`].
//! * [`PackWriter`]: `begin(tag)`, `write(bytes)`, `end()` for each file, then `finish()` returns the
//!   [`FileContent`] of each. [`Store::read_file`] streams it back; [`read_file_from`] does so through any
//!   [`ChunkSource`], such as a worker's disk cache in front of the store.
//! * [`FileContent`] is size, hash and slices of a file; [`FileEntry`] adds the datum that wrote it and is what file
//!   trees hold.
//! * [`FileTree`] reads a commit's files by path (`inspect`, `list`, `walk`, `glob`, `diff`, `files`); [`FileEdits`]
//!   changes them: `put`, `append`, `delete`, `copy`, then `apply(&store, &base)`. Edits can also be stored and applied
//!   later: [`ClosedEdits::stage`], [`Store::put_staged`], [`FileEdits::add_staged`].
//! * [`Tree`] is the map below, for every other index: [`TreeValue::plain`], [`TreeEdit::put`], [`TreeEdit::remove`],
//!   `apply`, `range`, `diff`, `aggregate`.
//! * [`MetaLog`]: `MetaLog::open(&store)` claims the log and returns snapshot, records and the writing end.
//!   [`LogContents::read`] only reads. The head of the module says what keeps two coordinators apart.
//!
//! Promises: what a call acknowledged is durable. Every byte that is read has been compared with a hash, every
//! whole file with its own; damage is an error that names the object or the file ([`StoreError::is_damage`]). Content is stored once: writing content that exists
//! writes nothing. A root depends on the content only: neither on its history nor on which chunks hold the bytes.
//!
//! What is not here: commits, jobs, the meaning of events (`howdah-model`), garbage collection, queues. A garbage
//! collector must respect two things. A writer takes an object that it has seen in the store to exist for the next 15
//! minutes, without a request: a collector must not delete an object that was seen within 15 minutes. A node that is
//! found in the store is trusted to have its chunks: nodes must be deleted before the chunks that they refer to. Staged
//! edits refer to chunks, too.
//!
//! Everything runs inside a Tokio runtime.

pub mod backend;
mod check;
mod chunk;
mod error;
pub mod files;
mod format;
#[cfg(fuzzing)]
pub mod fuzzing;
mod log;
mod memory;
mod objects;
mod offload;
pub mod pack;
mod private;
pub mod sort;
mod store;
#[cfg(test)]
mod testing;
pub mod tree;

pub use backend::{ObjectMeta, PutOutcome, S3Config};
pub use check::{ObjectRepair, TreeNode};
pub use chunk::{ChunkSource, read_file_from, slices_from};
pub use error::{BackendError, Result, StoreError};
pub use files::{
    ClosedEdits, Collision, EditError, FileDiff, FileEdits, FileEntry, FileKind, FileNode, FileTree, ListingPage,
    MAX_STAGED_BYTES, PathError, PathRules, StagedEdits, StagedObject, StagedPaths, StagedPathsCache, StepNumber,
    check_path, clean_path,
};
pub use format::chunk::ChunkHash;
pub use format::codec::DecodeError;
pub use format::content::{FileContent, Slice};
pub use log::{
    AppendError, AppendOutcome, Claim, Leadership, LogContents, LogRecord, MetaLog, OpenedLog, Snapshot, newest_claim,
};
pub use objects::config::{Limits, StoreConfig};
pub use objects::{Capabilities, ObjectStore, keys};
pub use pack::PackWriter;
pub use private::{PRIVATE_FILE_MODE, make_private_folder};
pub use store::Store;
pub use tree::{Aggregate, DiffItem, KeyRange, Tree, TreeEdit, TreeEntry, TreeValue};
