//! Damage in the store of a running installation: found, named, and derived again where that is possible.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use std::fs;
use std::path::PathBuf;

use howdah_tests::stage::{pfs, spec};
use howdah_tests::tools::wait_for;
use howdah_tests::{Cluster, JobSummary, StoreKind};

/// Changes the last byte of the one stored chunk that ends with a text.
fn damage_chunk(cluster: &Cluster, text: &str) {
    let mut folders = vec![cluster.folder.path().join("store/chunks")];
    let mut found: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            if bytes.ends_with(text.as_bytes()) {
                found.push((path, bytes));
            }
        }
    }
    assert_eq!(found.len(), 1, "chunks with {text:?}");
    for (path, mut bytes) in found {
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn damaged_output_is_made_again_and_damaged_input_is_named() {
    let mut cluster = Cluster::start(1, &StoreKind::Folder);
    let client = cluster.client();
    client.ok("create repo data");
    client.create(&spec("marked", &["stamp=done"], pfs("data", "/*")));
    client.last_job("marked").expect_success();
    client.put("data@master:/one", "first");
    let id = client.commit_id("data@master");
    client.wait_for_job("marked", &id, JobSummary::is_over).expect_success();
    assert_eq!(client.ok("fsck --deep").trim(), "No errors found.");

    damage_chunk(&cluster, "done:first");
    // The coordinator may have a good copy in memory. The worker has not: it wrote the chunk, and remembers that it exists.
    cluster.coordinator.kill_hard();
    cluster.start_coordinator_again();
    let error = client.fails("get file marked@master:/one");
    assert!(error.contains("/one") && error.contains(&id), "{error}");
    let found = client.ok("fsck --deep");
    for part in ["/one", &id, "default/marked", "Error: "] {
        assert!(found.contains(part), "{part} is not in: {found}");
    }
    let fixed = client.ok("fsck --fix");
    assert!(fixed.contains("pipeline default/marked processes"), "{fixed}");
    client.last_job("marked").expect_success();
    for commit in ["master", &id] {
        assert_eq!(client.content(&format!("marked@{commit}:/one")), "done:first");
    }
    assert_eq!(client.ok("fsck --deep").trim(), "No errors found.");

    let _ = cluster.workers[0].stop();
    client.put("data@master:/two", "second");
    damage_chunk(&cluster, "second");
    let id = client.commit_id("data@master");
    cluster.start_worker_again(0);
    wait_for("the job to name the damaged input", || {
        let report = format!(
            "{}\n{}\n{}",
            client.job("marked", &id).reason,
            client.ok("inspect pipeline marked"),
            client.ok(&format!("logs -j marked@{id} --worker"))
        );
        if report.contains("/two") && report.contains(&format!("default/data@{id}")) {
            Ok(())
        } else {
            Err(report)
        }
    });
}
