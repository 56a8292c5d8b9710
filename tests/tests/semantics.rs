//! Datums, skipping, failures and updates: the guarantees of the concepts page.

use howdah_tests::stage::{PROGRAM, pfs, spec, with};
use howdah_tests::tools::wait_for;
use howdah_tests::{JobSummary, TestClient, Up};
use serde_json::{Value, json};

fn names(client: &TestClient, commit: &str) -> Vec<String> {
    client.paths(commit)
}

#[test]
fn changed_and_deleted_inputs_change_only_their_outputs() {
    let up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    client.put_all("data", &[("a", "1"), ("b", "2"), ("c", "3")]);
    client.create(&spec("copy", &["stamp=v1"], pfs("data", "/*")));
    assert_eq!(client.last_job("copy").expect_success().counts(), [3, 0, 0, 0]);

    // Deleting an input removes its output and runs nothing.
    client.ok("delete file data@master:/b");
    let job = client.job_of("copy", "data@master").expect_success();
    assert_eq!((job.total, job.counts()), (2, [0, 2, 0, 0]));
    assert_eq!(names(&client, "copy@master"), ["/a", "/c"]);

    // Changed content is processed again and replaces the old output.
    client.put("data@master:/a", "one");
    assert_eq!(
        client.job_of("copy", "data@master").expect_success().counts(),
        [1, 1, 0, 0]
    );
    assert_eq!(client.content("copy@master:/a"), "v1:one");

    // The same content again is the same datum.
    client.put("data@master:/a", "one");
    assert_eq!(
        client.job_of("copy", "data@master").expect_success().counts(),
        [0, 2, 0, 0]
    );

    // Another glob with the same datums keeps their results.
    let _ = client.update(&spec("copy", &["stamp=v1"], pfs("data", "/{a,c}")));
    assert_eq!(client.last_job("copy").expect_success().counts(), [0, 2, 0, 0]);

    // Without reprocessing new code processes only new datums; with it, all.
    let _ = client.update(&spec("copy", &["stamp=v2"], pfs("data", "/*")));
    assert_eq!(client.last_job("copy").expect_success().counts(), [0, 2, 0, 0]);
    client.put("data@master:/d", "4");
    assert_eq!(
        client.job_of("copy", "data@master").expect_success().counts(),
        [1, 2, 0, 0]
    );
    assert_eq!(client.content("copy@master:/d"), "v2:4");
    assert_eq!(client.content("copy@master:/c"), "v1:3");
    let _ = client.update_and_reprocess(&spec("copy", &["stamp=v2"], pfs("data", "/*")));
    assert_eq!(client.last_job("copy").expect_success().counts(), [3, 0, 0, 0]);
    assert_eq!(client.content("copy@master:/c"), "v2:3");

    // One datum for everything, and none at all.
    let _ = client.update(&spec("copy", &["stamp=all"], pfs("data", "/")));
    assert_eq!(client.last_job("copy").expect_success().counts(), [1, 0, 0, 0]);
    assert_eq!(client.files("copy@master").len(), 3);
    let _ = client.update(&spec("copy", &["stamp=none"], pfs("data", "/*.none")));
    let job = client.last_job("copy").expect_success();
    assert_eq!((job.total, job.counts()), (0, [0, 0, 0, 0]));
    assert!(client.files("copy@master").is_empty());
}

#[test]
fn every_job_means_every_job() {
    let up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    client.put_all("data", &[("a", "1"), ("b", "2")]);
    let spec = spec("again", &["copy"], pfs("data", "/*"));
    client.create(&with(spec, json!({"reprocessSpec": "every_job"})));
    assert_eq!(client.last_job("again").expect_success().counts(), [2, 0, 0, 0]);
    client.put("data@master:/c", "3");
    assert_eq!(
        client.job_of("again", "data@master").expect_success().counts(),
        [3, 0, 0, 0]
    );
}

