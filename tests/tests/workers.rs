//! Several workers share a job; a worker that stops returns its work.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use howdah_tests::stage::{docker, pfs, spec, with};
use howdah_tests::tools::wait_for;
use howdah_tests::{Cluster, JobSummary, StoreKind, TestClient};
use serde_json::{Value, json};

const FILES: usize = 16;

/// Makes a pipeline whose datums sleep, four at a time, with one datum in each set.
fn sleeping(client: &TestClient, milliseconds: u32) -> Value {
    client.ok("create repo data");
    let names: Vec<String> = (0..FILES).map(|number| format!("{number:02}")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    client.put_all("data", &files);
    let spec = spec(
        "slow",
        &["print=run", &format!("sleep={milliseconds}"), "copy"],
        pfs("data", "/*"),
    );
    with(
        spec,
        json!({"parallelismSpec": {"constant": 4}, "datumSetSpec": {"number": 1}}),
    )
}

/// Returns the workers of a job's datums, from the log lines.
fn workers_of(client: &TestClient, job: &JobSummary) -> Vec<String> {
    let lines = client.ok(&format!("logs -j {}@{} --raw", job.pipeline, job.id));
    let lines = serde_json::Deserializer::from_str(&lines).into_iter::<Value>();
    let mut workers: Vec<_> = lines
        .map(|line| line.unwrap()["workerId"].as_str().unwrap_or_default().to_owned())
        .collect();
    workers.sort();
    workers.dedup();
    workers
}

#[test]
fn workers_share_a_job() {
    let cluster = Cluster::start(2, &StoreKind::Folder);
    let client = cluster.client();
    client.create(&sleeping(&client, 200));
    let job = client.last_job("slow").expect_success();
    assert_eq!(job.counts(), [FILES as u64, 0, 0, 0]);
    assert_eq!(client.files("slow@master"), client.files("data@master"));
    assert_eq!(workers_of(&client, &job).len(), 2);
}

#[test]
fn a_job_without_workers_waits_for_the_first() {
    let mut cluster = Cluster::start(0, &StoreKind::Folder);
    let client = cluster.client();
    client.create(&sleeping(&client, 1));
    let id = client.commit_id("slow@master");
    let description = wait_for("the pipeline to report that it has no workers", || {
        let description = client.ok("inspect pipeline slow");
        if description.to_lowercase().contains("worker") {
            Ok(description)
        } else {
            Err(description)
        }
    });
    assert!(!client.job("slow", &id).is_over(), "{description}");
    cluster.add_worker();
    client.wait_for_job("slow", &id, JobSummary::is_over).expect_success();
    assert_eq!(client.files("slow@master"), client.files("data@master"));
}

/// Returns the containers of a cluster's first worker, running or stopped.
fn containers(cluster: &Cluster) -> String {
    let scratch = cluster.folder.path().join("scratch-worker-0").display().to_string();
    docker(&[
        "ps",
        "--all",
        "--quiet",
        "--filter",
        &format!("label=howdah.worker={scratch}"),
    ])
}

/// Waits until a cluster's first worker has `count` containers.
fn wait_for_containers(cluster: &Cluster, count: usize) {
    wait_for(&format!("{count} containers"), || {
        let found = containers(cluster);
        if found.lines().count() == count {
            Ok(())
        } else {
            Err(found)
        }
    });
}

#[test]
fn containers_start_before_there_is_work_and_are_removed_when_the_pipeline_is_stopped() {
    let cluster = Cluster::start(1, &StoreKind::Folder);
    let client = cluster.client();
    client.ok("create repo data");
    client.create(&spec("early", &["copy"], pfs("data", "/*")));
    wait_for_containers(&cluster, 1);
    let early = containers(&cluster);
    client.put_all("data", &[("a", "a")]);
    client.last_job("early").expect_success();
    assert_eq!(containers(&cluster), early, "the job uses the warm container");
    client.ok("stop pipeline early");
    wait_for_containers(&cluster, 0);
    client.ok("start pipeline early");
    wait_for_containers(&cluster, 1);
    client.ok("delete pipeline early");
    wait_for_containers(&cluster, 0);
}

#[test]
fn a_stopped_worker_returns_its_work_and_removes_its_containers() {
    let mut cluster = Cluster::start(2, &StoreKind::Folder);
    let client = cluster.client();
    client.create(&sleeping(&client, 300));
    let id = client.commit_id("slow@master");
    client.wait_for_job("slow", &id, |job| job.processed > 0);
    let status = cluster.workers[0].stop();
    assert!(status.success(), "{status}: {}", cluster.workers[0].log());
    assert_eq!(containers(&cluster), "", "containers of a stopped worker are removed");

    let job = client.wait_for_job("slow", &id, JobSummary::is_over).expect_success();
    assert_eq!((job.total, job.counts()), (FILES as u64, [FILES as u64, 0, 0, 0]));
    assert_eq!(client.files("slow@master"), client.files("data@master"));
}
