//! Old tutorials without changes: hyphenated commands, the program name `pachctl`, and the spec formats of three
//! generations.

#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]
#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use std::path::{Path, PathBuf};

use howdah_tests::tools::{checkout, wait_for};
use howdah_tests::{JobSummary, TestClient, Up};
use serde_json::Value;

const TRAIN: &str = r#"{
  "pipeline": {"name": "model"},
  "transform": {"image": "howdah-example/train-single:1.0", "cmd": ["/train", "-in=/pfs/training", "-out=/pfs/out"]},
  "parallelism_spec": {"strategy": "CONSTANT", "constant": "1"},
  "inputs": [{"repo": {"name": "training"}, "glob": "/"}]
}"#;

const INFER: &str = r#"{
  "pipeline": {"name": "inference"},
  "transform": {"image": "howdah-example/predict:1.0", "cmd": ["/predict", "-model=/pfs/model", "-out=/pfs/out"]},
  "parallelism_spec": {"strategy": "CONSTANT", "constant": "1"},
  "input": {"cross": [{"atom": {"repo": "attributes", "glob": "/*"}}, {"atom": {"repo": "model", "glob": "/"}}]}
}"#;

/// Makes the folders of the tutorial: `data/training.csv`, `test/part-N.json`, and the specs.
fn tutorial(folder: &Path) -> [PathBuf; 3] {
    let example = checkout().join("examples/linear-regression/data");
    let [work, data, test] = [
        folder.join("tutorial"),
        folder.join("tutorial/data"),
        folder.join("tutorial/test"),
    ];
    for new in [&work, &data, &test] {
        std::fs::create_dir(new).expect("a folder can be made");
    }
    std::fs::copy(example.join("diabetes.csv"), data.join("training.csv")).expect("a file can be copied");
    for number in 1..=3 {
        let from = example.join(format!("attributes/{number}.json"));
        std::fs::copy(from, test.join(format!("part-{number}.json"))).expect("a file can be copied");
    }
    std::fs::write(work.join("train.json"), TRAIN).expect("a file can be written");
    std::fs::write(work.join("infer.json"), INFER).expect("a file can be written");
    [work, data, test]
}

/// Waits as a user does: calls `list-job` until every line shows success. Returns the lines.
fn wait_for_list_job(client: &TestClient, jobs: usize) -> Vec<String> {
    wait_for("list-job to show only successes", || {
        let text = client.ok("list-job");
        let lines: Vec<_> = text.lines().skip(1).map(str::to_owned).collect();
        if lines.len() == jobs && lines.iter().all(|line| line.contains("success")) {
            Ok(lines)
        } else {
            Err(text)
        }
    })
}

/// Returns the global id in a line.
fn id_in(line: &str) -> &str {
    let is_id = |word: &&str| word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    line.split_whitespace()
        .find(is_id)
        .unwrap_or_else(|| panic!("there is no id in {line:?}"))
}

