//! The job driver and the job runner in process: a real command loop over a store in memory that fails on demand, a queue
//! double, a scripted worker, and a clock that jumps while nothing runs.
//!
//! Tests of the driver alone are in this file. Those of a runner, which drives the jobs itself, are in `runner_ends` (how
//! a job ends), `runner_retries` (failures and panics), `runner_restarts` (plans that do not fit, and a coordinator that
//! dies) and `runner_deletion` (the pipeline goes).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets the unexpected should stop there"
)]

mod runner_deletion;
mod runner_ends;
mod runner_restarts;
mod runner_retries;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use howdah_coordinator::job::DriveError;
use howdah_model::JobState;
use howdah_protocol::messages::SetFailure;
use howdah_store::backend::fault::Fault;
use support::World;

#[tokio::test(start_paused = true)]
async fn a_job_succeeds_with_the_results_of_all_sets() {
    let world = World::new(&["/a", "/b", "/c"]).await;
    let driver = world.drive();
    for _ in 0..3 {
        let message = world.queue.take().await;
        driver.send(world.run(&message).await);
    }
    driver.ended().await.unwrap();
    assert_eq!(world.job_state(), JobState::Success);
    assert_eq!(world.output_paths().await, ["/a", "/b", "/c"]);
}

#[tokio::test(start_paused = true)]
async fn a_result_is_found_when_its_event_is_lost() {
    let world = World::new(&["/a", "/b"]).await;
    let driver = world.drive();
    for _ in 0..2 {
        let message = world.queue.take().await;
        let _lost = world.run(&message).await;
    }
    driver.ended().await.unwrap();
    assert_eq!(world.output_paths().await, ["/a", "/b"]);
}

