//! Full disks are reported and recovered from; folders are closed to other users of the machine.

#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]
#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use howdah_tests::stage::{pfs, spec};
use howdah_tests::tools::wait_for;
use howdah_tests::{Cluster, JobSummary, StoreKind, Up};
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

/// Returns the permissions of a file or folder.
fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

/// Returns all files below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    files
}

#[test]
fn other_users_cannot_enter_the_folders() {
    let mut up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    client.put_all("data", &[("a", "1")]);
    client.create(&spec("copy", &["copy"], pfs("data", "/*")));
    client.last_job("copy").expect_success();
    let data = up.folder.path().join("data");
    for folder in ["", "store", "scratch", "nats"] {
        assert_eq!(mode(&data.join(folder)), 0o700, "{folder}");
    }
    let stored = files_below(&data.join("store/meta"));
    assert!(!stored.is_empty());
    let private = [
        "lock",
        "nats/nats.log",
        "nats/server.conf",
        "nats/coordinator.credentials",
        "nats/worker.credentials",
    ];
    let private = private.map(|file| data.join(file));
    for file in stored.iter().chain(&private) {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }

    // As a version made them that did not close them.
    up.process.stop();
    for folder in ["", "store", "scratch"] {
        std::fs::set_permissions(data.join(folder), Permissions::from_mode(0o755)).unwrap();
    }
    up.start_again();
    wait_for("the worker to open its folder", || match mode(&data.join("scratch")) {
        0o700 => Ok(()),
        mode => Err(format!("{mode:o}")),
    });
    assert_eq!([mode(&data), mode(&data.join("store"))], [0o700, 0o700]);
    assert!(up.process.log().contains("other users could enter"));
}
