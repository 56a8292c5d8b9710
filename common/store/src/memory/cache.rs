//! A cache of decoded objects: bounded in bytes, least recently used first out, one load for concurrent readers.
//!
//! This is ours, although `quick_cache` and `moka` offer shared loads. Readers load entries ahead of their use, and
//! `quick_cache` gives new entries only a share of the capacity: with its defaults it evicted nearly all nodes that a
//! scan had read ahead, which were then loaded twice. `moka` exceeds its bound in bytes and takes five times as long
//! for a hit. The store also needs two facts that neither of them gives: whether a key is being loaded, and whether it
//! was evicted lately. Both decide how small files are read.
//!
//! * A hit takes one lock, held while an entry is moved to the front of a list and its value is cloned.
//! * Errors are not cached: the next caller loads again.
//! * A caller that stops waiting for its load (its future is dropped) does not fail the others: the next of them loads.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use tokio::sync::OnceCell;

/// Tells how much memory a cached value takes.
pub(crate) trait Weighted {
    /// Returns bytes of memory.
    fn weight(&self) -> usize;

    /// Tells whether its key is remembered after it has been evicted.
    fn leaves_trace(&self) -> bool {
        false
    }
}

/// How many keys of evicted values are remembered.
const TRACES: NonZeroUsize = NonZeroUsize::new(1 << 14).expect("not zero");

/// A least-recently-used cache.
#[derive(Debug)]
pub(crate) struct Cache<K: Hash + Eq, V> {
    /// In bytes.
    capacity: usize,
    state: Mutex<CacheState<K, V>>,
}

#[derive(Debug)]
struct CacheState<K: Hash + Eq, V> {
    entries: LruCache<K, V>,
    /// Sum of the weights of `entries`.
    bytes: usize,
    /// Keys of values that were evicted lately.
    traces: LruCache<K, ()>,
    /// Loads under way. Callers that come later wait for the cell of the first.
    loading: HashMap<K, Arc<OnceCell<V>>>,
}

impl<K: Hash + Eq + Copy, V: Clone + Weighted> Cache<K, V> {
    /// Makes a cache for values of `capacity` bytes in all.
    pub(crate) fn new(capacity: usize) -> Self {
        let state = CacheState {
            entries: LruCache::unbounded(),
            bytes: 0,
            traces: LruCache::new(TRACES),
            loading: HashMap::new(),
        };
        Cache {
            capacity,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, CacheState<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the cached value.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.state().entries.get(key).cloned()
    }

    /// Tells whether a value is in the cache or being loaded. Does not count as a use.
    pub(crate) fn has_or_loads(&self, key: &K) -> bool {
        let state = self.state();
        state.entries.contains(key) || state.loading.contains_key(key)
    }

    /// Tells whether a value was evicted lately and is neither in the cache again nor being loaded.
    pub(crate) fn was_evicted(&self, key: &K) -> bool {
        let state = self.state();
        state.traces.contains(key) && !state.entries.contains(key) && !state.loading.contains_key(key)
    }

    /// Adds a value.
    pub(crate) fn insert(&self, key: K, value: V) {
        self.state().insert(key, value, self.capacity);
    }

    /// Removes a value.
    pub(crate) fn remove(&self, key: &K) {
        let mut state = self.state();
        if let Some(value) = state.entries.pop(key) {
            state.bytes -= value.weight();
        }
    }

    /// Returns the cached value, the result of `load`, or that of a load which another caller has begun.
    pub(crate) async fn get_or_load<E>(&self, key: K, load: impl Future<Output = Result<V, E>>) -> Result<V, E> {
        let cell = {
            let mut state = self.state();
            if let Some(value) = state.entries.get(&key) {
                return Ok(value.clone());
            }
            Arc::clone(state.loading.entry(key).or_default())
        };
        let waiting = WaitingCaller { cache: self, key, cell };
        // A load that fails or is dropped leaves the cell empty, and the next caller in line runs its own.
        let result = waiting.cell.get_or_try_init(|| load).await.cloned();
        drop(waiting);
        result
    }
}

/// A caller that loads or waits for a load; ends the load for all when the last one is gone.
struct WaitingCaller<'a, K: Hash + Eq + Copy, V: Clone + Weighted> {
    cache: &'a Cache<K, V>,
    key: K,
    cell: Arc<OnceCell<V>>,
}

