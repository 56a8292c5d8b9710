//! Health and metrics for operators, on the port of the API.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use howdah_tests::Up;
use howdah_tests::stage::{pfs, spec};
use howdah_tests::tools::wait_for;

/// Sends a plain HTTP/1.1 request and returns status line and body.
fn get(port: u16, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// Adds up every sample of a metric whose labels contain `labels`.
fn metric(text: &str, name: &str, labels: &str) -> Option<f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let values = samples.filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, found_labels) = series.split_once('{').unwrap_or((series, ""));
        if found == name && found_labels.contains(labels) {
            value.parse::<f64>().ok()
        } else {
            None
        }
    });
    values.reduce(|sum, value| sum + value)
}

#[test]
fn health_and_metrics_share_the_port() {
    let up = Up::start();
    assert!(get(up.port, "/healthz").0.contains("200"));
    wait_for("ready", || {
        let (status, body) = get(up.port, "/readyz");
        if status.contains("200") { Ok(()) } else { Err(body) }
    });
    assert!(get(up.port, "/nothing").0.contains("404"));

    let client = up.client();
    client.ok("create repo data");
    client.put_all("data", &[("a", "1"), ("b", "2"), ("c", "3")]);
    client.create(&spec("copy", &["copy"], pfs("data", "/*")));
    client.last_job("copy").expect_success();

    let (status, text) = get(up.port, "/metrics");
    assert!(status.contains("200"), "{status}");
    let ours: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    assert!(ours.len() > 5, "{text}");
    for line in &ours {
        let name = line.split_whitespace().nth(2).unwrap();
        assert!(name.starts_with("howdah_") || name.starts_with("process_"), "{name}");
        if line.ends_with("counter") {
            assert!(name.ends_with("_total"), "{name}");
        }
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help text");
    }
    // Ids are not labels: their number grows without bound.
    let job = client.last_job("copy").id;
    assert!(!text.contains(&job), "a job's id is in the metrics");
    assert!(
        metric(&text, "howdah_log_append_seconds_count", "").is_some_and(|count| count > 3.0),
        "{text}"
    );
    assert_eq!(metric(&text, "howdah_datums_total", "copy"), Some(3.0), "{text}");
}

#[test]
fn a_stopped_server_exits_with_success_and_keeps_its_data() {
    let mut up = Up::start();
    up.client().ok("create repo data");
    let status = up.process.stop();
    assert!(status.success(), "{status}: {}", up.process.log());
    up.start_again();
    assert!(
        up.client().ok("list repo").contains("data"),
        "it continues where it stopped"
    );
}
