//! How a runner tries a job again, what it shows of that, and when it gives up.

use std::time::Duration;

use howdah_model::{Job, JobState, PipelineState};
use howdah_protocol::messages::SetFailure;
use howdah_store::backend::fault::Fault;
use tokio::time::Instant;

use crate::support::QueueRequest::{Cancel, Publish, Purge};
use crate::support::{World, all_idle};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_job_is_tried_again_after_growing_pauses_until_the_failure_is_gone() {
    let world = World::new(&["/a", "/b"]).await;
    let job = world.job();
    world.queue.fail(true);
    let _runner = world.start_runner();
    let mut tries = Vec::new();
    for number in 1..=9 {
        world.until_tried(number).await;
        tries.push(Instant::now());
    }
    // One record for all tries.
    world.until(&job, |job| job.restart == 1).await;
    let pauses = tries.windows(2).map(|pair| (pair[1] - pair[0]).as_millis());
    for (pause, longest) in pauses.zip([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
        let near = longest * 3 / 4 - 20..=longest + 50;
        assert!(near.contains(&pause), "{pause} ms, not {near:?}");
    }
    let shown = world.retry_text();
    assert!(
        shown.starts_with("tried 9 times, last error: the queue failed: "),
        "{shown}"
    );
    assert!(shown.contains(", next try in "), "{shown}");
    world.queue.fail(false);
    let ended = world.work_until_over().await;
    assert_eq!(
        (ended.state, ended.restart),
        (JobState::Success, 1),
        "one record for all tries"
    );
    assert_eq!(&*ended.reason, "");
    assert_eq!(world.output_paths().await, ["/a", "/b"]);
    assert_eq!(world.processed(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_pauses_begin_anew_after_a_success() {
    let world = World::new(&["/a"]).await;
    world.queue.fail(true);
    let _runner = world.start_runner();
    world.until_tried(4).await;
    world.queue.fail(false);
    assert_eq!(world.work_until_over().await.state, JobState::Success);
    world.queue.fail(true);
    world.write_commit(&["/a", "/b"]).await;
    world.until_tried(1).await;
    let start = Instant::now();
    world.until_tried(2).await;
    assert!(start.elapsed() < Duration::from_millis(600), "{:?}", start.elapsed());
    world.queue.fail(false);
    assert_eq!(world.work_until_over().await.state, JobState::Success);
    assert_eq!(world.output_paths().await, ["/a", "/b"]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_queue_fails_a_job_only_after_a_day() {
    let world = World::new(&["/a"]).await;
    let job = world.job();
    world.queue.fail(true);
    let _runner = world.start_runner();
    tokio::time::sleep(23 * HOUR).await;
    assert!(!world.job_state().is_final());
    tokio::time::sleep(2 * HOUR).await;
    let ended = world.until(&job, |job| job.state.is_final()).await;
    assert_eq!(ended.state, JobState::Failure);
    assert!(
        ended.reason.starts_with("gave up after waiting for 864"),
        "{}",
        ended.reason
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_queue_during_a_job_is_shown_and_survived() {
    let world = World::new(&["/a", "/b"]).await;
    let _runner = world.start_runner();
    world.plan_is_final().await;
    world.queue.fail(true);
    world.until_tried(3).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.job_state(), JobState::Running);
    world.queue.fail(false);
    world.until_progress(|progress| progress.retry.is_none()).await;
    assert_eq!(world.work_until_over().await.state, JobState::Success);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_whole_store_is_survived() {
    let (world, faults) = World::with_faults(&["/a", "/b"]).await;
    let _runner = world.start_runner();
    world.plan_is_final().await;
    faults.set_plan(|_, _| Fault::Before);
    let message = world.queue.take().await;
    world.deliver(world.run(&message).await);
    world.until_tried(5).await;
    tokio::time::sleep(HOUR).await;
    assert!(!world.job_state().is_final());
    faults.set_plan(|_, _| Fault::None);
    let ended = world.work_until_over().await;
    assert_eq!(ended.state, JobState::Success);
    assert_eq!(world.output_paths().await, ["/a", "/b"]);
}

#[tokio::test(start_paused = true)]
async fn output_that_cannot_be_stored_ends_the_job_with_the_reason() {
    let (world, faults) = World::with_faults(&["/a"]).await;
    let job = world.job();
    faults.set_plan(|_, key| match key.starts_with("provenance/") {
        true => Fault::Before,
        false => Fault::None,
    });
    let _runner = world.start_runner();
    let start = Instant::now();
    let ended = world.work_until_over().await;
    assert_eq!(ended.state, JobState::Failure);
    assert!(ended.reason.starts_with("gave up, tried 1"), "{}", ended.reason);
    assert!(
        ended.reason.contains("cannot write object provenance/"),
        "{}",
        ended.reason
    );
    assert_eq!(ended.counts.processed, 1, "what is known of the datums is kept");
    assert!(start.elapsed() < Duration::from_secs(300), "{:?}", start.elapsed());
    // Sets that run again somewhere are stopped, and the next job runs.
    world.queue.asked(&Cancel(job)).await;
    faults.set_plan(|_, _| Fault::None);
    world.write_commit(&["/b"]).await;
    assert_eq!(world.work_until_over().await.state, JobState::Success);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_input_ends_the_job_at_once_and_names_the_object() {
    let world = World::new(&["/a", "/b"]).await;
    let damaged = world.damage_nodes().await;
    let world = world.reopen(&[]).await;
    let job = world.job();
    let _runner = world.start_runner();
    let start = Instant::now();
    let ended = world.until(&job, |job| job.state.is_final()).await;
    assert_eq!(ended.state, JobState::Failure);
    let named = damaged.iter().any(|key| ended.reason.contains(key));
    assert!(named && ended.reason.contains("corrupt"), "{}", ended.reason);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_set_that_workers_cannot_run_is_shown_and_ends_the_job_after_its_tries() {
    let world = World::new(&["/a", "/b"]).await;
    let job = world.job();
    let _runner = world.start_runner();
    let failing = world.queue.take().await;
    let other = world.queue.take().await;
    world.plan_is_final().await;
    for tries in 1..=9 {
        world.deliver(world.fail(&failing, SetFailure::Passing));
        world.until_tried(tries).await;
    }
    let shown = world.retry_text();
    assert_eq!(shown, "tried 9 times, last error: refused, next try in 30 s");
    world.deliver(world.run(&other).await);
    world.until_progress(|progress| progress.counts.processed == 1).await;
    world.deliver(world.fail(&failing, SetFailure::Passing));
    let ended = ended(&world, &job).await;
    assert_eq!(ended.state, JobState::Failure);
    assert_eq!(
        &*ended.reason,
        "datum set 0: gave up, tried 10 times, last error: refused"
    );
    assert_eq!(ended.counts.processed, 1);
    let asked = [
        Publish(job.clone(), 0),
        Publish(job.clone(), 1),
        Purge(job.clone()),
        Cancel(job),
    ];
    world.queue.asked(&asked[3]).await;
    assert_eq!(world.queue.requests(), asked);
}

#[tokio::test(start_paused = true)]
async fn damage_that_a_worker_finds_ends_the_job_at_once() {
    let world = World::new(&["/a"]).await;
    let job = world.job();
    let _runner = world.start_runner();
    let message = world.queue.take().await;
    world.plan_is_final().await;
    world.deliver(world.fail(&message, SetFailure::Damage));
    let ended = ended(&world, &job).await;
    assert_eq!(
        (ended.state, &*ended.reason),
        (JobState::Failure, "datum set 0: refused")
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_a_worker_meets_is_waited_for() {
    let world = World::new(&["/a"]).await;
    let _runner = world.start_runner();
    let message = world.queue.take().await;
    world.plan_is_final().await;
    for tries in 1..=50 {
        world.deliver(world.fail(&message, SetFailure::Outage));
        world.until_tried(tries).await;
    }
    world.deliver(world.run(&message).await);
    assert_eq!(ended(&world, &world.job()).await.state, JobState::Success);
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_workers_cannot_use_is_made_anew() {
    let world = World::new(&["/a", "/b"]).await;
    let job = world.job();
    let _runner = world.start_runner();
    let message = world.queue.take().await;
    world.plan_is_final().await;
    world.deliver(world.fail(&message, SetFailure::Plan));
    world.until(&job, |job| job.restart == 1).await;
    let ended = world.work_until_over().await;
    assert_eq!((ended.state, ended.restart), (JobState::Success, 1));
    assert_eq!(world.output_paths().await, ["/a", "/b"]);
}

#[tokio::test(start_paused = true)]
async fn results_that_never_fit_end_the_job() {
    let world = World::new(&["/a"]).await;
    let job = world.job();
    let _runner = world.start_runner();
    let wrong = async {
        loop {
            let message = world.queue.take().await;
            world.deliver(world.run_wrong_datums(&message).await);
        }
    };
    let ended = tokio::select! {
        () = wrong => unreachable!("it never ends"),
        ended = world.until(&job, |job| job.state.is_final()) => ended,
    };
    assert_eq!(ended.state, JobState::Failure);
    assert!(ended.reason.contains("gave up, tried 10 times"), "{}", ended.reason);
}

#[tokio::test(start_paused = true)]
async fn a_panic_shows_in_the_state_of_the_pipeline_until_a_job_gets_ahead() {
    let world = World::new(&["/a"]).await;
    world.queue.panic(true);
    let _runner = world.start_runner();
    world.until_tried(3).await;
    let (state, reason) = world.pipeline_state();
    assert_eq!(state, PipelineState::Crashing);
    assert!(
        reason.contains("internal error") && reason.contains("the queue double panics"),
        "{reason}"
    );
    world.queue.panic(false);
    assert_eq!(world.work_until_over().await.state, JobState::Success);
    all_idle().await;
    assert_eq!(world.pipeline_state().0, PipelineState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_always_panics_ends_its_job_and_the_next_one_runs() {
    let world = World::new(&["/a"]).await;
    let job = world.job();
    world.queue.panic(true);
    let _runner = world.start_runner();
    let ended = ended(&world, &job).await;
    assert_eq!(ended.state, JobState::Failure);
    assert!(ended.reason.contains("internal error"), "{}", ended.reason);
    assert_eq!(world.pipeline_state().0, PipelineState::Crashing);
    world.queue.panic(false);
    world.write_commit(&["/b"]).await;
    assert_eq!(world.work_until_over().await.state, JobState::Success);
    all_idle().await;
    assert_eq!(world.pipeline_state().0, PipelineState::Running);
}

async fn ended(world: &World, job: &howdah_model::JobKey) -> std::sync::Arc<Job> {
    world.until(job, |job| job.state.is_final()).await
}
