//! Runs the jobs of one pipeline, one after the other in commit order.
//!
//! A job builds on the job before it, so it starts when that one has ended. A job can also be ended from outside of its
//! driver: by a stop, an update of the pipeline or a timeout. The runner sees this in the state; it then removes the
//! job's sets from the queue and cancels the job at the workers.

use std::time::Duration;

use howdah_model::query::{self, Readiness};
use howdah_model::{Command, DatumCounts, JobKey, JobOutcome, JobState, PipelineKey, PipelineState, State};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::context::RunnerContext;
use super::{events, image};
use crate::job::drive::{discard_plan, drive};
use crate::job::end::{count_failure, fail_job, show_retry};
use crate::job::error::DriveError;
use crate::job::job_commands::finish_without_output;
use crate::job::pipeline_state::report_pipeline_state;
use crate::job::retry::{RetryBudget, Verdict};
use crate::metadata::{Core, SubmitError};
use crate::metrics;
use crate::panics::{Panic, catch_task_panic};

/// First pause before a command is submitted again that could not be logged.
const PAUSE: Duration = Duration::from_millis(500);
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
                    tokio::time::sleep(PAUSE).await;
                }
            }
            RunnerAction::Drive(job) => {
                if run_job(context, &job).await != JobEnd::Panic {
                    image::job_ended(core, pipeline).await;
                }
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

/// What ended a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JobEnd {
    /// Its driver.
    Driver,
    /// A command, a deletion or the time limit.
    Outside,
    /// It could not go on.
    GivenUp,
    /// It could not go on, because its driver panicked. The pipeline stays CRASHING.
    Panic,
}

/// Drives one job until it is over, also if something else than its driver ends it.
async fn run_job(context: &RunnerContext, job: &JobKey) -> JobEnd {
    let end = tokio::select! {
        // The driver is polled first: when it finishes the job itself, the state shows the end as well, and the job would be
        // cancelled for nothing.
        biased;
        end = drive_until_over(context, job) => end,
        () = ended_from_outside(&context.jobs.core, job) => JobEnd::Outside,
        () = time_out(&context.jobs.core, job) => JobEnd::Outside,
    };
    context.router.unregister(job);
    if end != JobEnd::Driver {
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
    end
}

/// Drives the job until it is over, or cannot go on. After a failure it is driven again, as long as its budget lasts.
async fn drive_until_over(context: &RunnerContext, job: &JobKey) -> JobEnd {
    let core = &context.jobs.core;
    let mut budget = RetryBudget::new(context.jobs.limits);
    let mut most_done = 0;
    loop {
        let Err(error) = drive_once(context, job).await else {
            return JobEnd::Driver;
        };
        let text = howdah_telemetry::error_chain(&error);
        let done = core
            .live()
            .progress
            .get(job)
            .map_or(0, |progress| finished(&progress.counts));
        if done > most_done {
            most_done = done;
            budget.begin_anew();
        }
        if let DriveError::Panicked(panic) = &error {
            report_panic(core, job, panic).await;
        }
        let discarded = error.invalidates_plan();
        if discarded {
            // The next driver would resume the same plan and fail on the same object for ever.
            discard_plan(&context.jobs, job).await;
        }
        let (tries, pause) = match count_failure(core, job, &mut budget, &error, &text).await {
            Verdict::Retry { tries, pause } => (tries, pause),
            Verdict::GiveUp(reason) => {
                fail_job(core, job, &reason).await;
                return match error {
                    DriveError::Panicked(_) => JobEnd::Panic,
                    _ => JobEnd::GivenUp,
                };
            }
        };
        tracing::warn!(%job, error = text, tries, retry_in_ms = pause.as_millis() as u64, "job interrupted, trying again");
        show_retry(core, job, tries, &text, pause);
        // One record for a row of failures. A plan that is gone must not be mentioned in the log, however often.
        if tries == 1 || discarded {
            let restart = Command::RestartJob {
                job: job.clone(),
                reason: text,
            };
            if let Err(error) = core.submit(restart).await {
                tracing::debug!(%job, %error, "restart of a job was not accepted");
            }
        }
        tokio::time::sleep(pause).await;
        // The driver's last command may have been carried out although it was reported as failed.
        let state = core.state();
        if !is_ended_from_outside(&state, job) && state.job(job).is_some_and(|job| job.state.is_final()) {
            return JobEnd::Driver;
        }
    }
}

/// Returns the number of datums that have a result.
fn finished(counts: &DatumCounts) -> u64 {
    counts.processed + counts.failed + counts.recovered
}

/// Runs one driver of the job. A panic is an error like others.
async fn drive_once(context: &RunnerContext, job: &JobKey) -> Result<(), DriveError> {
    let events = context.router.register(job);
    let driver = Box::pin(drive(&context.jobs, job, events));
    let driven = catch_task_panic(&format!("the driver of job {job}"), driver).await;
    context.router.unregister(job);
    driven.unwrap_or_else(|panic| Err(DriveError::Panicked(panic)))
}

/// Shows that the pipeline of a job does not work because of a fault of this program.
async fn report_panic(core: &Core, job: &JobKey, panic: &Panic) {
    let state = core.state();
    if let Some(version) = query::job_version(&state, job) {
        let reason = panic.to_string();
        report_pipeline_state(core, &job.pipeline, version, PipelineState::Crashing, &reason).await;
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
    let mut pause = PAUSE;
    while let Err(error) = core.submit(stop.clone()).await {
        tracing::warn!(%job, %error, "job that timed out could not be stopped");
        if matches!(error, SubmitError::Rejected(_)) {
            // It has ended at the same moment; the other branches see that.
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}
