//! Log lines on their way: pending until the store has them, and sent to subscribers at once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use howdah_model::JobKey;
use howdah_protocol::messages::LogBatch;
use howdah_protocol::objects::{LogLine, MasterLine};
use tokio::sync::broadcast;

/// Lines kept for each datum set until its log object is stored.
const LINES_PER_SET: usize = 10_000;
/// Batches that a subscriber may be behind before it misses the oldest.
const FOLLOWED_BATCHES: usize = 4096;
/// The same for lines of the coordinator about pipelines.
const FOLLOWED_MASTER_LINES: usize = 256;

/// Pending lines by job and set.
type PendingLines = HashMap<(JobKey, u32), VecDeque<LogLine>>;

/// Log lines of open jobs and pipelines.
#[derive(Debug)]
pub struct LiveLogs {
    pending: Mutex<PendingLines>,
    batches: broadcast::Sender<Arc<LogBatch>>,
    master_lines: broadcast::Sender<Arc<MasterLine>>,
}

impl Default for LiveLogs {
    fn default() -> Self {
        Self {
            pending: Mutex::default(),
            batches: broadcast::channel(FOLLOWED_BATCHES).0,
            master_lines: broadcast::channel(FOLLOWED_MASTER_LINES).0,
        }
    }
}

impl LiveLogs {
    fn lock(&self) -> MutexGuard<'_, PendingLines> {
        // The lines are for display: a batch that a panicking task added half-way is still usable.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends log lines to subscribers and, with `keep`, holds them until their set's log object is stored.
    pub fn add(&self, job: JobKey, batch: LogBatch, keep: bool) {
        if keep {
            let mut pending = self.lock();
            let lines = pending.entry((job, batch.set)).or_default();
            lines.extend(batch.lines.iter().cloned());
            let excess = lines.len().saturating_sub(LINES_PER_SET);
            lines.drain(..excess);
        }
        // Without a subscriber this returns an error, which means nothing here.
        let _ = self.batches.send(Arc::new(batch));
    }

    /// Drops the pending lines of a set whose log object is stored.
    pub fn remove_set(&self, job: &JobKey, set: u32) {
        self.lock().remove(&(job.clone(), set));
    }

    /// Drops the pending lines of a job.
    pub fn remove_job(&self, job: &JobKey) {
        self.lock().retain(|(owner, _), _| owner != job);
    }

    /// Returns the lines of a job's unfinished sets in order of time, each with the number of its set.
    pub fn pending(&self, job: &JobKey) -> Vec<(u32, LogLine)> {
        let pending = self.lock();
        let mut lines: Vec<_> = pending
            .iter()
            .filter(|((owner, _), _)| owner == job)
            .flat_map(|((_, set), lines)| lines.iter().map(|line| (*set, line.clone())))
            .collect();
        lines.sort_by_key(|(_, line)| line.ts);
        lines
    }

    /// Subscribes to log lines as they come; a slow subscriber misses the oldest.
    pub fn follow(&self) -> broadcast::Receiver<Arc<LogBatch>> {
        self.batches.subscribe()
    }

    /// Sends a line of the coordinator about a pipeline to subscribers.
    pub fn add_master_line(&self, line: MasterLine) {
        // Without a subscriber this returns an error, which means nothing here.
        let _ = self.master_lines.send(Arc::new(line));
    }

    /// Subscribes to the coordinator's lines about pipelines.
    pub fn follow_master_lines(&self) -> broadcast::Receiver<Arc<MasterLine>> {
        self.master_lines.subscribe()
    }
}
