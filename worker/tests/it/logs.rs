//! Tests of the log lines that a worker stores and sends.

use howdah_model::ids::DatumId;
use howdah_protocol::objects::{JobPlan, LogLine, LogObject};
use howdah_protocol::testing::{datum, plan};
use howdah_protocol::wire;
use howdah_worker::runtime::scripted::ScriptedEnd;

use crate::fixture::{WorkerFixture, within};

/// Returns the logs of all runs of a job, in the order of their keys.
async fn logs(fixture: &WorkerFixture, plan: &JobPlan) -> Vec<LogObject> {
    let prefix = format!("logs/{}/{}/{}/", plan.pipeline.project, plan.pipeline.name, plan.job);
    let mut logs = Vec::new();
    for object in fixture.store.list(&prefix).await.unwrap() {
        let log: LogObject = wire::decode(&fixture.store.get(&object.key).await.unwrap()).unwrap();
        assert_eq!(log.key(), object.key);
        logs.push(log);
    }
    logs
}

/// Waits until a job has so many logs.
async fn wait_for_logs(fixture: &WorkerFixture, plan: &JobPlan, count: usize) -> Vec<LogObject> {
    within(async {
        loop {
            let logs = logs(fixture, plan).await;
            if logs.len() >= count {
                return logs;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await
}

fn user_lines(log: &LogObject) -> Vec<&str> {
    let user = log.lines.iter().filter(|line| line.user);
    user.map(|line| line.message.as_str()).collect()
}

/// Defines the command `talk`, which prints a line and runs until it is cancelled; its later runs end.
fn define_talk(fixture: &WorkerFixture) {
    let runs = std::sync::atomic::AtomicUsize::new(0);
    fixture.runtime.define("talk", move |_| {
        let run = runs.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        ScriptedEnd {
            code: (run > 0).then_some(0),
            stdout: format!("run {run}\n"),
            ..ScriptedEnd::default()
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_long_log_each_datum_keeps_its_first_and_its_last_lines() {
    const LINES: usize = 30_000;
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    fixture.runtime.define("talk-or-flood", |call| {
        if call.var("in").unwrap().ends_with("flood") {
            ScriptedEnd {
                stdout: (0..LINES).map(|number| format!("{number:01000}\n")).collect(),
                stderr: "last words\n".to_owned(),
                ..ScriptedEnd::exit(3)
            }
        } else {
            ScriptedEnd {
                stdout: "quiet\n".to_owned(),
                ..ScriptedEnd::ok()
            }
        }
    });
    let mut plan = plan("edges", 1, &["talk-or-flood"]);
    plan.stage.datum_tries = 1;
    let root = fixture
        .commit(&[("/a", vec![1]), ("/flood", vec![2]), ("/z", vec![3])])
        .await;
    let mut datums = Vec::new();
    for (number, path) in (1..).zip(["/a", "/flood", "/z"]) {
        datums.push(datum(number, vec![fixture.input("in", root, path).await]));
    }
    let ids: Vec<DatumId> = datums.iter().map(|datum| datum.id).collect();
    fixture.start(&plan, vec![datums]).await;
    let result = fixture.result(&plan, 0).await;
    let stored = fixture.store.get(result.log_key.as_ref().unwrap()).await.unwrap();
    let log: LogObject = wire::decode(&stored).unwrap();
    assert!(log.lines.is_sorted_by(|a, b| a.ts < b.ts));
    let of = |datum: DatumId, user: bool| -> Vec<&LogLine> {
        let lines = log
            .lines
            .iter()
            .filter(|line| line.datum == Some(datum) && line.user == user);
        lines.collect()
    };
    for quiet in [ids[0], ids[2]] {
        let lines = of(quiet, true);
        assert_eq!((lines.len(), lines[0].message.as_str()), (1, "quiet"));
    }
    let flood = of(ids[1], true);
    assert!(flood[0].message.ends_with("0000") && flood[1].message.ends_with("0001"));
    assert_eq!(flood[flood.len() - 1].message, "last words");
    assert!(flood[flood.len() - 2].message.ends_with(&(LINES - 1).to_string()));
    let gaps: Vec<_> = flood
        .iter()
        .filter(|line| line.message.contains("left out here"))
        .collect();
    assert_eq!(gaps.len(), 1);
    assert!(
        gaps[0].message.contains(&log.dropped.to_string()),
        "{}",
        gaps[0].message
    );
    assert_eq!(flood.len() as u64 - 1 + log.dropped, LINES as u64 + 1);
    let own = of(ids[1], false);
    assert!(own[0].message.starts_with("try 1 of 1 failed"), "{}", own[0].message);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_cancelled_job_are_stored() {
    let fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    define_talk(&fixture);
    let mut followed = fixture.queue.logs(None).await.unwrap();
    let plan = plan("edges", 1, &["talk"]);
    fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    let shown = within(followed.next()).await.unwrap();
    assert!(!shown.stored);
    fixture.cancel(&plan).await;
    fixture.idle(&plan.pipeline).await;
    let logs = logs(&fixture, &plan).await;
    assert_eq!(logs[0].key(), shown.log_key());
    assert_eq!(user_lines(&logs[0]), ["run 0"]);
    let last = &logs[0].lines[logs[0].lines.len() - 1];
    assert!(!last.user && last.message.contains("its job was stopped"), "{last:?}");
    // The coordinator is told that it need not keep the lines.
    let told = within(followed.next()).await.unwrap();
    assert_eq!((told.stored, told.log_key()), (true, shown.log_key()));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_set_that_is_handed_back_are_stored_beside_those_of_its_next_run() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    define_talk(&fixture);
    let mut followed = fixture.queue.logs(None).await.unwrap();
    let plan = plan("edges", 1, &["talk"]);
    fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    within(followed.next()).await.unwrap();
    worker.stop().await;
    // Under the same name: the key of a log must not depend on it alone.
    let worker = fixture.worker("w", 1).await;
    let result = fixture.result(&plan, 0).await;
    let logs = logs(&fixture, &plan).await;
    let lines: Vec<_> = logs.iter().map(user_lines).collect();
    assert_eq!(lines, [["run 0"], ["run 1"]]);
    assert_eq!(result.log_key, Some(logs[1].key()));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_a_killed_worker_has_shown_are_stored_by_its_next_start() {
    let fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    define_talk(&fixture);
    let mut followed = fixture.queue.logs(None).await.unwrap();
    let plan = plan("edges", 1, &["talk"]);
    fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    let shown = within(followed.next()).await.unwrap();
    worker.kill();
    assert!(logs(&fixture, &plan).await.is_empty());
    // The folder of a killed process is free at once. Here its threads are still there, so the next start has a copy.
    let (left, next) = (
        fixture.folder.path().join("w/logs"),
        fixture.folder.path().join("next/logs"),
    );
    std::fs::create_dir_all(&next).unwrap();
    for file in std::fs::read_dir(left).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), next.join(file.file_name())).unwrap();
    }
    let worker = fixture.worker("next", 1).await;
    let recovered = wait_for_logs(&fixture, &plan, 1).await;
    assert_eq!(recovered[0].key(), shown.log_key());
    assert_eq!(user_lines(&recovered[0]), ["run 0"]);
    let told = within(async {
        loop {
            let batch = followed.next().await.unwrap();
            if batch.stored {
                return batch.log_key();
            }
        }
    })
    .await;
    assert_eq!(told, shown.log_key());
    assert_eq!(std::fs::read_dir(next).unwrap().count(), 0);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_every_try_are_stored_also_of_those_that_ran_too_long() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    fixture.runtime.define("slow", |_| ScriptedEnd {
        stdout: "begun\n".to_owned(),
        ..ScriptedEnd::endless()
    });
    let mut plan = plan("edges", 1, &["slow"]);
    plan.stage.datum_timeout_ms = Some(50);
    plan.stage.datum_tries = 2;
    let result = fixture.run_one(&plan, vec![]).await;
    let lines = fixture.log_lines(&result).await;
    let user: Vec<_> = lines.iter().filter(|(user, _)| *user).collect();
    assert_eq!(user.len(), 2, "{lines:?}");
    worker.stop().await;
}
