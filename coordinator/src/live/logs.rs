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

#[cfg(test)]
mod tests {
    use howdah_model::GlobalId;
    use jiff::{SignedDuration, Timestamp};
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;

    fn job(number: u64) -> JobKey {
        let pipeline: howdah_model::PipelineKey = "default/edges".parse().unwrap();
        pipeline.job(GlobalId::from_number(number))
    }

    /// Makes a batch of lines with numbers from a range, which are also their seconds.
    fn batch(job: &JobKey, set: u32, numbers: std::ops::Range<usize>) -> LogBatch {
        let line = |number: usize| LogLine {
            ts: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(number as i64),
            datum: None,
            user: true,
            message: number.to_string(),
        };
        LogBatch {
            pipeline: job.pipeline.clone(),
            job: job.id,
            set,
            worker: "w".to_owned(),
            lines: numbers.map(line).collect(),
        }
    }

    fn pending(logs: &LiveLogs, job: &JobKey) -> Vec<String> {
        logs.pending(job).into_iter().map(|(_, line)| line.message).collect()
    }

    #[test]
    fn of_each_set_the_newest_lines_are_kept_until_it_is_stored() {
        const EXCESS: usize = 70;
        let logs = LiveLogs::default();
        let (first, other) = (job(1), job(2));
        for start in (0..LINES_PER_SET + EXCESS).step_by(EXCESS) {
            let end = (start + EXCESS).min(LINES_PER_SET + EXCESS);
            logs.add(first.clone(), batch(&first, 0, start..end), true);
        }
        logs.add(other.clone(), batch(&other, 0, 0..1), true);
        let kept: Vec<String> = (EXCESS..LINES_PER_SET + EXCESS).map(|n| n.to_string()).collect();
        assert!(pending(&logs, &first) == kept);

        // The line of another set is shown where its time belongs.
        logs.add(first.clone(), batch(&first, 1, 3..4), true);
        assert_eq!(logs.pending(&first)[0].0, 1);
        logs.remove_set(&first, 0);
        assert_eq!(pending(&logs, &first), ["3"]);
        logs.remove_job(&first);
        assert!(pending(&logs, &first).is_empty());
        assert_eq!(pending(&logs, &other), ["0"]);
    }

    #[test]
    fn a_batch_larger_than_the_limit_leaves_its_newest_lines() {
        let logs = LiveLogs::default();
        let job = job(1);
        logs.add(job.clone(), batch(&job, 0, 0..LINES_PER_SET + 1), true);
        let kept = pending(&logs, &job);
        assert_eq!((kept.len(), kept[0].as_str()), (LINES_PER_SET, "1"));
    }

    #[test]
    fn a_slow_follower_misses_the_oldest_batches_and_no_other_does() {
        const MISSED: usize = 5;
        let logs = LiveLogs::default();
        let job = job(1);
        let (mut slow, mut quick) = (logs.follow(), logs.follow());
        for number in 0..FOLLOWED_BATCHES + MISSED {
            logs.add(job.clone(), batch(&job, 0, number..number + 1), false);
            assert_eq!(quick.try_recv().unwrap().lines[0].message, number.to_string());
        }
        assert_eq!(slow.try_recv().unwrap_err(), TryRecvError::Lagged(MISSED as u64));
        for number in MISSED..FOLLOWED_BATCHES + MISSED {
            assert_eq!(slow.try_recv().unwrap().lines[0].message, number.to_string());
        }
        assert_eq!(slow.try_recv().unwrap_err(), TryRecvError::Empty);
        assert!(pending(&logs, &job).is_empty(), "they were not to be kept");
    }
}
