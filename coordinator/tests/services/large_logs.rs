//! Logs of many lines, of many sets, and of odd lines: what is asked for comes once and in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use howdah_api::convert::to_duration;
use howdah_api::pps_v2 as pps;
use howdah_model::{DatumId, GlobalId};
use howdah_protocol::messages::LogBatch;
use howdah_protocol::objects::{LogLine, LogObject, MasterLine, PlanId, SetResult, log_key, result_key};
use howdah_protocol::wire;
use howdah_store::backend::MemoryBackend;
use howdah_store::backend::fault::{Fault, FaultBackend, Operation};
use howdah_store::{Limits, Store};
use jiff::{SignedDuration, Timestamp};

use super::pipeline_helpers::{edges, edges_key, only_job, with_pipeline, with_pipeline_on};
use super::{Server, all, head, next};

/// Makes lines with numbers from a range; each is a little newer than the one before.
fn lines(numbers: std::ops::Range<usize>) -> Vec<LogLine> {
    let now = Timestamp::now();
    let line = |number: usize| LogLine {
        ts: now + SignedDuration::from_micros(number as i64),
        datum: Some(datum(number)),
        user: true,
        message: format!("line {number}"),
    };
    numbers.map(line).collect()
}

/// Returns one of three datums.
fn datum(number: usize) -> DatumId {
    DatumId::new([(number % 3) as u8; 32])
}

fn line_at(ts: Timestamp, message: impl Into<String>) -> LogLine {
    LogLine {
        ts,
        datum: None,
        user: true,
        message: message.into(),
    }
}

fn texts(lines: &[LogLine]) -> Vec<String> {
    lines.iter().map(|line| line.message.clone()).collect()
}

/// Stores the log of a set, as a worker does when the set is done.
async fn store(server: &Server, job: GlobalId, set: u32, worker: &str, lines: &[LogLine]) -> String {
    let object = LogObject {
        pipeline: edges_key(),
        job,
        set,
        worker: worker.into(),
        run: None,
        lines: lines.to_vec(),
        dropped: 0,
    };
    let key = log_key(&edges_key(), &job, set, worker);
    server
        .core
        .store()
        .put(&key, wire::encode(&object).into())
        .await
        .unwrap();
    key
}

/// Hands over lines of a set that runs, as the listener of the workers' messages does.
fn receive(server: &Server, job: GlobalId, set: u32, lines: &[LogLine]) {
    let batch = LogBatch {
        pipeline: edges_key(),
        job,
        set,
        worker: "w".into(),
        run: None,
        stored: false,
        lines: lines.to_vec(),
    };
    server.core.live().logs.add(edges_key().job(job), batch, true);
}

fn of_job(job: &pps::Job) -> pps::GetLogsRequest {
    pps::GetLogsRequest {
        job: Some(job.clone()),
        ..Default::default()
    }
}

/// Returns the texts of the lines that a request selects.
async fn logs(server: &Server, request: pps::GetLogsRequest) -> Vec<String> {
    let lines = server.client.pps().get_logs(request).await.unwrap().into_inner();
    all(lines).await.unwrap().into_iter().map(|line| line.message).collect()
}

/// Reads so many texts of a stream of lines.
async fn read(stream: &mut tonic::Streaming<pps::LogMessage>, number: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..number {
        texts.push(next(stream).await.unwrap().unwrap().message);
    }
    texts
}

