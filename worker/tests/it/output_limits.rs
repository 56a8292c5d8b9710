//! Tests of outputs that are too deep, too large or too slow, and of inputs with forged paths.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use howdah_protocol::objects::DatumOutcome;
use howdah_protocol::testing::{datum, plan};
use howdah_worker::OutputLimits;
use howdah_worker::runtime::scripted::ScriptedEnd;
use tokio::sync::Notify;

use crate::fixture::{WorkerFixture, within};

/// Makes folders nested so deeply below a folder that no path reaches the last of them.
fn make_nested(folder: &Path, depth: usize) {
    use nix::fcntl::{OFlag, openat};
    use nix::sys::stat::{Mode, mkdirat};
    let mut current = File::open(folder).unwrap();
    for _ in 0..depth {
        mkdirat(&current, "d", Mode::S_IRWXU).unwrap();
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        current = openat(&current, "d", flags, Mode::empty()).unwrap().into();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_any_depth_fail_their_datum_or_are_removed() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    fixture.runtime.define("deep", |call| {
        let depth = call.request.argv[2].parse().unwrap();
        make_nested(&call.path(&call.request.argv[1]), depth);
        ScriptedEnd::ok()
    });
    let cases = [
        ("/pfs/out", "512", DatumOutcome::Success),
        ("/pfs/out", "1400", DatumOutcome::Failed),
        ("/pfs/out", "30000", DatumOutcome::Failed),
        ("/pfs", "30000", DatumOutcome::Success),
    ];
    for (number, (folder, depth, state)) in (1..).zip(cases) {
        let plan = plan("edges", number, &["deep", folder, depth]);
        let result = fixture.run_one(&plan, vec![]).await;
        let done = &result.datums[0];
        assert_eq!(done.state, state, "{depth} in {folder}: {done:?}");
        if state == DatumOutcome::Failed {
            let reason = done.reason.as_ref().unwrap();
            assert!(reason.contains("more than 512 levels deep"), "{reason}");
        }
    }
    worker.stop().await;
    // The next worker removes what is left, and works.
    let worker = fixture.worker("w", 1).await;
    let result = fixture.run_one(&plan("edges", 9, &["ok"]), vec![]).await;
    assert_eq!(result.datums[0].state, DatumOutcome::Success);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_above_the_limits_of_the_worker_fails_the_datum() {
    let mut fixture = WorkerFixture::new().await;
    fixture.output_limits = OutputLimits {
        bytes: 1 << 20,
        files: 100,
        depth: 5,
    };
    let worker = fixture.worker("w", 1).await;
    fixture.runtime.define("large", |call| {
        std::fs::write(call.path("/pfs/out").join("large"), vec![1; (1 << 20) + 1]).unwrap();
        ScriptedEnd::ok()
    });
    fixture.runtime.define("many", |call| {
        for number in 0..101 {
            std::fs::write(call.path("/pfs/out").join(number.to_string()), "x").unwrap();
        }
        ScriptedEnd::ok()
    });
    fixture.runtime.define("deep", |call| {
        make_nested(&call.path("/pfs/out"), 6);
        ScriptedEnd::ok()
    });
    for (number, cmd, setting) in [
        (1, "large", "--max-output-bytes"),
        (2, "many", "--max-output-files"),
        (3, "deep", "--max-output-depth"),
    ] {
        let result = fixture.run_one(&plan("edges", number, &[cmd]), vec![]).await;
        let done = &result.datums[0];
        assert_eq!((done.state, done.tries), (DatumOutcome::Failed, 3), "{done:?}");
        assert!(done.reason.as_ref().unwrap().contains(setting), "{done:?}");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sparse_files_are_stored_with_their_holes() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    fixture.runtime.define("sparse", |call| {
        let file = File::create(call.path("/pfs/out").join("sparse")).unwrap();
        file.set_len(40 << 20).unwrap();
        file.write_all_at(b"middle", 20 << 20).unwrap();
        ScriptedEnd::ok()
    });
    let result = fixture.run_one(&plan("edges", 1, &["sparse"]), vec![]).await;
    assert_eq!(result.datums[0].stats.upload_bytes, 40 << 20);
    let mut expected = vec![0; 40 << 20];
    expected[20 << 20..][..6].copy_from_slice(b"middle");
    let output = fixture.output(&result, 0).await;
    assert!(output == [("/sparse".to_owned(), expected)]);
    worker.stop().await;
}

/// Defines the command `huge`, which makes a file of a terabyte without data, and gives a signal.
fn define_huge(fixture: &mut WorkerFixture) -> Arc<Notify> {
    fixture.output_limits.bytes = u64::MAX;
    let made = Arc::new(Notify::new());
    let signal = Arc::clone(&made);
    fixture.runtime.define("huge", move |call| {
        let file = File::create(call.path("/pfs/out").join("huge")).unwrap();
        file.set_len(1 << 40).unwrap();
        signal.notify_one();
        ScriptedEnd::ok()
    });
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_takes_too_long_to_store_fails_its_datum_and_no_other() {
    let mut fixture = WorkerFixture::new().await;
    define_huge(&mut fixture);
    fixture.runtime.define("small-or-huge", |call| {
        let out = call.path("/pfs/out");
        if call.var("in").unwrap().ends_with("huge") {
            File::create(out.join("huge")).unwrap().set_len(1 << 40).unwrap();
        }
        std::fs::write(out.join(call.var("in").unwrap().rsplit('/').next().unwrap()), "own").unwrap();
        ScriptedEnd::ok()
    });
    let worker = fixture.worker("w", 1).await;
    let mut plan = plan("edges", 1, &["small-or-huge"]);
    plan.stage.datum_timeout_ms = Some(700);
    plan.stage.datum_tries = 2;
    let root = fixture
        .commit(&[("/a", vec![1]), ("/b-huge", vec![2]), ("/c", vec![3])])
        .await;
    let mut datums = Vec::new();
    for (number, path) in (1..).zip(["/a", "/b-huge", "/c"]) {
        datums.push(datum(number, vec![fixture.input("in", root, path).await]));
    }
    fixture.start(&plan, vec![datums]).await;
    let result = fixture.result(&plan, 0).await;
    let [small, huge, other] = &result.datums[..] else {
        panic!("{result:?}");
    };
    assert_eq!((huge.state, huge.tries), (DatumOutcome::Failed, 2), "{huge:?}");
    let reason = huge.reason.as_ref().unwrap();
    assert!(reason.contains("longer than datum_timeout allows (700ms)"), "{reason}");
    assert!(huge.outputs.is_empty(), "a part of a failed try is no output");
    for (place, datum) in [(0, small), (2, other)] {
        assert_eq!(datum.state, DatumOutcome::Success, "{datum:?}");
        assert_eq!(fixture.output(&result, place).await[0].1, b"own");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_does_not_wait_for_the_end_of_a_file() {
    let mut fixture = WorkerFixture::new().await;
    let made = define_huge(&mut fixture);
    let worker = fixture.worker("w", 1).await;
    let plan = plan("edges", 1, &["huge"]);
    fixture.start(&plan, vec![vec![datum(1, vec![])]]).await;
    within(made.notified()).await;
    let begun = Instant::now();
    fixture.cancel(&plan).await;
    fixture.idle(&plan.pipeline).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "took {:?}", begun.elapsed());
    assert_eq!(fixture.results(&plan).await, 0);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_of_a_forged_message_stay_in_their_folder() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let root = fixture.commit(&[("/x", b"x".to_vec())]).await;
    let mut job = 0;
    for (name, path) in [
        ("../../../escaped", "/x"),
        ("/escaped", "/x"),
        ("out", "/x"),
        ("in", "/../../../escaped"),
    ] {
        job += 1;
        let mut input = fixture.input("in", root, "/x").await;
        // Its bytes are where the datum says, as in the message of a coordinator.
        let entry = howdah_store::FileTree::new(&fixture.store, Some(root))
            .file("/x")
            .await
            .unwrap();
        let slice = entry.unwrap().content.single_slice();
        (input.name, input.path) = (name.into(), path.to_owned());
        let mut forged = datum(1, vec![input]);
        forged.slices = vec![slice];
        let plan = plan("edges", job, &["ok"]);
        fixture.start(&plan, vec![vec![forged]]).await;
        let result = fixture.result(&plan, 0).await;
        let done = &result.datums[0];
        assert_eq!(done.state, DatumOutcome::Failed, "{name} {path}");
        assert!(done.reason.as_ref().unwrap().contains("cannot be laid out"), "{done:?}");
    }
    worker.stop().await;
    let mut folders = vec![fixture.folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            assert_ne!(entry.file_name(), "escaped", "{}", entry.path().display());
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    assert!(!Path::new("/escaped").exists());
}