#[tokio::test(start_paused = true)]
async fn lost_events_and_lost_sets_are_found_while_the_plan_is_being_made() {
    let world = World::new(&["/a", "/b"]).await;
    let work = async {
        let lost = world.queue.take().await;
        let message = world.queue.take().await;
        let _lost_event = world.run(&message).await;
        world.until_progress(|progress| progress.counts.processed == 1).await;
        let again = world.queue.take().await;
        assert_eq!((again.plan, again.set), (lost.plan, lost.set));
        let _lost_event = world.run(&again).await;
        world.until_progress(|progress| progress.counts.processed == 2).await;
    };
    tokio::select! {
        () = work => {}
        () = world.plan_without_end() => unreachable!("planning never ends"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_is_found_while_workers_report_failures_all_the_time() {
    let world = World::new(&["/a", "/b"]).await;
    let driver = world.drive();
    let failing = world.queue.take().await;
    let message = world.queue.take().await;
    let _lost = world.run(&message).await;
    let reports = async {
        loop {
            driver.send(world.fail(&failing, SetFailure::Outage));
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::select! {
        () = reports => {}
        () = world.until_progress(|progress| progress.counts.processed == 1) => {}
    }
    // So is a set whose message is lost.
    let again = world.queue.take().await;
    assert_eq!(again.set, failing.set);
    driver.send(world.run(&again).await);
    driver.ended().await.unwrap();
    assert_eq!(world.output_paths().await, ["/a", "/b"]);
}

#[tokio::test(start_paused = true)]
async fn a_set_is_published_again_when_its_message_is_lost() {
    let world = World::new(&["/a", "/b"]).await;
    let driver = world.drive();
    let lost = world.queue.take().await;
    let message = world.queue.take().await;
    driver.send(world.run(&message).await);
    let again = world.queue.take().await;
    assert_eq!(again.set, lost.set);
    assert_ne!(
        again.message_id(),
        lost.message_id(),
        "the server must not drop it as a duplicate"
    );
    driver.send(world.run(&again).await);
    driver.ended().await.unwrap();
    assert_eq!(world.output_paths().await, ["/a", "/b"]);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_is_reported_twice_counts_once() {
    let world = World::new(&["/a", "/b"]).await;
    let driver = world.drive();
    let first = world.queue.take().await;
    let event = world.run(&first).await;
    driver.send(event.clone());
    driver.send(event);
    let second = world.queue.take().await;
    driver.send(world.run(&second).await);
    driver.ended().await.unwrap();
    assert_eq!(world.processed(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_second_driver_continues_from_what_the_first_has_stored() {
    let world = World::new(&["/a", "/b"]).await;
    let first = world.drive();
    let message = world.queue.take().await;
    let _known_to_the_store_only = world.run(&message).await;
    let left = world.queue.take().await;
    world.plan_is_final().await;
    drop(first);
    let second = world.drive();
    let again = world.queue.take().await;
    assert_eq!(again.set, left.set, "only the set without a result");
    second.send(world.run(&again).await);
    second.ended().await.unwrap();
    assert_eq!(world.output_paths().await, ["/a", "/b"]);
}

#[tokio::test(start_paused = true)]
async fn a_result_about_other_datums_invalidates_the_plan() {
    let world = World::new(&["/a", "/b"]).await;
    let driver = world.drive();
    let message = world.queue.take().await;
    driver.send(world.run_wrong_datums(&message).await);
    let error = driver.ended().await.unwrap_err();
    assert!(matches!(error, DriveError::Mismatch(_)), "{error:?}");
    assert!(error.invalidates_plan());
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_cannot_be_reached_while_planning_gets_the_sets_later() {
    let world = World::new(&["/a", "/b"]).await;
    world.queue.fail(true);
    let driver = world.drive();
    world.plan_is_final().await;
    assert!(
        driver.ended().await.is_err(),
        "publishing again fails as well, so the job is driven again"
    );
    world.queue.fail(false);
    let driver = world.drive();
    for _ in 0..2 {
        let message = world.queue.take().await;
        driver.send(world.run(&message).await);
    }
    driver.ended().await.unwrap();
    assert_eq!(world.job_state(), JobState::Success);
}

#[tokio::test(start_paused = true)]
async fn sets_and_events_may_come_in_any_order_and_more_than_once() {
    let world = World::new(&["/a", "/b", "/c"]).await;
    let driver = world.drive();
    let mut messages = Vec::new();
    for _ in 0..3 {
        messages.push(world.queue.take().await);
    }
    let mut events = Vec::new();
    for message in messages.iter().rev().chain(&messages) {
        events.push(world.run(message).await);
    }
    for event in events {
        driver.send(event);
    }
    driver.ended().await.unwrap();
    assert_eq!(world.output_paths().await, ["/a", "/b", "/c"]);
    assert_eq!(world.processed(), 3);
}

#[tokio::test(start_paused = true)]
async fn sets_are_published_again_when_the_queue_has_lost_everything() {
    let world = World::new(&["/a", "/b", "/c"]).await;
    let driver = world.drive();
    let first = world.queue.take().await;
    driver.send(world.run(&first).await);
    world.plan_is_final().await;
    world.queue.lose_everything();
    for _ in 0..2 {
        let message = world.queue.take().await;
        assert_ne!(message.set, first.set, "it has a result");
        driver.send(world.run(&message).await);
    }
    driver.ended().await.unwrap();
    assert_eq!(world.output_paths().await, ["/a", "/b", "/c"]);
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_was_not_final_is_made_again_with_the_same_sets() {
    let (world, faults) = World::with_faults(&["/a", "/b"]).await;
    faults.set_plan(|_, key| match key.ends_with("-merge") {
        true => Fault::Before,
        false => Fault::None,
    });
    let driver = world.drive();
    let mut published = Vec::new();
    for _ in 0..2 {
        published.push(world.queue.take().await);
    }
    assert!(
        driver.ended().await.is_err(),
        "what makes the plan final cannot be stored"
    );
    // A worker has finished one set of the plan that was lost.
    let _known_to_the_store_only = world.run(&published[0]).await;
    faults.set_plan(|_, _| Fault::None);
    let driver = world.drive();
    for before in &published {
        let message = world.queue.take().await;
        assert_eq!((message.set, &message.inline), (before.set, &before.inline));
        driver.send(world.run(&message).await);
    }
    driver.ended().await.unwrap();
    assert_eq!(world.output_paths().await, ["/a", "/b"]);
    assert_eq!(world.processed(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_failed_request_to_the_store_does_not_change_the_outcome() {
    let paths = ["/a", "/b", "/c"];
    let requests = Arc::new(AtomicUsize::new(0));
    let (world, faults) = World::with_faults(&paths).await;
    let counted = Arc::clone(&requests);
    faults.set_plan(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        Fault::None
    });
    world.run_to_the_end().await;
    let requests = requests.load(Ordering::SeqCst);
    assert!(requests > 10, "only {requests} requests were made");
    for fault in [Fault::Before, Fault::After] {
        for failing in 0..requests {
            let (world, faults) = World::with_faults(&paths).await;
            let mut number = 0;
            faults.set_plan(move |_, _| {
                number += 1;
                if number == failing + 1 { fault } else { Fault::None }
            });
            world.run_to_the_end().await;
            let case = format!("request {failing} fails: {fault:?}");
            assert_eq!(world.job_state(), JobState::Success, "{case}");
            assert_eq!(world.output_paths().await, paths, "{case}");
            assert_eq!(world.processed(), 3, "{case}");
        }
    }
}