#[tokio::test]
async fn lines_of_many_sets_come_once_and_in_order() {
    const SETS: usize = 300;
    const LINES: usize = 40;
    let server = with_pipeline().await;
    let (job, id) = only_job(&server).await;
    let written = lines(0..SETS * LINES);
    // The order in which workers finish sets does not matter.
    for (set, lines) in written.chunks(LINES).enumerate().rev() {
        store(&server, id, set as u32, "w", lines).await;
    }
    let written = texts(&written);
    assert!(logs(&server, of_job(&job)).await == written);
    for tail in [1, LINES, 1_000, 2 * written.len()] {
        let request = pps::GetLogsRequest {
            tail: tail as i64,
            ..of_job(&job)
        };
        let expected = &written[written.len().saturating_sub(tail)..];
        assert!(logs(&server, request).await == expected, "tail {tail}");
    }
    let request = pps::GetLogsRequest {
        datum: Some(pps::Datum {
            job: None,
            id: datum(1).to_string(),
        }),
        ..of_job(&job)
    };
    let expected: Vec<String> = written.into_iter().skip(1).step_by(3).collect();
    assert!(logs(&server, request.clone()).await == expected);
    let request = pps::GetLogsRequest { tail: 7, ..request };
    assert_eq!(logs(&server, request).await, expected[expected.len() - 7..]);
}

#[tokio::test]
async fn long_and_odd_lines_come_unchanged() {
    let server = with_pipeline().await;
    let (job, id) = only_job(&server).await;
    let long = 32 << 10;
    let odd = [
        String::new(),
        "\r".to_owned(),
        "\u{0}\u{1b}[31mred\u{1b}[0m".to_owned(),
        "a\ttab, \"quotes\" and a \\".to_owned(),
        "x".repeat(long),
        "\u{0}".repeat(long),
        // What binary bytes become: each is three bytes then.
        "\u{fffd}".repeat(long),
        "no line feed at the end".to_owned(),
    ];
    // With times of their own: lines of equal time and text are taken for one.
    let lines = || -> Vec<LogLine> { odd.iter().map(|text| line_at(Timestamp::now(), text)).collect() };
    store(&server, id, 0, "w", &lines()).await;
    receive(&server, id, 1, &lines());
    let request = pps::GetLogsRequest {
        follow: true,
        ..of_job(&job)
    };
    let mut followed = server.client.pps().get_logs(request).await.unwrap().into_inner();
    for source in ["stored", "pending"] {
        assert!(read(&mut followed, odd.len()).await == odd, "{source} lines differ");
    }
    receive(&server, id, 2, &lines());
    assert!(read(&mut followed, odd.len()).await == odd, "live lines differ");
}

#[tokio::test]
async fn lines_that_are_older_than_wanted_are_left_out() {
    let server = with_pipeline().await;
    let (job, id) = only_job(&server).await;
    let hours = |hours: u64| Timestamp::now() - SignedDuration::from_hours(hours as i64);
    let stored = [30, 2, 0].map(|age| line_at(hours(age), format!("stored {age}")));
    let pending = [29, 1].map(|age| line_at(hours(age), format!("pending {age}")));
    store(&server, id, 0, "w", &stored).await;
    receive(&server, id, 1, &pending);
    let since = |hours: u64| Some(to_duration(Duration::from_secs(hours * 3600 + 60)));
    let everything = ["stored 30", "pending 29", "stored 2", "pending 1", "stored 0"];
    let of_today = ["stored 2", "pending 1", "stored 0"];

    assert_eq!(logs(&server, of_job(&job)).await, everything);
    let request = pps::GetLogsRequest {
        since: since(1),
        ..of_job(&job)
    };
    assert_eq!(logs(&server, request).await, ["pending 1", "stored 0"]);
    let of_pipeline = pps::GetLogsRequest {
        pipeline: Some(edges()),
        ..Default::default()
    };
    assert_eq!(
        logs(&server, of_pipeline.clone()).await,
        of_today,
        "without an age, those of 24 hours"
    );
    let request = pps::GetLogsRequest {
        since: since(48),
        ..of_pipeline
    };
    assert_eq!(logs(&server, request).await, everything);
}

