//! Background work: keeps every pipeline's consumer, image and jobs as the state says they should be.
//!
//! ```text
//!  supervisor --one per pipeline--> image keeper   (pins the image, tells the pipeline's state)
//!             \--one per pipeline-> job runner     (drives the oldest job that can run)
//!  listeners: notices -> the runner of that job; presence, log lines -> the board
//! ```
//!
//! Everything is level-triggered: a task looks at the published state, does what is missing, and waits
//! for the next change. Repeating any of it is safe, so a restart needs no recovery of its own.

mod drive;
mod image;
mod listen;
mod runner;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use howdah_model::PipelineKey;
use howdah_queue::Queue;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::metrics;
use listen::Dispatch;

/// How often gauges are read off the state.
const GAUGE_INTERVAL: Duration = Duration::from_secs(5);

/// What every background task works with.
#[derive(Clone)]
pub(crate) struct Context {
    core: Core,
    queue: Queue,
    dispatch: Dispatch,
}

/// Runs until `shutdown`; then every task has stopped at a point from which another run continues.
pub async fn run(core: Core, queue: Queue, shutdown: CancellationToken) -> anyhow::Result<()> {
    let context = Context { core, queue, dispatch: Dispatch::default() };
    let mut listeners = listen::spawn(&context).await?;
    let mut tasks = JoinSet::new();
    let mut running: HashMap<PipelineKey, CancellationToken> = HashMap::new();
    let mut state = context.core.watch();
    let mut gauges = tokio::time::interval(GAUGE_INTERVAL);
    loop {
        let pipelines: Vec<PipelineKey> = state.borrow_and_update().pipelines().map(|pipeline| pipeline.key.clone()).collect();
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
                tasks.spawn(image::keep(context.clone(), place.key().clone(), stop.clone()));
                tasks.spawn(runner::run(context.clone(), place.key().clone(), stop.clone()));
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
            _ = gauges.tick() => update_gauges(&context),
        }
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

fn update_gauges(context: &Context) {
    metrics::WORKERS.set(i64::try_from(context.core.jobs().workers().len()).unwrap_or(i64::MAX));
    let state = context.core.state();
    metrics::JOBS_OPEN.reset();
    for job in howdah_model::query::open_jobs(&state) {
        metrics::JOBS_OPEN.with_label_values(&[&job.key.pipeline.to_string()]).inc();
    }
}