#[test]
fn a_session_of_an_old_tutorial_word_for_word() {
    let up = Up::start();
    let folder = up.folder.path();
    let [work, data, test] = tutorial(folder);
    let pachctl = up.client().called_pachctl(folder).in_folder(&work);

    pachctl.ok("create-repo training");
    pachctl.ok("create-repo attributes");
    pachctl
        .in_folder(&data)
        .ok("put-file training master -c -f training.csv");
    pachctl.in_folder(&test).ok("put-file attributes master -c -r -f .");
    assert_eq!(
        pachctl.paths("attributes@master"),
        ["/part-1.json", "/part-2.json", "/part-3.json"]
    );
    assert_eq!(pachctl.raw("list commit attributes@master").len(), 1);

    pachctl.ok("create-pipeline -f train.json");
    pachctl.ok("create-pipeline -f infer.json");
    let jobs = wait_for_list_job(&pachctl, 2);
    assert!(jobs.iter().any(|line| line.contains("model")) && jobs.iter().any(|line| line.contains("inference")));

    let repos = pachctl.ok("list-repo");
    for repo in ["training", "attributes", "model", "inference"] {
        assert!(repos.contains(repo), "{repos}");
    }
    let files = pachctl.ok("list-file inference master");
    assert!(
        (1..=3).all(|number| files.contains(&format!("/part-{number}.json"))),
        "{files}"
    );
    let prediction = pachctl.ok("get-file inference master part-1.json");
    assert!(
        serde_json::from_str::<Value>(&prediction).expect("JSON")["prediction"].is_number(),
        "{prediction}"
    );

    pachctl
        .in_folder(&data)
        .ok("put-file training master -c -f training.csv");
    let jobs = wait_for_list_job(&pachctl, 4);
    let id = id_in(&jobs[0]).to_owned();
    let job = pachctl.ok(&format!("inspect-job {id}"));
    assert!(job.contains(&id) && job.contains("success"), "{job}");

    // The first job of the model printed its formula.
    let first = pachctl.jobs("model").last().expect("there are jobs").id.clone();
    let logs = pachctl.ok(&format!("get-logs --job={first}"));
    assert!(logs.contains("949.4353 bmi"), "{logs}");

    pachctl.ok("update-pipeline -f train.json --reprocess");
    let job = pachctl.last_job("model").expect_success();
    assert_eq!(job.counts(), [1, 0, 0, 0]);
    pachctl
        .wait_for_job("inference", &job.id, JobSummary::is_over)
        .expect_success();
    // Jobs of earlier versions of a pipeline are history.
    wait_for_list_job(&pachctl, 4);

    let output = pachctl.run_with(["delete-all"], b"y\n").expect_ok();
    assert!(
        output.stdout.is_empty() || !output.stdout.contains("error"),
        "{output:#?}"
    );
    assert_eq!(pachctl.ok("list-repo").lines().count(), 1, "only the header is left");
    assert_eq!(
        pachctl.ok("list-pipeline").lines().count(),
        1,
        "only the header is left"
    );
}

#[test]
fn the_spec_formats_of_three_generations_make_the_same_pipelines() {
    let up = Up::start();
    let client = up.client().in_folder(&checkout().join("examples/linear-regression"));
    client.ok("create-repo training");
    client.ok("create-repo attributes");
    client.ok("put-file training master diabetes.csv -c -f data/diabetes.csv");
    client
        .in_folder(&checkout().join("examples/linear-regression/data/attributes"))
        .ok("put-file attributes master -c -r -f .");

    // `inputs` with repos as objects and a strategy.
    client.ok("create-pipeline -f specs/legacy/train.json");
    client.last_job("model").expect_success();
    // `atom`.
    client.ok("create-pipeline -f specs/legacy/infer.json");
    assert_eq!(client.last_job("prediction").expect_success().counts(), [3, 0, 0, 0]);
    let with_atom = client.files("prediction@master");
    assert_eq!(with_atom.len(), 3);
    // `pfs`: the same datums, so all are skipped.
    client.ok("update-pipeline -f specs/legacy/infer-pfs.json");
    assert_eq!(client.last_job("prediction").expect_success().counts(), [0, 3, 0, 0]);
    assert_eq!(client.files("prediction@master"), with_atom);
}

