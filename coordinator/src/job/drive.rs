//! Drives one job from its plan to its end.
//!
//! ```text
//!  plan, publishing sets as they are found   \
//!  (or read the plan back)                    } at once -> merge -> record provenance -> finish
//!  gather results as they come in            /
//! ```
//!
//! Every step looks at the store first, so a driver that starts over continues where the last one ended:
//! sets are written before they are published, results are objects that nobody overwrites, and the job
//! is finished by one event list.

use std::sync::Arc;
use std::time::{Duration, Instant};

use howdah_model::query;
use howdah_model::{Command, DatumCounts, JobKey, JobOutcome, JobStats, PipelineVersion};
use howdah_protocol::messages::SetEvent;
use howdah_protocol::objects::{JobPlan, plan_key, results_prefix};
use howdah_protocol::wire::WireError;
use howdah_queue::QueueError;
use howdah_store::StoreError;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::collect::Collector;
use super::planner;
use super::publish::Publisher;
use crate::job::merge::{MergeError, Merged, Merger};
use crate::job::plan::{self, MergePlan, PlanError};
use crate::job::provenance::{ProvenanceInput, ProvenanceRecord};
use crate::metadata::SubmitError;
use crate::scheduler::Context;
use crate::{live, metrics};

/// Trouble with infrastructure: the job is begun again from what is stored.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The plan could not be made, written or read.
    #[error("planning failed")]
    Plan(#[from] PlanError),
    /// Outputs could not be merged.
    #[error("merging the output failed")]
    Merge(#[from] MergeError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The queue failed.
    #[error("the queue failed")]
    Queue(#[from] QueueError),
    /// Something a worker wrote cannot be understood.
    #[error("a result could not be understood")]
    Wire(#[from] WireError),
    /// A command was refused or could not be written.
    #[error("{0}")]
    Submit(#[from] SubmitError),
    /// A result does not belong to the plan.
    #[error("{0}")]
    Mismatch(String),
    /// The driver cannot go on, for a reason that lies outside the job.
    #[error("{0}")]
    Interrupted(String),
}

impl DriveError {
    /// Tells whether what is stored of plan and results is at fault, so that repeating from it cannot help.
    pub fn spoils_plan(&self) -> bool {
        matches!(self, Self::Mismatch(_) | Self::Wire(_) | Self::Plan(PlanError::Wire(_)))
    }
}

/// What the driver knows of its job from the state.
pub(crate) struct View {
    pub(crate) job: JobKey,
    pub(crate) version: Arc<PipelineVersion>,
    planned: bool,
    /// It has been begun before, so that a plan of it may be stored.
    pub(crate) begun_before: bool,
}

/// Drives a job whose inputs are finished. Returns when it is over, or with the trouble that stopped it.
pub(crate) async fn drive(
    context: &Context,
    job: &JobKey,
    notices: mpsc::UnboundedReceiver<SetEvent>,
) -> Result<(), DriveError> {
    let Some(view) = view(context, job) else {
        return Ok(());
    };
    context
        .core
        .live()
        .progress
        .update(job, |entry| *entry = live::JobProgress::default());
    let publisher = Publisher::new(context, &view);
    let collector = Collector::new(context, &view, &publisher, notices);
    let sorter_bytes = context.core.store().limits().sort_buffer_bytes;
    let (merge_plan, merger) = match find_plan(context, &view).await? {
        Some((plan, merge)) => {
            note_plan(context, &view, &merge).await?;
            if let Some(only) = plan.single_object.as_ref().and_then(|single| single.set.clone()) {
                publisher.keep(only);
            }
            let merger = Merger::new(Arc::new(plan), sorter_bytes);
            collector.resume(merge, merger).await?
        }
        None => {
            let collected = match begin(context, &view).await {
                Ok(None) => return Ok(()),
                Ok(Some(begun)) => {
                    let merger = Merger::new(begun.plan.clone(), sorter_bytes);
                    let publishing = begun.publish(context, &view, &publisher);
                    collector.collect(publishing, merger).await
                }
                Err(DriveError::Plan(error)) if error.is_final() => {
                    start(context, &view).await?;
                    let outcome = JobOutcome::Failure(error.to_string());
                    context.core.submit(finish_without_output(job.clone(), outcome)).await?;
                    return Ok(());
                }
                Err(error) => Err(error),
            };
            if collected.is_err() {
                // What has not started cannot be begun again.
                start(context, &view).await?;
            }
            collected?
        }
    };
    finish(context, &view, &merge_plan, merger).await
}

/// How long planning may take before the start of the job is logged on its own. Most plans are found at once, and
/// then start and plan are logged together.
const HEAD_START: Duration = Duration::from_millis(50);

/// Begins the plan. The start of the job is logged meanwhile, unless that is over soon.
async fn begin(context: &Context, view: &View) -> Result<Option<planner::Begun>, DriveError> {
    let mut begun = std::pin::pin!(planner::begin(context, view));
    if let Ok(begun) = tokio::time::timeout(HEAD_START, &mut begun).await {
        return begun;
    }
    // Both to their end, whatever becomes of the other: a job is not ended before it is started.
    let (started, begun) = tokio::join!(start(context, view), begun);
    started?;
    begun
}

fn is_started(context: &Context, view: &View) -> bool {
    let state = context.core.state();
    state.job(&view.job).is_some_and(|job| job.started.is_some())
}

/// Logs the start of the job, unless it has been.
pub(crate) async fn start(context: &Context, view: &View) -> Result<(), SubmitError> {
    if !is_started(context, view) {
        let job = view.job.clone();
        context.core.submit(Command::StartJob { job }).await?;
    }
    Ok(())
}

fn view(context: &Context, job: &JobKey) -> Option<View> {
    let state = context.core.state();
    let entry = state.job(job)?;
    let version = query::job_version(&state, job)?.clone();
    Some(View {
        job: job.clone(),
        version,
        planned: entry.plan.is_some(),
        begun_before: entry.started.is_some() || entry.restart > 0,
    })
}

/// Reads the plan back if a final one is stored, also one that a restart of the job made the state forget:
/// results that are stored belong to it. Nothing is published before the start of the job is logged, so for a job
/// that has not started there is nothing to be found that anybody has worked on.
async fn find_plan(context: &Context, view: &View) -> Result<Option<(JobPlan, MergePlan)>, DriveError> {
    if !view.begun_before {
        return Ok(None);
    }
    let key = plan_key(&view.job.pipeline, &view.job.id);
    Ok(plan::read(context.core.store(), &key).await?)
}

/// Tells the state of the job's start and plan, as far as it does not know.
pub(crate) async fn note_plan(context: &Context, view: &View, merge: &MergePlan) -> Result<(), SubmitError> {
    let counts = merge.counts();
    context.core.live().progress.update(&view.job, |progress| {
        progress.counts.total = counts.total;
        progress.counts.skipped = counts.skipped;
    });
    let start = (!is_started(context, view)).then(|| Command::StartJob { job: view.job.clone() });
    let plan = (!view.planned).then(|| Command::PlanJob {
        job: view.job.clone(),
        plan: plan_key(&view.job.pipeline, &view.job.id),
        counts,
    });
    context.core.submit_together(start.into_iter().chain(plan)).await
}

/// Removes a plan and the results that do not fit it, so that the job is planned afresh.
pub(crate) async fn discard_plan(context: &Context, job: &JobKey) {
    let store = context.core.store();
    let removed = async {
        plan::discard(store, &job.pipeline, &job.id).await?;
        for object in store.list(&results_prefix(&job.pipeline, &job.id)).await? {
            store.delete(&object.key).await?;
        }
        Ok::<(), StoreError>(())
    };
    if let Err(error) = removed.await {
        tracing::warn!(%job, error = howdah_telemetry::error_chain(&error), "a plan that does not fit could not be removed");
    }
}

/// Merges, records what made the commit, and ends the job.
async fn finish(context: &Context, view: &View, merge_plan: &MergePlan, merger: Merger) -> Result<(), DriveError> {
    let started = Instant::now();
    let store = context.core.store();
    let plan = merger.plan().clone();
    let mut record = provenance_record(context, view, &merger);
    let merged = merger.finish(store, merge_plan).await?;
    metrics::MERGE_SECONDS.observe(started.elapsed().as_secs_f64());
    record.output = merged.output;
    record.datums = merged.counts;
    record.finished = Timestamp::now();
    context.records.write(record).await?;
    metrics::DATUMS
        .with_label_values(&[plan.pipeline.to_string().as_str(), "skipped"])
        .inc_by(merge_plan.skipped);
    let Merged {
        output,
        datums,
        counts,
        stats,
        failure,
    } = merged;
    let outcome = match failure {
        None => JobOutcome::Success,
        Some(reason) => JobOutcome::Failure(reason),
    };
    tracing::info!(job = %view.job, outcome = ?outcome, processed = counts.processed, skipped = counts.skipped, merge_ms = started.elapsed().as_millis() as u64, "job finished");
    let command = Command::FinishJob {
        job: view.job.clone(),
        outcome,
        counts,
        stats,
        output: Some(output),
        datums: Some(datums),
    };
    context.core.submit(command).await?;
    Ok(())
}

/// Fills in what is known before the output is.
fn provenance_record(context: &Context, view: &View, merger: &Merger) -> ProvenanceRecord {
    let state = context.core.state();
    let plan = merger.plan();
    let inputs = query::job_inputs(&state, &view.job)
        .into_iter()
        .map(|input| ProvenanceInput {
            commit: input.commit,
            content: input.content,
        })
        .collect();
    ProvenanceRecord {
        commit: view.job.output_commit(),
        pipeline_version: plan.version,
        spec: view.version.effective_json.to_string(),
        stage: plan.stage.clone(),
        salt: plan.salt.clone(),
        inputs,
        output: Default::default(),
        datums: DatumCounts::default(),
        worker_versions: merger.worker_versions().clone(),
        started: state.job(&view.job).and_then(|job| job.started),
        finished: Timestamp::now(),
    }
}

/// The command that ends a job which never ran.
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
