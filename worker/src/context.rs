//! What every part of a worker needs: connections, caches, counters.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use howdah_model::names::PipelineKey;
use howdah_protocol::messages::SlotStatus;
use howdah_protocol::objects::JobPlan;
use howdah_protocol::wire::{self, Wire};
use howdah_queue::Queue;
use howdah_store::{ChunkSource, Store};
use lru::LruCache;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::cache::chunks::DiskChunks;
use crate::cache::disk_lru::DiskLru;
use crate::cache::file_cache::{FileCache, blocking};
use crate::cache::scratch::Scratch;
use crate::error::{Trouble, WorkerError};
use crate::execute::environment::Whereabouts;
use crate::intake::delivery_journal::Receipts;
use crate::intake::running_sets::Tickets;
use crate::metrics::Metrics;
use crate::runtime::Runtime;
use crate::slots::prewarm::Leases;
use crate::slots::{Pool, Starter};

/// Plans kept in memory: one per job that is being worked on.
const PLANS: NonZeroUsize = NonZeroUsize::new(128).expect("128 is not zero");

/// What a worker is made of, from outside: the real things, or those of a test.
pub struct Parts {
    /// Name of the worker.
    pub name: String,
    /// Connection to NATS.
    pub queue: Queue,
    /// The object store.
    pub store: Store,
    /// Whether the store is on this machine, so that caching its chunks on disk is in vain.
    pub store_is_local: bool,
    /// Runs the stages.
    pub runtime: Arc<dyn Runtime>,
    /// The locked scratch folder.
    pub scratch: Scratch,
    /// Number of slots.
    pub slots: usize,
    /// Bytes for the disk caches.
    pub cache_bytes: u64,
    /// Pipelines to serve; empty means all.
    pub pipelines: Vec<PipelineKey>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// The shared parts of a running worker.
pub(crate) struct Kit {
    pub name: String,
    pub queue: Queue,
    pub store: Store,
    pub source: Arc<dyn ChunkSource>,
    pub files: FileCache,
    pub starter: Starter,
    pub pool: Arc<Pool>,
    pub standing: Leases,
    pub tickets: Tickets,
    pub receipts: Receipts,
    /// Sets that are stored while their slot is on the next one: at most one for each slot.
    pub storing: Arc<Semaphore>,
    /// Slots that have been called to help with a set, also those that come too late.
    pub helpers: TaskTracker,
    pub board: Board,
    pub place: Whereabouts,
    pub metrics: Arc<Metrics>,
    pub pipelines: Vec<PipelineKey>,
    caches: Vec<Arc<DiskLru>>,
    plans: Mutex<LruCache<String, Arc<JobPlan>>>,
}

impl Kit {
    /// Puts the parts together and opens the caches.
    pub fn new(parts: Parts) -> Result<Self, WorkerError> {
        let root = parts.scratch.root().to_owned();
        let cache = |name: &str, bytes: u64| {
            let folder = root.join("cache").join(name);
            DiskLru::open(&folder, bytes)
                .map(Arc::new)
                .map_err(|e| WorkerError::scratch(&folder, "the cache cannot be read", e))
        };
        // Of a remote store, a quarter of the space is for packed chunks of small files.
        let for_chunks = if parts.store_is_local { 0 } else { parts.cache_bytes / 4 };
        let files = cache("files", parts.cache_bytes - for_chunks)?;
        let mut caches = vec![Arc::clone(&files)];
        let source: Arc<dyn ChunkSource> = if parts.store_is_local {
            Arc::new(parts.store.clone())
        } else {
            let chunks = cache("chunks", for_chunks)?;
            caches.push(Arc::clone(&chunks));
            Arc::new(DiskChunks::new(parts.store.clone(), chunks, Arc::clone(&parts.metrics)))
        };
        Ok(Self {
            place: Whereabouts {
                worker: parts.name.clone(),
                host: crate::config::host_name(),
            },
            files: FileCache::new(files, Arc::clone(&parts.metrics)),
            starter: Starter {
                runtime: parts.runtime,
                scratch: parts.scratch,
                metrics: Arc::clone(&parts.metrics),
                starts: TaskTracker::new(),
            },
            pool: Arc::new(Pool::new(parts.slots.max(1), Arc::clone(&parts.metrics))),
            standing: Leases::default(),
            tickets: Tickets::new(),
            receipts: Receipts::open(&root)
                .map_err(|e| WorkerError::scratch(&root, "no folder for receipts can be made", e))?,
            storing: Arc::new(Semaphore::new(parts.slots.max(1))),
            helpers: TaskTracker::new(),
            board: Board::default(),
            name: parts.name,
            queue: parts.queue,
            store: parts.store,
            source,
            metrics: parts.metrics,
            pipelines: parts.pipelines,
            caches,
            plans: Mutex::new(LruCache::new(PLANS)),
        })
    }

