//! Two coordinators over one store: one leads, the other takes over when the leader is killed or frozen.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use howdah_tests::rounds::{assert_round, create_pipeline, put_round};
use howdah_tests::tools::wait_for;
use howdah_tests::{Cluster, StoreKind, TestClient};
use nix::sys::signal::Signal;

/// Asks for a page and returns status line and body.
fn page(port: u16, path: &str) -> (String, String) {
    let Ok(mut connection) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
        return Default::default();
    };
    connection.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let _ = write!(
        connection,
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n"
    );
    let mut answer = String::new();
    let _ = connection.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

/// Waits until the coordinator at `port` says what it is.
fn wait_until(port: u16, what: &str) {
    wait_for(&format!("{port} to be {what}"), || {
        let (_, body) = page(port, "/readyz");
        if body.contains(what) { Ok(()) } else { Err(body) }
    });
}

/// Returns how long a call takes, which waits for a takeover instead of failing.
fn time_until_answered(client: &TestClient) -> Duration {
    let started = Instant::now();
    client.ok("list repo");
    started.elapsed()
}

#[test]
fn a_standby_forwards_calls_and_takes_over_from_a_killed_leader() {
    let mut cluster = Cluster::start(1, &StoreKind::Folder);
    // Its port is open before it leads.
    wait_until(cluster.port, "leader of");
    let port = cluster.add_coordinator();
    wait_until(port, "standby");
    assert!(
        page(cluster.port, "/readyz").1.contains("leader"),
        "the first one leads"
    );
    assert!(page(port, "/leader").0.contains("503"));
    // Every call through the standby: streams in both directions, errors, and calls that wait.
    let standby = cluster.client_at(port);
    create_pipeline(&standby);
    let id = put_round(&standby, 0);
    assert_round(&standby, 0, &id);
    assert!(standby.fails("inspect repo nothing").contains("nothing"));
    assert_eq!(standby.files("data@master"), cluster.client().files("data@master"));

    let id = put_round(&cluster.client(), 1);
    standby.wait_for_job("slow", &id, |job| job.processed >= 2);
    cluster.coordinator.kill_hard();
    let without_leader = time_until_answered(&standby);
    assert!(without_leader < Duration::from_secs(5), "{without_leader:?}");
    assert_round(&standby, 1, &id);

    // The first one comes back as the standby of the other.
    cluster.start_coordinator_again();
    wait_until(cluster.port, "standby");
    let id = put_round(&cluster.client(), 2);
    assert_round(&standby, 2, &id);
}

#[test]
fn a_frozen_leader_is_deposed_and_knows_it_when_it_wakes_up() {
    let mut cluster = Cluster::start(1, &StoreKind::Folder);
    // Its port is open before it leads.
    wait_until(cluster.port, "leader of");
    let port = cluster.add_coordinator();
    wait_until(port, "standby");
    let (first, second) = (cluster.client(), cluster.client_at(port));
    create_pipeline(&first);
    let id = put_round(&first, 0);
    assert_round(&first, 0, &id);

    let id = put_round(&first, 1);
    first.wait_for_job("slow", &id, |job| job.processed >= 2);
    cluster.coordinator.signal(Signal::SIGSTOP);
    let without_leader = time_until_answered(&second);
    assert!(without_leader < Duration::from_secs(10), "{without_leader:?}");
    second.ok("create repo later");
    second.ok("delete repo later");
    cluster.coordinator.signal(Signal::SIGCONT);
    // It does nothing to the job that it knew, and does not answer from its old state.
    wait_until(cluster.port, "standby");
    assert_round(&second, 1, &id);
    let id = put_round(&first, 2);
    assert_round(&first, 2, &id);
}

#[test]
fn of_several_standbys_one_takes_over() {
    let mut cluster = Cluster::start(1, &StoreKind::Folder);
    // Its port is open before it leads.
    wait_until(cluster.port, "leader of");
    let ports = [
        cluster.add_coordinator(),
        cluster.add_coordinator(),
        cluster.add_coordinator(),
    ];
    for port in ports {
        wait_until(port, "standby");
    }
    let client = cluster.client();
    create_pipeline(&client);
    let id = put_round(&client, 0);
    cluster.coordinator.kill_hard();
    for port in ports {
        time_until_answered(&cluster.client_at(port));
        assert_round(&cluster.client_at(port), 0, &id);
    }
    let leaders = ports.iter().filter(|port| page(**port, "/leader").0.contains("200"));
    assert_eq!(leaders.count(), 1);
}

#[test]
fn a_standby_alone_leads_after_a_leader_on_another_port_is_gone() {
    let mut cluster = Cluster::start(0, &StoreKind::Folder);
    cluster.client().ok("create repo data");
    cluster.coordinator.kill_hard();
    // It finds the claim of a coordinator that does not answer.
    let port = cluster.add_coordinator();
    assert!(cluster.client_at(port).ok("list repo").contains("data"));
}
