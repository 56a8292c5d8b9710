//! The registry of datum sets that run on this worker.
//!
//! [`RunningSets::register`] decides whether a delivered set may begin; the other functions stop or restart registered
//! sets by job, by pipeline or all at once. They only signal through the sets' handles and return at once.
//!
//! Lock order: `running` before `cancelled`.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use howdah_model::names::{JobKey, PipelineKey};
use howdah_protocol::messages::{CancelJob, RestartDatum, SetMessage};
use howdah_protocol::objects::PlanId;
use lru::LruCache;
use tokio_util::sync::CancellationToken;

use crate::set_handle::{SetHandle, StopReason};

/// How long a cancelled job is remembered. The coordinator removes the job's queued sets before it tells the workers;
/// this covers sets that were already on their way to a worker.
const REMEMBER_CANCELLED: Duration = Duration::from_secs(5);
/// Cancelled jobs that are remembered at most.
const REMEMBERED_JOBS: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not zero");

/// Job, plan and number of a set.
type SetName = (JobKey, PlanId, u32);

/// All sets that run on this worker.
pub(crate) struct RunningSets {
    /// Written when a set begins and ends, read by controls.
    running: Mutex<HashMap<SetName, Arc<SetHandle>>>,
    /// When each of the last cancelled jobs was cancelled, as a whole or one plan of it.
    cancelled: Mutex<LruCache<(JobKey, Option<PlanId>), Instant>>,
    /// Cancelled when the worker shuts down.
    closing: CancellationToken,
}

/// Whether a delivered set may begin.
pub(crate) enum Admission {
    /// It may. End it with [`RunningSets::unregister`].
    Admitted(Arc<SetHandle>),
    /// This worker runs it already.
    AlreadyRunning,
    /// Its job was cancelled within the last few seconds.
    Cancelled,
}

impl RunningSets {
    /// Makes an empty registry. The worker cancels `closing` before it calls [`RunningSets::stop_all`].
    pub(crate) fn new(closing: CancellationToken) -> Self {
        Self {
            running: Mutex::new(HashMap::new()),
            cancelled: Mutex::new(LruCache::new(REMEMBERED_JOBS)),
            closing,
        }
    }

    /// Registers a set that is about to begin.
    pub(crate) fn register(&self, set: &SetMessage) -> Admission {
        let now = Instant::now();
        let job = set.pipeline.job(set.job);
        // Locked from the check to the insertion: a cancellation in between would find the set neither here nor refused.
        let mut running = self.running();
        let is_cancelled = [None, Some(set.plan)].into_iter().any(|plan| {
            let remembered = self.cancelled().peek(&(job.clone(), plan)).copied();
            remembered.is_some_and(|when| now.duration_since(when) < REMEMBER_CANCELLED)
        });
        if is_cancelled {
            return Admission::Cancelled;
        }
        let key = name_of(set);
        if running.contains_key(&key) {
            return Admission::AlreadyRunning;
        }
        let handle = Arc::new(SetHandle::new(job));
        running.insert(key, Arc::clone(&handle));
        // A set that begins after `stop_all` has run receives no other stop, and shutdown would wait for its end.
        if self.closing.is_cancelled() {
            handle.stop(StopReason::Shutdown);
        }
        Admission::Admitted(handle)
    }

    /// Removes a set that has ended.
    pub(crate) fn unregister(&self, set: &SetMessage) {
        self.running().remove(&name_of(set));
    }

    /// Stops all sets of a job, or of one plan of it, and refuses further ones for [`REMEMBER_CANCELLED`].
    pub(crate) fn cancel_job(&self, order: &CancelJob) {
        let job = order.pipeline.job(order.job);
        // Refused first, then stopped: a set that is registered meanwhile is either refused or found below.
        self.cancelled().put((job.clone(), order.plan), Instant::now());
        for ((of, plan, _), handle) in &*self.running() {
            if *of == job && order.plan.is_none_or(|cancelled| cancelled == *plan) {
                handle.stop(StopReason::JobCancelled);
            }
        }
    }

    /// Cancels the running tries of matching datums of a job, so that each of them runs again.
    pub(crate) fn restart_datums(&self, order: &RestartDatum) {
        let job = order.pipeline.job(order.job);
        for handle in self.running().values().filter(|handle| *handle.job() == job) {
            handle.restart_matching(&order.filters);
        }
    }

    /// Returns the pipelines that have a running set.
    pub(crate) fn pipelines(&self) -> HashSet<PipelineKey> {
        self.running().keys().map(|(job, ..)| job.pipeline.clone()).collect()
    }

    /// Stops all sets of a pipeline that is no longer served.
    pub(crate) fn stop_pipeline(&self, pipeline: &PipelineKey) {
        for handle in self
            .running()
            .values()
            .filter(|handle| handle.job().pipeline == *pipeline)
        {
            handle.stop(StopReason::NotServed);
        }
    }

