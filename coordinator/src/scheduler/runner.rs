//! Runs the jobs of one pipeline, one after the other in commit order.
//!
//! A job builds on the job before it, so it starts when that one has ended. A job can also be ended from outside of its
//! driver: by a stop, an update of the pipeline or a timeout. The runner sees this in the state; it then removes the
//! job's sets from the queue and cancels the job at the workers.

use std::time::Duration;

use howdah_model::query::{self, Readiness};
use howdah_model::{Command, JobKey, JobOutcome, JobState, PipelineKey, State};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::context::RunnerContext;
use super::{events, image};
use crate::job::drive::{discard_plan, drive};
use crate::job::job_commands::finish_without_output;
use crate::metadata::{Core, SubmitError};
use crate::metrics;

/// First pause after a failure of infrastructure; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// What the runner does next.
#[derive(Debug, PartialEq)]
enum RunnerAction {
    /// End: the pipeline is deleted.
    End,
    /// Mark the job unrunnable, because an input commit has an error.
    MarkUnrunnable(JobKey, String),
    /// Drive the job.
    Drive(JobKey),
}

/// Works for one pipeline until it is deleted, or until `shutdown`. `seq` distinguishes it from others that have had its
/// name.
pub async fn run(context: RunnerContext, pipeline: PipelineKey, seq: u64, shutdown: CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => return,
        // No branch for the deletion: `run_jobs` ends on it, after it has cancelled the job that runs.
        () = run_jobs(&context, &pipeline, seq) => {}
    }
    let jobs = &context.jobs;
    if jobs.core.state().pipeline(&pipeline).is_none()
        && let Err(error) = jobs.queue.remove_consumer(&pipeline).await
    {
        tracing::warn!(%pipeline, error = howdah_telemetry::error_chain(&error), "consumer of a deleted pipeline could not be removed");
    }
}

async fn run_jobs(context: &RunnerContext, pipeline: &PipelineKey, seq: u64) {
    let core = &context.jobs.core;
    while let Some(action) = core.wait_for(|state| next_action(state, pipeline, seq)).await {
        match action {
            RunnerAction::End => return,
            RunnerAction::MarkUnrunnable(job, reason) => {
                let outcome = JobOutcome::Unrunnable(reason);
                if let Err(error) = core.submit(finish_without_output(job.clone(), outcome)).await {
                    tracing::warn!(%job, %error, "job could not be marked unrunnable");
                    tokio::time::sleep(FIRST_PAUSE).await;
                }
            }
            RunnerAction::Drive(job) => {
                run_job(context, &job).await;
                image::job_ended(core, pipeline).await;
            }
        }
    }
}

/// Decides from the state what the runner of `pipeline` does next; `None` means wait.
fn next_action(state: &State, pipeline: &PipelineKey, seq: u64) -> Option<RunnerAction> {
    if state.pipeline(pipeline).is_none_or(|found| found.seq != seq) {
        return Some(RunnerAction::End);
    }
    let job = query::open_jobs_of(state, pipeline).next()?;
    match query::job_ready(state, &job.key) {
        Readiness::Waiting(_) => None,
        Readiness::Failed(commits) => {
            let names: Vec<String> = commits.iter().map(ToString::to_string).collect();
            Some(RunnerAction::MarkUnrunnable(
                job.key.clone(),
                format!("unrunnable because these input commits failed: {}", names.join(", ")),
            ))
        }
        Readiness::Ready => Some(RunnerAction::Drive(job.key.clone())),
    }
}

