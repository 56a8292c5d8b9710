//! `kill -9` at several moments of a job: the results are the same, and no result exists twice.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use std::collections::BTreeMap;
use std::path::Path;

use howdah_tests::stage::{pfs, spec, with};
use howdah_tests::tools::wait_for;
use howdah_tests::{Cluster, JobSummary, StoreKind, TestClient, Up};
use nix::sys::signal::Signal;
use serde_json::json;

/// Datums of the first pipeline's job.
const FILES: u64 = 12;

/// The state of the first pipeline's job at which a process is killed.
type Moment = fn(&JobSummary) -> bool;

/// Before any datum has run, in the middle, and near the end.
const MOMENTS: [(&str, Moment); 3] = [
    ("at once", |_| true),
    ("in the middle", |job| job.processed >= 3),
    ("near the end", |job| job.processed >= FILES - 2),
];

fn content(round: usize) -> Vec<(String, String)> {
    (0..FILES)
        .map(|number| (format!("{number:02}"), format!("{round}.{number}")))
        .collect()
}

/// Makes two pipelines in a chain: sleeping datums, then one datum over all their outputs.
fn create_pipelines(client: &TestClient) {
    client.ok("create repo data");
    let first = spec("first", &["sleep=150", "stamp=done"], pfs("data", "/*"));
    client.create(&with(
        first,
        json!({"parallelismSpec": {"constant": 2}, "datumSetSpec": {"number": 1}}),
    ));
    client.create(&spec("second", &["join=all"], pfs("first", "/")));
    client.last_job("first").expect_success();
    client.last_job("second").expect_success();
}

/// Puts a round of files, all changed, in one commit and returns its id.
fn put_round(client: &TestClient, round: usize) -> String {
    let files = content(round);
    client.put_all(
        "data",
        &files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect::<Vec<_>>(),
    );
    client.commit_id("data@master")
}

/// Asserts that both jobs of a round succeed, with each output once.
fn assert_round(client: &TestClient, round: usize, id: &str) {
    let job = client.wait_for_job("first", id, JobSummary::is_over).expect_success();
    assert_eq!((job.total, job.counts()), (FILES, [FILES, 0, 0, 0]));
    let job = client.wait_for_job("second", id, JobSummary::is_over).expect_success();
    assert_eq!((job.total, job.counts()), (1, [1, 0, 0, 0]));
    let expected: BTreeMap<_, _> = content(round)
        .into_iter()
        .map(|(path, text)| (format!("/{path}"), format!("done:{text}")))
        .collect();
    assert_eq!(client.files("first@master"), expected);
    let all: String = expected.values().map(String::as_str).collect();
    assert_eq!(client.content("second@master:/all"), all);
    assert_eq!(
        [client.commit_id("first@master"), client.commit_id("second@master")],
        [id, id]
    );
    assert_eq!(client.jobs("first").iter().filter(|job| job.id == id).count(), 1);
}

#[test]
fn a_worker_killed_at_any_moment() {
    let mut cluster = Cluster::start(1, &StoreKind::Folder);
    let client = cluster.client();
    create_pipelines(&client);
    for (round, (when, moment)) in MOMENTS.into_iter().enumerate() {
        eprintln!("killing the worker {when}");
        let id = put_round(&client, round);
        client.wait_for_job("first", &id, moment);
        cluster.workers[0].kill_hard();
        cluster.start_worker_again(0);
        assert_round(&client, round, &id);
    }
}

#[test]
fn another_worker_takes_over() {
    let mut cluster = Cluster::start(2, &StoreKind::Folder);
    let client = cluster.client();
    create_pipelines(&client);
    let id = put_round(&client, 1);
    client.wait_for_job("first", &id, |job| job.processed >= 2);
    cluster.workers[0].kill_hard();
    assert_round(&client, 1, &id);
}

#[test]
fn a_coordinator_killed_at_any_moment() {
    let mut cluster = Cluster::start(1, &StoreKind::Folder);
    let client = cluster.client();
    create_pipelines(&client);
    for (round, (when, moment)) in MOMENTS.into_iter().enumerate() {
        eprintln!("killing the coordinator {when}");
        let id = put_round(&client, round);
        client.wait_for_job("first", &id, moment);
        cluster.coordinator.kill_hard();
        cluster.start_coordinator_again();
        assert_round(&client, round, &id);
    }
}

