//! The live picture: what workers say they do, progress of open jobs, log lines not yet stored.
//!
//! Nothing here is truth. All of it may be lost at any moment and is rebuilt from what workers send;
//! what must survive is in the store.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use howdah_model::{DatumCounts, JobKey, JobStats, PipelineKey};
use howdah_protocol::messages::{LogBatch, Presence};
use howdah_protocol::objects::{LogLine, MasterLine};
use tokio::sync::broadcast;

/// A worker that has been silent for this long is counted as gone.
pub const WORKER_TIMEOUT: Duration = Duration::from_secs(10);
/// Lines kept per datum set until its log object is stored.
const LINES_PER_SET: usize = 10_000;

/// Progress of one open job: what its finished sets have reported so far.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Datums by outcome; `total` and `skipped` come from the plan.
    pub counts: DatumCounts,
    /// Sums over the finished sets.
    pub stats: JobStats,
    /// Trouble a worker has reported since the last finished set.
    pub trouble: Option<String>,
}

/// Shared table of live facts. Writers: the listener for worker messages and the job drivers;
/// readers: the API. Held for microseconds, never across an await.
#[derive(Clone)]
pub struct JobBoard {
    opened: Instant,
    inner: Arc<Mutex<Inner>>,
    lines: broadcast::Sender<Arc<LogBatch>>,
    master_lines: broadcast::Sender<Arc<MasterLine>>,
}

#[derive(Default)]
struct Inner {
    workers: BTreeMap<String, (Instant, Presence)>,
    progress: HashMap<JobKey, Progress>,
    pending_lines: HashMap<(JobKey, u32), VecDeque<LogLine>>,
}

impl Default for JobBoard {
    fn default() -> Self {
        Self {
            opened: Instant::now(),
            inner: Arc::default(),
            lines: broadcast::channel(4096).0,
            master_lines: broadcast::channel(256).0,
        }
    }
}

impl JobBoard {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The table holds hints only: one that a panicking task left half-written is still usable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a heartbeat. Returns whether the worker was unknown before, or was started again.
    pub fn heard_from(&self, presence: Presence) -> bool {
        let mut inner = self.lock();
        inner.workers.retain(|_, (seen, _)| seen.elapsed() < WORKER_TIMEOUT);
        let (name, started) = (presence.worker.clone(), presence.started);
        let before = inner.workers.insert(name, (Instant::now(), presence));
        before.is_none_or(|(_, before)| before.started != started)
    }

    /// Forgets a worker that said it is leaving.
    pub fn worker_left(&self, worker: &str) {
        self.lock().workers.remove(worker);
    }

    /// Returns the workers heard from lately, by name.
    pub fn workers(&self) -> Vec<Presence> {
        let mut inner = self.lock();
        inner.workers.retain(|_, (seen, _)| seen.elapsed() < WORKER_TIMEOUT);
        inner.workers.values().map(|(_, presence)| presence.clone()).collect()
    }

    /// Tells whether every worker that lives has had the time to say so.
    pub fn knows_workers(&self) -> bool {
        self.opened.elapsed() >= WORKER_TIMEOUT
    }

    /// Returns the number of slots of each worker that takes work of a pipeline.
    pub fn slots_for(&self, pipeline: &PipelineKey) -> Vec<u64> {
        let serves = |worker: &Presence| worker.pipelines.is_empty() || worker.pipelines.contains(pipeline);
        let workers = self.workers();
        workers
            .iter()
            .filter(|worker| serves(worker))
            .map(|worker| u64::from(worker.slots))
            .collect()
    }

    /// Returns the progress of an open job that is being driven.
    pub fn progress(&self, job: &JobKey) -> Option<Progress> {
        self.lock().progress.get(job).cloned()
    }

    /// Changes the progress of a job, making its entry when it has none.
    pub fn update_progress(&self, job: &JobKey, change: impl FnOnce(&mut Progress)) {
        change(self.lock().progress.entry(job.clone()).or_default());
    }

    /// Drops everything about a job that is over.
    pub fn forget_job(&self, job: &JobKey) {
        let mut inner = self.lock();
        inner.progress.remove(job);
        inner.pending_lines.retain(|(owner, _), _| owner != job);
    }

    /// Hands log lines to whoever follows and, with `keep`, holds them until their set's log object is stored.
    pub fn add_lines(&self, job: JobKey, batch: LogBatch, keep: bool) {
        if keep {
            let mut inner = self.lock();
            let lines = inner.pending_lines.entry((job, batch.set)).or_default();
            lines.extend(batch.lines.iter().cloned());
            let excess = lines.len().saturating_sub(LINES_PER_SET);
            lines.drain(..excess);
        }
        // No follower is no error.
        let _ = self.lines.send(Arc::new(batch));
    }

    /// Drops the pending lines of a set whose log object is stored.
    pub fn lines_stored(&self, job: &JobKey, set: u32) {
        self.lock().pending_lines.remove(&(job.clone(), set));
    }

    /// Returns the lines of a job's unfinished sets, each with its set.
    pub fn pending_lines(&self, job: &JobKey) -> Vec<(u32, LogLine)> {
        let inner = self.lock();
        let mut lines: Vec<_> = inner
            .pending_lines
            .iter()
            .filter(|((owner, _), _)| owner == job)
            .flat_map(|((_, set), lines)| lines.iter().map(|line| (*set, line.clone())))
            .collect();
        lines.sort_by_key(|(_, line)| line.ts);
        lines
    }

    /// Hands what the coordinator says about a pipeline to whoever follows.
    pub fn add_master_line(&self, line: MasterLine) {
        // No follower is no error.
        let _ = self.master_lines.send(Arc::new(line));
    }

    /// Subscribes to what the coordinator says about pipelines.
    pub fn follow_master_lines(&self) -> broadcast::Receiver<Arc<MasterLine>> {
        self.master_lines.subscribe()
    }

    /// Subscribes to log lines as they come; slow readers miss the oldest.
    pub fn follow_lines(&self) -> broadcast::Receiver<Arc<LogBatch>> {
        self.lines.subscribe()
    }
}
