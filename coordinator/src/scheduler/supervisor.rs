//! Background work: keeps every pipeline's consumer, image and jobs as the state says they should be.
//!
//! ```text
//!  supervisor --one per pipeline--> image keeper   (pins the image, tells the pipeline's state)
//!             \--one per pipeline-> job runner     (drives the oldest job that can run)
//!  listeners: notices -> the runner of that job; presence, log lines -> the board
//!  standing:  tells workers which stages to have running
//! ```
//!
//! Everything is level-triggered: a task looks at the published state, does what is missing, and waits
//! for the next change. Repeating any of it is safe, so a restart needs no recovery of its own.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use howdah_model::PipelineKey;
use howdah_queue::Queue;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::events::Dispatch;
use super::{events, image, prewarm, runner};
use crate::metadata::Core;
use crate::{job::provenance, metrics};

/// How often gauges are read off the state.
const GAUGE_INTERVAL: Duration = Duration::from_secs(5);

/// What every background task works with.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) core: Core,
    pub(crate) queue: Queue,
    pub(crate) dispatch: Dispatch,
    pub(crate) records: provenance::Records,
    /// Rung when a worker is heard of for the first time.
    pub(crate) new_worker: Arc<Notify>,
}

/// Runs until `shutdown`; then every task has stopped at a point from which another run continues.
pub async fn run(core: Core, queue: Queue, shutdown: CancellationToken) -> anyhow::Result<()> {
    let context = Context {
        records: provenance::Records::new(core.store().clone()),
        core,
        queue,
        dispatch: Dispatch::default(),
        new_worker: Arc::default(),
    };
    let mut listeners = events::spawn(&context).await?;
    let mut tasks = JoinSet::new();
    let _standing = AbortOnDropHandle::new(tokio::spawn(prewarm::announce(context.clone())));
    // A pipeline made again under an old name is another one: the order of creation tells them apart.
    let mut running: HashMap<(PipelineKey, u64), CancellationToken> = HashMap::new();
    let mut state = context.core.watch();
    let mut stream_epoch = context.queue.stream_epoch();
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
                tasks.spawn(runner::run(context.clone(), key, seq, shutdown.clone()));
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
    Ok(())
}

/// Removes consumers of pipelines that are gone, which a coordinator that died had no time to do.
async fn remove_orphaned_consumers(context: Context) {
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
            && let Err(error) = context.queue.delete_consumer(&pipeline).await
        {
            tracing::warn!(%pipeline, error = howdah_telemetry::error_chain(&error), "consumer of a deleted pipeline could not be removed");
        }
    }
}

fn update_gauges(context: &Context) {
    metrics::WORKERS.set(i64::try_from(context.core.live().workers.list().len()).unwrap_or(i64::MAX));
    let state = context.core.state();
    metrics::JOBS_OPEN.reset();
    for job in howdah_model::query::open_jobs(&state) {
        metrics::JOBS_OPEN
            .with_label_values(&[&job.key.pipeline.to_string()])
            .inc();
    }
}
