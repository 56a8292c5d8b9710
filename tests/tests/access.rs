//! Who may call, from where, and how many: web pages, other users of the machine, tokens, idle connections.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a panic with a line number is how a test fails"
)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use howdah_tests::process::Process;
use howdah_tests::tools::{free_port, program, wait_for};
use howdah_tests::{Cluster, OtherUser, Up};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Sends a request of HTTP/1.1 and returns the status line and the body.
fn http(port: u16, head: &str, headers: &[&str], body: &str) -> (String, String) {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    let _ = write!(
        connection,
        "{head} HTTP/1.1\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    let mut answer = String::new();
    let _ = connection.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

/// Returns every event of a metadata log.
fn events(store: &Path) -> Vec<serde_json::Value> {
    let mut records: Vec<_> = std::fs::read_dir(store.join("meta/log")).unwrap().flatten().collect();
    records.sort_by_key(std::fs::DirEntry::file_name);
    let texts = records
        .iter()
        .map(|record| std::fs::read_to_string(record.path()).unwrap());
    let lists = texts.map(|text| {
        text.split_once('\n')
            .map(|(_, events)| events.to_owned())
            .unwrap_or_default()
    });
    let events = lists.filter_map(|list| serde_json::from_str::<Vec<serde_json::Value>>(&list).ok());
    events.flatten().collect()
}

/// Returns who asked for the creation of a repo.
fn creator(store: &Path, repo: &str) -> String {
    let key = format!("default/{repo}");
    let created = events(store)
        .into_iter()
        .find(|event| event["RepoCreated"]["repo"] == *key);
    created.unwrap_or_else(|| panic!("{repo} was not created"))["by"]
        .as_str()
        .unwrap_or("nobody")
        .to_owned()
}

#[test]
fn a_web_page_cannot_call() {
    let up = Up::start();
    up.client().ok("create repo data");
    let pipeline = r#"{"pipeline":{"name":"evil"}}"#;
    for path in [
        "/pps_v2.API/CreatePipeline",
        "/pfs_v2.API/DeleteRepos",
        "/no.API/Nothing",
    ] {
        for content in [
            "text/plain",
            "application/json",
            "application/x-www-form-urlencoded",
            "application/grpc",
        ] {
            for origin in [None, Some("origin: https://evil.example"), Some("origin: null")] {
                let content = format!("content-type: {content}");
                let mut headers = vec!["host: localhost", &content];
                headers.extend(origin);
                let (status, body) = http(up.port, &format!("POST {path}"), &headers, pipeline);
                let refused = ["403", "415", "200"].iter().any(|code| status.contains(code));
                assert!(refused, "{path} {headers:?}: {status}");
                // An answer in the form of gRPC has status 200, no body, and the error in a header.
                assert!(!status.contains("200") || body.is_empty(), "{path} {headers:?}: {body}");
            }
        }
    }
    assert_eq!(up.client().ok("list pipeline").lines().count(), 1, "only the heading");
    assert!(up.client().ok("list repo").contains("data"));

    for page in ["/metrics", "/healthz", "/readyz", "/leader"] {
        let (status, body) = http(up.port, &format!("GET {page}"), &["host: evil.example"], "");
        assert!(
            status.contains("403") && body.contains("--host-name"),
            "{page}: {status} {body}"
        );
        assert!(
            http(up.port, &format!("GET {page}"), &["host: localhost"], "")
                .0
                .contains("200"),
            "{page}"
        );
    }
    let metrics = http(up.port, "GET /metrics", &["host: localhost"], "").1;
    assert!(
        metrics.contains("howdah_requests_refused_total{reason=\"host\"} 4"),
        "{metrics}"
    );
}

#[test]
fn another_user_of_the_machine_needs_the_token_of_howdah_up() {
    let up = Up::start();
    let other = OtherUser::new();
    let data = up.folder.path().join("data");
    up.client().ok("create repo mine");
    for line in ["list repo", "create repo theirs", "version", "delete all --yes"] {
        let refused = other.run(up.port, line);
        if line != "version" {
            assert_ne!(refused.code, 0, "{refused:?}");
        }
        assert!(
            refused.stderr.contains("user 12345 of this machine may not call")
                && refused.stderr.contains("--token-file"),
            "{refused:?}"
        );
    }
    let wrong = other.file("wrong", "0000000000000000 wrong\n");
    let connect = format!("connect grpc://127.0.0.1:{} --token-file", up.port);
    let _ = other
        .run(up.port, &format!("{connect} {}", wrong.display()))
        .expect_ok();
    assert!(
        other
            .run(up.port, "list repo")
            .stderr
            .contains("token of this call is not known")
    );

    let token = std::fs::read_to_string(data.join("token")).unwrap();
    let token = other.file("token", &token);
    let _ = other
        .run(up.port, &format!("{connect} {}", token.display()))
        .expect_ok();
    let _ = other.run(up.port, "create repo theirs").expect_ok();
    let store = data.join("store");
    assert_eq!(creator(&store, "mine"), "user:root");
    assert_eq!(creator(&store, "theirs"), "token:token");
    for event in events(&store) {
        assert!(event["by"].is_string(), "{event}");
    }
}

#[test]
fn tokens_are_read_again_and_a_standby_passes_on_who_calls() {
    let other = OtherUser::new();
    let tokens = other.file("tokens", "# none yet\n");
    let mut cluster = Cluster::start_with_arguments(0, &["--auth-token-file", tokens.to_str().unwrap()]);
    wait_for("a leader", || {
        let (_, body) = http(cluster.port, "GET /readyz", &["host: localhost"], "");
        if body.contains("leader of") { Ok(()) } else { Err(body) }
    });
    let standby = cluster.add_coordinator();
    wait_for("a standby", || {
        let (_, body) = http(standby, "GET /readyz", &["host: localhost"], "");
        if body.contains("standby") { Ok(()) } else { Err(body) }
    });
    let mine = other.file("mine", TOKEN);
    let connect = format!("connect grpc://127.0.0.1:{standby} --token-file {}", mine.display());
    let _ = other.run(standby, &connect).expect_ok();
    assert!(other.run(standby, "create repo theirs").stderr.contains("not known"));

    let _ = other.file("tokens", &format!("{TOKEN} ci\n"));
    wait_for("the token", || {
        let output = other.run(standby, "create repo theirs");
        if output.code == 0 { Ok(()) } else { Err(output.stderr) }
    });
    cluster.client_at(standby).ok("create repo mine");
    let store = cluster.folder.path().join("store");
    assert_eq!(creator(&store, "theirs"), "token:ci");
    assert_eq!(creator(&store, "mine"), "user:root");

    let _ = other.file("tokens", "# none any more\n");
    wait_for("the token to be gone", || {
        let output = other.run(standby, "list repo");
        if output.code == 0 { Err(output.stdout) } else { Ok(()) }
    });
}

#[test]
fn a_network_without_tokens_is_not_listened_on() {
    let folder = tempfile::tempdir().unwrap();
    for settings in [&["--listen", "0.0.0.0"][..], &["--listen", "::"]] {
        let port = free_port();
        let mut command = Command::new(program("howdah-coordinator"));
        command
            .args(["--store", "memory://", "--port", &port.to_string()])
            .args(settings);
        let mut process = Process::start("refused", folder.path(), &mut command);
        assert!(!process.wait().success());
        let log = process.log();
        assert!(
            log.contains("--auth-token-file") && log.contains("--insecure-no-auth"),
            "{log}"
        );
    }
}

#[test]
fn without_access_control_everybody_is_let_in_and_the_log_says_so() {
    let cluster = Cluster::start_with_arguments(0, &["--insecure-no-auth"]);
    let other = OtherUser::new();
    wait_for("an answer", || {
        let output = other.run(cluster.port, "create repo theirs");
        if output.code == 0 { Ok(()) } else { Err(output.stderr) }
    });
    assert_eq!(creator(&cluster.folder.path().join("store"), "theirs"), "anonymous");
    assert!(cluster.coordinator.log().contains("access control is off"));
}

#[test]
fn idle_connections_keep_nobody_out() {
    let cluster = Cluster::start_with_arguments(0, &["--max-connections", "50"]);
    let client = cluster.client();
    wait_for("a leader", || {
        let output = client.run("create repo data");
        if output.code == 0 { Ok(()) } else { Err(output.stderr) }
    });
    let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, cluster.port)).unwrap();
    let idle: Vec<TcpStream> = (0..500).map(|_| connect()).collect();
    client.ok("list repo");
    // Half of them have sent a part of a request.
    for mut connection in idle.iter().step_by(2) {
        let _ = connection.write_all(b"PRI * HTT");
    }
    client.ok("list repo");
    let silent = connect();
    silent.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let end = (&silent).read(&mut [0; 64]);
    let timed_out = matches!(&end, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
    assert!(!timed_out, "a connection that sends nothing is closed: {end:?}");
    client.ok("list repo");
}

#[test]
fn a_low_limit_of_open_files_is_raised_or_respected() {
    let cluster = Cluster::start_with_arguments(0, &[]);
    let port = free_port();
    // Both limits, so that it cannot be raised.
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 128 && exec \"$0\" \"$@\""])
        .arg(program("howdah-coordinator"))
        .args(["--port", &port.to_string(), "--nats-url", &cluster.nats_url()])
        .args([
            "--store",
            &format!("file://{}/other-store", cluster.folder.path().display()),
        ]);
    let mut process = Process::start("limited", cluster.folder.path(), &mut command);
    process.wait_for_port(port);
    let client = cluster.client_at(port);
    wait_for("a leader", || {
        let output = client.run("create repo data");
        if output.code == 0 { Ok(()) } else { Err(output.stderr) }
    });
    let idle: Vec<TcpStream> = (0..400)
        .map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap())
        .collect();
    client.ok("list repo");
    client.put("data@master:/file", "content");
    assert_eq!(idle.len(), 400);
    // The other one has the usual limit of the system, raised.
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", cluster.coordinator.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let limits: Vec<_> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(limits[0], limits[1], "{files}");
}

#[test]
fn a_silent_put_ends_with_a_reason() {
    let cluster = Cluster::start_with_arguments(0, &["--client-silence-seconds", "2"]);
    let client = cluster.client();
    wait_for("a leader", || {
        let output = client.run("create repo data");
        if output.code == 0 { Ok(()) } else { Err(output.stderr) }
    });
    let mut put = Command::new(program("howdah"))
        .args(["put", "file", "data@master:/file", "-f", "-"])
        .env("PACHD_ADDRESS", format!("grpc://127.0.0.1:{}", cluster.port))
        .env("PACH_CONFIG", cluster.folder.path().join("config.json"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = put.stdin.take().unwrap();
    input.write_all(b"the beginning").unwrap();
    // Its input stays open.
    let done = put.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&done.stderr);
    assert!(
        !done.status.success() && text.contains("sent nothing for 2 seconds"),
        "{text}"
    );
    drop(input);
    client.put("data@master:/file", "content");
}
