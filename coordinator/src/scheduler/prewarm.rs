//! Tells workers which stages to have running before there is work for them.
//!
//! Those of every pipeline that may have work at any moment and does not scale to zero (`autoscaling`). What is said is
//! soft: workers forget it unless it is said again, so it is; and when a worker is new, as soon as all are known that
//! came with it, since each is told its share.

use std::collections::HashMap;

use howdah_model::{Pipeline, PipelineKey, PipelineState, State};
use howdah_protocol::messages::{PRESENCE_INTERVAL, PREWARM_INTERVAL, PrewarmOrder, PrewarmStages};
use tokio::time::Instant;

use super::Context;
use crate::job::planner;

/// What is wanted of a pipeline: its order of creation, and its version.
type Wanted = HashMap<PipelineKey, (u64, u64)>;

/// Runs until dropped.
pub async fn announce(context: Context) {
    let mut changes = context.core.watch();
    let mut told = Wanted::new();
    let mut next = Instant::now();
    loop {
        let state = changes.borrow_and_update().clone();
        let wanted = wanted(&state);
        let is_time = next <= Instant::now();
        if is_time {
            next = Instant::now() + PREWARM_INTERVAL;
        }
        for pipeline in told.keys().filter(|pipeline| !wanted.contains_key(*pipeline)) {
            let pipeline = pipeline.clone();
            say(&context, PrewarmOrder { pipeline, stages: None }).await;
        }
        let news = wanted
            .iter()
            .filter(|(pipeline, version)| is_time || told.get(*pipeline) != Some(*version));
        for (pipeline, _) in news {
            if let Some(standing) = standing(&context, &state, pipeline) {
                say(&context, standing).await;
            }
        }
        told = wanted;
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = context.new_worker.notified() => next = next.min(Instant::now() + PRESENCE_INTERVAL),
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

fn wanted(state: &State) -> Wanted {
    let standing = state.pipelines().filter(|pipeline| stands(pipeline));
    standing
        .map(|pipeline| (pipeline.key.clone(), (pipeline.seq, pipeline.version())))
        .collect()
}

/// Tells whether a pipeline's stages are to run. Trouble with a job is no reason to stop them.
fn stands(pipeline: &Pipeline) -> bool {
    let version = pipeline.current();
    let can_run = matches!(pipeline.state, PipelineState::Running | PipelineState::Crashing);
    can_run && !pipeline.stopped && version.image.is_some() && !version.spec.autoscaling
}

/// Says what to run of a pipeline, if some worker serves it: to each its share.
fn standing(context: &Context, state: &State, pipeline: &PipelineKey) -> Option<PrewarmOrder> {
    let version = state.pipeline(pipeline)?.current();
    let workers = context.core.live().workers.slots_for(pipeline).len() as u64;
    if workers == 0 {
        return None;
    }
    Some(PrewarmOrder {
        pipeline: pipeline.clone(),
        stages: Some(PrewarmStages {
            version: version.version,
            stage: planner::stage(version, version.image.clone()?),
            slots: u32::try_from(version.spec.parallelism.div_ceil(workers)).unwrap_or(u32::MAX),
        }),
    })
}

async fn say(context: &Context, standing: PrewarmOrder) {
    if let Err(error) = context.queue.publish_prewarm(&standing).await {
        tracing::debug!(
            pipeline = %standing.pipeline, error = howdah_telemetry::error_chain(&error),
            "workers were not told which stages to have running"
        );
    }
}