/// Drives one job until it is over, also if something else than its driver ends it.
async fn run_job(context: &RunnerContext, job: &JobKey) {
    let ended_by_driver = tokio::select! {
        // The driver is polled first: when it finishes the job itself, the state shows the end as well, and the job would be
        // cancelled for nothing.
        biased;
        () = drive_again_and_again(context, job) => true,
        () = ended_from_outside(&context.jobs.core, job) => false,
        () = time_out(&context.jobs.core, job) => false,
    };
    context.router.unregister(job);
    if !ended_by_driver {
        // After the driver is dropped: it could publish sets again that were removed from the queue.
        events::cancel_job(context.jobs.queue.as_ref(), job).await;
    }
    let core = &context.jobs.core;
    core.live().forget_job(job);
    if let Some(job) = core.state().job(job)
        && job.state.is_final()
    {
        let pipeline = job.key.pipeline.to_string();
        metrics::JOBS
            .with_label_values(&[pipeline.as_str(), job.state.wire_name()])
            .inc();
        if let (Some(started), Some(finished)) = (job.started, job.finished) {
            metrics::JOB_SECONDS
                .with_label_values(&[&pipeline])
                .observe(finished.duration_since(started).as_secs_f64());
        }
    }
}

/// Drives the job until a driver has ended it. After a failure of infrastructure the job is restarted in the log and driven
/// again, after a pause that doubles each time.
async fn drive_again_and_again(context: &RunnerContext, job: &JobKey) {
    let core = &context.jobs.core;
    let mut pause = FIRST_PAUSE;
    loop {
        let events = context.router.register(job);
        let driven = Box::pin(drive(&context.jobs, job, events)).await;
        context.router.unregister(job);
        let Err(error) = driven else { return };
        let text = howdah_telemetry::error_chain(&error);
        if error.invalidates_plan() {
            // The next driver would resume the same plan and fail on the same object for ever.
            discard_plan(&context.jobs, job).await;
        }
        tracing::warn!(%job, error = text, retry_in_ms = pause.as_millis() as u64, "job interrupted, trying again");
        let restart = Command::RestartJob {
            job: job.clone(),
            reason: text,
        };
        if let Err(error) = core.submit(restart).await {
            tracing::debug!(%job, %error, "restart of a job was not accepted");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
        // The driver's last command may have been carried out although it was reported as failed.
        let state = core.state();
        if !is_ended_from_outside(&state, job) && state.job(job).is_some_and(|job| job.state.is_final()) {
            return;
        }
    }
}

fn is_ended_from_outside(state: &State, job: &JobKey) -> bool {
    let job = state.job(job);
    job.is_none_or(|job| matches!(job.state, JobState::Killed | JobState::Unrunnable))
}

/// Waits until the job is killed, marked unrunnable or gone. The driver itself ends it in the other states.
async fn ended_from_outside(core: &Core, job: &JobKey) {
    let outside = |state: &State| is_ended_from_outside(state, job).then_some(());
    if core.wait_for(outside).await.is_none() {
        // The coordinator shuts down and drops the driver with this future. Returning would cancel the job.
        std::future::pending().await
    }
}

/// Stops the job when it has run for `job_timeout`; never returns for a job without one.
async fn time_out(core: &Core, job: &JobKey) {
    let limits = core
        .wait_for(|state| {
            let entry = state.job(job)?;
            let version = query::job_version(state, job)?;
            Some((entry.started?, version.spec.job_timeout))
        })
        .await;
    let Some((started, Some(limit))) = limits else {
        return std::future::pending().await;
    };
    let spent = Duration::try_from(Timestamp::now().duration_since(started)).unwrap_or_default();
    tokio::time::sleep(limit.saturating_sub(spent)).await;
    let reason = format!(
        "job timed out: it ran longer than job_timeout ({} s)",
        limit.as_secs_f64()
    );
    let stop = Command::StopJob {
        job: job.clone(),
        reason,
    };
    // Until it is logged: the job would be driven again otherwise.
    while let Err(error) = core.submit(stop.clone()).await {
        tracing::warn!(%job, %error, "job that timed out could not be stopped");
        if matches!(error, SubmitError::Rejected(_)) {
            // It has ended at the same moment; the other branches see that.
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(FIRST_PAUSE).await;
    }
}
