//! Progress of the jobs that are being driven.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use howdah_model::{DatumCounts, JobKey, JobStats};
use jiff::Timestamp;

/// Progress of one open job: what its finished datum sets have reported.
#[derive(Debug, Clone, Default)]
pub struct JobProgress {
    /// Datums by outcome; `total` and `skipped` come from the plan.
    pub counts: DatumCounts,
    /// Sums over the finished sets.
    pub stats: JobStats,
    /// The failures that the job is stopped by at present, until a set is finished.
    pub retry: Option<RetryNote>,
}

/// What is shown of a job that is tried again after failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryNote {
    /// Failures so far, at least 1.
    pub tries: u32,
    /// The last one.
    pub error: String,
    /// When the next try begins.
    pub next: Timestamp,
}

impl RetryNote {
    /// Returns the note as a sentence at a point in time.
    pub fn text(&self, now: Timestamp) -> String {
        let tries = times(self.tries);
        let next = match u64::try_from(self.next.duration_since(now).as_millis()) {
            Ok(left) if left > 0 => format!("next try in {} s", left.div_ceil(1000)),
            _ => "trying again".to_owned(),
        };
        format!("tried {tries}, last error: {}, {next}", self.error)
    }
}

/// Writes how often something was done.
pub fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

/// Table of progress by job.
#[derive(Debug, Default)]
pub struct LiveProgress {
    jobs: Mutex<HashMap<JobKey, JobProgress>>,
}

impl LiveProgress {
    fn lock(&self) -> MutexGuard<'_, HashMap<JobKey, JobProgress>> {
        // The numbers are for display: one that a panicking task left half-changed is still usable.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the progress of an open job that is being driven.
    pub fn get(&self, job: &JobKey) -> Option<JobProgress> {
        self.lock().get(job).cloned()
    }

    /// Changes the progress of a job; it begins at zero.
    pub fn update(&self, job: &JobKey, change: impl FnOnce(&mut JobProgress)) {
        change(self.lock().entry(job.clone()).or_default());
    }

    /// Drops the progress of a job.
    pub fn remove(&self, job: &JobKey) {
        self.lock().remove(job);
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_note_says_how_often_why_and_when_again() {
        let now = Timestamp::UNIX_EPOCH;
        let note = |tries, wait| RetryNote {
            tries,
            error: "the store failed".to_owned(),
            next: now + SignedDuration::from_millis(wait),
        };
        let text = note(4, 29_500).text(now);
        assert_eq!(text, "tried 4 times, last error: the store failed, next try in 30 s");
        let text = note(1, -1).text(now);
        assert_eq!(text, "tried once, last error: the store failed, trying again");
    }
}
