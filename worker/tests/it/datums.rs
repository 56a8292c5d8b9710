//! Tests of one datum: tries, error handlers, time limits, inputs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use howdah_model::ids::TreeRoot;
use howdah_protocol::messages::RestartDatum;
use howdah_protocol::objects::{Datum, DatumOutcome};
use howdah_protocol::testing::{datum, plan};
use howdah_store::FileTree;
use howdah_worker::runtime::scripted::ScriptedEnd;

use crate::fixture::{WorkerFixture, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_run_stored_and_reported() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 2).await;
    let names: Vec<String> = (0..6).map(|n| format!("/d/f{n}")).collect();
    let files: Vec<(&str, Vec<u8>)> = names
        .iter()
        .map(|name| (name.as_str(), name.clone().into_bytes()))
        .collect();
    let root = fixture.commit(&files).await;
    let mut datums = Vec::new();
    for (number, name) in (0..).zip(&names) {
        datums.push(datum(number, vec![fixture.input("in", root, name).await]));
    }
    let rest = datums.split_off(4);
    let plan = plan("edges", 1, &["copy"]);
    fixture.start(&plan, vec![datums, rest]).await;
    for (set, numbers) in [(0, 0..4), (1, 4..6)] {
        let result = fixture.result(&plan, set).await;
        assert_eq!(result.set, set);
        assert_eq!(result.worker, "w");
        assert_eq!(result.datums.len(), numbers.len());
        for (place, number) in numbers.clone().enumerate() {
            let done = &result.datums[place];
            assert_eq!(
                (done.state, done.tries, done.exit_code),
                (DatumOutcome::Success, 1, Some(0))
            );
            assert_eq!(done.stats.download_bytes, 5);
            assert_eq!(done.stats.upload_bytes, 5);
            let expected = (format!("/f{number}"), format!("/d/f{number}").into_bytes());
            assert_eq!(fixture.output(&result, place).await, [expected]);
        }
        let lines: Vec<(bool, String)> = numbers.map(|number| (true, format!("copied f{number}"))).collect();
        assert_eq!(fixture.log_lines(&result).await, lines);
    }
    fixture.idle(&plan.pipeline).await;
    assert_eq!(worker.metrics.datums.with_label_values(&["success"]).get(), 6);
    worker.stop().await;
}