    /// Tells whether this worker takes work of a pipeline.
    pub fn serves(&self, pipeline: &PipelineKey) -> bool {
        self.pipelines.is_empty() || self.pipelines.contains(pipeline)
    }

    /// Returns a job's plan, reading it once.
    pub async fn plan(&self, key: &str) -> Result<Arc<JobPlan>, Trouble> {
        let known = self.plans().get(key).cloned();
        if let Some(plan) = known {
            return Ok(plan);
        }
        let plan = Arc::new(self.object::<JobPlan>(key).await?);
        self.plans().put(key.to_owned(), Arc::clone(&plan));
        Ok(plan)
    }

    /// Reads an object of a job.
    pub async fn object<T: Wire>(&self, key: &str) -> Result<T, Trouble> {
        let bytes = self
            .store
            .get(key)
            .await
            .map_err(Trouble::store("cannot read what the job consists of"))?;
        wire::decode(&bytes).map_err(|source| Trouble::Object {
            key: key.to_owned(),
            source,
        })
    }

    /// Returns the bytes in the disk caches.
    pub fn cached_bytes(&self) -> u64 {
        self.caches.iter().map(|cache| cache.bytes()).sum()
    }

    /// Throws cached files away until so many bytes are free, or nothing is left to throw away.
    ///
    /// The caches' limit knows nothing of what else fills the disk; and all that they hold can be
    /// fetched again, while a datum that has no room cannot run.
    pub async fn make_room(&self, bytes: u64) -> Result<(), Trouble> {
        let (caches, scratch) = (self.caches.clone(), self.starter.scratch.clone());
        blocking(move || {
            for cache in caches {
                // A file that a running datum has too keeps its bytes: only looking tells.
                loop {
                    let free = scratch
                        .free_bytes()
                        .map_err(Trouble::io("ask for the free space of", scratch.root()))?;
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

    /// Turns "disk full" into words that say where and how much.
    pub fn explain(&self, trouble: Trouble, needed_bytes: u64) -> Trouble {
        if trouble.is_disk_full() {
            self.scratch_full(needed_bytes)
        } else {
            trouble
        }
    }

    /// Returns the error for a full scratch folder.
    pub fn scratch_full(&self, needed_bytes: u64) -> Trouble {
        const MIB: u64 = 1 << 20;
        Trouble::ScratchFull {
            folder: self.starter.scratch.root().to_owned(),
            free_mib: self.starter.scratch.free_bytes().unwrap_or(0) / MIB,
            needed_mib: needed_bytes.div_ceil(MIB).max(1),
        }
    }

    fn plans(&self) -> std::sync::MutexGuard<'_, LruCache<String, Arc<JobPlan>>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What each busy slot does, for presence. Written by slots, read every two seconds.
#[derive(Default)]
pub(crate) struct Board {
    slots: Mutex<BTreeMap<usize, SlotStatus>>,
}

impl Board {
    /// Shows what a slot does.
    pub fn show(&self, slot: usize, status: SlotStatus) {
        self.lock().insert(slot, status);
    }

    /// Changes what is shown of a slot.
    pub fn update(&self, slot: usize, change: impl FnOnce(&mut SlotStatus)) {
        if let Some(status) = self.lock().get_mut(&slot) {
            change(status);
        }
    }

    /// Shows a slot as idle.
    pub fn clear(&self, slot: usize) {
        self.lock().remove(&slot);
    }

    /// Returns what all busy slots do.
    pub fn all(&self) -> Vec<SlotStatus> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, SlotStatus>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
