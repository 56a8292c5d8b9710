//! Calls on one connection.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use howdah_api::address::Address;
use howdah_api::client::{Client, ClientOptions};
use howdah_api::{convert, pfs_v2 as pfs};
use howdah_coordinator::CoordinatorConfig;
use howdah_queue::testing::NatsServer;
use tokio_util::sync::CancellationToken;

/// What a connection allows.
const CALLS: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_a_bounded_number_of_open_calls() {
    let nats = NatsServer::start();
    let stop = CancellationToken::new();
    let config = CoordinatorConfig::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0, &nats.url(), "memory://");
    let running = howdah_coordinator::start(config, stop.clone()).await.unwrap();
    let address = Address::tcp("127.0.0.1", running.address.port());
    let client = Client::connect(&address, ClientOptions::default()).await.unwrap();
    let repo = Some(convert::repo("default", "images"));
    let create = pfs::CreateRepoRequest {
        repo: repo.clone(),
        ..Default::default()
    };
    client.pfs().create_repo(create).await.unwrap();
    let follow = pfs::SubscribeCommitRequest {
        repo,
        ..Default::default()
    };
    let mut open = Vec::new();
    for _ in 0..CALLS {
        open.push(client.pfs().subscribe_commit(follow.clone()).await.unwrap());
    }
    let mut pfs = client.pfs();
    let mut further = tokio::spawn(async move { pfs.subscribe_commit(follow).await });
    let early = tokio::time::timeout(Duration::from_millis(500), &mut further).await;
    assert!(early.is_err(), "one call too many");
    // Other connections are not affected.
    let other = Client::connect(&address, ClientOptions::default()).await.unwrap();
    other.pfs().list_repo(pfs::ListRepoRequest::default()).await.unwrap();
    open.pop();
    let answer = tokio::time::timeout(Duration::from_secs(30), further).await;
    answer
        .expect("a call that waits begins when another one ends")
        .unwrap()
        .unwrap();
    drop(open);
    stop.cancel();
    running.join().await.unwrap();
}
