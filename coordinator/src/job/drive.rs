//! Drives one job from its plan to its end.
//!
//! ```text
//!  plan, publish sets as they are found   \
//!  (or read the plan back)                 } at the same time -> merge -> write provenance -> finish
//!  collect results as they come in        /
//! ```
//!
//! Every part looks at the store first, so a driver continues where the one before it ended: sets are
//! written before they are published, results are objects that are never overwritten, and one command finishes the job.
//!
//! What is durable before what:
//!
//! 1. A set object is written before its message is published: a worker never gets a set that it cannot read.
//! 2. The start of the job is logged before the first set is published. If the log has neither a
//!    start nor a restart of the job, no worker has got a set of it, and a plan in the store is ignored.
//! 3. All sets are written before the merge part, which makes the plan final.
//! 4. Output trees and the provenance record are written before `FinishJob` is logged: a finished commit is complete.

use std::sync::Arc;
use std::time::{Duration, Instant};

use howdah_model::{Command, DatumCounts, JobKey, JobOutcome, query};
use howdah_protocol::messages::SetEvent;
use howdah_protocol::objects::{JobPlan, plan_key};
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::collect::{Collector, Signals};
use super::context::JobContext;
use super::error::DriveError;
use super::job_commands::{finish_without_output, log_plan, log_start};
use super::merge::{Merged, Merger};
use super::plan::{self, MergePlan, PlanError};
use super::planner::{self, PreparedPlan};
use super::provenance::{ProvenanceInput, ProvenanceRecord};
use super::publish::SetPublisher;
use super::view::JobView;
use crate::live::JobProgress;
use crate::metrics;

/// How long planning may take before the start of the job is logged on its own. Most plans are ready earlier; start and
/// plan then share one append.
const PLAN_BEFORE_START: Duration = Duration::from_millis(50);

/// Drives a job whose inputs are finished. Returns when the job is over; `events` are those of its datum sets.
///
/// # Errors
/// When the job is not over; [`DriveError::kind`] tells whether it is driven again.
pub async fn drive(
    context: &JobContext,
    job: &JobKey,
    events: mpsc::UnboundedReceiver<SetEvent>,
) -> Result<(), DriveError> {
    let core = &context.core;
    let Some(view) = JobView::of(core, job) else {
        return Ok(());
    };
    // An earlier driver may have counted results; this one counts each of them again.
    core.live().progress.update(job, |entry| {
        *entry = JobProgress {
            retry: entry.retry.take(),
            ..JobProgress::default()
        };
    });
    // Before planning: what the stream loses from now on is noticed, also while sets are being published.
    let mut stream_epoch = context.queue.stream_epoch();
    stream_epoch.mark_unchanged();
    let signals = Signals { events, stream_epoch };
    let sorter_bytes = core.store().limits().sort_buffer_bytes;
    let (merge_plan, merger) = match find_plan(context, &view).await? {
        Some((plan, merge)) => {
            log_plan(core, &view, &merge).await?;
            let publisher = SetPublisher::new(context, &view, plan.id);
            if let Some(only) = plan.single_object.as_ref().and_then(|single| single.set.clone()) {
                publisher.keep(only);
            }
            let merger = Merger::new(Arc::new(plan), sorter_bytes);
            let collector = Collector::new(context, &view, &publisher, signals);
            collector.resume(merge, merger).await?
        }
        None => {
            let collected = match prepare(context, &view).await {
                Ok(None) => return Ok(()),
                Ok(Some(prepared)) => {
                    let merger = Merger::new(prepared.plan.clone(), sorter_bytes);
                    let publisher = SetPublisher::new(context, &view, prepared.plan.id);
                    let collector = Collector::new(context, &view, &publisher, signals);
                    let publishing = prepared.publish(context, &view, &publisher);
                    Box::pin(collector.collect(publishing, merger)).await
                }
                Err(error) => Err(error),
            };
            if collected.is_err() {
                // The runner restarts the job next, or it ends here. The log refuses to restart or finish a job that
                // has not started.
                log_start(core, &view).await?;
            }
            match collected {
                Err(DriveError::Plan(error)) if error.is_final() => {
                    return end_without_plan(context, job, &error).await;
                }
                collected => collected?,
            }
        }
    };
    Box::pin(finish(context, &view, &merge_plan, merger)).await
}

