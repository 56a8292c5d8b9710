//! Which pipelines are served, and taking their sets while there is room.
//!
//! One task per pipeline keeps at most one request with the server, and only while a slot is free that
//! runs the pipeline's stage, or may start it: starts are few at a time, so that sets go to slots that are
//! warm already, on this worker or another, instead of waiting for a start of their own. Nor while a set that is here
//! has datums left for a free slot. Requests of several pipelines may stand for one free slot; what arrives too much is
//! handed back at once, for another worker or for later.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use howdah_model::names::PipelineKey;
use howdah_queue::{DatumPuller, Delivery, PullError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::context::Kit;
use crate::execute::slot_thread;
use crate::intake::delivery;
use crate::slots::Lent;
use howdah_telemetry::error_chain;

/// How often the list of pipelines is read although nobody said that it changed.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// How long a pipeline must have been missing from the list until its running sets are stopped.
/// Right after NATS has lost everything all are missing, and each comes back within moments.
const GONE_PATIENCE: Duration = Duration::from_secs(10);
/// Pause after an error of the queue.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves pipelines until told to stop; running sets are left to `sets`.
pub(crate) async fn serve(kit: &Arc<Kit>, stop: &CancellationToken, sets: &TaskTracker) {
    let mut wake_ups = loop {
        match kit.queue.wake_ups().await {
            Ok(wake_ups) => break wake_ups,
            Err(error) => {
                tracing::warn!(error = %error_chain(&error), "cannot listen for pipelines yet");
                if pause(stop).await {
                    return;
                }
            }
        }
    };
    let mut stream_epoch = kit.queue.stream_epoch();
    let mut missing = Missing::default();
    let mut served: HashMap<PipelineKey, (CancellationToken, tokio::task::JoinHandle<()>)> = HashMap::new();
    while !stop.is_cancelled() {
        match kit.queue.served_pipelines().await {
            Ok(listed) => {
                let wanted: HashSet<PipelineKey> = listed.into_iter().filter(|pipeline| kit.serves(pipeline)).collect();
                let gone: Vec<PipelineKey> = served.keys().filter(|p| !wanted.contains(*p)).cloned().collect();
                for pipeline in gone {
                    if let Some((token, _)) = served.remove(&pipeline) {
                        tracing::info!(%pipeline, "no longer served");
                        token.cancel();
                        kit.pool.stop_pipeline(&pipeline).await;
                    }
                }
                for pipeline in missing.overdue(kit.tickets.pipelines(), &wanted, Instant::now()) {
                    tracing::info!(%pipeline, "deleted, as it seems: stopping its datum sets");
                    kit.tickets.retire(&pipeline);
                }
                for pipeline in wanted {
                    if served.get(&pipeline).is_some_and(|(_, task)| !task.is_finished()) {
                        continue;
                    }
                    tracing::debug!(%pipeline, "served");
                    let token = stop.child_token();
                    let puller = pull(Arc::clone(kit), pipeline.clone(), token.clone(), sets.clone());
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
    // Each hands back what reached it too late.
    for (_, (_, task)) in served {
        if let Err(error) = task.await {
            tracing::warn!(%error, "a puller ended badly");
        }
    }
}

/// Since when pipelines with running sets have been missing from the list. Whoever deletes one also
/// tells the workers to stop, but that message may be lost.
#[derive(Default)]
struct Missing(HashMap<PipelineKey, Instant>);

impl Missing {
    /// Returns those of the running pipelines that have been missing for too long.
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
            now.duration_since(since) >= GONE_PATIENCE
        });
        running
    }
}

/// Takes sets of one pipeline until told to stop, or until it has no consumer.
async fn pull(kit: Arc<Kit>, pipeline: PipelineKey, stop: CancellationToken, sets: TaskTracker) {
    let mut puller = match kit.queue.datums(&pipeline).await {
        Ok(puller) => puller,
        Err(error) => {
            tracing::warn!(%pipeline, error = %error_chain(&error), "not served for now");
            pause(&stop).await;
            return;
        }
    };
    let mut room = kit.pool.changes();
    let mut stream_epoch = kit.queue.stream_epoch();
    while !stop.is_cancelled() {
        // No room: only hand back what an earlier request still brings.
        room.mark_unchanged();
        if !kit.pool.wants_set(&pipeline) {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = room.changed() => {}
                late = puller.arrived() => take(&kit, late, &sets).await,
            }
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            _ = stream_epoch.changed() => puller.reset(),
            _ = room.changed() => {}
            next = puller.next() => match next {
                Err(PullError::NoConsumer { .. } | PullError::Closed) => {
                    pause(&stop).await;
                    return;
                }
                Err(PullError::Stalled { .. }) => {
                    tracing::warn!(%pipeline, "NATS holds sets back, making its stream anew");
                    if let Err(error) = kit.queue.rebuild_streams().await {
                        tracing::warn!(error = %error_chain(&error), "stream not made");
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
                delivery => take(&kit, delivery, &sets).await,
            },
        }
    }
    drain(&mut puller).await;
}

/// Begins a set if there is room for it, else hands it back.
async fn take(kit: &Arc<Kit>, arrived: Result<Delivery, PullError>, sets: &TaskTracker) {
    let Ok(delivery) = arrived else { return };
    let key = (delivery.set.pipeline.clone(), delivery.set.version);
    let Some(slot) = kit.pool.take(&key) else {
        return delivery::hand_back(&delivery, None).await;
    };
    let kit = Arc::clone(kit);
    let lent = Lent::new(Arc::clone(&kit.pool), slot);
    sets.spawn(async move {
        let work = slot_thread::run(move || async move { delivery::handle(&kit, delivery, lent).await });
        if let Err(error) = work.await {
            // The set goes to somebody else when its time is up.
            tracing::error!(%error, "no thread can be started for a datum set");
        }
    });
}

/// Hands back what is already here when the worker stops serving a pipeline.
async fn drain(puller: &mut DatumPuller) {
    while let Ok(Ok(delivery)) = tokio::time::timeout(Duration::from_millis(1), puller.arrived()).await {
        delivery::hand_back(&delivery, None).await;
    }
}

/// Waits a moment; `true` if it is time to stop.
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
    fn sets_are_stopped_only_when_their_pipeline_stays_away() {
        let set = |names: &[&str]| -> HashSet<PipelineKey> { names.iter().map(|n| n.parse().unwrap()).collect() };
        let running = set(&["default/a", "default/b"]);
        let (all, only_b) = (running.clone(), set(&["default/b"]));
        let start = Instant::now();
        let mut missing = Missing::default();
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
