//! Log lines on their way: kept until the store has them, and sent to followers at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use howdah_model::JobKey;
use howdah_protocol::messages::LogBatch;
use howdah_protocol::objects::{LogObject, MasterLine};
use tokio::sync::broadcast;

use super::log_feed::{LogFeed, LogFollower};
use super::pending_logs::{PendingLogs, PendingRunInfo};

/// Lines of the coordinator about pipelines that a subscriber may be behind before it misses the oldest.
const FOLLOWED_MASTER_LINES: usize = 256;

/// Log lines of jobs and pipelines.
#[derive(Debug)]
pub struct LiveLogs {
    pending: Mutex<PendingLogs>,
    feed: LogFeed,
    master_lines: broadcast::Sender<Arc<MasterLine>>,
}

impl Default for LiveLogs {
    fn default() -> Self {
        Self {
            pending: Mutex::default(),
            feed: LogFeed::default(),
            master_lines: broadcast::channel(FOLLOWED_MASTER_LINES).0,
        }
    }
}

impl LiveLogs {
    fn lock(&self) -> MutexGuard<'_, PendingLogs> {
        // The lines are for display: a batch that a panicking task added half-way is still usable.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends log lines to followers, and keeps them until they are stored. Without `keep`, which is for jobs that are
    /// not open, only further lines of a run are kept.
    pub fn add(&self, job: JobKey, batch: LogBatch, keep: bool) {
        {
            let mut pending = self.lock();
            let key = batch.log_key();
            if batch.stored {
                pending.remove_run(&job, &key);
            } else if keep || pending.has(&job, &key) {
                pending.add(job, &batch);
            }
        }
        self.feed.send(batch);
    }

    /// Drops the lines of a set whose result is stored, if its worker does not say itself that its log is stored.
    pub fn remove_set(&self, job: &JobKey, set: u32) {
        self.lock().remove_older(job, set);
    }

    /// Drops the lines of a run whose log object is stored.
    pub fn remove_run(&self, job: &JobKey, key: &str) {
        self.lock().remove_run(job, key);
    }

    /// Notes that a job is over. Its lines are kept until they are stored.
    pub fn job_over(&self, job: &JobKey) {
        self.lock().job_over(job);
    }

    /// Returns whether lines of a job are kept.
    pub fn has_pending(&self, job: &JobKey) -> bool {
        self.lock().has_job(job)
    }

    /// Returns the runs of a job whose lines are not known to be stored.
    pub fn pending_runs(&self, job: &JobKey) -> Vec<PendingRunInfo> {
        self.lock().runs_of(job)
    }

    /// Returns the lines of a run, as the log object that they become; `None` if they are not kept any more.
    pub fn pending_run(&self, job: &JobKey, key: &str) -> Option<LogObject> {
        self.lock().lines_of(job, key)
    }

    /// Returns the lines of all runs of a job.
    #[cfg(test)]
    pub(crate) fn pending(&self, job: &JobKey) -> Vec<LogObject> {
        let runs = self.pending_runs(job).into_iter();
        runs.filter_map(|run| self.pending_run(job, &run.key)).collect()
    }

    /// Returns the runs whose lines the coordinator has to store, because their job is over or their worker is gone.
    pub fn abandoned(&self, is_gone: impl Fn(&str) -> bool) -> Vec<(JobKey, LogObject)> {
        self.lock().abandoned(is_gone)
    }

