//! Progress of the jobs that are being driven.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use howdah_model::{DatumCounts, JobKey, JobStats};

/// Progress of one open job: what its finished datum sets have reported.
#[derive(Debug, Clone, Default)]
pub struct JobProgress {
    /// Datums by outcome; `total` and `skipped` come from the plan.
    pub counts: DatumCounts,
    /// Sums over the finished sets.
    pub stats: JobStats,
    /// Message of the last infrastructure failure that a worker reported, until a set is finished.
    pub infra_failure: Option<String>,
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
