//! Log lines that workers have sent and that are not in the store yet.
//!
//! They are kept by the key of the log object that has or gets them: one for each run of a datum set. A run leaves the
//! table when its worker says that its log is stored. If the worker is gone, or says nothing although the job is over,
//! the coordinator stores what it has (`scheduler::log_keeper`).
//!
//! Memory is bounded in bytes, for each run and for all together. Of a run that exceeds its part, the first and the
//! last lines of each datum are kept, and a line in between tells how many are left out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use howdah_model::JobKey;
use howdah_protocol::bounded_log::{BoundedLog, LogLimits};
use howdah_protocol::messages::LogBatch;
use howdah_protocol::objects::{LogLine, LogObject};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::metrics;

/// What is kept of a run.
const RUN_LIMITS: LogLimits = LogLimits {
    head: 1 << 20,
    tail: 3 << 20,
    total: 4 << 20,
};
/// Bytes of all runs.
const MAX_BYTES: usize = 64 << 20;
/// Bytes that a run takes besides its lines.
const RUN_OVERHEAD: usize = 1024;
/// Time without a message of a run after which the coordinator may store its lines: the worker may be about to.
const QUIET: Duration = Duration::from_secs(5);

/// A run whose lines are kept.
#[derive(Clone, Debug)]
pub struct PendingRunInfo {
    /// Key of the log object that has or gets its lines.
    pub key: String,
    /// Set.
    pub set: u32,
    /// Beginning of the run or, if that is not known, time of its first line.
    pub begin: Option<Timestamp>,
    /// Bytes of memory.
    pub bytes: usize,
}

/// The lines of one run.
#[derive(Debug)]
struct PendingRun {
    /// The log object without lines.
    run: LogObject,
    lines: BoundedLog,
    /// When the last batch came.
    updated: Instant,
}

impl PendingRun {
    fn bytes(&self) -> usize {
        self.lines.bytes() + RUN_OVERHEAD
    }
}

/// All runs, by job and key of the log object.
#[derive(Debug, Default)]
pub(super) struct PendingLogs {
    jobs: HashMap<JobKey, BTreeMap<String, PendingRun>>,
    bytes: usize,
    /// Jobs that are over.
    over: HashSet<JobKey>,
}

impl PendingLogs {
    /// Adds lines of a run.
    pub(super) fn add(&mut self, job: JobKey, batch: &LogBatch) {
        let runs = self.jobs.entry(job).or_default();
        let bytes = &mut self.bytes;
        let pending = runs.entry(batch.log_key()).or_insert_with(|| {
            *bytes += RUN_OVERHEAD;
            PendingRun {
                run: LogObject {
                    pipeline: batch.pipeline.clone(),
                    job: batch.job,
                    set: batch.set,
                    worker: batch.worker.clone(),
                    run: batch.run,
                    lines: Vec::new(),
                    dropped: 0,
                },
                lines: BoundedLog::new(RUN_LIMITS),
                updated: Instant::now(),
            }
        });
        let before = pending.lines.bytes();
        for line in &batch.lines {
            pending.lines.add(line.clone());
        }
        pending.updated = Instant::now();
        self.bytes = self.bytes + pending.lines.bytes() - before;
        if self.bytes > MAX_BYTES {
            self.shrink();
        }
    }

    /// Returns whether lines of a run are kept.
    pub(super) fn has(&self, job: &JobKey, key: &str) -> bool {
        self.jobs.get(job).is_some_and(|runs| runs.contains_key(key))
    }

    /// Drops the lines of a run, which are stored.
    pub(super) fn remove_run(&mut self, job: &JobKey, key: &str) {
        self.remove_runs(job, |found, _| found == key);
    }

    /// Drops lines of a set that a worker of an earlier release has stored: it does not say so itself.
    pub(super) fn remove_older(&mut self, job: &JobKey, set: u32) {
        self.remove_runs(job, |_, pending| pending.run.set == set && pending.run.run.is_none());
    }