#[tokio::test]
async fn of_a_running_set_the_first_and_the_newest_lines_are_shown_and_all_when_it_is_stored() {
    const LINES: usize = 12_000;
    let server = with_pipeline().await;
    let (job, id) = only_job(&server).await;
    let mut written = lines(0..LINES);
    for line in &mut written {
        // Together three times what is kept in memory.
        line.message.push_str(&" ".repeat(1_000));
    }
    for batch in written.chunks(100) {
        receive(&server, id, 0, batch);
    }
    let expected = texts(&written);
    let shown = logs(&server, of_job(&job)).await;
    let gaps = shown.iter().filter(|text| text.contains("left out here")).count();
    assert_eq!(gaps, 3, "one for each datum");
    assert!(shown.len() > 3_000, "{} lines", shown.len());
    assert!(shown[..100] == expected[..100]);
    assert!(shown[shown.len() - 100..] == expected[LINES - 100..]);
    let request = pps::GetLogsRequest {
        tail: 5,
        ..of_job(&job)
    };
    assert!(logs(&server, request).await == expected[expected.len() - 5..]);

    // The log is stored, and the coordinator has not added the result yet: most lines are in both places.
    store(&server, id, 0, "w", &written).await;
    assert!(logs(&server, of_job(&job)).await == expected);
    server.core.live().logs.remove_set(&edges_key().job(id), 0);
    assert!(logs(&server, of_job(&job)).await == expected);
}

#[tokio::test]
async fn a_follower_gets_each_line_once_while_sets_run_and_are_stored() {
    const LINES: usize = 6_000;
    let server = with_pipeline().await;
    let (job, id) = only_job(&server).await;
    let mut written = lines(0..LINES);
    let (first, second) = written.split_at(LINES / 2);
    receive(&server, id, 0, &first[..1_000]);
    let request = pps::GetLogsRequest {
        follow: true,
        ..of_job(&job)
    };
    let mut followed = server.client.pps().get_logs(request).await.unwrap().into_inner();
    for batch in first[1_000..].chunks(100) {
        receive(&server, id, 0, batch);
        // So that the server is in the middle of sending at one of these batches.
        tokio::task::yield_now().await;
    }
    store(&server, id, 0, "w", first).await;
    server.core.live().logs.remove_set(&edges_key().job(id), 0);
    for batch in second.chunks(100) {
        receive(&server, id, 1, batch);
        tokio::task::yield_now().await;
    }
    // A line that came twice would take its place.
    let last = lines(LINES..LINES + 1);
    receive(&server, id, 2, &last);
    written.extend(last);
    assert!(read(&mut followed, LINES + 1).await == texts(&written));
}

#[tokio::test]
async fn lines_that_are_stored_while_older_ones_are_sent_come_once() {
    const LINES: usize = 768;
    let server = with_pipeline().await;
    let (_, older) = only_job(&server).await;
    server.put(&head("images", "master"), "/two", "2").await;
    let (_, running) = only_job(&server).await;
    assert_ne!(older, running);
    // More than what fits between the server and a client that does not read.
    let text = "x".repeat(16 << 10);
    let large: Vec<LogLine> = (0..LINES).map(|_| line_at(Timestamp::now(), &*text)).collect();
    store(&server, older, 0, "w", &large).await;
    let request = pps::GetLogsRequest {
        pipeline: Some(edges()),
        follow: true,
        ..Default::default()
    };
    let mut followed = server.client.pps().get_logs(request).await.unwrap().into_inner();
    // The server has not come to this job yet. Its lines are live, and stored before the server looks for them.
    let written = lines(0..500);
    receive(&server, running, 0, &written);
    store(&server, running, 0, "w", &written).await;
    server.core.live().logs.remove_set(&edges_key().job(running), 0);
    let last = lines(500..501);
    receive(&server, running, 1, &last);

    assert!(read(&mut followed, LINES).await.iter().all(|line| *line == text));
    let expected = texts(&[written, last].concat());
    assert!(read(&mut followed, expected.len()).await == expected);
}

