//! The worker's local disk: the scratch folder and the caches in it.

pub(crate) mod chunks;
pub(crate) mod disk_lru;
pub(crate) mod file_cache;
pub(crate) mod scratch;
