//! Tests of prewarm orders: stages that start before there is work.

use std::pin::pin;
use std::time::Duration;

use howdah_protocol::messages::{PrewarmOrder, PrewarmStages};
use howdah_protocol::objects::JobPlan;
use howdah_protocol::testing::{datum, plan};
use tokio::time::timeout;

use crate::fixture::{WorkerFixture, within};

/// Pause before an order is published, or a condition checked, again.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Orders the stages of a plan's pipeline in `slots` slots of each worker; `None` takes the order back.
async fn publish_order(fixture: &WorkerFixture, plan: &JobPlan, slots: Option<u32>) {
    let order = PrewarmOrder {
        pipeline: plan.pipeline.clone(),
        stages: slots.map(|slots| PrewarmStages {
            version: plan.version,
            stage: plan.stage.clone(),
            slots,
        }),
    };
    fixture.queue.publish_prewarm(&order).await.unwrap();
}

/// Publishes an order until a condition holds. An order may be lost, so the coordinator repeats it, too.
async fn publish_until(
    fixture: &WorkerFixture,
    plan: &JobPlan,
    slots: Option<u32>,
    condition: impl Fn(&WorkerFixture) -> bool,
) {
    within(async {
        while !condition(fixture) {
            publish_order(fixture, plan, slots).await;
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    })
    .await;
}

/// Returns the condition that `alive` stages run now and `started` stages were started so far.
fn counts(alive: usize, started: usize) -> impl Fn(&WorkerFixture) -> bool {
    move |fixture| (fixture.runtime.alive(), fixture.runtime.started()) == (alive, started)
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_start_before_there_is_work_and_jobs_use_them() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 3).await;
    let plan = plan("edges", 1, &["ok"]);
    publish_until(&fixture, &plan, Some(2), counts(2, 2)).await;
    fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    fixture.result(&plan, 0).await;
    assert_eq!(fixture.runtime.started(), 2, "the job did not start a stage");
    publish_until(&fixture, &plan, Some(3), counts(3, 3)).await;
    publish_until(&fixture, &plan, None, counts(0, 3)).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_replaces_the_old_one_and_work_replaces_prewarmed_stages() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 2).await;
    let first = plan("edges", 1, &["ok"]);
    publish_until(&fixture, &first, Some(9), counts(2, 2)).await;
    let second = JobPlan {
        version: 2,
        ..first.clone()
    };
    publish_until(&fixture, &second, Some(9), counts(2, 4)).await;
    let other = plan("other", 2, &["ok"]);
    fixture.start(&other, vec![vec![datum(1, vec![])]]).await;
    fixture.result(&other, 0).await;
    assert_eq!((fixture.runtime.alive(), fixture.runtime.started()), (2, 5));
    worker.stop().await;
    assert_eq!(fixture.runtime.alive(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_cannot_start_is_retried_with_the_next_order() {
    let fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let plan = plan("edges", 1, &["ok"]);
    fixture.runtime.refuse(Some("no such image"));
    publish_until(&fixture, &plan, Some(1), |fixture| fixture.runtime.refused() > 0).await;
    fixture.runtime.refuse(None);
    publish_until(&fixture, &plan, Some(1), counts(1, 1)).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_whose_order_is_taken_back_while_it_starts_frees_its_slot_at_once() {
    let fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let (begun, go_on) = fixture.runtime.hold_starts();
    let first = plan("edges", 1, &["ok"]);
    let mut starting = pin!(begun.notified());
    within(async {
        while timeout(RETRY_PAUSE, &mut starting).await.is_err() {
            publish_order(&fixture, &first, Some(1)).await;
        }
    })
    .await;
    publish_order(&fixture, &first, None).await;
    let other = plan("other", 2, &["ok"]);
    fixture.start(&other, vec![vec![datum(1, vec![])]]).await;
    within(begun.notified()).await;
    assert_eq!(fixture.runtime.started(), 0, "the only slot starts another stage");
    within(async {
        while fixture.results(&other).await == 0 || fixture.runtime.alive() > 1 {
            go_on.notify_one();
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    })
    .await;
    assert_eq!(fixture.runtime.started(), 2);
    worker.stop().await;
    assert_eq!(fixture.runtime.alive(), 0);
}