#[tokio::test]
async fn a_slow_reader_does_not_make_the_server_read_all_logs() {
    const SETS: u32 = 80;
    const LINES: usize = 64;
    let memory = Arc::new(MemoryBackend::default());
    let backend = Arc::new(FaultBackend::new(memory, |_, _| Fault::None));
    let server = with_pipeline_on(Store::with_backend(backend.clone(), Limits::default()).await.unwrap()).await;
    let (job, id) = only_job(&server).await;
    // A mebibyte for each set.
    let text = "x".repeat(16 << 10);
    let lines: Vec<LogLine> = (0..LINES).map(|_| line_at(Timestamp::now(), &*text)).collect();
    for set in 0..SETS {
        store(&server, id, set, "w", &lines).await;
    }
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reads);
    backend.set_plan(move |operation, key| {
        if operation == Operation::Read && key.starts_with("logs/") {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Fault::None
    });
    let mut stream = server.client.pps().get_logs(of_job(&job)).await.unwrap().into_inner();
    next(&mut stream).await.unwrap().unwrap();
    let reads = reads.load(Ordering::SeqCst);
    assert!(reads <= SETS as usize / 2, "{reads} sets were read for the first line");
    assert_eq!(all(stream).await.unwrap().len(), SETS as usize * LINES - 1);
}

#[tokio::test]
async fn a_set_that_ran_twice_has_the_lines_of_the_result_that_counts() {
    let server = with_pipeline().await;
    let (job, id) = only_job(&server).await;
    store(&server, id, 0, "first", &[line_at(Timestamp::now(), "by the first")]).await;
    let second = store(&server, id, 0, "second", &[line_at(Timestamp::now(), "by the second")]).await;
    store(&server, id, 1, "first", &[line_at(Timestamp::now(), "of another set")]).await;
    let unknown = ["by the first", "by the second", "of another set"];
    assert_eq!(logs(&server, of_job(&job)).await, unknown, "no result counts yet");
    let result = SetResult {
        set: 0,
        worker: "second".into(),
        worker_version: "1".into(),
        started: Timestamp::UNIX_EPOCH,
        finished: Timestamp::UNIX_EPOCH,
        datums: Vec::new(),
        log_key: Some(second),
    };
    let key = result_key(&edges_key(), &id, PlanId::EARLIER, 0);
    server
        .core
        .store()
        .put(&key, wire::encode(&result).into())
        .await
        .unwrap();
    assert_eq!(logs(&server, of_job(&job)).await, ["by the second", "of another set"]);
}

#[tokio::test]
async fn many_master_lines_come_once_and_in_order() {
    const STORED: i64 = 400;
    const LIVE: i64 = 100;
    let server = with_pipeline().await;
    let now = Timestamp::now();
    let line = |number: i64| MasterLine {
        pipeline: edges_key(),
        ts: now + SignedDuration::from_millis(number),
        message: format!("line {number}"),
    };
    let stored = async |line: &MasterLine| {
        let bytes = wire::encode(line).into();
        server.core.store().put(&line.key(), bytes).await.unwrap();
    };
    // A pipeline of this name that was deleted.
    stored(&line(-3_600_000)).await;
    for number in (0..STORED).rev() {
        stored(&line(number)).await;
    }
    let expected: Vec<String> = (0..STORED + LIVE).map(|number| format!("line {number}")).collect();
    let request = pps::GetLogsRequest {
        pipeline: Some(edges()),
        master: true,
        ..Default::default()
    };
    assert_eq!(logs(&server, request.clone()).await, expected[..STORED as usize]);
    let tail = pps::GetLogsRequest {
        tail: 3,
        ..request.clone()
    };
    let last_three = &expected[STORED as usize - 3..STORED as usize];
    assert_eq!(logs(&server, tail.clone()).await, last_three);

    let follow = pps::GetLogsRequest { follow: true, ..tail };
    let mut followed = server.client.pps().get_logs(follow).await.unwrap().into_inner();
    assert_eq!(read(&mut followed, 3).await, last_three);
    for number in STORED..STORED + LIVE {
        let line = line(number);
        stored(&line).await;
        server.core.live().logs.add_master_line(line);
    }
    assert_eq!(read(&mut followed, LIVE as usize).await, expected[STORED as usize..]);
}