#[test]
fn the_hyphenated_update_reprocesses_when_the_transform_changed() {
    let up = Up::start();
    let [work, data, _] = tutorial(up.folder.path());
    let client = up.client().in_folder(&work);
    client.ok("create-repo training");
    client
        .in_folder(&data)
        .ok("put-file training master -c -f training.csv");
    client.ok("create-pipeline -f train.json");
    client.last_job("model").expect_success();
    let coefficients = || -> usize {
        let model: Value = serde_json::from_str(&client.ok("get-file model master model.json")).expect("JSON");
        model["coefficients"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(coefficients(), 1);

    // With another image all datums are processed again, without a flag.
    std::fs::write(work.join("train.json"), TRAIN.replace("train-single", "train-multi")).expect("a file");
    client.ok("update-pipeline -f train.json");
    assert_eq!(client.last_job("model").expect_success().counts(), [1, 0, 0, 0]);
    assert_eq!(coefficients(), 2);

    // With the same transform all datums are skipped.
    let described =
        TRAIN
            .replace("train-single", "train-multi")
            .replacen('{', r#"{"description": "two variables","#, 1);
    std::fs::write(work.join("train.json"), described).expect("a file");
    client.ok("update-pipeline -f train.json");
    assert_eq!(client.last_job("model").expect_success().counts(), [0, 1, 0, 0]);
}

#[test]
fn old_commands_for_data() {
    let up = Up::start();
    let folder = up.folder.path();
    std::fs::create_dir_all(folder.join("sub/deep")).expect("a folder can be made");
    std::fs::write(folder.join("sub/a.txt"), "a").expect("a file can be written");
    std::fs::write(folder.join("sub/deep/b.txt"), "b").expect("a file can be written");
    let client = up.client();

    client.ok("create-repo data -d things");
    assert!(client.ok("inspect-repo data").contains("things"));
    // Without a path the whole text of -f is the path, as in 1.x.
    client.ok("put-file data master -c -f sub/a.txt");
    client.ok("put-file data master -c -r -f sub");
    client.ok("put-file data master named.txt -c -f sub/deep/b.txt");
    let _ = client
        .run_with(["put-file", "data", "master", "typed.txt", "-c"], b"typed")
        .expect_ok();
    assert_eq!(
        client.paths("data@master"),
        ["/named.txt", "/sub/a.txt", "/sub/deep/b.txt", "/typed.txt"]
    );

    // Putting again replaces; -a appends.
    let _ = client
        .run_with(["put-file", "data", "master", "typed.txt", "-c"], b"again")
        .expect_ok();
    assert_eq!(client.ok("get-file data master typed.txt"), "again");
    let _ = client
        .run_with(["put-file", "data", "master", "typed.txt", "-c", "-a"], b"+")
        .expect_ok();
    assert_eq!(client.ok("get-file data master typed.txt"), "again+");
    assert_eq!(client.ok("get-file data master^ typed.txt"), "again");

    // Commits that the user starts and finishes.
    let id = client.ok("start-commit data master").trim().to_owned();
    assert_eq!(id.len(), 32, "{id}");
    let refused = client.fails("put-file data master refused.txt -c -f sub/a.txt");
    assert!(refused.contains("open"), "{refused}");
    client.ok("put-file data master x.txt -f sub/a.txt");
    client.ok(&format!("finish-commit data {id}"));
    assert!(client.ok("inspect-commit data master").contains(&id));
    assert!(client.ok("flush-commit data/master").contains(&id));
    assert!(client.ok("list-commit data").contains(&id));

    client.ok("create-branch data other --head master");
    assert!(client.ok("list-branch data").contains("other"));
    client.ok("delete-file data master x.txt");
    assert!(!client.ok("list-file data master").contains("/x.txt"));
    assert!(client.ok("list-file data other").contains("/x.txt"));
    assert!(client.ok("glob-file data master *.txt").contains("/named.txt"));
    assert!(client.ok("inspect-file data master sub/a.txt").contains("/sub/a.txt"));
    client.ok("delete-branch data other");
    client.ok("delete-repo data");
    assert_eq!(client.ok("list-repo").lines().count(), 1);
}

#[test]
fn commands_that_are_not_provided_name_their_replacement() {
    let up = Up::start();
    let client = up.client();
    for (old, new) in [
        ("run-pipeline model", "rerun pipeline"),
        ("create-job -f x.json", "create"),
        ("squash-commit data master", "squash"),
    ] {
        let message = client.fails(old);
        assert!(message.contains(new), "{old}: {message}");
    }
    // The output of old commands has no warnings about their age.
    client.ok("create-repo data");
    let listed = client.run("list-repo").expect_ok();
    assert!(
        listed.stderr.lines().count() <= 1 && !listed.stdout.to_lowercase().contains("deprecat"),
        "{listed:#?}"
    );
}
