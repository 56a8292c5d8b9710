//! Tests of a worker whose NATS server vanishes while it runs a set.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use howdah_protocol::messages::SetEvent;
use howdah_protocol::objects::{self, DatumOutcome, JobPlan, SetResult};
use howdah_protocol::testing::{datum, plan};
use howdah_protocol::wire;
use howdah_worker::runtime::scripted::ScriptedEnd;
use tokio::sync::Notify;

use crate::fixture::{WorkerFixture, within};

/// The command `held`: each run waits until the test lets it go on.
struct HeldCommand {
    begun: Arc<Notify>,
    go_on: Arc<Notify>,
    runs: Arc<AtomicUsize>,
}

impl HeldCommand {
    fn define(fixture: &WorkerFixture) -> Self {
        let held = Self {
            begun: Arc::default(),
            go_on: Arc::default(),
            runs: Arc::default(),
        };
        let (begun, go_on, runs) = (held.begun.clone(), held.go_on.clone(), held.runs.clone());
        fixture.runtime.define_async("held", move |_| {
            runs.fetch_add(1, Ordering::SeqCst);
            begun.notify_one();
            let go_on = Arc::clone(&go_on);
            Box::pin(async move {
                go_on.notified().await;
                ScriptedEnd {
                    stdout: "done\n".to_owned(),
                    ..ScriptedEnd::ok()
                }
            })
        });
        held
    }
}

/// Waits until a set has a result, without any message, and returns it.
async fn stored_result(fixture: &WorkerFixture, plan: &JobPlan, set: u32) -> SetResult {
    let key = objects::result_key(&plan.pipeline, &plan.job, plan.id, set);
    within(async {
        loop {
            if let Some(bytes) = fixture.store.get_opt(&key).await.unwrap() {
                return wire::decode(&bytes).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_ends_while_nats_is_gone_is_stored_at_once_and_acknowledged_later() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let held = HeldCommand::define(&fixture);
    let plan = plan("edges", 1, &["held"]);
    fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    within(held.begun.notified()).await;
    let mut stream_epoch = fixture.queue.stream_epoch();
    stream_epoch.mark_unchanged();
    fixture.server.kill();
    held.go_on.notify_one();
    let result = stored_result(&fixture, &plan, 0).await;
    assert_eq!(result.datums[0].state, DatumOutcome::Success);
    assert_eq!(fixture.log_lines(&result).await, [(true, "done".to_owned())]);

    fixture.server.restart();
    within(stream_epoch.changed()).await.unwrap();
    fixture.idle(&plan.pipeline).await;
    assert_eq!(held.runs.load(Ordering::SeqCst), 1);
    assert_eq!(stored_result(&fixture, &plan, 0).await, result);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_is_published_again_after_nats_has_lost_everything_is_not_run_again() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let held = HeldCommand::define(&fixture);
    let plan = plan("edges", 1, &["held"]);
    let mut messages = fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    within(held.begun.notified()).await;
    let mut stream_epoch = fixture.queue.stream_epoch();
    stream_epoch.mark_unchanged();
    fixture.server.kill();
    fixture.server.wipe();
    fixture.server.restart();
    within(stream_epoch.changed()).await.unwrap();
    // What the coordinator does while the worker still runs the set.
    fixture.queue.ensure_consumer(&plan.pipeline, 16).await.unwrap();
    messages[0].attempt = 1;
    fixture.queue.publish_sets(&messages).await.unwrap();
    held.go_on.notify_one();
    let result = stored_result(&fixture, &plan, 0).await;
    fixture.idle(&plan.pipeline).await;
    let event = within(fixture.events.next()).await.unwrap();
    assert!(
        matches!(&event, SetEvent::Done(done) if (done.job, done.set) == (plan.job, 0)),
        "{event:?}"
    );
    assert_eq!(held.runs.load(Ordering::SeqCst), 1);
    assert_eq!(stored_result(&fixture, &plan, 0).await, result);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stops_although_nats_is_gone() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let held = HeldCommand::define(&fixture);
    let plan = plan("edges", 1, &["held"]);
    fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    within(held.begun.notified()).await;
    fixture.server.kill();
    worker.stop().await;
    assert_eq!(fixture.runtime.alive(), 0, "its stage is stopped");
    assert_eq!(fixture.results(&plan).await, 0);
}
