//! Hints of the command line during work and after failures: each names the command that shows more.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use howdah_tests::stage::{docker, pfs, spec, testbox_image, with};
use howdah_tests::tools::{free_port, wait_for};
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
fn commits_that_are_not_finished_and_jobs_that_run() {
    let up = Up::start();
    let client = with_data(&up);
    client.put("data@master:/b", "forever");
    let one_by_one = json!({"datumSetSpec": {"number": 1}, "parallelismSpec": {"constant": 2}});
    let slow = spec("slow", &["print=seen", "sleep-if=forever", "copy"], pfs("data", "/*"));
    client.create(&with(slow, one_by_one));
    let job = client.jobs("slow").remove(0);

    // Finished datums are listed while the job runs.
    let listed = wait_for("the first datum to be done", || {
        let listed = client.ok(&format!("list datum slow@{}", job.id));
        if listed.contains("success") {
            Ok(listed)
        } else {
            Err(listed)
        }
    });
    assert_says(&listed, &["starting"]);
    assert!(!client.job("slow", &job.id).is_over());

    // Its output cannot be read yet; the note says how to wait for it.
    let advice = format!("is not finished; `howdah wait commit slow@{}` waits for it", job.id);
    let output = client.run("list file slow@master").expect_ok();
    assert_says(&output.stderr, &[&advice]);
    assert_says(&client.run("glob file slow@master:/*").expect_ok().stderr, &[&advice]);
    assert_says(&client.fails("get file slow@master:/a"), &["/a not found", &advice]);
    assert_says(&client.fails("inspect file slow@master:/a"), &["/a not found", &advice]);

    // An open commit of a user shows its present content.
    client.ok("start commit data@other");
    client.put("data@other:/c", "3");
    let output = client.run("get file data@other:/c").expect_ok();
    assert_eq!(output.stdout, "3");
    assert_says(&output.stderr, &["`howdah finish commit data@"]);
    client.ok("finish commit data@other");
    assert_eq!(client.run("list file data@other").expect_ok().stderr, "");
    client.ok(&format!("stop job slow@{}", job.id));
}

#[test]
fn a_failed_datum_is_shown_by_every_command() {
    let up = Up::start();
    let client = with_data(&up);
    let bad = spec("bad", &["print=hello", "exit=3"], pfs("data", "/*"));
    client.create(&with(bad, json!({"datumTries": 1})));
    let job = client.last_job("bad");
    assert_eq!(job.state, "failure");

    assert_says(&client.ok("list job -p bad"), &["failure: datum ", ": exit code 3"]);
    let datum = client.raw(&format!("list datum bad@{}", job.id)).remove(0);
    let id = datum["datum"]["id"].as_str().unwrap();
    let text = client.ok(&format!("inspect datum bad@{} {id}", job.id));
    assert_says(&text, &["State\tfailed", "Reason\tcommand exited with code 3"]);

    let output = client.run("list pipeline").expect_ok();
    assert_says(&output.stdout, &["running / failure"]);
    assert_says(
        &output.stderr,
        &["inspect pipeline bad", "list job -p bad", "logs -p bad"],
    );
    let text = client.ok("inspect pipeline bad");
    assert_says(&text, &["Recent Error: ", &job.id, "command exited with code 3"]);

    // Log lines name the input files of their datum.
    let text = client.ok("logs -p bad --raw");
    let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&line["message"], &line["data"][0]["path"]),
        (&json!("hello"), &json!("/a"))
    );
    assert!(line["data"][0]["hash"].is_string(), "{line}");

    // A job is named by its id, not by a branch; the message says so.
    assert_says(
        &client.fails("inspect job bad@master"),
        &["pipeline@id", "list job -p bad"],
    );
    assert_says(&client.fails("list job bad"), &["list job -p bad"]);
}

