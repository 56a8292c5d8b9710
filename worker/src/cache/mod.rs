//! The worker's local disk: the scratch folder, and the caches in it in front of the object store.
//!
//! - `storage`: what tasks use: the store, the caches in front of it, and the free space beneath them.
//! - `file_cache`: whole input files by content hash; `chunks`: chunks of a remote store.
//! - `disk_lru`: a bounded folder of files, which both caches use.
//! - `log_spool`: log lines until they are in the store.
//! - `scratch`: the locked folder that holds everything.
//!
//! What can go wrong: a full disk is reported with its folder and size; a cached file with wrong bytes is fetched
//! again. The caches hold nothing that cannot be fetched again, so everything in them may be evicted at any time.

pub(crate) mod chunks;
pub(crate) mod disk_lru;
pub(crate) mod file_cache;
pub(crate) mod log_spool;
pub(crate) mod scratch;
pub(crate) mod storage;
