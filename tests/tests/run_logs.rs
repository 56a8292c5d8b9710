//! Lines that were shown while a datum ran stay, however the run ends.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use std::path::Path;

use howdah_tests::stage::{pfs, spec, with};
use howdah_tests::tools::wait_for;
use howdah_tests::{Cluster, JobSummary, StoreKind, TestClient, Up};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// A pipeline whose only datum prints a line and hangs.
fn hanging(name: &str) -> Value {
    let spec = spec(name, &["print=begun", "sleep=3600000", "copy"], pfs("data", "/*"));
    with(spec, json!({"parallelismSpec": {"constant": 1}}))
}

/// Creates a pipeline and waits until its datum has printed its line; returns the id of its job.
fn create(client: &TestClient, spec: &Value) -> String {
    let name = spec["pipeline"]["name"].as_str().unwrap();
    client.create(spec);
    let id = client.commit_id(&format!("{name}@master"));
    wait_for_lines(client, name, &id, &["begun"]);
    id
}

fn wait_for_lines(client: &TestClient, pipeline: &str, id: &str, expected: &[&str]) {
    wait_for(&format!("the lines of {pipeline}"), || {
        let output = client.run(&format!("logs -j {pipeline}@{id}"));
        let lines: Vec<&str> = output.stdout.lines().collect();
        if lines == expected {
            Ok(())
        } else {
            Err(format!("{output:?}"))
        }
    });
}

