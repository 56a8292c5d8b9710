//! Starts and stops the tasks of every pipeline, and the listeners.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use howdah_model::PipelineKey;
use howdah_queue::Queue;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::context::SchedulerContext;
use super::{events, image, log_keeper, prewarm, runner};
use crate::leadership::lease::Lease;
use crate::metadata::Core;
use crate::metrics;

/// How often gauges are read off the state.
const GAUGE_INTERVAL: Duration = Duration::from_secs(5);
/// Time to store log lines of lost workers before the coordinator ends.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Runs until `shutdown`. Every task has stopped then, at a point from which another run continues.
///
/// # Errors
/// When a listener ends, because the connection to NATS is closed, or a task panics.
pub async fn run(core: Core, queue: Queue, lease: Lease, shutdown: CancellationToken) -> anyhow::Result<()> {
    let context = SchedulerContext::new(core, queue, lease);
    // Before any job is driven: an event that comes before the subscription is lost, and is found only by a scan.
    let mut listeners = events::spawn(&context).await?;
    let mut tasks = JoinSet::new();
    let _prewarm = AbortOnDropHandle::new(tokio::spawn(prewarm::announce(context.clone())));
    let log_keeper = AbortOnDropHandle::new(tokio::spawn(log_keeper::keep_lines(context.core.clone())));
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
                tasks.spawn(image::keep(context.clone(), key.clone(), stop.clone()));
                // With the token of the whole program: the runner sees the deletion itself and cancels its job first.
                tasks.spawn(runner::run(context.runners.clone(), key, seq, shutdown.clone()));
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
            Ok(()) = stream_epoch.changed() => { tasks.spawn(remove_orphaned_consumers(context.clone())); }
            _ = gauges.tick() => update_gauges(&context),
        }
    }
    while tasks.join_next().await.is_some() {}
    drop(log_keeper);
    // What is kept for workers that are gone would be lost with this process.
    let _ = tokio::time::timeout(LAST_LINES, log_keeper::store_abandoned(&context.core)).await;
    Ok(())
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
