//! [`JobView`]: the facts about its job that a driver reads from the published state when it begins.
//!
//! A view is a copy and does not follow later changes of the state. Reading it needs no I/O and has one failure: the
//! job is gone.

use std::sync::Arc;

use howdah_model::{JobKey, PipelineVersion, query};

use crate::metadata::Core;

/// A job as it was when its driver began.
pub struct JobView {
    /// The job.
    pub job: JobKey,
    /// Version of the pipeline that it runs.
    pub version: Arc<PipelineVersion>,
    /// Whether its plan was logged.
    pub planned: bool,
    /// Whether a driver has worked on it before, so that a plan and results of it may be stored.
    pub begun_before: bool,
}

impl JobView {
    /// Reads a job off the state; `None` if it is gone.
    pub fn of(core: &Core, job: &JobKey) -> Option<Self> {
        let state = core.state();
        let entry = state.job(job)?;
        let version = query::job_version(&state, job)?.clone();
        Some(Self {
            job: job.clone(),
            version,
            planned: entry.plan.is_some(),
            begun_before: entry.started.is_some() || entry.restart > 0,
        })
    }

    /// Tells whether the start of the job is logged now.
    pub fn is_started(&self, core: &Core) -> bool {
        let state = core.state();
        state.job(&self.job).is_some_and(|job| job.started.is_some())
    }
}
