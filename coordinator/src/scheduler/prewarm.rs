//! Orders workers to have stages running before there is work for them.
//!
//! This concerns every pipeline that may have work at any moment and does not scale to zero (`autoscaling`). Prewarm
//! orders expire at the worker, so they are sent again every [`PREWARM_INTERVAL`]. When a worker connects, they are
//! sent at most one [`PRESENCE_INTERVAL`] later. This delay lets other workers that start with it connect too, so that
//! each worker gets its share of the slots.

use std::collections::HashMap;

use howdah_model::{Pipeline, PipelineKey, PipelineState, State};
use howdah_protocol::messages::{PRESENCE_INTERVAL, PREWARM_INTERVAL, PrewarmOrder, PrewarmStages};
use tokio::time::Instant;

use super::context::SchedulerContext;
use crate::job::stage_spec::stage_spec;
use crate::live::LiveWorkers;

/// Pipelines to prewarm, each with its order of creation and its version. A change of either needs a new order at once.
type PrewarmTargets = HashMap<PipelineKey, (u64, u64)>;

/// Sends prewarm orders until dropped.
pub(super) async fn announce(context: SchedulerContext) {
    let mut changes = context.core.watch();
    let mut announced = PrewarmTargets::new();
    let mut next_round = Instant::now();
    loop {
        let state = changes.borrow_and_update().clone();
        let targets = targets(&state);
        let is_time = next_round <= Instant::now();
        if is_time {
            next_round = Instant::now() + PREWARM_INTERVAL;
        }
        for pipeline in announced.keys().filter(|pipeline| !targets.contains_key(*pipeline)) {
            let pipeline = pipeline.clone();
            publish(&context, PrewarmOrder { pipeline, stages: None }).await;
        }
        let due = targets
            .iter()
            .filter(|(pipeline, version)| is_time || announced.get(*pipeline) != Some(*version));
        for (pipeline, _) in due {
            if let Some(order) = order(&context.core.live().workers, &state, pipeline) {
                publish(&context, order).await;
            }
        }
        announced = targets;
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = context.new_worker.notified() => next_round = next_round.min(Instant::now() + PRESENCE_INTERVAL),
            () = tokio::time::sleep_until(next_round) => {}
        }
    }
}

fn targets(state: &State) -> PrewarmTargets {
    let pipelines = state.pipelines().filter(|pipeline| needs_prewarm(pipeline));
    pipelines
        .map(|pipeline| (pipeline.key.clone(), (pipeline.seq, pipeline.version())))
        .collect()
}

/// Tells whether a pipeline's stages are to run. A crashing pipeline keeps them: its next job may succeed.
fn needs_prewarm(pipeline: &Pipeline) -> bool {
    let version = pipeline.current();
    let can_run = matches!(pipeline.state, PipelineState::Running | PipelineState::Crashing);
    can_run && !pipeline.stopped && version.image.is_some() && !version.spec.autoscaling
}

/// Returns the order for a pipeline, with the share of each worker; `None` if no worker serves the pipeline.
fn order(workers: &LiveWorkers, state: &State, pipeline: &PipelineKey) -> Option<PrewarmOrder> {
    let version = state.pipeline(pipeline)?.current();
    let workers = workers.slots_for(pipeline).len() as u64;
    if workers == 0 {
        return None;
    }
    Some(PrewarmOrder {
        pipeline: pipeline.clone(),
        stages: Some(PrewarmStages {
            version: version.version,
            // Without the environment of the spec: all workers get it, and a start does not need it.
            stage: stage_spec(version, version.image.clone()?).for_start(),
            slots: u32::try_from(version.spec.parallelism.div_ceil(workers)).unwrap_or(u32::MAX),
        }),
    })
}

async fn publish(context: &SchedulerContext, order: PrewarmOrder) {
    context.lease.hold().await;
    if let Err(error) = context.queue.publish_prewarm(&order).await {
        tracing::debug!(
            pipeline = %order.pipeline, error = howdah_telemetry::error_chain(&error),
            "prewarm order could not be sent to workers"
        );
    }
}

#[cfg(test)]
mod tests {
    use howdah_model::{Command, Content, Envelope, ImagePin, decide};
    use howdah_spec::{Input, PfsInput, PipelineSpec};
    use jiff::Timestamp;

    use super::*;
    use crate::fresh_id::fresh_id;
    use crate::live::{WORKER_TIMEOUT, test_heartbeat};

    fn decided(state: &State, command: Command) -> State {
        let envelope = Envelope {
            at: Timestamp::UNIX_EPOCH,
            id: fresh_id(),
            command,
        };
        decide(state, &envelope).unwrap().state
    }

    /// Returns a state with one pipeline whose image is pinned.
    fn state_of(pipeline: &PipelineKey, parallelism: u64) -> State {
        let repo = Command::CreateRepo {
            repo: "default/images".parse().unwrap(),
            description: String::new(),
            update: false,
        };
        let mut spec = PipelineSpec {
            parallelism,
            input: Some(Input::Pfs(PfsInput {
                project: "default".to_owned(),
                name: "images".to_owned(),
                repo: "images".to_owned(),
                branch: "master".to_owned(),
                glob: "/*".to_owned(),
                ..PfsInput::default()
            })),
            ..PipelineSpec::default()
        };
        spec.pipeline.project = pipeline.project.to_string();
        spec.pipeline.name = pipeline.name.to_string();
        spec.transform.image = "example/edges:1".to_owned();
        spec.transform.cmd = vec!["run".to_owned()];
        let create = Command::CreatePipeline {
            spec: Box::new(spec),
            user_json: "{}".to_owned(),
            effective_json: "{}".to_owned(),
            update: false,
            reprocess: false,
            salt: "salt".to_owned(),
            spec_content: Content::EMPTY,
        };
        let pin = Command::PinImage {
            pipeline: pipeline.clone(),
            version: 1,
            pin: ImagePin {
                reference: "example/edges:1".to_owned(),
                digest: "sha256:abc".to_owned(),
            },
        };
        [repo, create, pin]
            .into_iter()
            .fold(State::new(), |state, command| decided(&state, command))
    }

    #[test]
    fn the_share_of_a_worker_grows_when_another_one_vanishes() {
        let pipeline: PipelineKey = "default/edges".parse().unwrap();
        let state = state_of(&pipeline, 6);
        let workers = LiveWorkers::default();
        let share = || Some(order(&workers, &state, &pipeline)?.stages?.slots);
        assert_eq!(share(), None, "no worker can take an order");
        workers.record_heartbeat(test_heartbeat("a", 8));
        assert_eq!(share(), Some(6));
        workers.record_heartbeat(test_heartbeat("b", 8));
        assert_eq!(share(), Some(3));
        workers.silence("a", WORKER_TIMEOUT);
        assert_eq!(share(), Some(6));
        workers.record_heartbeat(test_heartbeat("a", 8));
        assert_eq!(share(), Some(3));
    }
}
