//! What a runner does when its pipeline is deleted.

use howdah_model::JobState;

use crate::support::QueueRequest::{Cancel, Publish, Purge, RemoveConsumer};
use crate::support::World;

#[tokio::test(start_paused = true)]
async fn a_deleted_pipeline_loses_its_job_then_its_consumer_then_its_runner() {
    let world = World::new(&["/a", "/b"]).await;
    let job = world.job();
    let runner = world.start_runner();
    world.plan_is_final().await;
    world.delete_pipeline().await;
    runner.ended().await;
    assert_eq!(
        world.queue.requests(),
        [
            Publish(job.clone(), 0),
            Publish(job.clone(), 1),
            Purge(job.clone()),
            Cancel(job.clone()),
            RemoveConsumer(job.pipeline),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_runner_of_a_deleted_pipeline_touches_nothing_of_a_new_one_with_its_name() {
    let world = World::new(&["/a", "/b"]).await;
    let old = world.job();
    let runner = world.start_runner();
    world.plan_is_final().await;
    world.replace_pipeline().await;
    runner.ended().await;
    let of_old_job = [
        Publish(old.clone(), 0),
        Publish(old.clone(), 1),
        Purge(old.clone()),
        Cancel(old.clone()),
    ];
    assert_eq!(world.queue.requests(), of_old_job);
    let new = world.job();
    assert_ne!(new, old);
    assert_eq!(world.job_state(), JobState::Created);
    let _runner = world.start_runner();
    assert_eq!(world.work_until_over().await.state, JobState::Success);
    assert_eq!(world.output_paths().await, ["/a", "/b"]);
    let of_new_job = [Publish(new.clone(), 0), Publish(new, 1)];
    assert_eq!(world.queue.requests()[of_old_job.len()..], of_new_job);
}
