//! The object store as the worker uses it, with the caches in front of it and the scratch disk beneath them.

use std::sync::Arc;

use howdah_store::{ChunkSource, Store};

use crate::blocking::blocking;
use crate::cache::chunks::DiskChunks;
use crate::cache::disk_lru::DiskLru;
use crate::cache::file_cache::FileCache;
use crate::cache::log_spool::LogSpool;
use crate::cache::scratch::Scratch;
use crate::error::{InfraError, WorkerError};
use crate::metrics::Metrics;

/// Store, caches and scratch folder of a worker. Shared by all slots.
pub(crate) struct WorkerStorage {
    pub store: Store,
    /// Where content is read from: the store, behind a disk cache of chunks if it is remote.
    pub chunks: Arc<dyn ChunkSource>,
    pub files: FileCache,
    pub logs: LogSpool,
    pub scratch: Scratch,
    caches: Vec<Arc<DiskLru>>,
}

impl WorkerStorage {
    /// Opens the caches in a scratch folder, with `cache_bytes` in all.
    ///
    /// # Errors
    /// If a cache folder cannot be read.
    pub(crate) fn open(
        store: Store,
        store_is_local: bool,
        scratch: Scratch,
        cache_bytes: u64,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, WorkerError> {
        let cache = |name: &str, bytes: u64| {
            let folder = scratch.root().join("cache").join(name);
            DiskLru::open(&folder, bytes)
                .map(Arc::new)
                .map_err(|error| WorkerError::scratch(&folder, "the cache cannot be read", error))
        };
        // With a remote store, a quarter of the space is for chunks that pack many small files. Chunks of a local store
        // are on a local disk already.
        let chunk_bytes = if store_is_local { 0 } else { cache_bytes / 4 };
        let files = cache("files", cache_bytes - chunk_bytes)?;
        let mut caches = vec![Arc::clone(&files)];
        let chunks: Arc<dyn ChunkSource> = if store_is_local {
            Arc::new(store.clone())
        } else {
            let disk = cache("chunks", chunk_bytes)?;
            caches.push(Arc::clone(&disk));
            Arc::new(DiskChunks::new(store.clone(), disk, Arc::clone(metrics)))
        };
        let logs = LogSpool::open(scratch.root())
            .map_err(|error| WorkerError::scratch(scratch.root(), "no folder for log lines can be made", error))?;
        Ok(Self {
            logs,
            store,
            chunks,
            files: FileCache::new(files, Arc::clone(metrics)),
            scratch,
            caches,
        })
    }

    /// Returns the bytes in the disk caches.
    pub(crate) fn cached_bytes(&self) -> u64 {
        self.caches.iter().map(|cache| cache.bytes()).sum()
    }

    /// Returns the free bytes on the disk of the scratch folder.
    pub(crate) fn free_bytes(&self) -> Result<u64, InfraError> {
        self.scratch
            .free_bytes()
            .map_err(InfraError::io("ask for the free space of", self.scratch.root()))
    }

    /// Evicts cached files until `bytes` are free on the disk or the caches are empty.
    ///
    /// The limit of the caches does not know what else fills the disk. What they hold can be fetched again, while a
    /// datum without room cannot run.
    pub(crate) async fn make_room(&self, bytes: u64) -> Result<(), InfraError> {
        let (caches, scratch) = (self.caches.clone(), self.scratch.clone());
        blocking(move || {
            for cache in caches {
                // The disk is asked after each eviction: a file that is also linked into a running datum's inputs frees
                // nothing.
                loop {
                    let free = scratch
                        .free_bytes()
                        .map_err(InfraError::io("ask for the free space of", scratch.root()))?;
                    if free >= bytes {
                        return Ok(());
                    }
                    if cache.evict(bytes - free) == 0 {
                        break;
                    }
                }
            }
            Ok(())
        })
        .await?
    }

    /// Replaces a "disk full" error by one that names the folder and its free space.
    pub(crate) fn explain(&self, error: InfraError, needed_bytes: u64) -> InfraError {
        if error.is_disk_full() {
            self.scratch_full(needed_bytes)
        } else {
            error
        }
    }

    /// Returns the error for a full scratch folder.
    pub(crate) fn scratch_full(&self, needed_bytes: u64) -> InfraError {
        const MIB: u64 = 1 << 20;
        InfraError::ScratchFull {
            folder: self.scratch.root().to_owned(),
            free_mib: self.scratch.free_bytes().unwrap_or(0) / MIB,
            needed_mib: needed_bytes.div_ceil(MIB).max(1),
        }
    }
}
