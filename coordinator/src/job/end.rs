//! Decides what follows when a driver has failed, and ends a job that cannot go on.

use std::time::Duration;

use howdah_model::{Command, JobKey, JobOutcome};
use howdah_store::{Store, StoreError, keys};
use jiff::Timestamp;
use tokio::time::Instant;

use super::error::DriveError;
use super::retry::{FailureKind, RetryBudget, Verdict};
use crate::live::RetryNote;
use crate::metadata::{Core, SubmitError};

/// How long a store that works may take for a small object.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// First pause while the end of a job cannot be logged; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Counts the failure of a driver in the budget of its job.
pub async fn count_failure(
    core: &Core,
    job: &JobKey,
    budget: &mut RetryBudget,
    error: &DriveError,
    text: &str,
) -> Verdict {
    let kind = match error.kind() {
        FailureKind::Permanent => FailureKind::Permanent,
        // A small object fits on a disk that is full for others.
        FailureKind::Outage
            if matches!(
                error.of_store(),
                Some(StoreError::Full { .. } | StoreError::Scratch { .. })
            ) =>
        {
            FailureKind::Outage
        }
        // What the store says about one object does not show whether it works for others.
        _ if error.of_store().is_some() => match works(core.store(), job).await {
            true => FailureKind::Passing,
            false => FailureKind::Outage,
        },
        other => other,
    };
    budget.failed(kind, text, Instant::now(), rand::random())
}

/// Shows in `inspect job` that the job is tried again.
pub fn show_retry(core: &Core, job: &JobKey, tries: u32, error: &str, pause: Duration) {
    let note = RetryNote {
        tries,
        error: error.to_owned(),
        next: Timestamp::now() + pause,
    };
    core.live().progress.update(job, |progress| progress.retry = Some(note));
}

/// Tells whether the store takes, returns and removes a small object.
async fn works(store: &Store, job: &JobKey) -> bool {
    let key = keys::job_probe(&job.pipeline.project, &job.pipeline.name, job.id);
    let probe = async {
        store.put(&key, "probe".into()).await?;
        store.get(&key).await?;
        store.delete(&key).await
    };
    let probed: Result<Result<(), StoreError>, _> = tokio::time::timeout(PROBE_LIMIT, probe).await;
    matches!(probed, Ok(Ok(())))
}

/// Ends a job as a failure, with what is known of its datums. Returns when that is logged, or when the job is over.
pub async fn fail_job(core: &Core, job: &JobKey, reason: &str) {
    tracing::warn!(%job, reason, "job cannot go on");
    let mut pause = FIRST_PAUSE;
    loop {
        let progress = core.live().progress.get(job).unwrap_or_default();
        let is_started = core.state().job(job).is_some_and(|job| job.started.is_some());
        // The log refuses to end a job that has not started.
        let start = (!is_started).then(|| Command::StartJob { job: job.clone() });
        let finish = Command::FinishJob {
            job: job.clone(),
            outcome: JobOutcome::Failure(reason.to_owned()),
            counts: progress.counts,
            stats: progress.stats,
            output: None,
            datums: None,
        };
        match core.submit_together(start.into_iter().chain([finish])).await {
            Ok(()) | Err(SubmitError::Rejected(_) | SubmitError::Panicked(_)) => return,
            Err(error) => {
                tracing::warn!(%job, %error, "the end of a job could not be logged, trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}