    /// Notes that a job is over: no worker writes lines of it for long.
    pub(super) fn job_over(&mut self, job: &JobKey) {
        if self.jobs.contains_key(job) {
            self.over.insert(job.clone());
        }
    }

    /// Returns whether lines of a job are kept.
    pub(super) fn has_job(&self, job: &JobKey) -> bool {
        self.jobs.contains_key(job)
    }

    /// Returns the runs of a job, without their lines.
    pub(super) fn runs_of(&self, job: &JobKey) -> Vec<PendingRunInfo> {
        let runs = self.jobs.get(job).into_iter().flatten();
        runs.map(|(key, pending)| PendingRunInfo {
            key: key.clone(),
            set: pending.run.set,
            begin: pending.run.run.or(pending.lines.first_time()),
            bytes: pending.bytes(),
        })
        .collect()
    }

    /// Returns the lines of a run.
    pub(super) fn lines_of(&self, job: &JobKey, key: &str) -> Option<LogObject> {
        self.jobs.get(job)?.get(key).map(with_lines)
    }

    /// Returns the runs whose lines the coordinator has to store: those of workers that are gone, and of jobs that are
    /// over.
    pub(super) fn abandoned(&self, is_gone: impl Fn(&str) -> bool) -> Vec<(JobKey, LogObject)> {
        let mut found = Vec::new();
        for (job, runs) in &self.jobs {
            let over = self.over.contains(job);
            for pending in runs.values() {
                if pending.updated.elapsed() >= QUIET && (over || is_gone(&pending.run.worker)) {
                    found.push((job.clone(), with_lines(pending)));
                }
            }
        }
        found
    }

    fn remove_runs(&mut self, job: &JobKey, is_meant: impl Fn(&str, &PendingRun) -> bool) {
        let Some(runs) = self.jobs.get_mut(job) else { return };
        runs.retain(|key, pending| {
            let meant = is_meant(key, pending);
            if meant {
                self.bytes -= pending.bytes();
            }
            !meant
        });
        if runs.is_empty() {
            self.jobs.remove(job);
            self.over.remove(job);
        }
    }

    /// Leaves out lines of the longest runs, then drops the oldest runs, until a quarter of the memory is free.
    fn shrink(&mut self) {
        const TARGET: usize = MAX_BYTES / 4 * 3;
        let runs = self.jobs.values().map(BTreeMap::len).sum::<usize>().max(1);
        let share = TARGET / runs;
        for pending in self.jobs.values_mut().flat_map(BTreeMap::values_mut) {
            if pending.bytes() > share {
                let before = pending.lines.bytes();
                let left_out = pending.lines.left_out();
                pending.lines.shrink(share.saturating_sub(RUN_OVERHEAD));
                metrics::LOG_LINES_DROPPED.inc_by(pending.lines.left_out() - left_out);
                self.bytes -= before - pending.lines.bytes();
            }
        }
        while self.bytes > MAX_BYTES {
            let all = self
                .jobs
                .iter()
                .flat_map(|(job, runs)| runs.iter().map(move |run| (job, run)));
            let oldest = all.min_by_key(|(_, (_, pending))| pending.updated);
            let Some((job, key)) = oldest.map(|(job, (key, _))| (job.clone(), key.clone())) else {
                return;
            };
            let lines = self.jobs.get(&job).and_then(|runs| runs.get(&key));
            let lines = lines.map_or(0, |pending| pending.lines.kept());
            metrics::LOG_LINES_DROPPED.inc_by(lines as u64);
            tracing::warn!(%job, key, lines, "log lines dropped: workers send more than there is memory for");
            self.remove_run(&job, &key);
        }
    }
}

fn with_lines(pending: &PendingRun) -> LogObject {
    let lines: Vec<LogLine> = pending.lines.lines();
    LogObject {
        dropped: pending.lines.left_out(),
        lines,
        ..pending.run.clone()
    }
}
