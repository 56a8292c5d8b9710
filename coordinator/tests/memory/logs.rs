//! Logs that are much larger than memory.

use howdah_api::pps_v2 as pps;
use howdah_model::GlobalId;
use howdah_protocol::objects::{LogLine, LogObject};
use howdah_protocol::wire;
use jiff::{SignedDuration, Timestamp};

use super::{PeakMemory, Server, edges};

const SETS: usize = 48;
const LINES: usize = 1_000;
const LINE_BYTES: usize = 8 << 10;
/// Less than all logs, which have 375 MiB, and than those of two readers that hold all runs that overlap.
const LIMIT: usize = 288 << 20;

/// Returns the time of a line. Each run overlaps with several others.
fn time(set: usize, line: usize) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(set as i64) + SignedDuration::from_millis(line as i64 * 10)
}

/// Stores the log of a set as its worker does.
async fn store(server: &Server, job: GlobalId, set: usize) {
    let line = |line: usize| LogLine {
        ts: time(set, line),
        datum: None,
        user: true,
        message: format!("{set} {line} {}", "x".repeat(LINE_BYTES)),
    };
    let object = LogObject {
        pipeline: edges(),
        job,
        set: set as u32,
        worker: "w".into(),
        run: Some(time(set, 0)),
        lines: (0..LINES).map(line).collect(),
        dropped: 0,
    };
    let bytes = wire::encode(&object).into();
    server.core.store().put(&object.key(), bytes).await.unwrap();
}

/// Reads all logs of the job; fails if a line is missing or comes twice.
async fn read_all(server: &Server) {
    let request = pps::GetLogsRequest {
        job: Some(server.job()),
        ..Default::default()
    };
    let mut lines = server.client.pps().get_logs(request).await.unwrap().into_inner();
    let mut next = [0; SETS];
    while let Some(line) = lines.message().await.unwrap() {
        let mut numbers = line.message.split(' ').map(str::parse::<usize>);
        let (set, number) = (numbers.next().unwrap().unwrap(), numbers.next().unwrap().unwrap());
        assert_eq!(number, next[set], "lines of set {set} come in their order");
        next[set] += 1;
    }
    assert_eq!(next, [LINES; SETS]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_of_any_size_are_read_in_bounded_memory() {
    let server = Server::start(64 << 20).await;
    for set in 0..SETS {
        store(&server, server.job, set).await;
    }
    let memory = PeakMemory::begin();
    futures::join!(read_all(&server), read_all(&server));
    let request = pps::GetLogsRequest {
        job: Some(server.job()),
        tail: 3,
        ..Default::default()
    };
    let mut lines = server.client.pps().get_logs(request).await.unwrap().into_inner();
    for number in LINES - 3..LINES {
        let line = lines.message().await.unwrap().unwrap();
        assert!(line.message.starts_with(&format!("{} {number} ", SETS - 1)));
    }
    memory.expect_at_most(LIMIT);
}
