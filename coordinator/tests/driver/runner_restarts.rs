//! What a runner does after errors of the plan, and after the coordinator has died.

use howdah_model::JobState;
use howdah_protocol::messages::{SetEvent, SetOutdated};

use crate::support::QueueRequest::{CancelPlan, Publish, Purge};
use crate::support::{World, all_idle};

#[tokio::test(start_paused = true)]
async fn a_plan_that_does_not_fit_the_results_is_made_anew() {
    let world = World::new(&["/a", "/b"]).await;
    let job = world.job();
    let _runner = world.start_runner();
    let message = world.queue.take().await;
    world.plan_is_final().await;
    world.deliver(world.run_wrong_datums(&message).await);
    world.until(&job, |job| job.restart == 1).await;
    assert!(!world.has_plan().await, "the next driver would fail on it again");
    let ended = world.work_until_over().await;
    assert_eq!((ended.state, ended.restart), (JobState::Success, 1));
    assert_eq!(ended.counts.processed, 2);
    assert_eq!(world.output_paths().await, ["/a", "/b"]);
}

#[tokio::test(start_paused = true)]
async fn results_of_a_discarded_plan_do_not_meet_the_next_one() {
    let world = World::new(&["/a", "/b"]).await;
    let job = world.job();
    let _runner = world.start_runner();
    let old = [world.queue.take().await, world.queue.take().await];
    world.plan_is_final().await;
    world.deliver(world.run_wrong_datums(&old[0]).await);
    world.until(&job, |job| job.restart == 1).await;
    // Workers that have sets of the old plan still end them: wrong results, reported and not reported.
    let late = world.run_wrong_datums(&old[0]).await;
    let _known_to_the_store_only = world.run_wrong_datums(&old[1]).await;
    let new = world.queue.take().await;
    assert_ne!(new.plan, old[0].plan);
    assert_eq!((new.set, &new.inline), (old[0].set, &old[0].inline));
    world.deliver(late);
    world.deliver(world.run(&new).await);
    let ended = world.work_until_over().await;
    assert_eq!(
        (ended.state, ended.restart),
        (JobState::Success, 1),
        "nothing was mistaken"
    );
    assert_eq!(world.output_paths().await, ["/a", "/b"]);
    // What waited was removed from the queue, and workers were told to drop the plan.
    let requests = world.queue.requests();
    let withdrawn = [Purge(job.clone()), CancelPlan(job, old[0].plan)];
    assert!(requests.windows(2).any(|pair| pair == withdrawn), "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_continues_keeps_the_plan_and_its_results() {
    let world = World::new(&["/a", "/b"]).await;
    let runner = world.start_runner();
    let message = world.queue.take().await;
    let other = world.queue.take().await;
    world.plan_is_final().await;
    runner.killed().await;
    let world = world.reopen(&[]).await;
    let _known_to_the_store_only = world.run(&message).await;
    let _runner = world.start_runner();
    let again = world.queue.take().await;
    assert_eq!((again.plan, again.set), (other.plan, other.set));
    world.deliver(world.run(&again).await);
    assert_eq!(world.work_until_over().await.state, JobState::Success);
}

#[tokio::test(start_paused = true)]
async fn a_new_coordinator_publishes_only_the_sets_without_a_result() {
    let paths = ["/a", "/b", "/c", "/d"];
    let world = World::new(&paths).await;
    let job = world.job();
    let runner = world.start_runner();
    let mut messages = Vec::new();
    for _ in &paths {
        messages.push(world.queue.take().await);
    }
    world.plan_is_final().await;
    world.deliver(world.run(&messages[0]).await);
    all_idle().await;
    let _known_to_the_store_only = world.run(&messages[1]).await;
    runner.killed().await;
    let before = world.queue.requests().len();
    let world = world.reopen(&[]).await;
    let _runner = world.start_runner();
    let ended = world.work_until_over().await;
    assert_eq!(ended.state, JobState::Success);
    assert_eq!((ended.counts.total, ended.counts.processed), (4, 4));
    assert_eq!(world.output_paths().await, paths);
    let rest = [&messages[2], &messages[3]].map(|message| Publish(job.clone(), message.set));
    assert_eq!(world.queue.requests()[before..], rest);
}

#[tokio::test(start_paused = true)]
async fn a_new_coordinator_does_not_publish_sets_that_the_queue_has() {
    let paths = ["/a", "/b", "/c"];
    let world = World::new(&paths).await;
    let job = world.job();
    let runner = world.start_runner();
    let message = world.queue.take().await;
    world.plan_is_final().await;
    let _known_to_the_store_only = world.run(&message).await;
    runner.killed().await;
    let world = world.reopen(&[]).await;
    let _runner = world.start_runner();
    all_idle().await;
    let ended = world.work_until_over().await;
    assert_eq!(ended.state, JobState::Success);
    assert_eq!((ended.counts.total, ended.counts.processed), (3, 3));
    assert_eq!(world.output_paths().await, paths);
    let once = [0, 1, 2].map(|set| Publish(job.clone(), set));
    assert_eq!(world.queue.requests(), once);
}

#[tokio::test(start_paused = true)]
async fn a_new_coordinator_publishes_sets_again_that_workers_dropped_as_those_of_an_earlier_one() {
    let paths = ["/a", "/b", "/c"];
    let world = World::new(&paths).await;
    let job = world.job();
    let runner = world.start_runner();
    let message = world.queue.take().await;
    world.plan_is_final().await;
    let _known_to_the_store_only = world.run(&message).await;
    runner.killed().await;
    let world = world.reopen(&[]).await;
    let _runner = world.start_runner();
    all_idle().await;
    let dropped = world.queue.take().await;
    let outdated = SetEvent::Outdated(SetOutdated {
        pipeline: dropped.pipeline.clone(),
        job: dropped.job,
        plan: dropped.plan,
        set: dropped.set,
    });
    world.deliver(outdated.clone());
    // Of a set that is delivered twice there are two events.
    world.deliver(outdated);
    all_idle().await;
    let ended = world.work_until_over().await;
    assert_eq!(ended.state, JobState::Success);
    assert_eq!((ended.counts.total, ended.counts.processed), (3, 3));
    assert_eq!(world.output_paths().await, paths);
    let published = [0, 1, 2, dropped.set].map(|set| Publish(job.clone(), set));
    assert_eq!(world.queue.requests(), published);
}
