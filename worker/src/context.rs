//! What all tasks of a worker share: connections, storage, slots and counters.
//!
//! [`WorkerParts`] are the outside things a worker is made of; [`WorkerContext`] is built from them once and shared.
//! State that only one folder needs lies there: running sets and the delivery journal in `intake`, prewarm leases in
//! `slots`.

use std::sync::Arc;

use howdah_model::names::PipelineKey;
use howdah_queue::Queue;
use howdah_store::Store;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::scratch::Scratch;
use crate::cache::storage::WorkerStorage;
use crate::config::OutputLimits;
use crate::error::WorkerError;
use crate::metrics::Metrics;
use crate::runtime::Runtime;
use crate::slots::pool::Pool;
use crate::slots::prewarm::Prewarmer;
use crate::slots::running_stage::StageStarter;
use crate::slots::status_board::SlotStatusBoard;

/// What a worker is made of: the real parts, or those of a test.
pub struct WorkerParts {
    /// Name of the worker.
    pub name: String,
    /// Connection to NATS.
    pub queue: Queue,
    /// The object store.
    pub store: Store,
    /// Whether the store is on this machine, so that caching its chunks on disk would save nothing.
    pub store_is_local: bool,
    /// Runs the stages.
    pub runtime: Arc<dyn Runtime>,
    /// The locked scratch folder.
    pub scratch: Scratch,
    /// Number of slots.
    pub slots: usize,
    /// Bytes for the disk caches.
    pub cache_bytes: u64,
    /// Limits on the output of a datum.
    pub output_limits: OutputLimits,
    /// Pipelines to serve; empty means all.
    pub pipelines: Vec<PipelineKey>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// Where the datums of this worker run, as user code may ask for it in environment variables.
#[derive(Clone, Debug)]
pub(crate) struct DatumLocation {
    /// The worker's name.
    pub worker: String,
    /// The machine's name.
    pub host: String,
}

/// Shared by all tasks of a running worker.
pub(crate) struct WorkerContext {
    pub name: String,
    pub queue: Queue,
    pub storage: WorkerStorage,
    pub starter: StageStarter,
    pub pool: Arc<Pool>,
    pub prewarmer: Prewarmer,
    /// Permits for sets whose output is being stored while their slot runs the next set: one per slot. They bound the
    /// output that waits in memory when the store is slower than the commands.
    pub storing: Arc<Semaphore>,
    /// Limits on the output of a datum.
    pub output_limits: OutputLimits,
    /// Tracks tasks that outlive the call that spawned them: slots that help with a set, and prewarming. Shutdown waits
    /// for them.
    pub helpers: TaskTracker,
    pub slot_status: SlotStatusBoard,
    pub location: DatumLocation,
    pub metrics: Arc<Metrics>,
    /// Cancelled when the worker shuts down.
    pub closing: CancellationToken,
}

impl WorkerContext {
    /// Puts the parts together and opens the caches. Returns the pipelines to serve, too.
    ///
    /// # Errors
    /// If the scratch folder cannot be used.
    pub(crate) fn new(parts: WorkerParts) -> Result<(Self, Vec<PipelineKey>), WorkerError> {
        let metrics = parts.metrics;
        let starter = StageStarter {
            runtime: parts.runtime,
            scratch: parts.scratch.clone(),
            metrics: Arc::clone(&metrics),
            starts: TaskTracker::new(),
        };
        let pool = Arc::new(Pool::new(parts.slots.max(1), Arc::clone(&metrics)));
        let helpers = TaskTracker::new();
        let closing = CancellationToken::new();
        let context = Self {
            location: DatumLocation {
                worker: parts.name.clone(),
                host: crate::config::host_name(),
            },
            storage: WorkerStorage::open(
                parts.store,
                parts.store_is_local,
                parts.scratch,
                parts.cache_bytes,
                &metrics,
            )?,
            prewarmer: Prewarmer::new(Arc::clone(&pool), starter.clone(), helpers.clone(), closing.clone()),
            starter,
            pool,
            storing: Arc::new(Semaphore::new(parts.slots.max(1))),
            output_limits: parts.output_limits,
            helpers,
            slot_status: SlotStatusBoard::default(),
            name: parts.name,
            queue: parts.queue,
            metrics,
            closing,
        };
        Ok((context, parts.pipelines))
    }
}
