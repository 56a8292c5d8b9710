//! Runs the jobs of one pipeline, one after the other in commit order.
//!
//! A job builds on the one before it, so the next starts when that one is over. What may end a job from
//! outside (a stop, an update, a timeout) shows in the state; the runner then takes its sets off the queue
//! and tells the workers.

use std::time::Duration;

use howdah_model::query::{self, Readiness};
use howdah_model::{Command, JobKey, JobOutcome, JobState, PipelineKey, State};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Context, events, image};
use crate::job::drive;
use crate::metrics;

/// First pause after trouble with infrastructure; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// What the runner does next.
#[derive(Debug, PartialEq)]
enum Step {
    /// The pipeline is deleted.
    Gone,
    /// An input commit of the job has an error.
    Unrunnable(JobKey, String),
    /// The job can run.
    Run(JobKey),
}

/// Works for one pipeline, told apart from others of its name by `seq`, until it is deleted.
pub async fn run(context: Context, pipeline: PipelineKey, seq: u64, shutdown: CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => return,
        // Not ended by the deletion itself: what still runs has to be called off first.
        () = run_jobs(&context, &pipeline, seq) => {}
    }
    if context.core.state().pipeline(&pipeline).is_none()
        && let Err(error) = context.queue.delete_consumer(&pipeline).await
    {
        tracing::warn!(%pipeline, error = howdah_telemetry::error_chain(&error), "consumer of a deleted pipeline could not be removed");
    }
}

async fn run_jobs(context: &Context, pipeline: &PipelineKey, seq: u64) {
    let mut pause = FIRST_PAUSE;
    while let Some(step) = context.core.wait_for(|state| next_step(state, pipeline, seq)).await {
        match step {
            Step::Gone => return,
            Step::Unrunnable(job, reason) => {
                let outcome = JobOutcome::Unrunnable(reason);
                if let Err(error) = context
                    .core
                    .submit(drive::finish_without_output(job.clone(), outcome))
                    .await
                {
                    tracing::warn!(%job, %error, "job could not be marked unrunnable");
                    tokio::time::sleep(pause).await;
                }
            }
            Step::Run(job) => match run_job(context, &job).await {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    image::job_ended(context, pipeline).await;
                }
                Err(error) => {
                    let text = howdah_telemetry::error_chain(&error);
                    if error.spoils_plan() {
                        drive::discard_plan(context, &job).await;
                    }
                    tracing::warn!(%job, error = text, retry_in_ms = pause.as_millis() as u64, "job interrupted, trying again");
                    let restart = Command::RestartJob {
                        job: job.clone(),
                        reason: text,
                    };
                    if let Err(error) = context.core.submit(restart).await {
                        tracing::debug!(%job, %error, "restart not noted");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            },
        }
    }
}

/// Decides from the state what the runner of `pipeline` does next; `None` means wait.
fn next_step(state: &State, pipeline: &PipelineKey, seq: u64) -> Option<Step> {
    if state.pipeline(pipeline).is_none_or(|found| found.seq != seq) {
        return Some(Step::Gone);
    }
    let job = query::open_jobs_of(state, pipeline).next()?;
    match query::job_ready(state, &job.key) {
        Readiness::Waiting(_) => None,
        Readiness::Failed(commits) => {
            let names: Vec<String> = commits.iter().map(ToString::to_string).collect();
            Some(Step::Unrunnable(
                job.key.clone(),
                format!("unrunnable because these input commits failed: {}", names.join(", ")),
            ))
        }
        Readiness::Ready => Some(Step::Run(job.key.clone())),
    }
}

/// Drives one job until it is over or until somebody else ends it.
async fn run_job(context: &Context, job: &JobKey) -> Result<(), drive::DriveError> {
    let notices = context.dispatch.register(job);
    let driven = tokio::select! {
        // First in line: the driver's own end of the job also shows in the state.
        biased;
        result = drive::drive(context, job, notices) => Some(result),
        () = ended_from_outside(context, job) => None,
        () = time_out(context, job) => None,
    };
    context.dispatch.unregister(job);
    if driven.is_none() {
        events::call_off(context, job).await;
    }
    context.core.live().forget_job(job);
    if let Some(job) = context.core.state().job(job)
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
    driven.unwrap_or(Ok(()))
}

/// Waits until the job is killed or gone. How its driver ends it is the driver's to tell.
async fn ended_from_outside(context: &Context, job: &JobKey) {
    let outside = |state: &State| {
        state
            .job(job)
            .is_none_or(|job| matches!(job.state, JobState::Killed | JobState::Unrunnable))
            .then_some(())
    };
    if context.core.wait_for(outside).await.is_none() {
        // The coordinator goes down; the driver is dropped with it.
        std::future::pending().await
    }
}

/// Kills the job when its time is up; never returns for a job without a limit.
async fn time_out(context: &Context, job: &JobKey) {
    let limits = context
        .core
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
    if let Err(error) = context
        .core
        .submit(Command::StopJob {
            job: job.clone(),
            reason,
        })
        .await
    {
        tracing::warn!(%job, %error, "job that timed out could not be stopped");
    }
}
