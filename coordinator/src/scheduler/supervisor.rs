//! Starts and stops the tasks of every pipeline, and the listeners.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use howdah_model::{PipelineKey, PipelineState};
use howdah_queue::CoordinatorQueue;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::context::SchedulerContext;
use super::{events, image, log_keeper, prewarm, runner};
use crate::job::RetryLimits;
use crate::job::pipeline_state::report_pipeline_state;
use crate::leadership::lease::Lease;
use crate::metadata::Core;
use crate::metrics;
use crate::panics::{Panic, catch_task_panic, keep_running};

/// How often gauges are read off the state.
const GAUGE_INTERVAL: Duration = Duration::from_secs(5);
/// Time to store log lines of lost workers before the coordinator ends.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Runs until `shutdown`. Every task has stopped then, at a point from which another run continues.
///
/// # Errors
/// When a listener ends, because the connection to NATS is closed. A task that panics is started again.
pub async fn run(
    core: Core,
    queue: CoordinatorQueue,
    lease: Lease,
    limits: RetryLimits,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let context = SchedulerContext::new(core, queue, lease, limits);
    // Before any job is driven: an event that comes before the subscription is lost, and is found only by a scan.
    let mut listeners = events::spawn(&context).await?;
    let mut tasks = JoinSet::new();
    let for_prewarm = context.clone();
    let _prewarm = in_background("prewarming", move || prewarm::announce(for_prewarm.clone()));
    let for_keeper = context.core.clone();
    let log_keeper = in_background("the log keeper", move || log_keeper::keep_lines(for_keeper.clone()));
    // By name and order of creation: a pipeline that is deleted and created again under its name is another one, whose
    // tasks must not be mistaken for those of the old one, which may still be ending.
    let mut running: HashMap<(PipelineKey, u64), CancellationToken> = HashMap::new();
    let mut state = context.core.watch();
    let mut stream_epoch = context.queue.stream_epoch();
    // So that consumers that an earlier coordinator left are removed at once.
    stream_epoch.mark_changed();
    let mut gauges = tokio::time::interval(GAUGE_INTERVAL);
    loop {
        let pipelines: HashSet<(PipelineKey, u64)> = state
            .borrow_and_update()
            .pipelines()
            .map(|pipeline| (pipeline.key.clone(), pipeline.seq))
            .collect();
        running.retain(|pipeline, stop| {
            let alive = pipelines.contains(pipeline);
            if !alive {
                stop.cancel();
            }
            alive
        });
        for pipeline in pipelines {
            if let Entry::Vacant(place) = running.entry(pipeline) {
                let stop = shutdown.child_token();
                let (key, seq) = place.key().clone();
                tasks.spawn(keep_image(context.clone(), key.clone(), stop.clone()));
                // With the token of the whole program: the runner sees the deletion itself and cancels its job first.
                tasks.spawn(run_jobs(context.clone(), key, seq, shutdown.clone()));
                place.insert(stop);
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            changed = state.changed() => if changed.is_err() { break },
            Some(ended) = listeners.join_next() => {
                ended??;
                anyhow::bail!("a listener for worker messages ended; the connection to NATS is closed");
            }
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => ended?,
            Ok(()) = stream_epoch.changed() => {
                let removing = remove_orphaned_consumers(context.clone());
                tasks.spawn(async move {
                    // Logged where it was caught. Consumers that stay are looked for after the next reconnection.
                    let _ = catch_task_panic("removal of consumers", removing).await;
                });
            }
            _ = gauges.tick() => update_gauges(&context),
        }
    }
    while tasks.join_next().await.is_some() {}
    drop(log_keeper);
    // What is kept for workers that are gone would be lost with this process.
    let _ = tokio::time::timeout(LAST_LINES, log_keeper::store_abandoned(&context.core)).await;
    Ok(())
}

/// Starts a task that is made again after a panic.
fn in_background<Task>(place: &'static str, make: impl FnMut() -> Task + Send + 'static) -> AbortOnDropHandle<()>
where
    Task: Future<Output = ()> + Send + 'static,
{
    AbortOnDropHandle::new(tokio::spawn(keep_running(place, make, |_| std::future::ready(()))))
}

/// Keeps the image of a pipeline pinned. A panic shows in the state of this pipeline and ends nothing else.
async fn keep_image(context: SchedulerContext, pipeline: PipelineKey, stop: CancellationToken) {
    let make = || image::keep(context.clone(), pipeline.clone(), stop.clone());
    let running = keep_running("an image keeper", make, |panic| {
        report_panic(context.core.clone(), pipeline.clone(), panic)
    });
    tokio::select! {
        () = running => {}
        // Also in the pause after a panic.
        () = stop.cancelled() => {}
    }
}

/// Runs the jobs of a pipeline. A panic shows in the state of this pipeline and ends nothing else.
async fn run_jobs(context: SchedulerContext, pipeline: PipelineKey, seq: u64, shutdown: CancellationToken) {
    let make = || runner::run(context.runners.clone(), pipeline.clone(), seq, shutdown.clone());
    let running = keep_running("a runner", make, |panic| {
        report_panic(context.core.clone(), pipeline.clone(), panic)
    });
    tokio::select! {
        biased;
        () = running => {}
        () = shutdown.cancelled() => {}
    }
}

/// Shows that a pipeline does not work because of a fault of this program.
async fn report_panic(core: Core, pipeline: PipelineKey, panic: Panic) {
    let state = core.state();
    if let Some(found) = state.pipeline(&pipeline) {
        let (version, reason) = (found.current(), panic.to_string());
        report_pipeline_state(&core, &pipeline, version, PipelineState::Crashing, &reason).await;
    }
}

/// Removes consumers of pipelines that are gone: a coordinator that died between the two did not.
async fn remove_orphaned_consumers(context: SchedulerContext) {
    let served = match context.queue.served_pipelines().await {
        Ok(served) => served,
        Err(error) => {
            tracing::debug!(
                error = howdah_telemetry::error_chain(&error),
                "consumers could not be listed"
            );
            return;
        }
    };
    for pipeline in served {
        if context.core.state().pipeline(&pipeline).is_none()
            && let Err(error) = context.runners.jobs.queue.remove_consumer(&pipeline).await
        {
            tracing::warn!(%pipeline, error = howdah_telemetry::error_chain(&error), "consumer of a deleted pipeline could not be removed");
        }
    }
}

fn update_gauges(context: &SchedulerContext) {
    metrics::WORKERS.set(i64::try_from(context.core.live().workers.list().len()).unwrap_or(i64::MAX));
    let state = context.core.state();
    metrics::JOBS_OPEN.reset();
    for job in howdah_model::query::open_jobs(&state) {
        metrics::JOBS_OPEN
            .with_label_values(&[&job.key.pipeline.to_string()])
            .inc();
    }
}
