//! A worker with a full scratch folder reports it, and recovers when there is space again.

#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]
#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use std::path::{Path, PathBuf};

use howdah_tests::stage::{pfs, spec};
use howdah_tests::tools::wait_for;
use howdah_tests::{Cluster, JobSummary, StoreKind};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A small file system in memory. Mounting needs root, like starting containers in most installations.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Path, mebibytes: u32) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let size = format!("size={mebibytes}m");
        mount(
            Some("none"),
            folder,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(size.as_str()),
        )
        .unwrap_or_else(|error| {
            panic!(
                "cannot mount a tmpfs at {} ({error}): this test needs root",
                folder.display()
            )
        });
        Self(folder.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a container that is being removed may still use the file system.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_scratch_folder_is_reported_and_recovered_from() {
    let mut cluster = Cluster::start(0, &StoreKind::Folder);
    // Declared after the cluster, so it is dropped first; the test stops the worker before that.
    let scratch = cluster.folder.path().join("scratch-worker-0");
    let disk = SmallDisk::mount(&scratch, 24);
    cluster.add_worker();
    let client = cluster.client();
    client.ok("create repo data");
    client.create(&spec("copy", &["copy"], pfs("data", "/")));
    client.last_job("copy").expect_success();

    // More data than the disk can hold.
    let big = "0123456789abcdef".repeat(1 << 21);
    client.put("data@master:/big", &big);
    let id = client.commit_id("data@master");
    let report = wait_for("the job to report that the disk is full", || {
        let job = client.job("copy", &id);
        let pipeline = client.ok("inspect pipeline copy");
        let logs = client.ok(&format!("logs -j copy@{id} --worker"));
        let report = format!("{}\n{pipeline}\n{logs}", job.reason);
        let words = report.to_lowercase();
        if words.contains("no space left") || words.contains("full") {
            Ok(report)
        } else {
            Err(report)
        }
    });
    assert!(
        report.contains(&scratch.display().to_string()) || report.contains("scratch"),
        "{report}"
    );

    // A worker with space runs the job, or the next job if this one has ended.
    let _ = cluster.workers[0].stop();
    drop(disk);
    cluster.start_worker_again(0);
    let job = client.wait_for_job("copy", &id, |_| true);
    let job = if job.is_over() && job.state != "success" {
        client.ok("rerun pipeline copy");
        client.last_job("copy")
    } else {
        client.wait_for_job("copy", &id, JobSummary::is_over)
    };
    job.expect_success();
    assert_eq!(client.content("copy@master:/big").len(), big.len());
}
