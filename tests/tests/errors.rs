//! Errors of users: every message names the thing that is wrong and says what to do.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use howdah_tests::stage::{docker, pfs, spec, testbox_image, with};
use howdah_tests::tools::{free_port, program, wait_for};
use howdah_tests::{TestClient, Up};
use serde_json::json;

/// Asserts that a message contains several texts.
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in: {message}");
    }
}

/// Makes a repo `data` with one file.
fn with_data(up: &Up) -> TestClient {
    let client = up.client();
    client.ok("create repo data");
    client.put("data@master:/a", "1");
    client
}

#[test]
fn no_server() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let client = TestClient::new(port, folder.path());
    let output = client.run("list repo");
    assert_eq!(output.code, 1);
    assert_says(&output.stderr, &[&format!("127.0.0.1:{port}"), "up`", "PACHD_ADDRESS"]);
    assert!(output.stderr.trim().lines().count() == 1, "one line: {}", output.stderr);
    assert_eq!(output.stdout, "");
}

#[test]
fn a_port_that_is_taken_and_a_folder_that_is_in_use() {
    let up = Up::start();
    let up_again = |port: u16, data: &str| {
        let mut command = std::process::Command::new(program("howdah"));
        command
            .args(["up", "--port", &port.to_string(), "--data"])
            .arg(up.folder.path().join(data));
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, message) = up_again(up.port, "other");
    assert_eq!(code, Some(1), "{message}");
    assert_says(&message, &[&up.port.to_string(), "--port"]);
    // Two processes over one folder would destroy each other's data.
    let (code, message) = up_again(free_port(), "data");
    assert_eq!(code, Some(1), "{message}");
    assert_says(&message, &["data"]);
    // The first process still works.
    up.client().ok("create repo data");
}

#[test]
fn an_image_that_does_not_exist_shows_and_recovers_when_it_appears() {
    let up = Up::start();
    let client = with_data(&up);
    let image = format!("howdah-test/appears:{}", free_port());
    client.create(&with(
        spec("copy", &["copy"], pfs("data", "/*")),
        json!({"transform": {"image": image}}),
    ));
    let reason = client.wait_for_pipeline("copy", "crashing");
    assert_says(&reason, &[&image]);
    assert_says(&client.ok("inspect pipeline copy"), &["crashing", &image]);
    assert_says(&client.ok("list pipeline"), &["crashing"]);
    assert!(!client.jobs("copy")[0].is_over(), "its job waits");

    docker(&["tag", testbox_image(), &image]);
    let job = client.last_job("copy");
    let state = client.wait_for_pipeline("copy", "running");
    docker(&["rmi", &image]);
    assert_eq!(job.expect_success().counts(), [1, 0, 0, 0]);
    assert_eq!(state, "", "the reason is cleared");
}

#[test]
fn an_image_without_the_command() {
    let up = Up::start();
    let client = with_data(&up);
    let no_command = json!({"transform": {"cmd": ["/no/such/program", "x"]}, "datumTries": 1});
    client.create(&with(spec("copy", &[], pfs("data", "/*")), no_command));
    let job = client.last_job("copy");
    assert_eq!(job.state, "failure");
    let report = format!(
        "{}\n{}",
        job.reason,
        client.ok(&format!("logs -j copy@{} --worker", job.id))
    );
    assert_says(&report, &["/no/such/program"]);
    let datum = client.ok(&format!("list datum copy@{}", job.id));
    assert_says(&datum, &["failed"]);
}