#[test]
fn crosses_and_unions() {
    let up = Up::start();
    let client = up.client();
    for repo in ["left", "right"] {
        client.ok(&format!("create repo {repo}"));
    }
    client.put_all("left", &[("a", "A"), ("b", "B")]);
    client.put_all("right", &[("x", "X"), ("y", "Y"), ("z", "Z")]);

    client.create(&spec(
        "pairs",
        &["pair"],
        json!({"cross": [pfs("left", "/*"), pfs("right", "/*")]}),
    ));
    assert_eq!(client.last_job("pairs").expect_success().counts(), [6, 0, 0, 0]);
    let files = client.files("pairs@master");
    assert_eq!(
        files.keys().map(String::as_str).collect::<Vec<_>>(),
        ["/a-x", "/a-y", "/a-z", "/b-x", "/b-y", "/b-z"]
    );
    assert_eq!(files["/b-y"], "b-y: B+Y\n");

    // A new file on one side makes one datum for each file of the other side.
    client.put("left@master:/c", "C");
    assert_eq!(
        client.job_of("pairs", "left@master").expect_success().counts(),
        [3, 6, 0, 0]
    );

    client.create(&spec(
        "all",
        &["copy"],
        json!({"union": [pfs("left", "/*"), pfs("right", "/*")]}),
    ));
    assert_eq!(client.last_job("all").expect_success().counts(), [6, 0, 0, 0]);
    assert_eq!(client.files("all@master").len(), 6);

    // A cross with an empty side has no datums.
    client.ok("create repo empty");
    client.create(&spec(
        "nothing",
        &["pair"],
        json!({"cross": [pfs("left", "/*"), pfs("empty", "/*")]}),
    ));
    let job = client.last_job("nothing").expect_success();
    assert_eq!((job.total, job.counts()), (0, [0, 0, 0, 0]));
}

#[test]
fn folders_are_datums_too() {
    let up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    client.put_all(
        "data",
        &[("one/a", "1"), ("one/sub/b", "2"), ("two/a", "3"), ("top", "4")],
    );
    client.create(&spec("copy", &["copy"], pfs("data", "/*")));
    assert_eq!(client.last_job("copy").expect_success().counts(), [3, 0, 0, 0]);
    assert_eq!(client.files("copy@master"), client.files("data@master"));
    // A change deep inside a folder changes only the datum of this folder.
    client.put("data@master:/one/sub/b", "changed");
    assert_eq!(
        client.job_of("copy", "data@master").expect_success().counts(),
        [1, 2, 0, 0]
    );
    assert_eq!(client.content("copy@master:/one/sub/b"), "changed");
    // A rename inside changes this datum too.
    client.ok("copy file data@master:/two/a data@master:/two/renamed");
    client.ok("delete file data@master:/two/a");
    client.job_of("copy", "data@master").expect_success();
    assert_eq!(client.files("copy@master"), client.files("data@master"));
}

#[test]
fn a_failure_affects_only_its_own_job() {
    let up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    client.put_all("data", &[("a", "1"), ("b", "2")]);
    let first = with(
        spec("first", &["exit-if=bad", "copy"], pfs("data", "/*")),
        json!({"datumTries": 1}),
    );
    client.create(&first);
    client.create(&spec("second", &["copy"], pfs("first", "/*")));
    client.last_job("first").expect_success();
    client.last_job("second").expect_success();

    client.put_all("data", &[("c", "bad"), ("d", "good")]);
    let job = client.job_of("first", "data@master");
    assert_eq!((job.state.as_str(), job.failed), ("failure", 1), "{job:?}");
    assert_eq!(job.total, 4);
    let datum = client
        .raw(&format!("list datum first@{}", job.id))
        .into_iter()
        .find(|datum| datum["state"] == "FAILED");
    let datum = datum.expect("a failed datum is listed");
    let datum_id = datum["datum"]["id"].as_str().expect("a datum has an id");
    assert!(job.reason.starts_with(&format!("datum {datum_id} failed")), "{job:?}");
    // The lines of the failed datum can be read.
    let lines = client.ok(&format!("logs -j first@{} --datum {datum_id}", job.id));
    assert_eq!(lines.trim(), "an input contains bad");

    // The downstream job cannot run, with a reason.
    let below = client.wait_for_job("second", &job.id, JobSummary::is_over);
    assert_eq!(below.state, "unrunnable");
    assert!(below.reason.contains("first"), "{below:?}");
    assert!(!client.raw(&format!("inspect commit first@{}", job.id))[0]["error"].is_null());

    // The next job continues from the last successful one.
    client.put("data@master:/c", "better");
    let job = client.job_of("first", "data@master").expect_success();
    assert_eq!(job.total, 4);
    assert_eq!(job.skipped + job.processed, 4);
    assert!(
        job.skipped >= 2,
        "datums of the last successful job are skipped: {job:?}"
    );
    assert_eq!(client.files("first@master"), client.files("data@master"));
    client
        .wait_for_job("second", &job.id, JobSummary::is_over)
        .expect_success();
    assert_eq!(client.files("second@master"), client.files("data@master"));
}