#[test]
fn events_of_the_coordinator_are_in_the_masters_log() {
    let up = Up::start();
    let client = with_data(&up);
    let image = format!("howdah-test/later:{}", free_port());
    client.create(&with(
        spec("copy", &["copy"], pfs("data", "/*")),
        json!({"transform": {"image": image}}),
    ));
    client.wait_for_pipeline("copy", "crashing");
    let output = client.run("logs -p copy").expect_ok();
    assert_eq!(output.stdout, "");
    assert_says(&output.stderr, &["logs -p copy --master", &image]);
    docker(&["tag", testbox_image(), &image]);
    client.wait_for_pipeline("copy", "running");
    docker(&["rmi", &image]);
    let lines = wait_for("both lines", || {
        let lines = client.ok("logs -p copy --master");
        if lines.contains("running") {
            Ok(lines)
        } else {
            Err(lines)
        }
    });
    assert_says(&lines, &["pipeline is crashing", &image, "pipeline is running"]);
    assert_eq!(client.ok("logs -p copy --master --tail 1"), "pipeline is running\n");
}

#[test]
fn an_engine_that_comes_later_is_found() {
    let (up, socket) = Up::start_without_engine();
    let summary = wait_for("the summary", || {
        let log = up.process.log();
        if log.contains("Stop with Ctrl-C") {
            Ok(log)
        } else {
            Err(log)
        }
    });
    assert_says(
        &summary,
        &["No pipeline can run until an engine answers", "start it", "DOCKER_HOST"],
    );
    let client = with_data(&up);
    client.create(&spec("copy", &["copy"], pfs("data", "/*")));
    assert_says(&client.wait_for_pipeline("copy", "crashing"), &["engine.sock"]);
    std::os::unix::fs::symlink("/var/run/docker.sock", socket).unwrap();
    client.last_job("copy").expect_success();
}

#[test]
fn files_transactions_and_lists_of_old_commands() {
    let up = Up::start();
    let client = with_data(&up);
    client.ok("start transaction");
    client.ok("create repo later");
    let output = client.run_with(["put", "file", "later@master:/a", "-f", "-"], b"x");
    assert_eq!(output.code, 1);
    assert_says(
        &output.stderr,
        &["later not found", "outside of transactions", "finish transaction"],
    );
    client.ok("delete transaction");

    // Putting a folder without files makes no commit.
    std::fs::create_dir_all(up.folder.path().join("empty/inner")).unwrap();
    let output = client.run("put file data@master -r -f empty").expect_ok();
    assert_says(&output.stderr, &["nothing to put", "empty"]);
    assert_eq!(client.raw("list commit data@master").len(), 1);

    // Deleting a folder without -r and copying a missing file are errors, not commands without an effect.
    client.put("data@side:/dir/file", "1");
    let commits = client.raw("list commit data@side").len();
    assert_says(
        &client.fails("delete file data@side:/dir"),
        &["data@side:/dir is a folder", "-r"],
    );
    assert_says(
        &client.fails("copy file data@side:/nope data@side:/x"),
        &["/nope not found"],
    );
    assert_eq!(client.raw("list commit data@side").len(), commits);
    client.ok("delete file data@side:/dir -r");
    assert!(client.paths("data@side").is_empty());

    // A commit that two sets depend on is listed once.
    client.create(&spec("copy", &["copy"], pfs("data", "/*")));
    client.put("data@master:/b", "2");
    let listed = client.ok("flush-commit data/master data/master^ copy/master");
    let mut rows: Vec<&str> = listed.lines().skip(1).collect();
    let count = rows.len();
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(rows.len(), count, "{listed}");

    std::fs::write(up.folder.path().join("empty.json"), "").unwrap();
    assert_says(
        &client.fails("create pipeline -f empty.json"),
        &["no pipeline spec", "empty.json"],
    );
    assert_says(
        &client.ok("version"),
        &["pachctl   2.12.2 (Howdah ", "pachd     2.12.2 (Howdah "],
    );
    assert_eq!(client.ok("version --client-only"), "2.12.2\n");
}