    /// Stops all sets because the worker shuts down.
    pub(crate) fn stop_all(&self) {
        for handle in self.running().values() {
            handle.stop(StopReason::Shutdown);
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<SetName, Arc<SetHandle>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancelled(&self) -> MutexGuard<'_, LruCache<(JobKey, Option<PlanId>), Instant>> {
        self.cancelled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name_of(set: &SetMessage) -> SetName {
    // All jobs of a commit set share one id: only together with the pipeline it names one job.
    (set.pipeline.job(set.job), set.plan, set.set)
}

#[cfg(test)]
mod tests {
    use howdah_model::ids::GlobalId;
    use howdah_protocol::testing::{datum, file_input};

    use super::*;

    fn set_of(pipeline: &str) -> SetMessage {
        SetMessage {
            pipeline: pipeline.parse().unwrap(),
            version: 1,
            job: GlobalId::from_number(1),
            plan: PlanId::EARLIER,
            set: 0,
            attempt: 0,
            inline: None,
        }
    }

    #[test]
    fn sets_of_a_pipeline_that_is_no_longer_served_are_stopped() {
        let sets = RunningSets::new(CancellationToken::new());
        let register = |pipeline: &str| match sets.register(&set_of(pipeline)) {
            Admission::Admitted(handle) => handle,
            _ => panic!("{pipeline} was not admitted"),
        };
        let (deleted, kept) = (register("default/gone"), register("default/stays"));
        assert_eq!(sets.pipelines().len(), 2);
        sets.stop_pipeline(&"default/gone".parse().unwrap());
        assert_eq!(
            (deleted.stop_reason(), kept.stop_reason()),
            (Some(StopReason::NotServed), None)
        );
    }

    #[test]
    fn a_cancelled_job_is_stopped_and_refused() {
        let sets = RunningSets::new(CancellationToken::new());
        let set = set_of("default/edges");
        let Admission::Admitted(handle) = sets.register(&set) else {
            panic!("not admitted");
        };
        sets.cancel_job(&CancelJob {
            pipeline: set.pipeline.clone(),
            job: set.job,
            plan: None,
        });
        assert_eq!(handle.stop_reason(), Some(StopReason::JobCancelled));
        sets.unregister(&set);
        assert!(matches!(sets.register(&set), Admission::Cancelled));
    }

    #[test]
    fn a_discarded_plan_is_stopped_and_refused_and_the_next_one_is_not() {
        let sets = RunningSets::new(CancellationToken::new());
        let [old, new] = [1, 2].map(|plan| SetMessage {
            plan: PlanId::from_random(plan),
            ..set_of("default/edges")
        });
        let register = |set| match sets.register(set) {
            Admission::Admitted(handle) => handle,
            _ => panic!("not admitted"),
        };
        let (stale, running) = (register(&old), register(&new));
        sets.cancel_job(&CancelJob {
            pipeline: old.pipeline.clone(),
            job: old.job,
            plan: Some(old.plan),
        });
        assert_eq!(stale.stop_reason(), Some(StopReason::JobCancelled));
        assert_eq!(running.stop_reason(), None);
        for set in [&old, &new] {
            sets.unregister(set);
        }
        assert!(matches!(sets.register(&old), Admission::Cancelled));
        assert!(matches!(sets.register(&new), Admission::Admitted(_)));
    }

    #[test]
    fn a_set_that_begins_during_shutdown_is_stopped_at_once() {
        let closing = CancellationToken::new();
        let sets = RunningSets::new(closing.clone());
        closing.cancel();
        sets.stop_all();
        let Admission::Admitted(handle) = sets.register(&set_of("default/edges")) else {
            panic!("not admitted");
        };
        assert_eq!(handle.stop_reason(), Some(StopReason::Shutdown));
    }

    #[test]
    fn only_matching_datums_of_a_set_are_restarted() {
        let sets = RunningSets::new(CancellationToken::new());
        let set = set_of("default/edges");
        let Admission::Admitted(handle) = sets.register(&set) else {
            panic!("not admitted");
        };
        let try_of = |slot, path| handle.begin_try(slot, &Arc::new(datum(1, vec![file_input("in", path)])));
        let (one, other, over) = (try_of(0, "/1"), try_of(1, "/2"), try_of(2, "/2"));
        handle.end_try(2);
        sets.restart_datums(&RestartDatum {
            pipeline: set.pipeline.clone(),
            job: set.job,
            filters: vec!["/2".to_owned()],
        });
        assert_eq!(
            [one, other, over].map(|token| token.is_cancelled()),
            [false, true, false]
        );
    }
}