#[test]
fn stopping_and_starting_a_pipeline() {
    let up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    client.put("data@master:/a", "1");
    client.create(&spec("copy", &["copy"], pfs("data", "/*")));
    client.last_job("copy").expect_success();

    client.ok("stop pipeline copy");
    client.wait_for_pipeline("copy", "paused");
    client.ok("stop pipeline copy");
    client.put("data@master:/b", "2");
    client.put("data@master:/c", "3");
    assert_eq!(client.jobs("copy").len(), 1, "a stopped pipeline gets no jobs");

    // One job for all commits made while the pipeline was stopped.
    client.ok("start pipeline copy");
    client.ok("start pipeline copy");
    wait_for("a second job", || {
        if client.jobs("copy").len() > 1 {
            Ok(())
        } else {
            Err("one job".to_owned())
        }
    });
    assert_eq!(client.last_job("copy").expect_success().counts(), [2, 1, 0, 0]);
    assert_eq!(client.jobs("copy").len(), 2);
    assert_eq!(names(&client, "copy@master"), ["/a", "/b", "/c"]);
    let missing = client.fails("stop pipeline nobody");
    assert!(missing.contains("not found"), "{missing}");
}

#[test]
fn stop_update_and_delete_end_running_jobs() {
    let up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    client.put_all("data", &[("a", "forever"), ("b", "2")]);
    client.create(&spec("slow", &["sleep-if=forever", "copy"], pfs("data", "/*")));

    // A user stops the job.
    let id = client.commit_id("slow@master");
    client.wait_for_job("slow", &id, |job| job.state == "running");
    client.ok(&format!("stop job slow@{id}"));
    let job = client.wait_for_job("slow", &id, JobSummary::is_over);
    assert_eq!((job.state.as_str(), job.reason.as_str()), ("killed", "job stopped"));
    client.ok(&format!("stop job slow@{id}"));

    // An update ends the job; the job of the update then runs in the same slots.
    client.ok("rerun pipeline slow");
    let id = client.commit_id("slow@master");
    client.wait_for_job("slow", &id, |job| job.state == "running");
    let _ = client.update(&spec("slow", &["copy"], pfs("data", "/*")));
    let job = client.wait_for_job("slow", &id, JobSummary::is_over);
    assert_eq!(
        (job.state.as_str(), job.reason.as_str()),
        ("killed", "all jobs killed because pipeline was updated")
    );
    client.last_job("slow").expect_success();
    assert_eq!(client.files("slow@master"), client.files("data@master"));

    // Stopping the pipeline ends the job.
    let _ = client.update_and_reprocess(&spec("slow", &["sleep-if=forever", "copy"], pfs("data", "/*")));
    let id = client.commit_id("slow@master");
    client.wait_for_job("slow", &id, |job| job.state == "running");
    client.ok("stop pipeline slow");
    let job = client.wait_for_job("slow", &id, JobSummary::is_over);
    assert_eq!(
        (job.state.as_str(), job.reason.as_str()),
        ("killed", "all jobs killed because pipeline was stopped")
    );

    // Deleting the pipeline during a job removes everything.
    client.ok("start pipeline slow");
    let id = client.commit_id("slow@master");
    client.wait_for_job("slow", &id, |job| job.state == "running");
    client.ok("delete pipeline slow");
    assert_eq!(client.ok("list repo").lines().count(), 2, "the output repo is deleted");
    let missing = client.fails("inspect pipeline slow");
    assert!(missing.contains("not found"), "{missing}");
    client.create(&spec("slow", &["copy"], pfs("data", "/*")));
    assert_eq!(client.last_job("slow").expect_success().counts(), [2, 0, 0, 0]);
}