/// Ends a job for which no plan can be made.
async fn end_without_plan(context: &JobContext, job: &JobKey, error: &PlanError) -> Result<(), DriveError> {
    // Datums are streamed: the first sets may be published when a later datum cannot be found.
    if let Err(error) = context.queue.cancel(job, None).await {
        tracing::debug!(%job, error = howdah_telemetry::error_chain(&error), "sets of a job without a plan could not be cancelled");
    }
    discard_plan(context, job).await;
    let outcome = JobOutcome::Failure(error.to_string());
    context.core.submit(finish_without_output(job.clone(), outcome)).await?;
    Ok(())
}

/// Prepares the plan. The start of the job is logged meanwhile, unless the plan is ready soon.
async fn prepare(context: &JobContext, view: &JobView) -> Result<Option<PreparedPlan>, DriveError> {
    let mut prepared = std::pin::pin!(planner::prepare(context, view));
    if let Ok(prepared) = tokio::time::timeout(PLAN_BEFORE_START, &mut prepared).await {
        return prepared;
    }
    // `join`, not `try_join`: when planning fails first, the start is still waited for. The caller may finish the job
    // next, which the log refuses before the start.
    let (started, prepared) = tokio::join!(log_start(&context.core, view), prepared);
    started?;
    prepared
}

/// Reads the plan back if a final one is stored.
///
/// Also one that the state has forgotten because the job was restarted: the results in the store belong to it. A job
/// that has not been begun has no plan that counts, since nothing is published before its start is logged.
async fn find_plan(context: &JobContext, view: &JobView) -> Result<Option<(JobPlan, MergePlan)>, DriveError> {
    if !view.begun_before {
        return Ok(None);
    }
    let key = plan_key(&view.job.pipeline, &view.job.id);
    Ok(plan::read(context.core.store(), &key).await?)
}

/// Removes a plan and its results, so that the job is planned again from its inputs, and what the queue and the workers
/// have of it. A result of that plan that a worker stores later is not one of the next plan.
pub async fn discard_plan(context: &JobContext, job: &JobKey) {
    let store = context.core.store();
    let id = plan::identity(store, &job.pipeline, &job.id).await;
    if let Err(error) = plan::discard(store, &job.pipeline, &job.id).await {
        tracing::warn!(%job, error = howdah_telemetry::error_chain(&error), "plan that does not fit its results could not be removed");
    }
    let withdrawn = async {
        context.queue.purge(job).await?;
        match id {
            Some(id) => context.queue.cancel(job, Some(id)).await,
            None => Ok(()),
        }
    };
    if let Err(error) = withdrawn.await {
        // Workers find out themselves that the sets are of another plan.
        tracing::debug!(%job, error = howdah_telemetry::error_chain(&error), "sets of a discarded plan could not be withdrawn");
    }
}

/// Merges, writes what made the commit, and ends the job.
async fn finish(
    context: &JobContext,
    view: &JobView,
    merge_plan: &MergePlan,
    merger: Merger,
) -> Result<(), DriveError> {
    let started = Instant::now();
    let store = context.core.store();
    let plan = merger.plan().clone();
    let mut record = provenance_record(context, view, &merger);
    let merged = Box::pin(merger.finish(store, merge_plan)).await?;
    metrics::MERGE_SECONDS.observe(started.elapsed().as_secs_f64());
    record.output = merged.output;
    record.datums = merged.counts;
    record.finished = Timestamp::now();
    // Before the job is finished: the next job of the pipeline reads this record to find out what it can reuse.
    context.provenance.write(record).await?;
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
fn provenance_record(context: &JobContext, view: &JobView, merger: &Merger) -> ProvenanceRecord {
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
