//! A pipeline of slow datums and rounds of files for it: each round changes every file, so that its job runs every datum.

use serde_json::json;

use crate::client::TestClient;
use crate::job::JobSummary;
use crate::stage::{pfs, spec, with};

/// Datums of a round.
const DATUMS: u64 = 8;

/// Creates the repo `data` and the pipeline `slow`, whose datums take 150 ms and are a set each.
pub fn create_pipeline(client: &TestClient) {
    client.ok("create repo data");
    let slow = spec("slow", &["sleep=150", "stamp=done"], pfs("data", "/*"));
    client.create(&with(
        slow,
        json!({"parallelismSpec": {"constant": 2}, "datumSetSpec": {"number": 1}}),
    ));
}

/// Puts the files of a round in one commit. Returns the id of the commit, or what the command printed when it failed.
///
/// # Errors
/// When the command or the question for the id fails.
pub fn try_put_round(client: &TestClient, round: usize) -> Result<String, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    for number in 0..DATUMS {
        std::fs::write(folder.path().join(number.to_string()), format!("{round}.{number}"))
            .map_err(|error| error.to_string())?;
    }
    let put = client.run(&format!("put file data@master:/ -r -f {}", folder.path().display()));
    if put.code != 0 {
        return Err(put.stderr);
    }
    let inspected = client.run("inspect commit data@master --raw");
    serde_json::from_str::<serde_json::Value>(&inspected.stdout)
        .ok()
        .and_then(|commit| commit["commit"]["id"].as_str().map(str::to_owned))
        .ok_or(inspected.stderr)
}

/// Puts the files of a round in one commit and returns its id.
///
/// # Panics
/// When that fails.
#[must_use]
pub fn put_round(client: &TestClient, round: usize) -> String {
    try_put_round(client, round).unwrap_or_else(|error| panic!("round {round} cannot be put: {error}"))
}

/// Asserts that the job of a round succeeds, is there once, and that each output is that of the round.
///
/// # Panics
/// When it is not so.
pub fn assert_round(client: &TestClient, round: usize, id: &str) {
    let job = client.wait_for_job("slow", id, JobSummary::is_over).expect_success();
    assert_eq!((job.total, job.counts()), (DATUMS, [DATUMS, 0, 0, 0]));
    assert_outputs(client, round, id);
}

/// Asserts that the outputs of a round are there, whichever commit with its files made them. A put that failed may have been
/// carried out; repeated, it makes a commit whose job has nothing to do.
///
/// # Panics
/// When it is not so.
pub fn assert_outputs(client: &TestClient, round: usize, id: &str) {
    let job = client.wait_for_job("slow", id, JobSummary::is_over).expect_success();
    let [processed, skipped, ..] = job.counts();
    assert_eq!((job.total, processed + skipped), (DATUMS, DATUMS));
    let files = client.files(&format!("slow@{id}"));
    assert_eq!(files.len() as u64, DATUMS);
    for (path, text) in files {
        assert_eq!(text, format!("done:{round}.{}", path.trim_start_matches('/')));
    }
    assert_eq!(client.jobs("slow").iter().filter(|job| job.id == id).count(), 1);
}