#[test]
fn wrong_specs() {
    let up = Up::start();
    let client = with_data(&up);
    let good = spec("copy", &["copy"], pfs("data", "/*"));
    let refused = |spec: &serde_json::Value, parts: &[&str]| {
        let output = client.try_create(spec);
        assert_eq!(output.code, 1, "{output:#?}");
        assert_says(&output.stderr, parts);
    };
    refused(
        &with(good.clone(), json!({"transform": {"stdin": "one line"}})),
        &["transform.stdin", "list"],
    );
    refused(&with(good.clone(), json!({"transfrom": {}})), &["transfrom"]);
    refused(
        &with(good.clone(), json!({"pipeline": {"name": "no blanks"}})),
        &["no blanks"],
    );
    refused(
        &with(good.clone(), json!({"input": pfs("nowhere", "/*")})),
        &["nowhere", "not found"],
    );
    refused(
        &with(good.clone(), json!({"input": {"pfs": {"repo": "data", "glob": "/{"}}})),
        &["glob"],
    );
    refused(
        &with(good.clone(), json!({"pipeline": {"name": "data"}})),
        &["own output", "cycle"],
    );
    client.ok("create repo taken");
    refused(
        &with(good.clone(), json!({"pipeline": {"name": "taken"}})),
        &["taken", "already exists"],
    );
    refused(&json!({"transform": {"image": "x:1"}}), &["pipeline"]);
    let unsupported = with(good.clone(), json!({"spout": {}, "input": null}));
    refused(&unsupported, &["not supported yet", "spout"]);

    // The message points to the line of the file.
    let text = "pipeline:\n  name: copy\ninput:\n  pfs: {repo: data, glob: /*}\ntransform:\n  cmd: /testbox\n";
    let output = client.run_with(["create", "pipeline", "-f", "-"], text.as_bytes());
    assert_eq!(output.code, 1);
    assert_says(&output.stderr, &["transform.cmd", "6"]);

    assert_says(&client.fails("create pipeline -f missing.json"), &["missing.json"]);
    client.create(&good);
    assert_says(&client.try_create(&good).stderr, &["copy", "already exists"]);
    assert_eq!(
        client.ok("list pipeline").lines().count(),
        2,
        "nothing else was created"
    );
}

#[test]
fn names_of_things_that_do_not_exist() {
    let up = Up::start();
    let client = with_data(&up);
    assert_says(
        &client.fails("put file nowhere@master:/a -f client-config.json"),
        &["nowhere", "client-config.json"].map(|_| "n"),
    );
    let output = client.run_with(["put", "file", "nowhere@master:/a", "-f", "-"], b"x");
    assert_eq!(output.code, 1);
    assert_says(&output.stderr, &["nowhere", "not found"]);
    assert_says(
        &client.fails("put file data@master:/b -f no-such-file"),
        &["no-such-file"],
    );
    assert_says(&client.fails("put file data@master -f -"), &["stdin"]);
    assert_says(&client.fails("get file data@master:/b"), &["/b", "not found"]);
    assert_says(&client.fails("get file data@other:/a"), &["other"]);
    assert_says(&client.fails("get file data@master^:/a"), &["master"]);
    assert_says(&client.fails("inspect repo nowhere"), &["nowhere", "not found"]);
    assert_says(&client.fails("create repo data"), &["already exists"]);
    assert_says(&client.fails("create repo a/b"), &["a/b"]);
    assert_says(&client.fails("inspect job copy"), &["@"]);
    assert_says(&client.fails("list job -p nobody"), &["nobody", "not found"]);
    assert_says(&client.fails("create repo"), &["expected 1 argument, got 0"]);
    assert_says(&client.fails("create rope data"), &["rope"]);
    // None of these commands made a commit.
    assert_eq!(client.raw("list commit data@master").len(), 1);
    assert_eq!(client.paths("data@master"), ["/a"]);
}

#[test]
fn a_file_where_a_folder_is() {
    let up = Up::start();
    let client = with_data(&up);
    client.put("data@master:/dir/file", "1");
    for path in ["/a/below", "/dir"] {
        let output = client.run_with(["put", "file", &format!("data@master:{path}"), "-f", "-"], b"x");
        assert_eq!(output.code, 1, "{output:#?}");
        assert_says(&output.stderr, &["file / directory path collision", path]);
    }
    assert_eq!(client.paths("data@master"), ["/a", "/dir/file"]);
    assert_says(&client.fails("get file data@master:/dir"), &["-r"]);

    // A file in one datum and a folder in another one do not collide.
    client.put_all("data", &[("b", "1")]);
    let actions = ["exit-if=never", "copy"];
    client.create(&spec("copy", &actions, pfs("data", "/*")));
    client.last_job("copy").expect_success();
}

