//! Stages that run before there is work, and stay when there is none.

use std::time::Duration;

use howdah_queue::job::JobPlan;
use howdah_queue::messages::{Standing, StandingStages};

use crate::world::{World, datum, plan, within};

/// Says what is to run of a plan's pipeline in each worker, until something is so.
async fn say_until(world: &World, plan: &JobPlan, slots: Option<u32>, is_so: impl Fn(&World) -> bool) {
    let standing = Standing {
        pipeline: plan.pipeline.clone(),
        stages: slots.map(|slots| StandingStages {
            version: plan.version,
            stage: plan.stage.clone(),
            slots,
        }),
    };
    within(async {
        while !is_so(world) {
            // As the coordinator does: whatever is said may be lost.
            world.queue.keep_standing(&standing).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
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
    say_until(&world, &plan, Some(3), counts(3, 3)).await;
    assert_eq!(world.runtime.started(), 3, "one more, none for the job");
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
    // There is no slot without a stage: nothing that runs is stopped for what only stands.
    say_until(&world, &other, Some(9), counts(2, 5)).await;
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
