//! The linear-regression story of the README: every figure, every count.

#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]
#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use howdah_tests::tools::checkout;
use howdah_tests::{TestClient, Up};
use serde_json::Value;

/// The least-squares fits of the example's data, to four decimals.
const MODEL_OF_ONE: &str = "intercept 152.1335, bmi 949.4353";
const MODEL_OF_TWO: &str = "intercept 152.1335, bmi 675.0698, ltg 614.9505";

#[test]
fn the_linear_regression_story() {
    let up = Up::start();
    let client = up.client().in_folder(&checkout().join("examples/linear-regression"));

    // A file, a pipeline, a model.
    client.ok("create repo training");
    client.ok("create repo attributes");
    client.ok("put file training@master -f data/diabetes.csv");
    client.ok("create pipeline -f specs/model.json");
    let job = client.last_job("model").expect_success();
    assert_eq!((job.total, job.counts()), (1, [1, 0, 0, 0]));
    assert_eq!(model(&client, "model@master"), MODEL_OF_ONE);

    // Three patients in one commit, three predictions.
    client.ok("put file attributes@master:/ -r -f data/attributes");
    assert_eq!(
        client.raw("list commit attributes@master").len(),
        1,
        "one put, one commit"
    );
    client.ok("create pipeline -f specs/prediction.json");
    let job = client.last_job("prediction").expect_success();
    assert_eq!((job.total, job.counts()), (3, [3, 0, 0, 0]));
    assert_eq!(client.paths("prediction@master"), ["/1.json", "/2.json", "/3.json"]);
    assert_predictions(&client, 3);

    // A fourth: one datum runs, three are skipped.
    client.ok("put file attributes@master:/4.json -f data/more/4.json");
    let job = client.job_of("prediction", "attributes@master").expect_success();
    assert_eq!((job.total, job.counts()), (4, [1, 3, 0, 0]));
    assert_predictions(&client, 4);
    let old = client.content("prediction@master:/1.json");

    // A better model leads to new predictions, under one global id.
    client.ok("update pipeline --reprocess -f specs/model-multi.json");
    let id = client.last_job("model").expect_success().id;
    let job = client
        .wait_for_job("prediction", &id, howdah_tests::JobSummary::is_over)
        .expect_success();
    assert_eq!((job.total, job.counts()), (4, [4, 0, 0, 0]));
    assert_eq!(model(&client, "model@master"), MODEL_OF_TWO);
    assert_eq!(
        [client.commit_id("model@master"), client.commit_id("prediction@master")],
        [id.clone(), id.clone()]
    );
    let of_the_set: Vec<_> = client.raw(&format!("list job {id}")).iter().map(pipeline_of).collect();
    assert_eq!(sorted(of_the_set), ["model", "prediction"]);
    assert_predictions(&client, 4);

    // The origin of a prediction.
    let origin = client.ok("inspect file prediction@master:/1.json");
    let attributes = client.commit_id("attributes@master");
    for expected in [
        "Path: /1.json",
        "Datum: ",
        "Type: file",
        "Pipeline: prediction (version 1)",
        &format!("Job: {id}"),
        "Image: howdah-example/predict:1.0",
        "sha256:",
        "Command: /predict",
        &format!("attributes@{attributes}:/1.json"),
        &format!("model@{id}:/"),
    ] {
        assert!(origin.contains(expected), "{expected:?} is missing in:\n{origin}");
    }

    // The old prediction still exists, and differs.
    assert_eq!(client.content("prediction@master^:/1.json"), old);
    assert_ne!(client.content("prediction@master:/1.json"), old);
    assert_eq!(client.raw("list commit prediction@master").len(), 3);
}

#[test]
fn an_update_without_reprocessing_reports_the_kept_results() {
    let up = Up::start();
    let client = up.client().in_folder(&checkout().join("examples/linear-regression"));
    client.ok("create repo training");
    client.ok("put file training@master -f data/diabetes.csv");
    client.ok("create pipeline -f specs/model.json");
    client.last_job("model").expect_success();
    let first = client.commit_id("model@master");

    let output = client.run("update pipeline -f specs/model-multi.json").expect_ok();
    let job = client.last_job("model").expect_success();
    assert_ne!(job.id, first, "an update always makes a job");
    assert_eq!((job.total, job.counts()), (1, [0, 1, 0, 0]));
    assert_eq!(model(&client, "model@master"), MODEL_OF_ONE);
    assert!(
        output.stderr.contains("--reprocess") && output.stderr.contains('1'),
        "{output:#?}"
    );
}

/// Returns intercept and coefficients of `model.json`, rounded.
fn model(client: &TestClient, commit: &str) -> String {
    let text = client.content(&format!("{commit}:/model.json"));
    let model: Value = serde_json::from_str(&text).expect("the model is JSON");
    let mut figures = format!("intercept {}", rounded(&model["intercept"]));
    for coefficient in model["coefficients"].as_array().expect("a list of coefficients") {
        let name = coefficient["name"].as_str().expect("a coefficient has a name");
        figures.push_str(&format!(", {name} {}", rounded(&coefficient["coefficient"])));
    }
    figures
}

/// Compares every prediction with the result of the model for its patient.
fn assert_predictions(client: &TestClient, patients: usize) {
    let model: Value = serde_json::from_str(&client.content("model@master:/model.json")).expect("JSON");
    let predictions = client.files("prediction@master");
    assert_eq!(predictions.len(), patients);
    for (path, text) in predictions {
        let prediction: Value = serde_json::from_str(&text).expect("a prediction is JSON");
        let patient: Value = serde_json::from_str(&client.content(&format!("attributes@master:{path}"))).expect("JSON");
        let variables = patient["independent_variables"]
            .as_array()
            .expect("a list of variables");
        let value = |name: &Value| {
            number(
                &variables
                    .iter()
                    .find(|variable| variable["name"] == *name)
                    .expect("a variable")["value"],
            )
        };
        let terms = model["coefficients"].as_array().expect("a list of coefficients");
        let sum: f64 = terms
            .iter()
            .map(|term| number(&term["coefficient"]) * value(&term["name"]))
            .sum();
        let expected = number(&model["intercept"]) + sum;
        assert!(
            (number(&prediction["prediction"]) - expected).abs() < 1e-6,
            "{path}: {text} instead of {expected}"
        );
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

fn rounded(value: &Value) -> String {
    format!("{:.4}", number(value))
}

fn pipeline_of(job: &Value) -> String {
    job["job"]["pipeline"]["name"].as_str().unwrap_or_default().to_owned()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}
