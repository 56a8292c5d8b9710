//! Lines of datum sets that ran several times, at the same time, or for jobs that are gone.

use howdah_api::pps_v2 as pps;
use howdah_model::{Command, GlobalId};
use howdah_protocol::messages::LogBatch;
use howdah_protocol::objects::{LogLine, LogObject};
use howdah_protocol::wire;
use jiff::{SignedDuration, Timestamp};
use tonic::Code;

use super::pipeline_helpers::{edges_key, only_job, with_pipeline};
use super::{Server, all, next};

/// Returns a moment of the test, in seconds.
fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(500_000) + SignedDuration::from_secs(seconds)
}

/// Makes the log of a run that began at a second and wrote lines at others.
fn run_of(job: GlobalId, set: u32, worker: &str, begin: i64, seconds: &[i64]) -> LogObject {
    let line = |second: &i64| LogLine {
        ts: at(*second),
        datum: None,
        user: true,
        message: format!("{worker} {second}"),
    };
    LogObject {
        pipeline: edges_key(),
        job,
        set,
        worker: worker.into(),
        run: Some(at(begin)),
        lines: seconds.iter().map(line).collect(),
        dropped: 0,
    }
}

async fn store(server: &Server, log: &LogObject) {
    let bytes = wire::encode(log).into();
    server.core.store().put(&log.key(), bytes).await.unwrap();
}

fn receive(server: &Server, log: LogObject, stored: bool) {
    let job = edges_key().job(log.job);
    let batch = LogBatch {
        pipeline: log.pipeline,
        job: log.job,
        set: log.set,
        worker: log.worker,
        run: log.run,
        stored,
        lines: log.lines,
    };
    server.core.live().logs.add(job, batch, true);
}

fn of_job(job: &pps::Job) -> pps::GetLogsRequest {
    pps::GetLogsRequest {
        job: Some(job.clone()),
        ..Default::default()
    }
}

async fn logs(server: &Server, request: pps::GetLogsRequest) -> Vec<String> {
    let lines = server.client.pps().get_logs(request).await.unwrap().into_inner();
    all(lines).await.unwrap().into_iter().map(|line| line.message).collect()
}

#[tokio::test]
async fn every_run_of_a_set_keeps_its_lines() {
    let server = with_pipeline().await;
    let (job, id) = only_job(&server).await;
    // Stopped on one worker, lost with another, done by the first.
    store(&server, &run_of(id, 0, "a", 1, &[1, 2])).await;
    receive(&server, run_of(id, 0, "b", 3, &[3, 4]), false);
    store(&server, &run_of(id, 0, "a", 5, &[5, 6])).await;
    let expected = ["a 1", "a 2", "b 3", "b 4", "a 5", "a 6"];
    assert_eq!(logs(&server, of_job(&job)).await, expected);
    // The lost worker starts again and stores what it had written.
    store(&server, &run_of(id, 0, "b", 3, &[3, 4])).await;
    assert_eq!(
        logs(&server, of_job(&job)).await,
        expected,
        "both copies are of one run"
    );
    receive(&server, run_of(id, 0, "b", 3, &[]), true);
    assert_eq!(logs(&server, of_job(&job)).await, expected);
    // What the coordinator has stored of a worker that comes back, and what came since.
    receive(&server, run_of(id, 0, "b", 3, &[4, 7]), false);
    assert_eq!(logs(&server, of_job(&job)).await, [&expected[..], &["b 7"]].concat());
}

#[tokio::test]
async fn lines_of_sets_that_ran_at_the_same_time_come_in_the_order_of_their_times() {
    let server = with_pipeline().await;
    let (job, id) = only_job(&server).await;
    // The order of the sets is not that of the times.
    store(&server, &run_of(id, 2, "a", 0, &[1, 4, 9])).await;
    store(&server, &run_of(id, 0, "b", 2, &[2, 8, 10])).await;
    store(&server, &run_of(id, 1, "c", 20, &[21])).await;
    receive(&server, run_of(id, 3, "d", 2, &[3, 22]), false);
    let expected = ["a 1", "b 2", "d 3", "a 4", "b 8", "a 9", "b 10", "c 21", "d 22"];
    assert_eq!(logs(&server, of_job(&job)).await, expected);
    for tail in 1..=expected.len() {
        let request = pps::GetLogsRequest {
            tail: tail as i64,
            ..of_job(&job)
        };
        assert_eq!(logs(&server, request).await, expected[expected.len() - tail..]);
    }
}

#[tokio::test]
async fn a_follower_gets_the_lines_of_each_run_once() {
    let server = with_pipeline().await;
    let (job, id) = only_job(&server).await;
    let now = Timestamp::now().as_second() - at(0).as_second();
    store(&server, &run_of(id, 0, "a", now, &[now, now + 1])).await;
    receive(&server, run_of(id, 1, "b", now, &[now + 2]), false);
    let request = pps::GetLogsRequest {
        follow: true,
        ..of_job(&job)
    };
    let mut followed = server.client.pps().get_logs(request).await.unwrap().into_inner();
    let mut text = async || next(&mut followed).await.unwrap().unwrap().message;
    for second in 0..3 {
        assert!(text().await.ends_with(&(now + second).to_string()));
    }
    // A worker sends the lines of a short run after it has stored them.
    receive(&server, run_of(id, 0, "a", now, &[now, now + 1]), true);
    receive(&server, run_of(id, 1, "b", now, &[now + 2, now + 3]), true);
    receive(&server, run_of(id, 2, "c", now, &[now]), true);
    assert_eq!(text().await, format!("b {}", now + 3));
    assert_eq!(text().await, format!("c {now}"));
}

#[tokio::test]
async fn the_lines_of_a_deleted_job_can_be_read_and_an_unknown_job_is_refused() {
    let server = with_pipeline().await;
    let (job, id) = only_job(&server).await;
    store(&server, &run_of(id, 0, "a", 1, &[1, 2])).await;
    let delete = Command::DeleteJob {
        job: edges_key().job(id),
    };
    server.core.submit(delete).await.unwrap();
    assert_eq!(logs(&server, of_job(&job)).await, ["a 1", "a 2"]);
    let unknown = pps::Job {
        id: GlobalId::from_number(9).to_string(),
        ..job
    };
    let refused = server.client.pps().get_logs(of_job(&unknown)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}
