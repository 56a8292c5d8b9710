//! Which content-addressed objects were seen in the store a short while ago.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

use super::keys::ContentKey;

const MOST_KEYS: NonZeroUsize = NonZeroUsize::new(1 << 16).expect("not zero");
/// For how long an object that was seen is taken to exist. A garbage collector must spare objects for much longer.
const TRUSTED_FOR: Duration = Duration::from_secs(15 * 60);

/// Keys of objects that exist. Bounded; a key that is not here costs a request.
#[derive(Debug)]
pub(super) struct KnownObjects(Mutex<LruCache<ContentKey, Instant>>);

impl Default for KnownObjects {
    fn default() -> Self {
        KnownObjects(Mutex::new(LruCache::new(MOST_KEYS)))
    }
}

impl KnownObjects {
    /// Tells whether an object was seen a short while ago.
    pub(super) fn contains(&self, key: &ContentKey) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).is_some_and(|seen| seen.elapsed() < TRUSTED_FOR)
    }

    /// Notes that an object exists now.
    pub(super) fn add(&self, key: ContentKey) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.put(key, Instant::now());
    }

    /// Forgets one object.
    pub(super) fn forget(&self, key: &ContentKey) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.pop(key);
    }

    /// Forgets all objects.
    pub(super) fn forget_all(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