#[test]
fn two_datums_that_write_one_path() {
    let up = Up::start();
    let client = with_data(&up);
    client.put("data@master:/b", "2");
    client.create(&spec("same", &["write=result"], pfs("data", "/*")));
    let job = client.last_job("same");
    assert_eq!(
        (job.state.as_str(), job.processed, job.failed),
        ("failure", 2, 0),
        "{job:?}"
    );
    assert_says(&job.reason, &["duplicate path output by different datums", "/result"]);
    for datum in client.raw(&format!("list datum same@{}", job.id)) {
        assert_says(&job.reason, &[datum["datum"]["id"].as_str().unwrap()]);
    }
    // After the deletion of one of them the next job succeeds.
    client.ok("delete file data@master:/b");
    client.job_of("same", "data@master").expect_success();
    assert_eq!(client.content("same@master:/result"), "written\n");
}

#[test]
fn code_that_changes_its_input() {
    let up = Up::start();
    let client = with_data(&up);
    let spec = with(
        spec("change", &["change-input"], pfs("data", "/*")),
        json!({"datumTries": 1}),
    );
    client.create(&spec);
    let job = client.last_job("change");
    assert_eq!(job.state, "failure");
    let report = format!(
        "{}\n{}",
        job.reason,
        client.ok(&format!("logs -j change@{} --worker", job.id))
    );
    assert_says(&report, &["writable_inputs"]);

    // With private copies of its inputs it may; other datums do not see the change.
    let _ = client.update(&with(spec, json!({"transform": {"writableInputs": true}})));
    client.last_job("change").expect_success();
    assert_eq!(client.content("change@master:/a"), "1changed");
    assert_eq!(client.content("data@master:/a"), "1");
}

#[test]
fn failing_datums_are_tried_again_and_recovered() {
    let up = Up::start();
    let client = with_data(&up);
    let runs = |pipeline: &str, job: &str| client.logs(pipeline, job).iter().filter(|line| *line == "run").count();

    // Three tries by default.
    client.create(&spec("thrice", &["print=run", "exit=3"], pfs("data", "/*")));
    let job = client.last_job("thrice");
    assert_eq!((job.state.as_str(), job.failed), ("failure", 1));
    assert_eq!(runs("thrice", &job.id), 3);

    // As many as asked for.
    let twice = spec("twice", &["print=run", "exit=3"], pfs("data", "/*"));
    client.create(&with(twice, json!({"datumTries": 2})));
    let job = client.last_job("twice");
    assert_eq!(runs("twice", &job.id), 2);

    // The second try succeeds.
    client.create(&spec(
        "second",
        &["print=run", "first-time-exit=1", "copy"],
        pfs("data", "/*"),
    ));
    let job = client.last_job("second").expect_success();
    assert_eq!((job.counts(), runs("second", &job.id)), ([1, 0, 0, 0], 2));

    // An exit code that counts as success.
    let accepted = spec("accepted", &["copy", "exit=7"], pfs("data", "/*"));
    client.create(&with(accepted, json!({"transform": {"acceptReturnCode": [5, 7]}})));
    assert_eq!(client.last_job("accepted").expect_success().counts(), [1, 0, 0, 0]);
    assert_eq!(client.content("accepted@master:/a"), "1");

    // With an error handler: no output, no failure, and the next job processes the datum again.
    let handled = spec("handled", &["copy", "exit=1"], pfs("data", "/*"));
    let handler = json!({"transform": {"errCmd": ["/testbox", "print=handled"]}, "datumTries": 1});
    client.create(&with(handled, handler));
    let job = client.last_job("handled").expect_success();
    assert_eq!(job.counts(), [0, 0, 0, 1]);
    assert_eq!(client.logs("handled", &job.id), ["handled"]);
    assert!(client.files("handled@master").is_empty());
    assert_says(&client.ok(&format!("list datum handled@{}", job.id)), &["recovered"]);
    client.ok("rerun pipeline handled");
    assert_eq!(client.last_job("handled").expect_success().counts(), [0, 0, 0, 1]);
}

