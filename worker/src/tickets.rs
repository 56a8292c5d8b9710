//! Which datum sets this worker is on, and how they are told to stop.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use howdah_model::names::{JobKey, PipelineKey};
use howdah_queue::job::Datum;
use howdah_queue::messages::{CancelJob, RestartDatum, SetMessage};
use lru::LruCache;
use tokio_util::sync::CancellationToken;

/// How long a cancelled job is remembered. Its waiting sets are taken back before the worker is
/// told; this covers those that were on their way.
const REMEMBER_CANCELLED: Duration = Duration::from_secs(5);
const REMEMBERED_JOBS: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not zero");

/// Why a set is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Nobody wants its job any more.
    JobCancelled,
    /// The worker stops; somebody else shall do it.
    Shutdown,
    /// Its pipeline is no longer served: deleted, as it seems.
    NotServed,
}

/// One set that a slot is on.
pub struct Ticket {
    job: JobKey,
    stop: CancellationToken,
    reason: OnceLock<StopReason>,
    /// The running try. Written by the slot, read by whoever restarts datums.
    current: Mutex<Option<Current>>,
}

struct Current {
    datum: Arc<Datum>,
    try_token: CancellationToken,
}

impl Ticket {
    /// Returns what is cancelled when the set shall stop.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Returns why it shall stop, if it shall.
    pub fn reason(&self) -> Option<StopReason> {
        self.stop
            .is_cancelled()
            .then(|| self.reason.get().copied().unwrap_or(StopReason::Shutdown))
    }

    /// Begins a try: returns what is cancelled when it shall end early.
    pub fn begin_try(&self, datum: &Arc<Datum>) -> CancellationToken {
        let try_token = self.stop.child_token();
        *self.current() = Some(Current {
            datum: Arc::clone(datum),
            try_token: try_token.clone(),
        });
        try_token
    }

    /// Ends a try: from here on it can no longer be restarted.
    pub fn end_try(&self) {
        *self.current() = None;
    }

    fn halt(&self, reason: StopReason) {
        let _ = self.reason.set(reason);
        self.stop.cancel();
    }

    fn restart_if(&self, wanted: &RestartDatum) {
        let current = self.current();
        if let Some(current) = current.as_ref()
            && matches(&current.datum, &wanted.filters)
        {
            current.try_token.cancel();
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says whether every filter names the path or the content hash of one of a datum's inputs.
fn matches(datum: &Datum, filters: &[String]) -> bool {
    filters.iter().all(|filter| {
        let path = format!("/{}", filter.trim_matches('/'));
        datum.inputs.iter().any(|input| {
            input.path.trim_end_matches('/') == path.trim_end_matches('/') || input.hash.to_string() == *filter
        })
    })
}

/// All sets that this worker is on.
pub struct Tickets {
    running: Mutex<HashMap<(JobKey, u32), Arc<Ticket>>>,
    cancelled: Mutex<LruCache<JobKey, Instant>>,
}

/// Whether a set may be begun.
pub enum Admission {
    /// It may. Give the ticket back with [`Tickets::leave`].
    Welcome(Arc<Ticket>),
    /// This worker is on it already.
    Running,
    /// Its job was cancelled a moment ago.
    Cancelled,
}

impl Tickets {
    /// Begins with none.
    pub fn new() -> Self {
        Self {
            running: Mutex::new(HashMap::new()),
            cancelled: Mutex::new(LruCache::new(REMEMBERED_JOBS)),
        }
    }

    /// Begins a set.
    pub fn enter(&self, set: &SetMessage) -> Admission {
        let now = Instant::now();
        // All jobs of a commit set share one id: only together with the pipeline it names one job.
        let job = set.pipeline.job(set.job);
        let remembered = self.cancelled().peek(&job).copied();
        if remembered.is_some_and(|when| now.duration_since(when) < REMEMBER_CANCELLED) {
            return Admission::Cancelled;
        }
        let mut running = self.running();
        let key = (job.clone(), set.set);
        if running.contains_key(&key) {
            return Admission::Running;
        }
        let ticket = Arc::new(Ticket {
            job,
            stop: CancellationToken::new(),
            reason: OnceLock::new(),
            current: Mutex::new(None),
        });
        running.insert(key, Arc::clone(&ticket));
        Admission::Welcome(ticket)
    }

    /// Ends a set.
    pub fn leave(&self, set: &SetMessage) {
        self.running().remove(&(set.pipeline.job(set.job), set.set));
    }

    /// Stops all sets of a job.
    pub fn cancel(&self, wanted: &CancelJob) {
        let job = wanted.pipeline.job(wanted.job);
        for ticket in self.running().values().filter(|t| t.job == job) {
            ticket.halt(StopReason::JobCancelled);
        }
        self.cancelled().put(job, Instant::now());
    }

    /// Ends the running try of matching datums, to be begun again.
    pub fn restart(&self, wanted: &RestartDatum) {
        let job = wanted.pipeline.job(wanted.job);
        for ticket in self.running().values().filter(|t| t.job == job) {
            ticket.restart_if(wanted);
        }
    }

    /// Returns the pipelines whose sets this worker is on.
    pub fn pipelines(&self) -> HashSet<PipelineKey> {
        self.running().keys().map(|(job, _)| job.pipeline.clone()).collect()
    }

    /// Stops all sets of a pipeline that is no longer served.
    pub fn retire(&self, pipeline: &PipelineKey) {
        for ticket in self.running().values().filter(|t| t.job.pipeline == *pipeline) {
            ticket.halt(StopReason::NotServed);
        }
    }

    /// Stops everything.
    pub fn shut_down(&self) {
        for ticket in self.running().values() {
            ticket.halt(StopReason::Shutdown);
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<(JobKey, u32), Arc<Ticket>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancelled(&self) -> MutexGuard<'_, LruCache<JobKey, Instant>> {
        self.cancelled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use howdah_model::ids::GlobalId;

    use super::*;
    use crate::testing::{datum, file_input};

    #[test]
    fn sets_of_a_retired_pipeline_are_stopped() {
        let tickets = Tickets::new();
        let set = |pipeline: &str| SetMessage {
            pipeline: pipeline.parse().unwrap(),
            version: 1,
            job: GlobalId::from_number(1),
            set: 0,
            attempt: 0,
            plan_key: String::new(),
            set_key: String::new(),
            inline: None,
        };
        let enter = |pipeline: &str| match tickets.enter(&set(pipeline)) {
            Admission::Welcome(ticket) => ticket,
            _ => panic!("{pipeline} was not let in"),
        };
        let (gone, stays) = (enter("default/gone"), enter("default/stays"));
        assert_eq!(tickets.pipelines().len(), 2);
        tickets.retire(&"default/gone".parse().unwrap());
        assert_eq!((gone.reason(), stays.reason()), (Some(StopReason::NotServed), None));
    }

    #[test]
    fn filters_are_paths_or_hashes_and_all_must_match() {
        let datum = datum(1, vec![file_input("a", "/x/1"), file_input("b", "/d/")]);
        let hash = datum.inputs[0].hash.to_string();
        let case = |filters: &[&str]| {
            let filters: Vec<String> = filters.iter().map(|f| (*f).to_owned()).collect();
            matches(&datum, &filters)
        };
        assert!(case(&[]));
        assert!(case(&["/x/1"]) && case(&["x/1"]) && case(&["/d"]) && case(&["/d/", &hash]));
        assert!(!case(&["/x"]) && !case(&["/x/1", "/y"]));
    }
}