#[test]
fn a_deleted_pipeline_frees_its_slots() {
    let up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    client.put_all("data", &[("a", "forever"), ("b", "forever")]);
    let slow = spec("slow", &["sleep-if=forever", "copy"], pfs("data", "/*"));
    let both_slots = json!({"parallelismSpec": {"constant": 2}, "datumSetSpec": {"number": 1}});
    client.create(&with(slow, both_slots));
    let id = client.commit_id("slow@master");
    wait_for("both slots to be busy", || {
        let job = client.raw(&format!("inspect job slow@{id}"));
        match job[0]["details"]["workerStatus"].as_array().map_or(0, Vec::len) {
            2 => Ok(()),
            busy => Err(format!("{busy} busy: {job:?}")),
        }
    });
    client.ok("delete pipeline slow");
    client.create(&spec("quick", &["copy"], pfs("data", "/*")));
    assert_eq!(client.last_job("quick").expect_success().counts(), [2, 0, 0, 0]);
}

#[test]
fn waiting_for_commits_jobs_and_sets() {
    let up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    client.put("data@master:/a", "1");
    client.create(&spec("first", &["sleep=300", "copy"], pfs("data", "/*")));
    client.create(&spec("second", &["copy"], pfs("first", "/*")));
    let id = client.commit_id("second@master");
    let finished = client.raw("wait commit second@master");
    assert!(finished[0]["finished"].is_string(), "{finished:?}");
    let job = client.raw(&format!("wait job second@{id}"));
    assert_eq!(job[0]["state"], "JOB_SUCCESS");

    client.put("data@master:/b", "2");
    let id = client.commit_id("data@master");
    let commits = client.raw(&format!("wait commit {id}"));
    assert!(commits.len() >= 3, "every commit of the set: {commits:?}");
    assert!(
        commits.iter().all(|commit| commit["finished"].is_string()),
        "{commits:?}"
    );
    let jobs = client.raw(&format!("wait job {id}"));
    assert_eq!(
        jobs.iter().filter(|job| job["state"] == "JOB_SUCCESS").count(),
        2,
        "{jobs:?}"
    );
    assert_eq!(names(&client, "second@master"), ["/a", "/b"]);
}

#[test]
fn a_commit_of_a_user_starts_its_job_when_it_is_finished() {
    let up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    client.create(&spec("copy", &["copy"], pfs("data", "/*")));
    let id = client.ok("start commit data@master").trim().to_owned();
    client.put("data@master:/a", "1");
    client.put("data@master:/b", "2");
    let job = client.wait_for_job("copy", &id, |_| true);
    assert!(!job.is_over(), "{job:?}");
    client.ok("finish commit data@master");
    let job = client.wait_for_job("copy", &id, JobSummary::is_over).expect_success();
    assert_eq!(job.counts(), [2, 0, 0, 0]);
    assert_eq!(client.content("copy@master:/a"), "1");
}

#[test]
fn user_code_gets_the_documented_environment() {
    let up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    client.put_all("data", &[("dir/a.txt", "hello")]);
    let actions = [
        "env",
        "dot-env",
        "process",
        "tree",
        "stdin",
        "print=from the code",
        "copy",
    ];
    let input: Value = json!({"pfs": {"repo": "data", "name": "numbers", "glob": "/dir/*"}});
    let transform = json!({"transform": {
        "env": {"COLOUR": "blue", "FROM_IMAGE": "overridden"},
        "stdin": ["first line", "second line"],
        "user": "worker:staff",
        "workingDir": "/etc",
    }});
    client.create(&with(spec("look", &actions, input), transform));
    let job = client.last_job("look").expect_success();
    let files = client.files("look@master");

    let env = &files["/env"];
    let commit = client.commit_id("data@master");
    for line in [
        "COLOUR=blue".to_owned(),
        "FROM_IMAGE=overridden".to_owned(),
        "numbers=/pfs/numbers/dir/a.txt".to_owned(),
        format!("numbers_COMMIT={commit}"),
        format!("PACH_JOB_ID={}", job.id),
        format!("PACH_OUTPUT_COMMIT_ID={}", job.id),
        "PACH_IN_WORKER=true".to_owned(),
        "PPS_PIPELINE_NAME=look".to_owned(),
        "PPS_PROJECT_NAME=default".to_owned(),
    ] {
        assert!(env.lines().any(|found| found == line), "{line} is missing in:\n{env}");
    }
    let datum = client.raw(&format!("list datum look@{}", job.id));
    let datum = datum[0]["datum"]["id"].as_str().expect("a datum has an id");
    assert!(env.contains(&format!("PACH_DATUM_ID={datum}")), "{env}");
    assert!(
        files["/dot-env"].contains("numbers=/pfs/numbers/dir/a.txt"),
        "{files:?}"
    );
    assert_eq!(files["/process"], "uid=1234 gid=4321 folder=/etc\n");
    assert_eq!(files["/stdin"], "first line\nsecond line\n");
    let tree = &files["/tree"];
    for path in ["/pfs/out", "/pfs/numbers", "/pfs/numbers/dir/a.txt", "/pfs/.env"] {
        assert!(tree.lines().any(|found| found == path), "{path} is missing in:\n{tree}");
    }
    assert_eq!(
        files["/dir/a.txt"], "hello",
        "outputs keep the path that inputs have in their repo"
    );
    assert_eq!(client.logs("look", &job.id), ["from the code"]);
}