impl<K: Hash + Eq + Copy, V: Clone + Weighted> Drop for WaitingCaller<'_, K, V> {
    fn drop(&mut self) {
        let mut state = self.cache.state();
        // Given up while the lock is held: two callers that end at the same time must not each count the other.
        let cell = std::mem::take(&mut self.cell);
        let is_current = |current: &Arc<OnceCell<V>>| Arc::ptr_eq(current, &cell);
        if !state.loading.get(&self.key).is_some_and(is_current) {
            return;
        }
        match cell.get().cloned() {
            Some(value) => {
                state.loading.remove(&self.key);
                state.insert(self.key, value, self.cache.capacity);
            }
            // Others still wait: the next of them loads, and its value must reach the cache through this cell.
            None if Arc::strong_count(&cell) > 2 => {}
            // Without this, a load whose only caller was cancelled would count as under way for ever.
            None => {
                state.loading.remove(&self.key);
            }
        }
    }
}

impl<K: Hash + Eq, V: Weighted> CacheState<K, V> {
    fn insert(&mut self, key: K, value: V, capacity: usize) {
        let weight = value.weight();
        if weight > capacity {
            return;
        }
        self.bytes += weight;
        if let Some(old) = self.entries.put(key, value) {
            self.bytes -= old.weight();
        }
        while self.bytes > capacity {
            let Some((key, evicted)) = self.entries.pop_lru() else {
                break;
            };
            self.bytes -= evicted.weight();
            if evicted.leaves_trace() {
                self.traces.put(key, ());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    impl Weighted for usize {
        fn weight(&self) -> usize {
            *self
        }

        fn leaves_trace(&self) -> bool {
            self.is_multiple_of(2)
        }
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = Cache::new(10);
        cache.insert(1, 4);
        cache.insert(2, 4);
        cache.get(&1);
        cache.insert(3, 4);
        assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (Some(4), None, Some(4)));
        assert!(cache.was_evicted(&2) && !cache.was_evicted(&1));
        cache.insert(4, 11);
        assert_eq!(cache.get(&4), None);
        cache.insert(5, 9);
        cache.insert(6, 2);
        assert!(cache.was_evicted(&3) && !cache.was_evicted(&5));
    }

    #[test]
    fn a_removed_value_takes_no_memory() {
        let cache = Cache::new(10);
        cache.insert(1, 6);
        cache.remove(&1);
        cache.insert(2, 6);
        cache.insert(3, 4);
        assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (None, Some(6), Some(4)));
    }

    #[tokio::test]
    async fn concurrent_readers_share_one_load() {
        let cache = Cache::new(100);
        let loads = AtomicUsize::new(0);
        let load = || {
            cache.get_or_load(7, async {
                loads.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok::<usize, ()>(5)
            })
        };
        assert_eq!(tokio::join!(load(), load(), load()), (Ok(5), Ok(5), Ok(5)));
        assert_eq!(loads.into_inner(), 1);
    }

    #[tokio::test]
    async fn a_failed_load_is_repeated() {
        let cache = Cache::new(100);
        assert_eq!(cache.get_or_load(1, async { Err::<usize, _>("no") }).await, Err("no"));
        assert_eq!(cache.get_or_load(1, async { Ok::<usize, &str>(3) }).await, Ok(3));
        assert_eq!(cache.get(&1), Some(3));
    }

    #[tokio::test]
    async fn a_cancelled_load_does_not_strand_the_callers_that_wait_for_it() {
        let cache = Cache::new(100);
        let never = cache.get_or_load(1, std::future::pending::<Result<usize, ()>>());
        let mut never = Box::pin(never);
        assert!(futures::poll!(&mut never).is_pending());
        let mut waiting = Box::pin(cache.get_or_load(1, async { Ok::<usize, ()>(3) }));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(never);
        assert!(cache.has_or_loads(&1));
        assert_eq!(waiting.await, Ok(3));
        assert_eq!(cache.get(&1), Some(3));
    }

    #[tokio::test]
    async fn a_load_whose_only_caller_is_cancelled_is_not_under_way_any_more() {
        let cache = Cache::new(100);
        let mut never = Box::pin(cache.get_or_load(1, std::future::pending::<Result<usize, ()>>()));
        assert!(futures::poll!(&mut never).is_pending());
        assert!(cache.has_or_loads(&1));
        drop(never);
        assert!(!cache.has_or_loads(&1));
    }
}
