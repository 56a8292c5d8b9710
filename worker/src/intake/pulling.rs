//! Serving pipelines: pulling their datum sets while slots are free.
//!
//! [`serve`] keeps one task per served pipeline. Each task has at most one pull request open. It sends a request only
//! while
//!
//! - a slot is idle that runs the pipeline's stage, or that may start it. Only a few stages start at a time, so that
//!   sets go to slots whose stage already runs, on this worker or another, instead of waiting for a start; and
//! - no running set of the pipeline has datums that wait for a free slot.
//!
//! Several pipelines may have a pull request outstanding for one free slot; surplus deliveries are nak'ed at once.
//!
//! Errors of the queue are retried after [`PAUSE`]. A delivered set runs on a task of its own (`delivery`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use howdah_model::names::PipelineKey;
use howdah_queue::{DatumPuller, Delivery, PullError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::execute::slot_thread;
use crate::intake::delivery;
use crate::intake::intake_state::IntakeState;
use crate::slots::slot_guard::SlotGuard;
use howdah_telemetry::error_chain;

/// How often the list of pipelines is read without a wake-up.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// How long a pipeline must be missing from the list before its running sets are stopped. After NATS has lost its
/// state, all pipelines are missing for a few moments.
const MISSING_LIMIT: Duration = Duration::from_secs(10);
/// Pause after an error of the queue.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves pipelines until `stop` is cancelled. Tasks of running sets are tracked in `sets` and not awaited here.
pub(crate) async fn serve(intake: &Arc<IntakeState>, stop: &CancellationToken, sets: &TaskTracker) {
    let context = &intake.context;
    let mut wake_ups = loop {
        match context.queue.wake_ups().await {
            Ok(wake_ups) => break wake_ups,
            Err(error) => {
                tracing::warn!(error = %error_chain(&error), "cannot subscribe to wake-ups yet");
                if pause(stop).await {
                    return;
                }
            }
        }
    };
    let mut stream_epoch = context.queue.stream_epoch();
    let mut missing = MissingPipelines::default();
    let mut served: HashMap<PipelineKey, (CancellationToken, tokio::task::JoinHandle<()>)> = HashMap::new();
    while !stop.is_cancelled() {
        match context.queue.served_pipelines().await {
            Ok(listed) => {
                let listed: HashSet<PipelineKey> =
                    listed.into_iter().filter(|pipeline| intake.serves(pipeline)).collect();
                let removed: Vec<PipelineKey> = served.keys().filter(|p| !listed.contains(*p)).cloned().collect();
                for pipeline in removed {
                    if let Some((token, _)) = served.remove(&pipeline) {
                        tracing::info!(%pipeline, "pipeline no longer served");
                        token.cancel();
                        context.pool.stop_pipeline(&pipeline).await;
                    }
                }
                for pipeline in missing.overdue(intake.running_sets.pipelines(), &listed, Instant::now()) {
                    tracing::info!(%pipeline, "pipeline probably deleted: stopping its datum sets");
                    intake.running_sets.stop_pipeline(&pipeline);
                }
                for pipeline in listed {
                    if served.get(&pipeline).is_some_and(|(_, task)| !task.is_finished()) {
                        continue;
                    }
                    tracing::debug!(%pipeline, "pipeline served");
                    let token = stop.child_token();
                    let puller = pull(Arc::clone(intake), pipeline.clone(), token.clone(), sets.clone());
                    served.insert(pipeline, (token, tokio::spawn(puller)));
                }
            }
            Err(error) => {
                tracing::debug!(error = %error_chain(&error), "pipelines not listed");
                if pause(stop).await {
                    break;
                }
                continue;
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            _ = wake_ups.next() => {}
            _ = stream_epoch.changed() => {}
            () = tokio::time::sleep(LIST_EVERY) => {}
        }
    }
    // Awaited, so that each hands back the deliveries that are still on their way to it before the connection closes.
    for (_, (_, task)) in served {
        if let Err(error) = task.await {
            tracing::warn!(%error, "the pulling task of a pipeline panicked");
        }
    }
}

/// Since when each pipeline that has running sets has been missing from the list.
///
/// Deleting a pipeline also sends an order to stop its jobs; this covers the loss of that order.
#[derive(Default)]
struct MissingPipelines(HashMap<PipelineKey, Instant>);

impl MissingPipelines {
    /// Returns the running pipelines that have been missing for [`MISSING_LIMIT`].
    fn overdue(
        &mut self,
        mut running: HashSet<PipelineKey>,
        listed: &HashSet<PipelineKey>,
        now: Instant,
    ) -> HashSet<PipelineKey> {
        running.retain(|pipeline| !listed.contains(pipeline));
        self.0.retain(|pipeline, _| running.contains(pipeline));
        running.retain(|pipeline| {
            let since = *self.0.entry(pipeline.clone()).or_insert(now);
            now.duration_since(since) >= MISSING_LIMIT
        });
        running
    }
}

/// Pulls sets of one pipeline until `stop` is cancelled or the pipeline has no consumer.
async fn pull(intake: Arc<IntakeState>, pipeline: PipelineKey, stop: CancellationToken, sets: TaskTracker) {
    let context = &intake.context;
    let mut puller = match context.queue.datums(&pipeline).await {
        Ok(puller) => puller,
        Err(error) => {
            tracing::warn!(%pipeline, error = %error_chain(&error), "cannot pull datum sets yet");
            pause(&stop).await;
            return;
        }
    };
    let mut pool_changes = context.pool.changes();
    let mut stream_epoch = context.queue.stream_epoch();
    while !stop.is_cancelled() {
        // Marked before the pool is asked: a change in between wakes the select below instead of being lost.
        pool_changes.mark_unchanged();
        if !context.pool.wants_set(&pipeline) {
            // No new request. An earlier one may still deliver; such a set is begun or handed back at once, or it would
            // be held until its acknowledgement deadline.
            tokio::select! {
                () = stop.cancelled() => {}
                _ = pool_changes.changed() => {}
                late = puller.arrived() => begin(&intake, late, &sets).await,
            }
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            _ = stream_epoch.changed() => puller.reset(),
            _ = pool_changes.changed() => {}
            next = puller.next() => match next {
                Err(PullError::NoConsumer { .. } | PullError::Closed) => {
                    pause(&stop).await;
                    return;
                }
                Err(PullError::Stalled(report)) => {
                    tracing::warn!(%pipeline, "NATS withholds datum sets: asking the coordinator to recreate the stream");
                    if let Err(error) = context.queue.report_stalled(&report).await {
                        tracing::warn!(error = %error_chain(&error), "the coordinator was not asked");
                    }
                    pause(&stop).await;
                }
                Err(error @ PullError::Unreadable { .. }) => {
                    tracing::error!(%pipeline, "{}", error_chain(&error));
                }
                Err(error) => {
                    tracing::debug!(%pipeline, error = %error_chain(&error), "pull failed");
                    pause(&stop).await;
                }
                delivery => begin(&intake, delivery, &sets).await,
            },
        }
    }
    drain(&mut puller).await;
}

/// Begins a delivered set if a slot is free, else hands it back.
async fn begin(intake: &Arc<IntakeState>, delivery: Result<Delivery, PullError>, sets: &TaskTracker) {
    let Ok(delivery) = delivery else { return };
    let pool = &intake.context.pool;
    let key = (delivery.set.pipeline.clone(), delivery.set.version);
    let Some(slot) = pool.take(&key) else {
        return delivery::hand_back(&delivery, None).await;
    };
    // In a guard before the task starts: the slot returns to the pool even if the task never runs.
    let slot = SlotGuard::new(Arc::clone(pool), slot);
    let intake = Arc::clone(intake);
    sets.spawn(async move {
        let work = slot_thread::run(move || async move { delivery::handle(&intake, delivery, slot).await });
        if let Err(error) = work.await {
            // The set is redelivered when its acknowledgement deadline passes.
            tracing::error!(%error, "cannot start a thread for a datum set");
        }
    });
}

/// Hands back the deliveries that have already arrived when the worker stops serving a pipeline.
async fn drain(puller: &mut DatumPuller) {
    while let Ok(Ok(delivery)) = tokio::time::timeout(Duration::from_millis(1), puller.arrived()).await {
        delivery::hand_back(&delivery, None).await;
    }
}

/// Waits for [`PAUSE`]; returns `true` if `stop` is cancelled meanwhile.
async fn pause(stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => true,
        () = tokio::time::sleep(PAUSE) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_stopped_only_when_their_pipeline_stays_missing() {
        let set = |names: &[&str]| -> HashSet<PipelineKey> { names.iter().map(|n| n.parse().unwrap()).collect() };
        let running = set(&["default/a", "default/b"]);
        let (all, only_b) = (running.clone(), set(&["default/b"]));
        let start = Instant::now();
        let mut missing = MissingPipelines::default();
        let mut at = |seconds, listed: &HashSet<PipelineKey>| {
            missing.overdue(running.clone(), listed, start + Duration::from_secs(seconds))
        };
        assert_eq!(at(0, &only_b), set(&[]));
        assert_eq!(at(9, &only_b), set(&[]));
        assert_eq!(at(10, &only_b), set(&["default/a"]));
        assert_eq!(at(11, &all), set(&[]));
        assert_eq!(at(12, &only_b), set(&[]), "it had come back");
        assert_eq!(at(13, &set(&[])), set(&[]));
        assert_eq!(at(23, &set(&[])), set(&["default/a", "default/b"]));
    }
}