/// Asserts that the line of a job is shown at any time until its log is in the store, and then, too.
fn assert_kept(client: &TestClient, store: &Path, pipeline: &str, id: &str) {
    let folder = store.join("logs/default").join(pipeline).join(id);
    wait_for("the log to be stored", || {
        assert_eq!(client.logs(pipeline, id), ["begun"]);
        match std::fs::read_dir(&folder).map(Iterator::count) {
            Ok(1..) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(client.logs(pipeline, id), ["begun"]);
}

#[test]
fn lines_stay_after_a_stop_an_update_a_timeout_and_a_deletion() {
    let up = Up::start();
    let client = up.client();
    let store = up.folder.path().join("data/store");
    client.ok("create repo data");
    client.put_all("data", &[("a", "1")]);

    let id = create(&client, &hanging("stopped"));
    client.ok(&format!("stop job stopped@{id}"));
    assert_kept(&client, &store, "stopped", &id);

    let id = create(&client, &hanging("updated"));
    client.update(&with(hanging("updated"), json!({"description": "another"})));
    client.wait_for_job("updated", &id, JobSummary::is_over);
    assert_kept(&client, &store, "updated", &id);
    client.ok("delete pipeline updated");
    assert_eq!(
        client.logs("updated", &id),
        ["begun"],
        "the lines of a deleted pipeline's job stay"
    );

    let limited = with(hanging("limited"), json!({"jobTimeout": "5s"}));
    let id = create(&client, &limited);
    client.wait_for_job("limited", &id, JobSummary::is_over);
    assert_kept(&client, &store, "limited", &id);

    let id = create(&client, &hanging("deleted"));
    client.ok(&format!("delete job deleted@{id}"));
    assert_kept(&client, &store, "deleted", &id);

    let timeout = json!({"datumTimeout": "2s", "datumTries": 1});
    let id = create(&client, &with(hanging("slow"), timeout));
    client.wait_for_job("slow", &id, JobSummary::is_over);
    assert_kept(&client, &store, "slow", &id);
}

#[test]
fn lines_of_a_lost_worker_stay() {
    let mut cluster = Cluster::start(1, &StoreKind::Folder);
    let client = cluster.client();
    let store = cluster.folder.path().join("store");
    client.ok("create repo data");
    client.put_all("data", &[("a", "1")]);
    let id = create(&client, &hanging("lost"));
    cluster.workers[0].kill_hard();
    // The coordinator stores what it has received, because no other copy may exist.
    assert_kept(&client, &store, "lost", &id);
    cluster.coordinator.kill_hard();
    cluster.start_coordinator_again();
    assert_eq!(client.logs("lost", &id), ["begun"]);
    // Started again, the worker has a copy of its own; it is not shown twice.
    cluster.start_worker_again(0);
    wait_for_lines(&client, "lost", &id, &["begun", "begun"]);
    client.ok(&format!("stop job lost@{id}"));
    assert_eq!(client.logs("lost", &id), ["begun", "begun"]);
}

#[test]
fn lines_of_a_process_that_is_killed_as_a_whole_are_there_after_its_next_start() {
    let mut up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    client.put_all("data", &[("a", "1")]);
    let id = create(&client, &hanging("killed"));
    up.process.kill_hard();
    up.start_again();
    wait_for_lines(&client, "killed", &id, &["begun", "begun"]);
    client.ok(&format!("stop job killed@{id}"));
    assert_eq!(client.logs("killed", &id), ["begun", "begun"]);
}

#[test]
fn lines_of_a_worker_that_is_drained_stay() {
    let mut cluster = Cluster::start(2, &StoreKind::Folder);
    let client = cluster.client();
    client.ok("create repo data");
    client.put_all("data", &[("a", "1")]);
    let id = create(&client, &hanging("drained"));
    for worker in &mut cluster.workers {
        assert!(worker.stop().success());
        let lines = client.logs("drained", &id);
        assert!(
            !lines.is_empty() && lines.iter().all(|line| line == "begun"),
            "{lines:?}"
        );
    }
}

#[test]
fn the_newest_lines_are_the_newest_by_time_and_a_long_log_has_both_ends() {
    const LINES: usize = 30_000;
    let up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    client.put_all("data", &[("a", "1"), ("b", "2")]);
    // Two sets at the same time: their lines alternate.
    let overlapping = spec(
        "overlap",
        &["print=first", "sleep=300", "print=last"],
        pfs("data", "/*"),
    );
    client.create(&with(
        overlapping,
        json!({"parallelismSpec": {"constant": 2}, "datumSetSpec": {"number": 1}}),
    ));
    let job = client.last_job("overlap").expect_success();
    let times = |flags: &str| -> Vec<String> {
        let text = client.ok(&format!("logs -j overlap@{} --raw {flags}", job.id));
        let lines = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        lines
            .map(|line| line.unwrap()["ts"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = times("");
    assert_eq!(all.len(), 4);
    assert!(all.is_sorted(), "{all:?}");
    assert_eq!(times("--tail 2"), all[2..]);

    client.create(&spec(
        "flood",
        &["print=begin", &format!("flood={LINES}"), "print=end", "exit=3"],
        pfs("data", "/a"),
    ));
    let job = client.last_job("flood");
    let lines = client.logs("flood", &job.id);
    assert_eq!((lines[0].as_str(), lines[lines.len() - 1].as_str()), ("begin", "end"));
    let gaps = lines
        .iter()
        .filter(|line| line.contains("lines are left out here"))
        .count();
    assert!(gaps >= 1, "{} lines", lines.len());
    let worker = client.ok(&format!("logs -j flood@{} --worker", job.id));
    assert!(worker.contains("command exited with code 3"), "{worker}");
}

#[test]
fn a_set_that_ends_the_process_twice_is_not_tried_again_and_one_that_is_killed_with_it_is() {
    let mut cluster = Cluster::start(1, &StoreKind::Folder);
    let client = cluster.client();
    client.ok("create repo data");
    client.put_all("data", &[("a", "1")]);
    let id = create(&client, &hanging("killed"));
    for round in 2..=4 {
        cluster.workers[0].kill_hard();
        cluster.start_worker_again(0);
        wait_for_lines(&client, "killed", &id, &vec!["begun"; round]);
    }
    assert!(
        !client.job("killed", &id).is_over(),
        "an operator's kill is not the fault of the datum"
    );
    client.ok(&format!("stop job killed@{id}"));
    client.ok("delete pipeline killed");
    // A new process has no other thread that waits for work.
    assert!(cluster.workers[0].stop().success());
    cluster.start_worker_again(0);

    let id = create(&client, &hanging("fatal"));
    for round in 1..=2 {
        wait_for_lines(&client, "fatal", &id, &vec!["begun"; round]);
        // As a fault of the code that works on this set would.
        cluster.workers[0].signal_thread("slot", Signal::SIGABRT);
        assert!(!cluster.workers[0].wait().success());
        cluster.start_worker_again(0);
    }
    let job = client.wait_for_job("fatal", &id, JobSummary::is_over);
    assert_eq!(job.state, "failure");
    assert!(job.reason.contains("ended 2 times by a fault"), "{job:?}");
    assert_eq!(client.logs("fatal", &id), ["begun", "begun"]);
}
