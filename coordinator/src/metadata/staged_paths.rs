//! Cache of the paths of staged edits, so that a new write can be compared with them without reading their objects.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use howdah_model::GlobalId;
use howdah_store::StagedPaths;
use lru::LruCache;

/// Memory for all paths: enough for those of one commit's staged edits, if their names have a usual length.
const CACHE_BYTES: usize = 24 << 20;

/// The paths of staged edits that were written or read last, by the id of the edits. Loss costs a read of an object.
#[derive(Debug)]
pub(super) struct StagedPathsCache(Mutex<CachedPaths>);

#[derive(Debug)]
struct CachedPaths {
    by_id: LruCache<GlobalId, Arc<StagedPaths>>,
    /// Memory of all entries together.
    bytes: usize,
}

impl Default for StagedPathsCache {
    fn default() -> Self {
        Self(Mutex::new(CachedPaths {
            by_id: LruCache::unbounded(),
            bytes: 0,
        }))
    }
}

impl StagedPathsCache {
    fn lock(&self) -> MutexGuard<'_, CachedPaths> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the paths of staged edits and drops the oldest entries that no longer fit.
    pub(super) fn put(&self, id: GlobalId, paths: Arc<StagedPaths>) {
        let mut cached = self.lock();
        cached.bytes += paths.memory();
        if let Some(before) = cached.by_id.put(id, paths) {
            cached.bytes -= before.memory();
        }
        while cached.bytes > CACHE_BYTES
            && let Some((_, oldest)) = cached.by_id.pop_lru()
        {
            cached.bytes -= oldest.memory();
        }
    }

    /// Returns the paths of staged edits, if they are cached.
    pub(super) fn get(&self, id: &GlobalId) -> Option<Arc<StagedPaths>> {
        self.lock().by_id.get(id).cloned()
    }

    /// Drops the paths of staged edits.
    pub(super) fn remove(&self, id: &GlobalId) {
        let mut cached = self.lock();
        if let Some(paths) = cached.by_id.pop(id) {
            cached.bytes -= paths.memory();
        }
    }
}