/// Makes a datum of one file with the file's location, which is wrong by `wrong_by` bytes. The
/// input's root does not exist, so the worker can find the file only by this location.
async fn located(fixture: &WorkerFixture, number: u8, path: &str, wrong_by: u32) -> Datum {
    let root = fixture
        .commit(&[("/before", vec![1; 10]), (path, path.as_bytes().to_vec())])
        .await;
    let entry = FileTree::new(&fixture.store, Some(root)).file(path).await.unwrap();
    let mut input = fixture.input("in", root, path).await;
    input.root = TreeRoot::new([number; 32]);
    let mut datum = datum(number, vec![input]);
    let mut slice = entry.unwrap().content.single_slice().unwrap();
    slice.offset -= wrong_by;
    datum.slices = vec![Some(slice)];
    datum
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_and_checked_at_the_location_that_the_datum_has() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let plan = plan("edges", 1, &["copy"]);
    let good = located(&fixture, 1, "/good", 0).await;
    let bad = located(&fixture, 2, "/wrong", 1).await;
    fixture.start(&plan, vec![vec![good], vec![bad]]).await;
    let result = fixture.result(&plan, 0).await;
    assert_eq!(
        fixture.output(&result, 0).await,
        [("/good".to_owned(), b"/good".to_vec())]
    );
    let failed = fixture.set_failed().await;
    assert_eq!((failed.set, failed.needs_attention), (1, true));
    assert!(
        failed.message.contains("/wrong of commit default/data@") && failed.message.contains("have another hash"),
        "{}",
        failed.message
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_gets_its_inputs_environment_and_standard_input() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    fixture.runtime.define("look", |call| {
        let env_file = std::fs::read_to_string(call.path("/pfs/.env")).unwrap();
        assert!(env_file.contains("PACH_DATUM_ID="), "{env_file}");
        assert!(env_file.contains("\nin=/pfs/in/d\n"), "{env_file}");
        assert_eq!(call.var("COLOUR"), Some("red"));
        assert_eq!(call.request.stdin.as_deref(), Some(&b"one\ntwo\n"[..]));
        assert_eq!(call.request.cwd.as_deref(), Some("/srv"));
        assert_eq!(call.request.user.as_deref(), Some("joe"));
        let mut seen: Vec<String> = std::fs::read_dir(call.path("/pfs/in/d"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        seen.sort();
        std::fs::write(call.path("/pfs/out").join("seen"), seen.join(" ")).unwrap();
        ScriptedEnd::ok()
    });
    let big = vec![7; 200_000];
    let root = fixture
        .commit(&[("/d/big", big), ("/d/small", b"s".to_vec()), ("/e", b"e".to_vec())])
        .await;
    let mut plan = plan("edges", 1, &["look"]);
    plan.stage.env.insert("COLOUR".into(), "red".into());
    plan.stage.stdin = Some(vec!["one".into(), "two".into()]);
    plan.stage.working_dir = Some("/srv".into());
    plan.stage.user = Some("joe".into());
    let input = fixture.input("in", root, "/d/").await;
    let result = fixture.run_one(&plan, vec![input]).await;
    assert_eq!(result.datums[0].reason, None);
    assert_eq!(
        fixture.output(&result, 0).await,
        [("/seen".into(), b"big small".to_vec())]
    );
    assert_eq!(result.datums[0].stats.download_bytes, 200_001);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_and_error_handlers() {
    struct TryCase {
        cmd: &'static str,
        err_cmd: Option<&'static str>,
        accept: Vec<i64>,
        state: DatumOutcome,
        tries: u32,
        reason: Option<&'static str>,
    }
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    fixture.runtime.define("fail", |call| {
        std::fs::write(call.path("/pfs/out").join("partial"), "p").unwrap();
        ScriptedEnd {
            stderr: "it broke\n".into(),
            ..ScriptedEnd::exit(7)
        }
    });
    fixture.runtime.define("third", {
        let runs = AtomicUsize::new(0);
        move |call| {
            assert_eq!(std::fs::read_dir(call.path("/pfs/out")).unwrap().count(), 0);
            std::fs::write(call.path("/pfs/out").join("kept"), "k").unwrap();
            ScriptedEnd::exit(i32::from(runs.fetch_add(1, Ordering::SeqCst) < 2))
        }
    });
    fixture.runtime.define("readonly", |_| ScriptedEnd {
        stderr: "touch: /pfs/in/x: Read-only file system\n".into(),
        ..ScriptedEnd::exit(1)
    });
    let case = |cmd, state, tries, reason| TryCase {
        cmd,
        err_cmd: None,
        accept: vec![],
        state,
        tries,
        reason,
    };
    use DatumOutcome::{Failed, Recovered, Success};
    let cases = [
        case("fail", Failed, 3, Some("command exited with code 7: it broke")),
        TryCase {
            err_cmd: Some("ok"),
            ..case("fail", Recovered, 3, Some("command exited with code 7: it broke"))
        },
        TryCase {
            err_cmd: Some("fail"),
            ..case("fail", Failed, 3, Some("command exited with code 7: it broke"))
        },
        TryCase {
            accept: vec![7],
            ..case("fail", Success, 1, None)
        },
        TryCase {
            err_cmd: Some("ok"),
            ..case("third", Success, 3, None)
        },
        case("nothing", Failed, 3, Some("\"nothing\" was not found in the image")),
        case(
            "endless",
            Failed,
            3,
            Some("command ran longer than datum_timeout allows (50ms)"),
        ),
        TryCase {
            err_cmd: Some("ok"),
            ..case(
                "endless",
                Recovered,
                3,
                Some("command ran longer than datum_timeout allows (50ms)"),
            )
        },
        case("readonly", Failed, 3, Some("transform.writable_inputs")),
    ];
    for (number, case) in (1..).zip(cases) {
        let mut plan = plan("edges", number, &[case.cmd]);
        plan.stage.err_cmd = case.err_cmd.map(|cmd| vec![cmd.to_owned()]);
        plan.stage.accept_return_code = case.accept;
        plan.stage.datum_timeout_ms = (case.cmd == "endless").then_some(50);
        let result = fixture.run_one(&plan, vec![]).await;
        let done = &result.datums[0];
        let about = format!("{} {:?}: {done:?}", case.cmd, case.err_cmd);
        assert_eq!((done.state, done.tries), (case.state, case.tries), "{about}");
        let reason = done.reason.as_deref();
        match case.reason {
            Some(expected) => assert!(reason.unwrap().contains(expected), "{about}"),
            None => assert_eq!(reason, None, "{about}"),
        }
        assert_eq!(done.outputs.is_empty(), case.state != Success, "{about}");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_stage_does_not_count_as_a_try() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let runs = Arc::new(AtomicUsize::new(0));
    fixture.runtime.define("fragile", {
        let runs = Arc::clone(&runs);
        move |_| ScriptedEnd {
            lost: runs.fetch_add(1, Ordering::SeqCst) == 0,
            ..ScriptedEnd::ok()
        }
    });
    let result = fixture.run_one(&plan("edges", 1, &["fragile"]), vec![]).await;
    assert_eq!(
        (result.datums[0].state, result.datums[0].tries),
        (DatumOutcome::Success, 1)
    );
    assert_eq!((runs.load(Ordering::SeqCst), fixture.runtime.started()), (2, 2));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_ends_its_container_every_time_fails_the_datum() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let runs = Arc::new(AtomicUsize::new(0));
    fixture.runtime.define("fatal", {
        let runs = Arc::clone(&runs);
        move |_| {
            runs.fetch_add(1, Ordering::SeqCst);
            ScriptedEnd {
                lost: true,
                ..ScriptedEnd::ok()
            }
        }
    });
    let result = fixture.run_one(&plan("edges", 1, &["fatal"]), vec![]).await;
    let done = &result.datums[0];
    assert_eq!((done.state, done.tries), (DatumOutcome::Failed, 3), "{done:?}");
    assert!(
        done.reason.as_ref().unwrap().contains("did it kill process 1"),
        "{done:?}"
    );
    assert_eq!(runs.load(Ordering::SeqCst), 4, "the first loss is not a try");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_with_a_name_that_no_file_system_accepts_fails_the_datum() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let root = fixture.commit(&[("/x", b"x".to_vec())]).await;
    let input = fixture.input(&"x".repeat(300), root, "/x").await;
    let result = fixture.run_one(&plan("edges", 1, &["ok"]), vec![input]).await;
    let done = &result.datums[0];
    assert_eq!((done.state, done.tries), (DatumOutcome::Failed, 3), "{done:?}");
    assert!(done.reason.as_ref().unwrap().contains("cannot be laid out"), "{done:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_a_datum_does_not_count_as_a_try() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let begun = Arc::new(tokio::sync::Notify::new());
    fixture.runtime.define("slow", {
        let (begun, runs) = (Arc::clone(&begun), AtomicUsize::new(0));
        move |_| {
            begun.notify_one();
            if runs.fetch_add(1, Ordering::SeqCst) == 0 {
                ScriptedEnd::endless()
            } else {
                ScriptedEnd::ok()
            }
        }
    });
    let root = fixture.commit(&[("/x", b"x".to_vec())]).await;
    let input = fixture.input("in", root, "/x").await;
    let plan = plan("edges", 1, &["slow"]);
    fixture.start(&plan, vec![vec![datum(1, vec![input])]]).await;
    within(begun.notified()).await;
    let restart = |filter: &str| RestartDatum {
        pipeline: plan.pipeline.clone(),
        job: plan.job,
        filters: vec![filter.to_owned()],
    };
    fixture.queue.restart_datums(&restart("/other")).await.unwrap();
    fixture.queue.restart_datums(&restart("/x")).await.unwrap();
    let result = fixture.result(&plan, 0).await;
    assert_eq!(
        (result.datums[0].state, result.datums[0].tries),
        (DatumOutcome::Success, 1)
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_folder_is_reused_for_the_next_datum_and_updated_to_its_commit() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    // Lists each file's path, size and modification time. A reused file keeps its time.
    fixture.runtime.define("look", |call| {
        let mut lines = Vec::new();
        let mut folders = vec![call.path("/pfs/in")];
        let top = folders[0].clone();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let written = path.metadata().unwrap().modified().unwrap();
                let written = written.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
                let size = std::fs::read(&path).unwrap().len();
                let name = path.strip_prefix(&top).unwrap().display();
                lines.push(format!("/{name} {size} {written}"));
            }
        }
        lines.sort();
        std::fs::write(call.path("/pfs/out").join("seen"), lines.join("\n")).unwrap();
        // A folder that the worker must remove before the next datum.
        std::fs::create_dir(call.path("/pfs/leftover")).unwrap();
        ScriptedEnd::ok()
    });
    let first: BTreeMap<String, usize> = (0..100)
        .map(|n| (format!("/d/{}/f{n:03}", n % 3), n))
        .chain([
            ("/d/big".to_owned(), 200_000),
            ("/d/x".to_owned(), 1),
            ("/d/y/in".to_owned(), 1),
        ])
        .chain([("/e/other".to_owned(), 5)])
        .collect();
    let mut second = first.clone();
    second.insert("/d/new/one".into(), 70);
    second.insert("/d/0/f003".into(), 77);
    for removed in ["/d/1/f001", "/d/x", "/d/y/in"] {
        second.remove(removed);
    }
    // A file becomes a folder, and a folder a file.
    second.insert("/d/x/deep".into(), 2);
    second.insert("/d/y".into(), 2);

    let mut before = BTreeMap::new();
    for (job, (files, folder, expected_reused)) in (1..).zip([
        (&first, "/d/", 0),
        (&second, "/d/", 99),
        (&second, "/d/", 103),
        (&second, "/e/", 0),
        (&first, "/", 0),
        (&second, "/", 100),
    ]) {
        let contents: Vec<_> = files
            .iter()
            .map(|(path, size)| (path.as_str(), vec![7; *size]))
            .collect();
        let root = fixture.commit(&contents).await;
        let input = fixture.input("in", root, folder).await;
        let size = input.size;
        let plan = plan("edges", job, &["look"]);
        let result = fixture.run_one(&plan, vec![input]).await;
        assert_eq!(result.datums[0].stats.download_bytes, size);
        let (_, seen) = fixture.output(&result, 0).await.remove(0);
        let seen: BTreeMap<String, (usize, u128)> = String::from_utf8(seen)
            .unwrap()
            .lines()
            .map(|line| {
                let mut words = line.split(' ');
                let mut next = || words.next().unwrap();
                (next().to_owned(), (next().parse().unwrap(), next().parse().unwrap()))
            })
            .collect();
        let wanted: BTreeMap<&String, usize> = files
            .iter()
            .filter(|(path, _)| path.starts_with(folder))
            .map(|(path, size)| (path, *size))
            .collect();
        let found: BTreeMap<&String, usize> = seen.iter().map(|(path, (size, _))| (path, *size)).collect();
        assert_eq!(found, wanted, "job {job}");
        let reused = seen
            .iter()
            .filter(|(path, file)| before.get(*path) == Some(*file))
            .count();
        assert_eq!(reused, expected_reused, "job {job}");
        before = seen;
    }
    worker.stop().await;
}
