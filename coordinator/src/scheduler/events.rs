//! Listens to what workers send: set events, heartbeats, log lines, reports about the queue.

use std::collections::HashSet;

use howdah_model::JobKey;
use howdah_protocol::messages::{ConsumerStalled, LogBatch, Presence};
use tokio::task::JoinSet;

use super::context::SchedulerContext;
use crate::job::SetQueue;
use crate::metadata::Core;
use crate::panics::{catch_panic, catch_task_panic};

/// Subscribes to everything that workers send, and starts the listeners.
pub(super) async fn spawn(context: &SchedulerContext) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let mut tasks = JoinSet::new();
    let mut set_events = context.queue.set_events().await?;
    let runners = context.runners.clone();
    tasks.spawn(async move {
        while let Some(event) = set_events.next().await {
            // Here and below: a message that causes a panic is dropped, the listener goes on.
            let _ = catch_panic("a set event", || runners.deliver(event));
        }
        Ok(())
    });
    let mut presence = context.queue.presence().await?;
    let for_presence = context.clone();
    tasks.spawn(async move {
        while let Some(presence) = presence.next().await {
            let _ = catch_task_panic("a heartbeat", handle_presence(&for_presence, presence)).await;
        }
        Ok(())
    });
    let mut stalled = context.queue.stalled_reports().await?;
    let for_stalled = context.clone();
    tasks.spawn(async move {
        while let Some(report) = stalled.next().await {
            let _ = catch_task_panic("a report about the queue", handle_stalled(&for_stalled, &report)).await;
        }
        Ok(())
    });
    let mut logs = context.queue.logs(None).await?;
    let core = context.core.clone();
    tasks.spawn(async move {
        while let Some(batch) = logs.next().await {
            let _ = catch_panic("log lines", || add_lines(&core, batch));
        }
        Ok(())
    });
    Ok(tasks)
}

fn add_lines(core: &Core, batch: LogBatch) {
    let job = batch.pipeline.job(batch.job);
    // Of a job that is over only runs go on whose lines are kept already: the others are stored by their workers.
    let open = core.state().job(&job).is_some_and(|job| !job.state.is_final());
    core.live().logs.add(job, batch, open);
}

/// Makes the stream again if the server does not deliver the sets of a pipeline. Sets are then published again, because the
/// stream epoch rises.
async fn handle_stalled(context: &SchedulerContext, report: &ConsumerStalled) {
    context.lease.hold().await;
    if let Err(error) = context.queue.rebuild_if_stalled(report).await {
        tracing::warn!(
            pipeline = %report.pipeline, error = howdah_telemetry::error_chain(&error),
            "NATS withholds datum sets, and its stream could not be made again"
        );
    }
}

/// Records a heartbeat, and cancels again what the worker still has of jobs that are over: the first order to do so may
/// have been lost.
async fn handle_presence(context: &SchedulerContext, presence: Presence) {
    let workers = &context.core.live().workers;
    if presence.leaving {
        workers.remove(&presence.worker);
        tracing::info!(worker = presence.worker, "worker stopped");
        return;
    }
    let state = context.core.state();
    let over: HashSet<JobKey> = presence
        .busy
        .iter()
        .map(|slot| slot.pipeline.job(slot.job))
        .filter(|job| state.job(job).is_none_or(|job| job.state.is_final()))
        .collect();
    let (worker, host, slots) = (presence.worker.clone(), presence.host.clone(), presence.slots);
    if workers.record_heartbeat(presence) {
        tracing::info!(worker, host, slots, "worker connected");
        context.new_worker.notify_one();
    }
    for job in over {
        cancel_job(context.runners.jobs.queue.as_ref(), &job).await;
    }
}

/// Removes a job's sets from the queue and orders workers to drop what they have of it.
pub(super) async fn cancel_job(queue: &dyn SetQueue, job: &JobKey) {
    tracing::debug!(%job, "job cancelled");
    // The queue first: otherwise a worker that drops a set of the job could get the next one.
    if let Err(error) = queue.purge(job).await {
        tracing::debug!(%job, error = howdah_telemetry::error_chain(&error), "sets of a cancelled job could not be removed from the queue");
    }
    if let Err(error) = queue.cancel(job, None).await {
        tracing::debug!(%job, error = howdah_telemetry::error_chain(&error), "cancellation of a job could not be sent to workers");
    }
}