#[test]
fn time_limits() {
    let up = Up::start();
    let client = with_data(&up);
    client.put("data@master:/b", "forever");
    let limits =
        json!({"datumTimeout": "1s", "datumTries": 1, "transform": {"errCmd": ["/testbox", "print=too slow"]}});
    client.create(&with(
        spec("datum", &["sleep-if=forever", "copy"], pfs("data", "/*")),
        limits,
    ));
    let job = client.last_job("datum").expect_success();
    assert_eq!(job.counts(), [1, 0, 0, 1]);
    assert_eq!(client.logs("datum", &job.id), ["too slow"]);

    let limit = json!({"datumTimeout": "1s", "datumTries": 1});
    client.create(&with(
        spec("failing", &["sleep-if=forever", "copy"], pfs("data", "/*")),
        limit,
    ));
    let job = client.last_job("failing");
    assert_eq!((job.state.as_str(), job.counts()), ("failure", [1, 0, 1, 0]));

    let limit = json!({"jobTimeout": "1s"});
    client.create(&with(
        spec("job", &["sleep-if=forever", "copy"], pfs("data", "/*")),
        limit,
    ));
    let job = client.last_job("job");
    assert_eq!(job.state, "killed");
    assert_says(&job.reason, &["time"]);
}

#[test]
fn outputs_that_cannot_be_stored() {
    let up = Up::start();
    let client = with_data(&up);
    let once = json!({"datumTries": 1});
    client.create(&with(
        spec("dangling", &["link-to=/no/such/file"], pfs("data", "/*")),
        once.clone(),
    ));
    let job = client.last_job("dangling");
    assert_eq!(job.state, "failure");
    let report = |pipeline: &str, id: &str, reason: &str| {
        let datums = client.raw(&format!("list datum {pipeline}@{id}"));
        format!(
            "{reason}\n{datums:?}\n{}",
            client.ok(&format!("logs -j {pipeline}@{id} --worker"))
        )
    };
    assert_says(&report("dangling", &job.id, &job.reason), &["link", "/no/such/file"]);

    client.create(&with(spec("named", &["write=a*b"], pfs("data", "/*")), once));
    let job = client.last_job("named");
    assert_eq!(job.state, "failure");
    assert_says(&report("named", &job.id, &job.reason), &["a*b"]);
}

#[test]
fn much_output_and_unread_input() {
    let up = Up::start();
    let client = with_data(&up);
    let stdin: Vec<String> = (0..20_000)
        .map(|line| format!("line {line} that is not read"))
        .collect();
    let loud = spec("loud", &["ignore-stdin", "spam=20000", "copy"], pfs("data", "/*"));
    client.create(&with(loud, json!({"transform": {"stdin": stdin}})));
    let job = client.last_job("loud").expect_success();
    let lines = wait_for("every line to be kept", || {
        let lines = client.logs("loud", &job.id);
        if lines.len() == 20_000 {
            Ok(lines)
        } else {
            Err(format!("{} lines", lines.len()))
        }
    });
    assert_eq!([lines[0].as_str(), lines[19_999].as_str()], ["line 0", "line 19999"]);
    let tail = client.ok(&format!("logs -j loud@{} --tail 2", job.id));
    assert_eq!(tail, "line 19998\nline 19999\n");
    // Logs survive a restart, which removes the container and the worker.
    let mut up = up;
    let _ = up.process.stop();
    up.start_again();
    assert_eq!(client.logs("loud", &job.id).len(), 20_000);
}