#[test]
fn a_nats_server_killed_at_any_moment() {
    let mut cluster = Cluster::start(1, &StoreKind::Folder);
    let client = cluster.client();
    create_pipelines(&client);
    for (round, (when, moment)) in MOMENTS.into_iter().enumerate() {
        eprintln!("killing the NATS server {when}");
        let id = put_round(&client, round);
        client.wait_for_job("first", &id, moment);
        cluster.nats.kill_hard();
        cluster.start_nats_again(false);
        assert_round(&client, round, &id);
    }
}

#[test]
fn a_nats_server_that_lost_everything() {
    let mut cluster = Cluster::start(1, &StoreKind::Folder);
    let client = cluster.client();
    create_pipelines(&client);
    for (round, (when, moment)) in MOMENTS.into_iter().enumerate() {
        eprintln!("killing and wiping the NATS server {when}");
        let id = put_round(&client, round);
        client.wait_for_job("first", &id, moment);
        cluster.nats.kill_hard();
        cluster.start_nats_again(true);
        assert_round(&client, round, &id);
    }
}

#[test]
fn everything_killed_at_once() {
    let mut cluster = Cluster::start(2, &StoreKind::Folder);
    let client = cluster.client();
    create_pipelines(&client);
    let id = put_round(&client, 1);
    client.wait_for_job("first", &id, |job| job.processed >= 2);
    cluster.coordinator.kill_hard();
    cluster.nats.kill_hard();
    for worker in &mut cluster.workers {
        worker.kill_hard();
    }
    cluster.start_nats_again(true);
    cluster.start_coordinator_again();
    for index in 0..2 {
        cluster.start_worker_again(index);
    }
    assert_round(&client, 1, &id);
}

#[test]
fn up_killed_at_any_moment() {
    let mut up = Up::start();
    let client = up.client();
    create_pipelines(&client);
    for (round, (when, moment)) in MOMENTS.into_iter().enumerate() {
        eprintln!("killing `howdah up` {when}");
        let id = put_round(&client, round);
        client.wait_for_job("first", &id, moment);
        up.process.kill_hard();
        up.start_again();
        assert_round(&client, round, &id);
    }
}

#[test]
fn up_interrupted_with_ctrl_c_continues_where_it_stopped() {
    let mut up = Up::start();
    let client = up.client();
    create_pipelines(&client);
    let id = put_round(&client, 1);
    client.wait_for_job("first", &id, |job| job.processed >= 2);
    up.process.signal(Signal::SIGINT);
    let status = up.process.wait();
    assert!(status.success(), "{status}: {}", up.process.log());
    up.start_again();
    assert_round(&client, 1, &id);
}

#[test]
fn a_put_whose_server_dies_is_stored_completely_or_not_at_all() {
    let mut up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    let content = "0123456789abcdef".repeat(1 << 16);
    for round in 0..3 {
        let source = tempfile::tempdir().unwrap();
        let inside = source.path().join(round.to_string());
        std::fs::create_dir(&inside).unwrap();
        for number in 0..40 {
            std::fs::write(inside.join(number.to_string()), format!("{round}.{number}{content}")).unwrap();
        }
        let command = format!("put file data@master:/ -r -f {}", source.path().display());
        let data = up.folder.path().join("data");
        let before = files_below(&data);
        std::thread::scope(|scope| {
            let put = scope.spawn(|| client.run(&command));
            // The number of bytes that the server has received is random; the outcome must not depend on it.
            wait_for("the server to store some bytes", || {
                if files_below(&data) > before || put.is_finished() {
                    Ok(())
                } else {
                    Err("nothing yet".to_owned())
                }
            });
            up.process.kill_hard();
            let put = put.join().unwrap();
            up.start_again();
            let found = client.run(&format!("list file data@master:/{round} --raw"));
            let there = found.stdout.contains(&format!("/{round}/"));
            assert!(there || put.code != 0, "an acknowledged put is lost: {put:#?}");
            if there {
                assert_eq!(client.raw(&format!("list file data@master:/{round}")).len(), 40);
            }
        });
    }
    client.put("data@master:/after", "1");
    assert_eq!(client.content("data@master:/after"), "1");
}

/// Returns the number of files below a folder, which may change at the same time.
fn files_below(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| {
            if entry.path().is_dir() {
                files_below(&entry.path())
            } else {
                1
            }
        })
        .sum()
}