    /// Follows log lines as they come; a slow follower misses the oldest.
    pub fn follow(&self) -> LogFollower {
        self.feed.follow()
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
    use howdah_protocol::objects::LogLine;
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    fn job(number: u64) -> JobKey {
        let pipeline: howdah_model::PipelineKey = "default/edges".parse().unwrap();
        pipeline.job(GlobalId::from_number(number))
    }

    fn run(number: i64) -> Option<Timestamp> {
        Timestamp::from_second(number).ok()
    }

    /// Makes a batch of a run with lines of numbers from a range, which are also their seconds.
    fn batch(job: &JobKey, worker: &str, run: Option<Timestamp>, numbers: std::ops::Range<usize>) -> LogBatch {
        let line = |number: usize| LogLine {
            ts: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(number as i64),
            datum: None,
            user: true,
            message: number.to_string(),
        };
        LogBatch {
            pipeline: job.pipeline.clone(),
            job: job.id,
            set: 0,
            worker: worker.to_owned(),
            run,
            stored: false,
            lines: numbers.map(line).collect(),
        }
    }

    fn pending(logs: &LiveLogs, job: &JobKey) -> Vec<Vec<String>> {
        let texts = |log: LogObject| log.lines.into_iter().map(|line| line.message).collect();
        logs.pending(job).into_iter().map(texts).collect()
    }

    #[test]
    fn lines_of_a_run_are_kept_until_its_log_is_stored() {
        let logs = LiveLogs::default();
        let (first, other) = (job(1), job(2));
        logs.add(first.clone(), batch(&first, "w", run(1), 0..2), true);
        logs.add(first.clone(), batch(&first, "w", run(2), 2..3), true);
        logs.add(first.clone(), batch(&first, "w", run(1), 3..4), true);
        logs.add(other.clone(), batch(&other, "w", run(1), 0..1), true);
        assert_eq!(pending(&logs, &first), [vec!["0", "1", "3"], vec!["2"]]);
        logs.remove_set(&first, 0);
        assert_eq!(
            pending(&logs, &first).len(),
            2,
            "a result does not say that all runs are stored"
        );
        let stored = LogBatch {
            stored: true,
            ..batch(&first, "w", run(1), 4..5)
        };
        logs.add(first.clone(), stored, true);
        assert_eq!(pending(&logs, &first), [vec!["2"]]);
        // After the end of the job only runs that have lines here go on.
        logs.add(first.clone(), batch(&first, "w", run(2), 5..6), false);
        logs.add(first.clone(), batch(&first, "w", run(3), 6..7), false);
        assert_eq!(pending(&logs, &first), [vec!["2", "5"]]);
        assert_eq!(pending(&logs, &other), [vec!["0"]]);
    }

    #[test]
    fn workers_of_earlier_releases_do_not_say_that_a_log_is_stored() {
        let logs = LiveLogs::default();
        let job = job(1);
        logs.add(job.clone(), batch(&job, "w", None, 0..2), true);
        assert_eq!(pending(&logs, &job), [vec!["0", "1"]]);
        logs.remove_set(&job, 0);
        assert!(pending(&logs, &job).is_empty());
    }

    #[test]
    fn the_memory_of_a_run_and_of_all_runs_is_bounded() {
        const LINES: usize = 1_000;
        let logs = LiveLogs::default();
        let job = job(1);
        for number in 0..100 {
            for part in 0..5 {
                let mut batch = batch(&job, "w", run(number), part * LINES..(part + 1) * LINES);
                for line in &mut batch.lines {
                    line.message = format!("{} {}", line.message, "x".repeat(900));
                }
                logs.add(job.clone(), batch, true);
            }
        }
        let pending = logs.pending(&job);
        let bytes: usize = pending
            .iter()
            .flat_map(|log| &log.lines)
            .map(|line| line.message.len())
            .sum();
        assert!(bytes <= 64 << 20, "{bytes} bytes");
        assert_eq!(pending.len(), 100, "every run has lines");
        for log in pending {
            assert!(log.lines[0].message.starts_with("0 "), "{}", log.lines[0].message);
            assert!(log.lines[log.lines.len() - 1].message.starts_with("4999 "));
            assert!(log.dropped > 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lines_of_workers_that_are_gone_and_of_jobs_that_are_over_are_abandoned() {
        let logs = LiveLogs::default();
        let (open, over) = (job(1), job(2));
        for worker in ["alive", "gone"] {
            logs.add(open.clone(), batch(&open, worker, run(1), 0..1), true);
            logs.add(over.clone(), batch(&over, worker, run(1), 0..1), true);
        }
        logs.job_over(&over);
        let is_gone = |worker: &str| worker == "gone";
        assert!(
            logs.abandoned(is_gone).is_empty(),
            "their workers may be about to store them"
        );
        tokio::time::advance(std::time::Duration::from_secs(6)).await;
        let mut found: Vec<(u64, String)> = Vec::new();
        for (job, log) in logs.abandoned(is_gone) {
            found.push((u64::from(job == over) + 1, log.worker.clone()));
            logs.remove_run(&job, &log.key());
        }
        found.sort();
        assert_eq!(
            found,
            [(1, "gone".to_owned()), (2, "alive".to_owned()), (2, "gone".to_owned())]
        );
        assert_eq!(pending(&logs, &open).len(), 1);
    }
}
