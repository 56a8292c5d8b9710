//! Commands that log how far a job is: its start, its plan, its end without output.

use howdah_model::{Command, DatumCounts, JobKey, JobOutcome, JobStats};
use howdah_protocol::objects::plan_key;

use super::plan::MergePlan;
use super::view::JobView;
use crate::metadata::{Core, SubmitError};

/// Logs the start of the job, unless it is logged.
pub async fn log_start(core: &Core, view: &JobView) -> Result<(), SubmitError> {
    if !view.is_started(core) {
        let job = view.job.clone();
        core.submit(Command::StartJob { job }).await?;
    }
    Ok(())
}

/// Logs the job's start and plan together, as far as they are not logged, and shows the plan's datum counts.
pub async fn log_plan(core: &Core, view: &JobView, merge: &MergePlan) -> Result<(), SubmitError> {
    let counts = merge.counts();
    core.live().progress.update(&view.job, |progress| {
        progress.counts.total = counts.total;
        progress.counts.skipped = counts.skipped;
    });
    let start = (!view.is_started(core)).then(|| Command::StartJob { job: view.job.clone() });
    let plan = (!view.planned).then(|| Command::PlanJob {
        job: view.job.clone(),
        plan: plan_key(&view.job.pipeline, &view.job.id),
        counts,
    });
    core.submit_together(start.into_iter().chain(plan)).await?;
    // Failures before this are over. If the job cannot go on from here, the next one shows.
    core.live().progress.update(&view.job, |progress| progress.retry = None);
    Ok(())
}

/// Returns the command that ends a job which never ran.
pub fn finish_without_output(job: JobKey, outcome: JobOutcome) -> Command {
    Command::FinishJob {
        job,
        outcome,
        counts: DatumCounts::default(),
        stats: JobStats::default(),
        output: None,
        datums: None,
    }
}
