//! Which datum sets this worker is on, and how they are told to stop.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use howdah_model::names::{JobKey, PipelineKey};
use howdah_protocol::messages::{CancelJob, RestartDatum, SetMessage};
use howdah_protocol::objects::Datum;
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
    /// Another of its datums met trouble, so that the set is handed back.
    Abandoned,
}

/// One set that slots are on.
pub struct Ticket {
    job: JobKey,
    stop: CancellationToken,
    reason: OnceLock<StopReason>,
    /// The running tries by slot. Written by the slots, read by whoever restarts datums.
    current: Mutex<HashMap<usize, Current>>,
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

    /// Begins a try in a slot: returns what is cancelled when it shall end early.
    pub fn begin_try(&self, slot: usize, datum: &Arc<Datum>) -> CancellationToken {
        let try_token = self.stop.child_token();
        let current = Current {
            datum: Arc::clone(datum),
            try_token: try_token.clone(),
        };
        self.current().insert(slot, current);
        try_token
    }

    /// Ends the try in a slot: from here on it can no longer be restarted.
    pub fn end_try(&self, slot: usize) {
        self.current().remove(&slot);
    }

    /// Stops what other slots do for the set, which is handed back.
    pub fn abandon(&self) {
        self.halt(StopReason::Abandoned);
    }

    fn halt(&self, reason: StopReason) {
        let _ = self.reason.set(reason);
        self.stop.cancel();
    }

    fn restart_if(&self, wanted: &RestartDatum) {
        for current in self.current().values() {
            if matches(&current.datum, &wanted.filters) {
                current.try_token.cancel();
            }
        }
    }

    fn current(&self) -> MutexGuard<'_, HashMap<usize, Current>> {
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
    closing: CancellationToken,
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
            closing: CancellationToken::new(),
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
            current: Mutex::default(),
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

    /// Returns what is cancelled when the worker stops.
    pub fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Stops everything.
    pub fn shut_down(&self) {
        self.closing.cancel();
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

    fn set_of(pipeline: &str) -> SetMessage {
        SetMessage {
            pipeline: pipeline.parse().unwrap(),
            version: 1,
            job: GlobalId::from_number(1),
            set: 0,
            attempt: 0,
            plan_key: String::new(),
            set_key: String::new(),
            inline: None,
        }
    }

    #[test]
    fn sets_of_a_retired_pipeline_are_stopped() {
        let tickets = Tickets::new();
        let enter = |pipeline: &str| match tickets.enter(&set_of(pipeline)) {
            Admission::Welcome(ticket) => ticket,
            _ => panic!("{pipeline} was not let in"),
        };
        let (gone, stays) = (enter("default/gone"), enter("default/stays"));
        assert_eq!(tickets.pipelines().len(), 2);
        tickets.retire(&"default/gone".parse().unwrap());
        assert_eq!((gone.reason(), stays.reason()), (Some(StopReason::NotServed), None));
    }

    #[test]
    fn only_matching_datums_of_a_set_are_begun_again() {
        let tickets = Tickets::new();
        let set = set_of("default/edges");
        let Admission::Welcome(ticket) = tickets.enter(&set) else {
            panic!("not let in");
        };
        let try_of = |slot, path| ticket.begin_try(slot, &Arc::new(datum(1, vec![file_input("in", path)])));
        let (one, other, over) = (try_of(0, "/1"), try_of(1, "/2"), try_of(2, "/2"));
        ticket.end_try(2);
        tickets.restart(&RestartDatum {
            pipeline: set.pipeline.clone(),
            job: set.job,
            filters: vec!["/2".to_owned()],
        });
        assert_eq!(
            [one, other, over].map(|token| token.is_cancelled()),
            [false, true, false]
        );
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