#[test]
fn links_in_the_output_are_followed_and_datums_see_only_their_own_files() {
    let up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    client.put_all("data", &[("a/x", "1"), ("a/y", "2"), ("b", "3")]);
    client.create(&spec("links", &["link"], pfs("data", "/*")));
    client.last_job("links").expect_success();
    assert_eq!(client.files("links@master"), client.files("data@master"));

    // A link to a file of the image is stored as the content of the file.
    client.create(&spec("outside", &[&format!("link-to={PROGRAM}")], pfs("data", "/")));
    client.last_job("outside").expect_success();
    let found = client.raw("inspect file outside@master:/link");
    let size: u64 = found[0]["sizeBytes"].as_str().unwrap().parse().unwrap();
    assert!(size > 100_000, "{found:?}");

    // The datums run one after the other in one container; each sees only its own files.
    let trees = spec(
        "trees",
        &["background=60000", "tree", "copy", "join=dummy"],
        pfs("data", "/*"),
    );
    let unique = spec("alone", &["background=60000", "copy"], pfs("data", "/*"));
    client.create(&unique);
    client.last_job("alone").expect_success();
    assert_eq!(client.files("alone@master"), client.files("data@master"));
    // Both datums write /tree and /dummy, which is an error.
    client.create(&trees);
    let job = client.last_job("trees");
    assert_eq!(job.state, "failure", "{job:?}");
}

#[test]
fn a_datum_that_hangs_is_restarted_on_request() {
    let up = Up::start();
    let client = up.client();
    client.ok("create repo data");
    client.put_all("data", &[("a", "1"), ("b", "2")]);
    let hanging = spec(
        "hanging",
        &["print=begun", "first-time-hang", "copy"],
        pfs("data", "/*"),
    );
    client.create(&with(hanging, json!({"parallelismSpec": {"constant": 1}})));
    let id = client.commit_id("hanging@master");
    wait_for("the datum to hang", || match client.logs("hanging", &id) {
        lines if lines == ["begun"] => Ok(()),
        lines => Err(format!("{lines:?}")),
    });
    let job = client.job("hanging", &id);
    assert_eq!((job.is_over(), job.processed), (false, 0), "{job:?}");
    let refused = client.fails(&format!("restart datum hanging@{id} /nothing"));
    assert!(refused.contains("could not be found"), "{refused}");
    client.ok(&format!("restart datum hanging@{id} /a"));
    let job = client
        .wait_for_job("hanging", &id, JobSummary::is_over)
        .expect_success();
    assert_eq!(job.counts(), [2, 0, 0, 0]);
    assert_eq!(client.files("hanging@master"), client.files("data@master"));
    assert_eq!(client.logs("hanging", &id), ["begun", "begun", "begun"]);
}

#[test]
fn transactions_are_one_commit_set() {
    let up = Up::start();
    let client = up.client();
    client.ok("create repo left");
    client.ok("create repo right");
    client.create(&spec(
        "pairs",
        &["pair"],
        json!({"cross": [pfs("left", "/*"), pfs("right", "/*")]}),
    ));
    client.last_job("pairs").expect_success();
    client.ok("start transaction");
    client.ok("start commit left@master");
    client.ok("start commit right@master");
    client.ok("finish transaction");
    client.put("left@master:/a", "A");
    client.put("right@master:/x", "X");
    client.ok("finish commit left@master");
    client.ok("finish commit right@master");
    assert_eq!(client.commit_id("left@master"), client.commit_id("right@master"));
    let job = client.job_of("pairs", "left@master").expect_success();
    assert_eq!(job.counts(), [1, 0, 0, 0]);
    assert_eq!(client.jobs("pairs").len(), 2, "one job for both commits");
    assert_eq!(client.content("pairs@master:/a-x"), "a-x: A+X\n");
}
