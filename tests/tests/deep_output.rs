//! Output that is nested deeply, or large without taking space: the datum fails, the worker goes on.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use std::time::{Duration, Instant};

use howdah_tests::stage::{pfs, spec, with};
use howdah_tests::{Cluster, StoreKind};
use serde_json::json;

#[test]
fn folders_of_any_depth_do_not_end_the_worker() {
    let mut cluster = Cluster::start(1, &StoreKind::Folder);
    let client = cluster.client();
    client.ok("create repo data");
    client.put_all("data", &[("a", "1")]);
    // As root and as another user: for the latter the owner of everything in /pfs is changed before each command.
    for user in ["", "worker"] {
        for (number, folder, depth, state) in [
            (1, "/pfs/out", 1_400, "failure"),
            (2, "/pfs/out", 30_000, "failure"),
            (3, "/pfs", 30_000, "success"),
            (4, "/pfs/out", 500, "success"),
        ] {
            let name = format!("deep{user}{number}");
            let deep = format!("deep={folder}:{depth}");
            let once = json!({"datumTries": 2, "transform": {"user": user}});
            client.create(&with(spec(&name, &[&deep], pfs("data", "/*")), once));
            let job = client.last_job(&name);
            assert_eq!(job.state, state, "{job:?}");
            if state == "failure" {
                assert!(job.reason.contains("more than 512 levels deep"), "{job:?}");
                assert!(job.reason.len() < 1_000, "{} characters", job.reason.len());
            }
        }
    }
    let log = cluster.workers[0].log();
    assert!(!log.contains("panicked") && !log.contains("cannot be removed"), "{log}");
    assert!(cluster.workers[0].stop().success());
    // The next start removes what is left, and works.
    cluster.start_worker_again(0);
    client.create(&spec("after", &["copy"], pfs("data", "/*")));
    client.last_job("after").expect_success();
}

#[test]
fn a_sparse_terabyte_does_not_hold_a_slot_longer_than_its_time_limit() {
    let cluster = Cluster::start(1, &StoreKind::Folder);
    let client = cluster.client();
    client.ok("create repo data");
    client.put_all("data", &[("a", "1")]);
    let terabyte = format!("sparse={}", 1_u64 << 40);
    let once = json!({"datumTries": 1, "datumTimeout": "5s"});
    let begun = Instant::now();
    client.create(&with(spec("huge", &[&terabyte], pfs("data", "/*")), once.clone()));
    let job = client.last_job("huge");
    assert_eq!(job.state, "failure", "{job:?}");
    assert!(job.reason.contains("--max-output-bytes"), "{job:?}");
    // Within the limit of bytes, the limit of time ends it.
    let large = format!("sparse={}", 400_u64 << 30);
    client.create(&with(spec("large", &[&large], pfs("data", "/*")), once));
    let job = client.last_job("large");
    assert!(job.reason.contains("longer than datum_timeout allows"), "{job:?}");
    assert!(begun.elapsed() < Duration::from_secs(60), "took {:?}", begun.elapsed());
    // A file that fits is stored with its holes.
    client.create(&spec("sparse", &["sparse=100000000"], pfs("data", "/*")));
    client.last_job("sparse").expect_success();
    let files = client.raw("list file sparse@master:/");
    assert_eq!(files[0]["sizeBytes"], "100000000");
}
