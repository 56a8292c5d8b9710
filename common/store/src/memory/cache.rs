//! A cache of decoded objects, bounded in bytes, that reads each object once even when many ask at
//! the same time.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use tokio::sync::OnceCell;

/// Tells how much memory a cached thing takes.
pub(crate) trait Weighted {
    fn weight(&self) -> usize;

    /// Tells whether to remember that it has been in the cache once it is not any more.
    fn leaves_trace(&self) -> bool {
        false
    }
}

/// Keys that are remembered after what they named has been thrown out.
const TRACES: NonZeroUsize = NonZeroUsize::new(1 << 14).expect("not zero");

/// A least-recently-used cache.
#[derive(Debug)]
pub(crate) struct Cache<K: Hash + Eq, V> {
    capacity: usize,
    state: Mutex<State<K, V>>,
}

#[derive(Debug)]
struct State<K: Hash + Eq, V> {
    entries: LruCache<K, V>,
    bytes: usize,
    /// What has been thrown out lately.
    traces: LruCache<K, ()>,
    /// Reads under way. The cell is what latecomers wait on.
    loading: HashMap<K, Arc<OnceCell<V>>>,
}

impl<K: Hash + Eq + Copy, V: Clone + Weighted> Cache<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        let state = State {
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

    fn state(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.state().entries.get(key).cloned()
    }

    /// Tells whether something is in the cache or on its way.
    pub(crate) fn has_or_loads(&self, key: &K) -> bool {
        let state = self.state();
        state.entries.contains(key) || state.loading.contains_key(key)
    }

    /// Tells whether something has been in the cache lately, but is not there and not on its way.
    pub(crate) fn was_thrown_out(&self, key: &K) -> bool {
        let state = self.state();
        state.traces.contains(key) && !state.entries.contains(key) && !state.loading.contains_key(key)
    }

    pub(crate) fn insert(&self, key: K, value: V) {
        self.state().insert(key, value, self.capacity);
    }

    /// Returns the cached value, or what `load` gives, or what another caller is just loading.
    pub(crate) async fn get_or_load<E>(&self, key: K, load: impl Future<Output = Result<V, E>>) -> Result<V, E> {
        let cell = {
            let mut state = self.state();
            if let Some(value) = state.entries.get(&key) {
                return Ok(value.clone());
            }
            Arc::clone(state.loading.entry(key).or_default())
        };
        // A failed or abandoned load leaves the cell empty, and the next in line loads again.
        let result = cell.get_or_try_init(|| load).await.cloned();
        let mut state = self.state();
        let ours = state
            .loading
            .get(&key)
            .is_some_and(|current| Arc::ptr_eq(current, &cell));
        if ours {
            state.loading.remove(&key);
            if let Ok(value) = &result {
                state.insert(key, value.clone(), self.capacity);
            }
        }
        result
    }
}

impl<K: Hash + Eq, V: Weighted> State<K, V> {
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
        assert!(cache.was_thrown_out(&2) && !cache.was_thrown_out(&1));
        cache.insert(4, 11);
        assert_eq!(cache.get(&4), None);
        cache.insert(5, 9);
        cache.insert(6, 2);
        assert!(cache.was_thrown_out(&3) && !cache.was_thrown_out(&5));
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
}
