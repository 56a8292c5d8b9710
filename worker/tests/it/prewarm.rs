//! Stages that run before there is work, and stay when there is none.

use std::pin::pin;
use std::time::Duration;

use howdah_protocol::messages::{PrewarmOrder, PrewarmStages};
use howdah_protocol::objects::JobPlan;

use tokio::time::timeout;

use crate::fixture::{World, datum, plan, within};

/// How long to wait before something is said, or looked at, again.
const SOON: Duration = Duration::from_millis(10);

/// Says what is to run of a plan's pipeline in each worker.
async fn say(world: &World, plan: &JobPlan, slots: Option<u32>) {
    let standing = PrewarmOrder {
        pipeline: plan.pipeline.clone(),
        stages: slots.map(|slots| PrewarmStages {
            version: plan.version,
            stage: plan.stage.clone(),
            slots,
        }),
    };
    world.queue.publish_prewarm(&standing).await.unwrap();
}

/// Says it until something is so, as the coordinator does: whatever is said may be lost.
async fn say_until(world: &World, plan: &JobPlan, slots: Option<u32>, is_so: impl Fn(&World) -> bool) {
    within(async {
        while !is_so(world) {
            say(world, plan, slots).await;
            tokio::time::sleep(SOON).await;
        }
    })
    .await;
}

/// So many stages are alive, and so many were started.
fn counts(alive: usize, started: usize) -> impl Fn(&World) -> bool {
    move |world| (world.runtime.alive(), world.runtime.started()) == (alive, started)
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_run_before_there_is_work_and_jobs_find_them() {
    let mut world = World::new().await;
    let worker = world.worker("w", 3).await;
    let plan = plan("edges", 1, &["ok"]);
    say_until(&world, &plan, Some(2), counts(2, 2)).await;
    world.start(&plan, vec![vec![datum(1, vec![])]]).await;
    world.result(&plan, 0).await;
    assert_eq!(world.runtime.started(), 2, "none was started for the job");
    say_until(&world, &plan, Some(3), counts(3, 3)).await;
    say_until(&world, &plan, None, counts(0, 3)).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_takes_the_place_of_the_old_and_work_that_of_what_only_stands() {
    let mut world = World::new().await;
    let worker = world.worker("w", 2).await;
    let first = plan("edges", 1, &["ok"]);
    say_until(&world, &first, Some(9), counts(2, 2)).await;
    let second = JobPlan {
        version: 2,
        ..first.clone()
    };
    say_until(&world, &second, Some(9), counts(2, 4)).await;
    let other = plan("other", 2, &["ok"]);
    world.start(&other, vec![vec![datum(1, vec![])]]).await;
    world.result(&other, 0).await;
    assert_eq!((world.runtime.alive(), world.runtime.started()), (2, 5));
    worker.stop().await;
    assert_eq!(world.runtime.alive(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_cannot_start_is_tried_again_with_the_next_order() {
    let world = World::new().await;
    let worker = world.worker("w", 1).await;
    let plan = plan("edges", 1, &["ok"]);
    world.runtime.refuse(Some("no such image"));
    say_until(&world, &plan, Some(1), |world| world.runtime.refused() > 0).await;
    world.runtime.refuse(None);
    say_until(&world, &plan, Some(1), counts(1, 1)).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_whose_order_is_taken_back_while_it_starts_gives_its_slot_back_at_once() {
    let world = World::new().await;
    let worker = world.worker("w", 1).await;
    let (begun, go_on) = world.runtime.hold_starts();
    let first = plan("edges", 1, &["ok"]);
    let mut starting = pin!(begun.notified());
    within(async {
        while timeout(SOON, &mut starting).await.is_err() {
            say(&world, &first, Some(1)).await;
        }
    })
    .await;
    say(&world, &first, None).await;
    let other = plan("other", 2, &["ok"]);
    world.start(&other, vec![vec![datum(1, vec![])]]).await;
    within(begun.notified()).await;
    assert_eq!(world.runtime.started(), 0, "the only slot starts another stage");
    within(async {
        while world.results(&other).await == 0 || world.runtime.alive() > 1 {
            go_on.notify_one();
            tokio::time::sleep(SOON).await;
        }
    })
    .await;
    assert_eq!(world.runtime.started(), 2);
    worker.stop().await;
    assert_eq!(world.runtime.alive(), 0);
}
