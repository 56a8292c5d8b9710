//! What the tasks of the scheduler share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use howdah_model::JobKey;
use howdah_protocol::messages::SetEvent;
use howdah_queue::CoordinatorQueue;
use tokio::sync::{Notify, mpsc};

use crate::job::{JobContext, LeaderQueue, RetryLimits};
use crate::leadership::lease::Lease;
use crate::metadata::Core;

/// What every background task works with.
#[derive(Clone)]
pub(super) struct SchedulerContext {
    pub(super) core: Core,
    pub(super) queue: CoordinatorQueue,
    /// Permission to act, for what is no append to the log.
    pub(super) lease: Lease,
    /// What the runners of all pipelines work with.
    pub(super) runners: RunnerContext,
    /// Notified when a worker connects.
    pub(super) new_worker: Arc<Notify>,
}

impl SchedulerContext {
    /// Makes the context of a coordinator.
    pub(super) fn new(core: Core, queue: CoordinatorQueue, lease: Lease, limits: RetryLimits) -> Self {
        let sets = LeaderQueue::new(queue.clone(), lease.clone());
        let jobs = JobContext::new(core.clone(), Arc::new(sets), limits);
        Self {
            core,
            queue,
            lease,
            runners: RunnerContext::new(jobs),
            new_worker: Arc::default(),
        }
    }
}

/// What the runners of all pipelines work with. A clone is cheap and shares the registered drivers.
#[derive(Clone)]
pub struct RunnerContext {
    /// What job drivers work with. Runners reach the command loop and the queue through it as well.
    pub(super) jobs: JobContext,
    pub(super) router: EventRouter,
}

impl RunnerContext {
    /// Makes a context in which no driver is registered.
    pub fn new(jobs: JobContext) -> Self {
        Self {
            jobs,
            router: EventRouter::default(),
        }
    }

    /// Hands a set event to the driver of its job. It is dropped if the job has none.
    pub fn deliver(&self, event: SetEvent) {
        self.router.deliver(event);
    }
}

/// Routes set events to the driver of their job. Events of jobs without a driver are dropped: a driver that starts later
/// looks at the store.
#[derive(Clone, Default)]
pub(super) struct EventRouter(Arc<Mutex<HashMap<JobKey, mpsc::UnboundedSender<SetEvent>>>>);

impl EventRouter {
    /// Registers the driver of a job. There is at most one; the last one registered gets the events.
    pub(super) fn register(&self, job: &JobKey) -> mpsc::UnboundedReceiver<SetEvent> {
        // Unbounded, because the listener serves all jobs: a driver that is busy merging must not delay the events of
        // others. A job has at most some events for each of its sets.
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().insert(job.clone(), sender);
        receiver
    }

    /// Ends the registration of a job.
    pub(super) fn unregister(&self, job: &JobKey) {
        self.lock().remove(job);
    }

    /// Hands an event to the driver of its job.
    pub(super) fn deliver(&self, event: SetEvent) {
        let (pipeline, job) = match &event {
            SetEvent::Done(done) => (&done.pipeline, done.job),
            SetEvent::Failed(failed) => (&failed.pipeline, failed.job),
            SetEvent::Outdated(outdated) => (&outdated.pipeline, outdated.job),
        };
        if let Some(driver) = self.lock().get(&pipeline.job(job)) {
            // A driver that has just ended does not need it.
            let _ = driver.send(event);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobKey, mpsc::UnboundedSender<SetEvent>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
