//! How a job ends under a runner: by itself, at its time limit, by a stop, because of a failed input; and what a shutdown
//! leaves of it.

use std::time::Duration;

use howdah_model::{Command, Event, JobState};
use howdah_spec::Input;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::support::QueueRequest::{Cancel, Publish, Purge};
use crate::support::{World, all_idle};

/// Time limit of the jobs that have one.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_job_that_exceeds_its_timeout_is_killed_and_the_next_one_runs() {
    let world = World::with_spec(&["/a", "/b"], |spec| spec.job_timeout = Some(LIMIT)).await;
    let first = world.job();
    world.write_commit(&["/a", "/c"]).await;
    let second = world.job();
    let start = Instant::now();
    let _runner = world.start_runner();
    let killed = world.until(&first, |job| job.state.is_final()).await;
    // The limit counts from the logged start, by the clock of the machine, which is not paused.
    assert!(
        (LIMIT / 2..LIMIT * 2).contains(&start.elapsed()),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(killed.state, JobState::Killed);
    assert_eq!(&*killed.reason, "job timed out: it ran longer than job_timeout (60 s)");
    // The worker comes only now: before, it would have done the sets of the first job.
    world.queue.asked(&Cancel(first.clone())).await;
    assert_eq!(world.work_until_over().await.state, JobState::Success);
    assert_eq!(world.output_paths().await, ["/a", "/c"]);
    assert_eq!(
        world.queue.requests(),
        [
            Publish(first.clone(), 0),
            Publish(first.clone(), 1),
            Purge(first.clone()),
            Cancel(first),
            Publish(second.clone(), 0),
            Publish(second, 1),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_without_a_timeout_may_wait_for_days() {
    const TWO_DAYS: Duration = Duration::from_secs(48 * 3600);
    let world = World::new(&["/a"]).await;
    let job = world.job();
    let _runner = world.start_runner();
    tokio::time::sleep(TWO_DAYS).await;
    assert_eq!(world.job_state(), JobState::Running);
    assert_eq!(world.work_until_over().await.state, JobState::Success);
    assert_eq!(world.queue.requests(), [Publish(job, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_stopped_is_purged_and_then_cancelled() {
    let world = World::new(&["/a", "/b"]).await;
    let job = world.job();
    let _runner = world.start_runner();
    world.plan_is_final().await;
    let stop = Command::StopJob {
        job: job.clone(),
        reason: "not needed".to_owned(),
    };
    world.submit(stop).await;
    world.queue.asked(&Cancel(job.clone())).await;
    assert_eq!(
        world.queue.requests(),
        [
            Publish(job.clone(), 0),
            Publish(job.clone(), 1),
            Purge(job.clone()),
            Cancel(job),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_that_its_driver_ends_is_not_cancelled() {
    let world = World::with_spec(&["/a"], |spec| spec.job_timeout = Some(LIMIT)).await;
    let succeeded = world.job();
    let _runner = world.start_runner();
    assert_eq!(world.work_until_over().await.state, JobState::Success);
    world.write_commit(&["/b"]).await;
    let failed = world.job();
    let message = world.queue.take().await;
    world.deliver(world.run_failing(&message).await);
    let ended = world.until(&failed, |job| job.state.is_final()).await;
    assert_eq!(ended.state, JobState::Failure);
    // Nor when their time limit is over.
    tokio::time::sleep(LIMIT * 2).await;
    assert_eq!(world.queue.requests(), [Publish(succeeded, 0), Publish(failed, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_job_with_a_failed_input_is_unrunnable_and_never_driven() {
    let world = World::new(&["/a"]).await;
    let first = world.job();
    let input = world.start_commit().await;
    // The command that fails a commit also ends the jobs that wait for it. Here it is the runner that finds the job.
    let failure = Event::CommitFinished {
        commit: input.clone(),
        description: None,
        error: Some("damaged".to_owned()),
        at: Timestamp::now(),
    };
    let world = world.reopen(&[failure]).await;
    let _runner = world.start_runner();
    let ended = world.work_until_over().await;
    assert_eq!(ended.state, JobState::Unrunnable);
    assert_eq!(
        *ended.reason,
        *format!("unrunnable because these input commits failed: {input}")
    );
    assert_eq!(world.queue.requests(), [Publish(first, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_input_fails_while_it_waits_lets_the_next_one_run() {
    let world = World::new(&["/a"]).await;
    let first = world.job();
    let _runner = world.start_runner();
    world.work_until_over().await;
    let input = world.start_commit().await;
    let waiting = world.job();
    let fail = Command::FinishCommit {
        commit: input.clone(),
        description: String::new(),
        error: Some("damaged".to_owned()),
        force: false,
    };
    world.submit(fail).await;
    let ended = world.until(&waiting, |job| job.state.is_final()).await;
    assert_eq!(ended.state, JobState::Unrunnable);
    assert!(ended.reason.contains(&input.to_string()), "{}", ended.reason);
    world.write_commit(&["/b"]).await;
    let next = world.job();
    assert_eq!(world.work_until_over().await.state, JobState::Success);
    assert_eq!(world.queue.requests(), [Publish(first, 0), Publish(next, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_the_runner_at_once_and_cancels_nothing() {
    let world = World::new(&["/a", "/b"]).await;
    let job = world.job();
    let runner = world.start_runner();
    world.plan_is_final().await;
    let start = Instant::now();
    runner.shut_down();
    runner.ended().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(world.job_state(), JobState::Running);
    let published = [Publish(job.clone(), 0), Publish(job, 1)];
    assert_eq!(world.queue.requests(), published);
    let _next = world.start_runner();
    all_idle().await;
    assert_eq!(world.work_until_over().await.state, JobState::Success);
    assert_eq!(world.queue.requests(), published, "the queue still had the sets");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_the_pause_after_a_failure() {
    let world = World::new(&["/a", "/b"]).await;
    world.queue.fail(true);
    let runner = world.start_runner();
    world.until_tried(5).await;
    let start = Instant::now();
    runner.shut_down();
    runner.ended().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_job_is_not_cancelled_when_the_command_loop_ends() {
    const A_DAY: Duration = Duration::from_secs(24 * 3600);
    let mut world = World::new(&["/a", "/b"]).await;
    let job = world.job();
    let _runner = world.start_runner();
    world.plan_is_final().await;
    world.end_command_loop().await;
    tokio::time::sleep(A_DAY).await;
    assert_eq!(world.queue.requests(), [Publish(job.clone(), 0), Publish(job, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_glob_that_takes_too_many_steps_fails_the_job_with_a_reason() {
    let costly = format!("/{}", "a".repeat(250));
    let world = World::with_spec(&["/0", &costly], |spec| {
        let Some(Input::Pfs(pfs)) = &mut spec.input else {
            unreachable!()
        };
        // Finds the first file, and takes too many steps for the second.
        pfs.glob = format!("/{{0,{}b}}", "!(*a*a)".repeat(150));
    })
    .await;
    let job = world.job();
    let _runner = world.start_runner();
    let ended = world.until(&job, |job| job.state.is_final()).await;
    assert_eq!(ended.state, JobState::Failure);
    assert!(ended.reason.contains("takes too many steps"), "{}", ended.reason);
    let requests = world.queue.requests();
    let sets_removed = [Cancel(job.clone()), Purge(job)];
    assert!(requests.ends_with(&sets_removed), "{requests:?}");
}
