//! The API over a real socket. Everything behind it is real, except that the store is in memory, and that the tests do
//! what the scheduler does.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::async_yields_async,
    reason = "a test ends at the first surprise; calls are returned while they run"
)]

mod bounds;
mod cluster;
mod commits;
mod copies;
mod dead_clients;
mod file_broker;
mod files;
mod fsck;
mod jobs;
mod large_logs;
mod log_runs;
mod logs;
mod open_commits;
mod pipeline_helpers;
mod pipelines;
mod transactions;

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use howdah_api::address::Address;
use howdah_api::client::{Client, ClientOptions};
use howdah_api::file_broker::FileBroker;
use howdah_api::pfs_v2::modify_file_request::Body;
use howdah_api::{convert, pfs_v2 as pfs};
use howdah_coordinator::live::LiveStatus;
use howdah_coordinator::metadata::{self, Core};
use howdah_coordinator::sealing::{Sealer, SecretKey};
use howdah_coordinator::services;
use howdah_model::{Command, Reply};
use howdah_store::Store;
use tonic::{Status, Streaming};

/// A call that takes longer hangs.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Returns what seals secrets, with a key of its own.
fn sealer() -> Sealer {
    let folder = tempfile::tempdir().unwrap();
    Sealer::with_key(SecretKey::read_or_make(&folder.path().join("key")).unwrap())
}

/// A server and a client of it. Both end with the runtime of the test.
struct Server {
    core: Core,
    client: Client,
}

impl Server {
    async fn start() -> Self {
        Self::on(Store::in_memory().await).await
    }

    /// Serves what is in a store.
    async fn on(store: Store) -> Self {
        let (core, command_loop) = metadata::open_with(store, LiveStatus::default(), sealer())
            .await
            .unwrap();
        tokio::spawn(command_loop.run());
        Self::of(core).await
    }

    /// Serves a state.
    async fn of(core: Core) -> Self {
        let (file_broker, offers) = FileBroker::open().unwrap();
        tokio::spawn(Arc::clone(&file_broker).serve(offers));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(
            axum::serve(listener, services::router(core.clone(), None, Some(file_broker), None)).into_future(),
        );
        let address = Address::tcp("127.0.0.1", port);
        let client = Client::connect(&address, ClientOptions::default()).await.unwrap();
        Self { core, client }
    }

    /// Submits a command as the scheduler does.
    async fn submit(&self, command: Command) -> Reply {
        self.core.submit(command).await.unwrap()
    }

    async fn create_repo(&self, name: &str) {
        let request = pfs::CreateRepoRequest {
            repo: Some(repo(name)),
            ..Default::default()
        };
        self.client.pfs().create_repo(request).await.unwrap();
    }

    async fn create_branch(&self, repo_name: &str, name: &str) {
        let request = pfs::CreateBranchRequest {
            branch: Some(convert::branch_of(repo(repo_name), name)),
            ..Default::default()
        };
        self.client.pfs().create_branch(request).await.unwrap();
    }

    async fn start_commit(&self, repo_name: &str, branch: &str) -> Result<pfs::Commit, Status> {
        let request = pfs::StartCommitRequest {
            branch: Some(convert::branch_of(repo(repo_name), branch)),
            ..Default::default()
        };
        let reply = self.client.pfs().start_commit(request).await?;
        Ok(reply.into_inner())
    }

    async fn finish_commit(&self, commit: &pfs::Commit) -> Result<(), Status> {
        let request = pfs::FinishCommitRequest {
            commit: Some(commit.clone()),
            ..Default::default()
        };
        self.client.pfs().finish_commit(request).await.map(|_| ())
    }

    async fn inspect_commit(&self, commit: &pfs::Commit) -> Result<pfs::CommitInfo, Status> {
        let request = pfs::InspectCommitRequest {
            commit: Some(commit.clone()),
            ..Default::default()
        };
        let reply = self.client.pfs().inspect_commit(request).await?;
        Ok(reply.into_inner())
    }

    async fn modify(&self, commit: &pfs::Commit, steps: Vec<Body>) -> Result<(), Status> {
        let mut bodies = vec![Body::SetCommit(commit.clone())];
        bodies.extend(steps);
        let messages = bodies
            .into_iter()
            .map(|body| pfs::ModifyFileRequest { body: Some(body) });
        let stream = futures::stream::iter(messages.collect::<Vec<_>>());
        self.client.pfs().modify_file(stream).await.map(|_| ())
    }

    /// Puts one file with the messages that the Python SDK sends.
    async fn put(&self, commit: &pfs::Commit, path: &str, data: &'static str) {
        let steps = vec![delete(path), add(path, ""), add(path, data)];
        self.modify(commit, steps).await.unwrap();
    }

    async fn get(&self, commit: &pfs::Commit, path: &str, offset: i64) -> Result<Vec<u8>, Status> {
        let request = pfs::GetFileRequest {
            file: Some(convert::file(commit.clone(), path)),
            offset,
            ..Default::default()
        };
        let stream = self.client.pfs().get_file(request).await?.into_inner();
        Ok(all(stream).await?.concat())
    }
}

fn repo(name: &str) -> pfs::Repo {
    convert::repo("default", name)
}

fn head(repo_name: &str, branch: &str) -> pfs::Commit {
    convert::head(repo(repo_name), branch)
}

fn add(path: &str, data: &'static str) -> Body {
    Body::AddFile(pfs::AddFile {
        path: path.into(),
        datum: String::new(),
        source: Some(pfs::add_file::Source::Raw(data.into())),
    })
}

fn delete(path: &str) -> Body {
    Body::DeleteFile(pfs::DeleteFile {
        path: path.into(),
        datum: String::new(),
    })
}

/// Reads a stream to its end.
async fn all<T>(mut stream: Streaming<T>) -> Result<Vec<T>, Status> {
    let mut items = Vec::new();
    while let Some(item) = next(&mut stream).await {
        items.push(item?);
    }
    Ok(items)
}

/// Reads the next message of a stream; a stream that hangs fails the test.
async fn next<T>(stream: &mut Streaming<T>) -> Option<Result<T, Status>> {
    tokio::time::timeout(TIMEOUT, stream.next())
        .await
        .expect("the stream hangs")
}

/// Waits for a future; one that hangs fails the test.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, future).await.expect("the call hangs")
}

fn code_and_text(status: &Status) -> (tonic::Code, &str) {
    (status.code(), status.message())
}
