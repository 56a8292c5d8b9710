//! The first half of the README's story over a real S3 server, with coordinator and worker as separate processes.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use howdah_tests::tools::checkout;
use howdah_tests::{Cluster, StoreKind};
use serde_json::Value;

#[test]
fn everything_lives_in_the_bucket() {
    let mut cluster = Cluster::start(1, &StoreKind::S3);
    let client = cluster
        .client()
        .in_folder(&checkout().join("examples/linear-regression"));
    client.ok("create repo training");
    client.ok("create repo attributes");
    client.ok("put file training@master -f data/diabetes.csv");
    client.ok("create pipeline -f specs/model.json");
    client.last_job("model").expect_success();
    let model: Value = serde_json::from_str(&client.content("model@master:/model.json")).unwrap();
    assert_eq!(format!("{:.4}", model["intercept"].as_f64().unwrap()), "152.1335");
    assert_eq!(
        format!("{:.4}", model["coefficients"][0]["coefficient"].as_f64().unwrap()),
        "949.4353"
    );

    client.ok("put file attributes@master:/ -r -f data/attributes");
    client.ok("create pipeline -f specs/prediction.json");
    assert_eq!(client.last_job("prediction").expect_success().counts(), [3, 0, 0, 0]);
    let before = client.files("prediction@master");
    assert_eq!(before.len(), 3);

    // A coordinator that starts with only the bucket has all the data.
    cluster.coordinator.kill_hard();
    cluster.start_coordinator_again();
    assert_eq!(client.files("prediction@master"), before);
    client.ok("put file attributes@master:/4.json -f data/more/4.json");
    assert_eq!(
        client
            .job_of("prediction", "attributes@master")
            .expect_success()
            .counts(),
        [1, 3, 0, 0]
    );
}
