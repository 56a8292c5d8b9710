//! What datums of a pipeline see of each other in their container.

use howdah_tests::stage::{pfs, spec, with};
use howdah_tests::{TestClient, Up};
use serde_json::{Value, json};

const FILES: [(&str, &str); 3] = [("a", "1"), ("b", "2"), ("c", "3")];

/// Returns the spec of a pipeline whose datums run one after the other and are tried once.
fn in_turn(name: &str, actions: &[&str]) -> Value {
    let once = json!({"datumTries": 1, "datumSetSpec": {"number": 3}});
    with(spec(name, actions, pfs("data", "/*")), once)
}

fn with_data(up: &Up) -> TestClient {
    let client = up.client();
    client.ok("create repo data");
    client.put_all("data", &FILES);
    client
}

#[test]
fn temporary_files_of_a_datum_are_gone_before_the_next() {
    let up = Up::start();
    let client = with_data(&up);
    let folders = ["/tmp", "/var/tmp", "/run", "/dev/shm"];
    let paths: Vec<String> = folders.iter().map(|folder| format!("{folder}/deep/secret")).collect();
    let mut actions: Vec<String> = paths.iter().map(|path| format!("absent={path}")).collect();
    actions.extend(paths.iter().map(|path| format!("leave={path}")));
    actions.push("copy".to_owned());
    let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
    client.create(&in_turn("clean", &actions));
    assert_eq!(client.last_job("clean").expect_success().counts(), [3, 0, 0, 0]);

    // Elsewhere in the container files stay.
    client.create(&in_turn("elsewhere", &["absent=/left", "leave=/left", "copy"]));
    let job = client.last_job("elsewhere");
    assert_eq!((job.state.as_str(), job.counts()), ("failure", [1, 0, 2, 0]), "{job:?}");

    // A link in the output to a temporary file is stored as its content.
    let linked = spec(
        "linked",
        &["leave=/tmp/result", "link-to=/tmp/result"],
        pfs("data", "/"),
    );
    client.create(&linked);
    client.last_job("linked").expect_success();
    assert_eq!(client.content("linked@master:/link"), "left\n");
}

#[test]
fn a_container_that_cannot_be_emptied_is_replaced() {
    let up = Up::start();
    let client = with_data(&up);
    client.create(&in_turn(
        "locks",
        &["absent=/left", "leave=/left", "lock=/dev/shm", "copy"],
    ));
    let job = client.last_job("locks").expect_success();
    assert_eq!(job.counts(), [3, 0, 0, 0]);
    let lines = client.ok(&format!("logs -j locks@{} --worker", job.id));
    assert!(
        lines.contains("begun in a new container") && lines.contains("/dev/shm cannot be emptied"),
        "{lines}"
    );
}

#[test]
fn strict_isolation_gives_each_try_a_new_container() {
    let up = Up::start();
    let client = with_data(&up);
    let strict = json!({"transform": {"isolation": "strict"}});
    let spec = in_turn("strict", &["absent=/left", "leave=/left", "copy"]);
    client.create(&with(spec, strict.clone()));
    assert_eq!(client.last_job("strict").expect_success().counts(), [3, 0, 0, 0]);
    for line in [
        "inspect pipeline strict --raw",
        "inspect pipeline strict",
        "extract pipeline strict",
    ] {
        let shown = client.ok(line);
        assert!(
            shown.contains("isolation") && shown.matches("strict").count() > 1,
            "{line}: {shown}"
        );
    }

    // The second try of a datum is in a new container, too; the error handler sees what the try has left.
    let retried = with(
        in_turn("retried", &["absent=/left", "leave=/left", "exit=1"]),
        json!({"datumTries": 2, "transform": {
            "isolation": "strict",
            "errCmd": ["/testbox", "copy", "leave=/handled"],
        }}),
    );
    client.create(&retried);
    let job = client.last_job("retried").expect_success();
    assert_eq!(job.counts(), [0, 0, 0, 3], "{job:?}");
    let lines = client.logs("retried", &job.id);
    assert!(lines.iter().all(|line| !line.contains("is there")), "{lines:?}");

    // The level does not decide what is processed again.
    let _ = client.update(&with(
        in_turn("strict", &["absent=/left", "leave=/left", "copy"]),
        json!({}),
    ));
    assert_eq!(client.last_job("strict").expect_success().counts(), [0, 3, 0, 0]);

    let wrong = with(
        in_turn("wrong", &["copy"]),
        json!({"transform": {"isolation": "total"}}),
    );
    let refused = client.try_create(&wrong);
    assert!(
        refused.code != 0 && refused.stderr.contains("transform.isolation"),
        "{refused:?}"
    );
}
