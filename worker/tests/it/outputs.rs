//! Tests of output by reference, invalid output, private copies and the file cache.

use std::os::unix::fs::symlink;

use howdah_model::ids::GlobalId;
use howdah_protocol::objects::DatumOutcome;
use howdah_protocol::testing::{datum, plan};
use howdah_worker::runtime::scripted::{INIT, ScriptedEnd};

use crate::fixture::WorkerFixture;

#[tokio::test(flavor = "multi_thread")]
async fn links_into_inputs_are_stored_by_reference() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    fixture.runtime.define("regroup", |call| {
        let out = call.path("/pfs/out");
        symlink("/pfs/in/d", out.join("all")).unwrap();
        symlink("../in/d/big", out.join("one")).unwrap();
        std::fs::write(out.join("new"), "n").unwrap();
        ScriptedEnd::ok()
    });
    let big = vec![7; 200_000];
    let files = [("/d/big", big.clone()), ("/d/small", b"s".to_vec())];
    let root = fixture.commit(&files).await;
    let before = fixture.store.list("chunks/").await.unwrap().len();
    let input = fixture.input("in", root, "/d/").await;
    let result = fixture.run_one(&plan("edges", 1, &["regroup"]), vec![input]).await;
    assert_eq!(
        fixture.output(&result, 0).await,
        [
            ("/all/big".to_owned(), big.clone()),
            ("/all/small".to_owned(), b"s".to_vec()),
            ("/new".to_owned(), b"n".to_vec()),
            ("/one".to_owned(), big),
        ]
    );
    let after = fixture.store.list("chunks/").await.unwrap().len();
    assert_eq!(after - before, 1, "only the new file was written");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_an_input_that_is_one_file_is_stored_by_reference() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    fixture.runtime.define("link", |call| {
        symlink("/pfs/in/file", call.path("/pfs/out").join("linked")).unwrap();
        ScriptedEnd::ok()
    });
    let plan = plan("edges", 1, &["link"]);
    let mut datums = Vec::new();
    let contents: [&[u8]; 2] = [b"bytes", b""];
    for (number, content) in (0..).zip(contents) {
        let root = fixture.commit(&[("/file", content.to_vec())]).await;
        let input = fixture.input("in", root, "/file").await;
        datums.push(datum(number, vec![input]));
    }
    // The datums of the second set have no file locations, so the worker looks the files up.
    fixture.start(&plan, vec![datums.clone(), datums]).await;
    for set in 0..2 {
        let result = fixture.result(&plan, set).await;
        for (place, content) in contents.iter().enumerate() {
            let expected = ("/linked".to_owned(), content.to_vec());
            assert_eq!(fixture.output(&result, place).await, [expected]);
        }
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_out_of_pfs_are_replaced_by_their_content_in_the_stage() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    fixture.runtime.define("link-out", |call| {
        symlink("/usr/share/words", call.path("/pfs/out").join("words")).unwrap();
        ScriptedEnd::ok()
    });
    // Takes the place of stage-init in an image that has this one file.
    fixture.runtime.define(INIT, |call| {
        assert_eq!(call.request.argv[1..], ["--copy-links"]);
        assert_eq!(call.request.stdin.as_deref(), Some(b"/pfs/out/words".as_slice()));
        assert_eq!(call.request.user.as_deref(), Some("nobody"));
        let link = call.path("/pfs/out").join("words");
        std::fs::remove_file(&link).unwrap();
        std::fs::write(&link, "aardvark").unwrap();
        ScriptedEnd::ok()
    });
    let mut plan = plan("edges", 1, &["link-out"]);
    plan.stage.user = Some("nobody".to_owned());
    let result = fixture.run_one(&plan, vec![]).await;
    assert_eq!(
        fixture.output(&result, 0).await,
        [("/words".to_owned(), b"aardvark".to_vec())]
    );

    fixture.runtime.define(INIT, |_| ScriptedEnd {
        stderr: "link at /pfs/out/words: its target /usr/share/words does not exist".to_owned(),
        ..ScriptedEnd::exit(1)
    });
    plan.job = GlobalId::from_number(2);
    let result = fixture.run_one(&plan, vec![]).await;
    let done = &result.datums[0];
    assert_eq!((done.state, done.tries), (DatumOutcome::Failed, 3), "{done:?}");
    let reason = done.reason.as_deref().unwrap();
    assert_eq!(
        reason,
        "link at /pfs/out/words: its target /usr/share/words does not exist"
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_without_content_is_counted_and_named_in_the_log() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    fixture.runtime.define("special", |call| {
        let out = call.path("/pfs/out");
        std::fs::write(out.join("file"), "f").unwrap();
        std::fs::create_dir(out.join("sub")).unwrap();
        nix::unistd::mkfifo(&out.join("sub/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        symlink("sub/pipe", out.join("to-pipe")).unwrap();
        symlink("/dev/null", out.join("device")).unwrap();
        ScriptedEnd::ok()
    });
    // Takes the place of stage-init, which removes links to what has no content and says so.
    fixture.runtime.define(INIT, |call| {
        std::fs::remove_file(call.path("/pfs/out").join("device")).unwrap();
        ScriptedEnd {
            stdout: "7\0/pfs/out/device".to_owned(),
            ..ScriptedEnd::ok()
        }
    });
    let result = fixture.run_one(&plan("edges", 1, &["special"]), vec![]).await;
    assert_eq!(result.datums[0].state, DatumOutcome::Success);
    assert_eq!(fixture.output(&result, 0).await, [("/file".to_owned(), b"f".to_vec())]);
    let lines = fixture.log_lines(&result).await;
    let [(user, line)] = lines.as_slice() else {
        panic!("one line: {lines:?}");
    };
    assert!(!user);
    assert!(line.starts_with("9 left out of the output: "), "{line}");
    for name in [
        "/pfs/out/sub/pipe (named pipe)",
        "/pfs/out/to-pipe (named pipe)",
        "/pfs/out/device (link to a pipe, a socket or a device)",
        "and 6 more",
    ] {
        assert!(line.contains(name), "{name}: {line}");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_output_fails_the_datum_with_the_error() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    fixture.runtime.define("dangle", |call| {
        symlink("/pfs/in/none", call.path("/pfs/out").join("l")).unwrap();
        ScriptedEnd::ok()
    });
    fixture.runtime.define("badname", |call| {
        std::fs::write(call.path("/pfs/out").join("a[b"), "x").unwrap();
        ScriptedEnd::ok()
    });
    for (number, cmd, expected) in [
        (1, "dangle", "/pfs/in/none does not exist"),
        (2, "badname", "character '[' not allowed"),
    ] {
        let mut plan = plan("edges", number, &[cmd]);
        plan.stage.err_cmd = Some(vec!["ok".to_owned()]);
        let result = fixture.run_one(&plan, vec![]).await;
        let done = &result.datums[0];
        assert_eq!((done.state, done.tries), (DatumOutcome::Failed, 3), "{done:?}");
        assert!(done.reason.as_ref().unwrap().contains(expected), "{done:?}");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_is_rejected_when_it_is_stored_is_counted_and_logged_as_a_failed_try() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    // The scripted runtime lets a command write into its inputs. The link then leads to a file that the input's commit
    // does not have.
    fixture.runtime.define("stray", |call| {
        std::fs::write(call.path("/pfs/in/d/stray"), "s").unwrap();
        symlink("/pfs/in/d/stray", call.path("/pfs/out").join("l")).unwrap();
        ScriptedEnd::ok()
    });
    let root = fixture.commit(&[("/d/small", b"s".to_vec())]).await;
    let input = fixture.input("in", root, "/d/").await;
    let result = fixture.run_one(&plan("edges", 1, &["stray"]), vec![input]).await;
    let done = &result.datums[0];
    assert_eq!((done.state, done.tries), (DatumOutcome::Failed, 3), "{done:?}");
    let reason = "link at /pfs/out/l: /d/stray is not a file of the input in";
    assert_eq!(done.reason.as_deref(), Some(reason));
    let expected: Vec<(bool, String)> = (1..=3)
        .map(|number| (false, format!("try {number} of 3 failed: {reason}")))
        .collect();
    assert_eq!(fixture.log_lines(&result).await, expected);
    assert_eq!(worker.metrics.failed_tries.get(), 3);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_to_private_copies_changes_no_other_file() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    fixture.runtime.define("scribble", |call| {
        for file in ["/pfs/in/d/big", "/pfs/in/d/small"] {
            let before = std::fs::read(call.path(file)).unwrap();
            std::fs::write(call.path(file), [&before[..1], b"!"].concat()).unwrap();
        }
        symlink("/pfs/in/d", call.path("/pfs/out").join("d")).unwrap();
        ScriptedEnd::ok()
    });
    let root = fixture
        .commit(&[("/d/big", vec![b'B'; 200_000]), ("/d/small", b"s".to_vec())])
        .await;
    let input = fixture.input("in", root, "/d/").await;
    for number in 1..3 {
        let mut plan = plan("edges", number, &["scribble"]);
        plan.stage.writable_inputs = true;
        let result = fixture.run_one(&plan, vec![input.clone()]).await;
        assert_eq!(
            fixture.output(&result, 0).await,
            [
                ("/d/big".to_owned(), b"B!".to_vec()),
                ("/d/small".to_owned(), b"s!".to_vec())
            ]
        );
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_inputs_are_fetched_once_while_the_cache_holds_them() {
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    // The cache of a test holds 1 MiB.
    let names: Vec<String> = (0..8).map(|n| format!("/f{n}")).collect();
    let files: Vec<(&str, Vec<u8>)> = (0..)
        .zip(&names)
        .map(|(n, name)| (name.as_str(), vec![n; 300_000]))
        .collect();
    let root = fixture.commit(&files).await;
    let mut datums = Vec::new();
    for (number, name) in (0..).zip(["/f0", "/f0", "/f1", "/f2", "/f3", "/f4", "/f5", "/f0"]) {
        datums.push(datum(number, vec![fixture.input("in", root, name).await]));
    }
    let plan = plan("edges", 1, &["copy"]);
    fixture.start(&plan, vec![datums]).await;
    let result = fixture.result(&plan, 0).await;
    for (place, byte) in [0, 0, 1, 2, 3, 4, 5, 0].into_iter().enumerate() {
        assert_eq!(fixture.output(&result, place).await[0].1, vec![byte; 300_000]);
    }
    let counts = (
        worker.metrics.file_cache_hits.get(),
        worker.metrics.file_cache_misses.get(),
    );
    assert_eq!(counts, (1, 7), "the first file was evicted and fetched again");
    worker.stop().await;
}
