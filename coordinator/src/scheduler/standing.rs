//! Tells workers which stages to have running before there is work for them.
//!
//! Those of every pipeline that may have work at any moment and does not scale to zero (`autoscaling`). What is said is
//! soft: workers forget it unless it is said again, so it is, and to workers that are new at once.

use std::collections::HashMap;

use howdah_model::{Pipeline, PipelineKey, PipelineState, State};
use howdah_queue::messages::{STANDING_INTERVAL, Standing, StandingStages};
use tokio::time::Instant;

use super::{Context, planner};

/// What is wanted of a pipeline: its version.
type Wanted = HashMap<PipelineKey, u64>;

/// Runs until dropped.
pub async fn announce(context: Context) {
    let mut changes = context.core.watch();
    let mut told = Wanted::new();
    let mut next = Instant::now();
    loop {
        let wanted = wanted(&changes.borrow_and_update());
        let is_time = next <= Instant::now();
        if is_time {
            next = Instant::now() + STANDING_INTERVAL;
        }
        for pipeline in told.keys().filter(|pipeline| !wanted.contains_key(*pipeline)) {
            let pipeline = pipeline.clone();
            say(&context, Standing { pipeline, stages: None }).await;
        }
        let news = wanted
            .iter()
            .filter(|(pipeline, version)| is_time || told.get(*pipeline) != Some(*version));
        for (pipeline, _) in news {
            if let Some(standing) = standing(&context, pipeline) {
                say(&context, standing).await;
            }
        }
        told = wanted;
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = context.new_worker.notified() => next = Instant::now(),
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

fn wanted(state: &State) -> Wanted {
    let standing = state.pipelines().filter(|pipeline| stands(pipeline));
    standing
        .map(|pipeline| (pipeline.key.clone(), pipeline.version()))
        .collect()
}

/// Tells whether a pipeline's stages are to run. Trouble with a job is no reason to stop them.
fn stands(pipeline: &Pipeline) -> bool {
    let version = pipeline.current();
    let can_run = matches!(pipeline.state, PipelineState::Running | PipelineState::Crashing);
    can_run && !pipeline.stopped && version.image.is_some() && !version.spec.autoscaling
}

/// Says what to run where the pipeline still wants it, spread over the workers that there are.
fn standing(context: &Context, pipeline: &PipelineKey) -> Option<Standing> {
    let state = context.core.state();
    let found = state.pipeline(pipeline).filter(|found| stands(found))?;
    let version = found.current();
    let workers = context.core.jobs().slots_for(pipeline).len().max(1) as u64;
    Some(Standing {
        pipeline: pipeline.clone(),
        stages: Some(StandingStages {
            version: version.version,
            stage: planner::stage(version, version.image.clone()?),
            slots: u32::try_from(version.spec.parallelism.div_ceil(workers)).unwrap_or(u32::MAX),
        }),
    })
}

async fn say(context: &Context, standing: Standing) {
    if let Err(error) = context.queue.keep_standing(&standing).await {
        tracing::debug!(
            pipeline = %standing.pipeline, error = crate::chain(&error),
            "workers were not told which stages to have running"
        );
    }
}
