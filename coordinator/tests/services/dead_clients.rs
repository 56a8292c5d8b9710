//! Clients that vanish in the middle of a call. The server frees what the call held, nothing half-written is visible, and
//! other clients go on.
//!
//! A client vanishes in two ways: it drops the call and keeps its connection, or its connection ends without a word of
//! HTTP/2, as it does when its process is killed. Each call and each streamed reply has a task in the server. The number
//! of tasks therefore tells whether everything is freed.

use std::cell::Cell;
use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use howdah_api::address::Address;
use howdah_api::client::{Client, ClientOptions};
use howdah_api::pfs_v2::modify_file_request::Body;
use howdah_api::{convert, pfs_v2 as pfs, pps_v2 as pps};
use howdah_protocol::messages::LogBatch;
use howdah_protocol::objects::{LogLine, MasterLine};
use howdah_protocol::wire;
use howdah_store::backend::{Backend, MemoryBackend};
use howdah_store::{BackendError, Limits, ObjectMeta, PutOutcome, Store};
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Response, Status};

use super::file_broker::{add_from, offer};
use super::files::paths_in;
use super::open_commits::{nothing_is_staged, objects, opened};
use super::pipeline_helpers::{edges, edges_key, images, only_job, with_pipeline};
use super::{Server, add, delete, head, next, repo, soon};

/// How often a client vanishes in each way. A single task that stays could hide behind an unrelated one that ends.
const TIMES: usize = 8;

/// A client whose connection can be cut.
struct RelayedClient {
    client: Client,
    relay: JoinHandle<()>,
}

impl RelayedClient {
    async fn connect(server: &Server) -> Self {
        let Address::Tcp { port, .. } = *server.client.address() else {
            panic!("the server listens on TCP")
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = Address::tcp("127.0.0.1", listener.local_addr().unwrap().port());
        let relay = tokio::spawn(async move {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
            // Ends when either side closes; the other side is closed then, too.
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
        let client = Client::connect(&address, ClientOptions::default()).await.unwrap();
        Self { client, relay }
    }

    /// Closes both sockets. Nothing that the client sends from now on reaches the server.
    async fn cut(self) {
        self.relay.abort();
        let _ = self.relay.await;
    }
}

fn alive_tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Lets clients vanish in a call, `times` in each way, and waits until the server has freed what the calls held.
///
/// `begin` returns the call as soon as the server is in the middle of it.
async fn vanish_in<C>(server: &Server, times: usize, begin: impl AsyncFn(Client) -> C) {
    let before = alive_tasks();
    for _ in 0..times {
        drop(begin(server.client.clone()).await);
        let connection = RelayedClient::connect(server).await;
        let call = begin(connection.client.clone()).await;
        connection.cut().await;
        drop(call);
    }
    soon(async {
        while alive_tasks() > before {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Returns a call that has reached the server and has no answer yet.
async fn begun<F: Future<Output: Debug>>(client: &Client, call: F) -> Pin<Box<F>> {
    let mut call = Box::pin(call);
    // Calls of one connection reach the server in the order in which they are sent.
    let later_call = async { client.version().get_version(()).await.unwrap() };
    tokio::select! {
        biased;
        ended = &mut call => panic!("the call has ended: {ended:?}"),
        _ = later_call => call,
    }
}

/// A `ModifyFile` that runs. Dropping this drops the call.
type ModifyCall = AbortOnDropHandle<Result<Response<()>, Status>>;

/// A `ModifyFile` whose stream of messages does not end.
struct UnfinishedPut {
    messages: mpsc::Sender<pfs::ModifyFileRequest>,
    _call: ModifyCall,
}

impl UnfinishedPut {
    async fn begin(client: &Client, target: &pfs::Commit) -> Self {
        let (messages, receiver) = mpsc::channel(1);
        // When the sender is dropped before the call, the end of the messages would complete the put.
        let stream = ReceiverStream::new(receiver).chain(futures::stream::pending());
        let mut pfs = client.pfs();
        let call = tokio::spawn(async move { pfs.modify_file(stream).await });
        let put = Self {
            messages,
            _call: AbortOnDropHandle::new(call),
        };
        put.send(Body::SetCommit(target.clone())).await;
        put
    }

    async fn send(&self, body: Body) {
        let message = pfs::ModifyFileRequest { body: Some(body) };
        soon(self.messages.send(message)).await.unwrap();
    }

    async fn send_bytes(&self, path: &str, bytes: &[u8]) {
        for part in bytes.chunks(1 << 20) {
            self.send(add_bytes(path, part)).await;
        }
    }
}

/// Begins a `ModifyFile` with all its messages.
fn begin_put(client: &Client, target: &pfs::Commit, steps: Vec<Body>) -> ModifyCall {
    let bodies = std::iter::once(Body::SetCommit(target.clone())).chain(steps);
    let messages: Vec<_> = bodies.map(|body| pfs::ModifyFileRequest { body: Some(body) }).collect();
    let mut pfs = client.pfs();
    let call = tokio::spawn(async move { pfs.modify_file(futures::stream::iter(messages)).await });
    AbortOnDropHandle::new(call)
}

fn add_bytes(path: &str, bytes: &[u8]) -> Body {
    Body::AddFile(pfs::AddFile {
        path: path.into(),
        datum: String::new(),
        source: Some(pfs::add_file::Source::Raw(bytes.to_vec().into())),
    })
}

/// Returns bytes that differ for each seed and have no repetition, so that each chunk of them is new to a store.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(length / 8).flatten().collect()
}

/// A store in memory. It answers writes of keys with a chosen beginning only when the test lets it go on.
#[derive(Debug)]
struct StallingBackend {
    inner: MemoryBackend,
    stalled: watch::Sender<Option<&'static str>>,
    /// Notified when an answer begins to wait.
    reached: Notify,
}

impl StallingBackend {
    /// Starts a server over such a store.
    async fn serve() -> (Arc<Self>, Server) {
        let backend = Arc::new(Self {
            inner: MemoryBackend::default(),
            stalled: watch::Sender::new(None),
            reached: Notify::new(),
        });
        let store = Store::with_backend(backend.clone(), Limits::default()).await.unwrap();
        (backend, Server::on(store).await)
    }

    fn stall(&self, prefix: &'static str) {
        self.stalled.send_replace(Some(prefix));
    }

    fn go_on(&self) {
        self.stalled.send_replace(None);
    }

    async fn is_reached(&self) {
        soon(self.reached.notified()).await;
    }

    async fn hold(&self, key: &str) {
        let holds = |prefix: Option<&'static str>| prefix.is_some_and(|prefix| key.starts_with(prefix));
        let mut stalled = self.stalled.subscribe();
        if holds(*stalled.borrow()) {
            self.reached.notify_one();
        }
        let _ = stalled.wait_for(|prefix| !holds(*prefix)).await;
    }
}

#[async_trait]
impl Backend for StallingBackend {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn supports_put_if_absent(&self) -> Result<bool, BackendError> {
        self.inner.supports_put_if_absent().await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, BackendError> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, BackendError> {
        self.inner.get_range(key, range).await
    }

    async fn stat(&self, key: &str) -> Result<Option<ObjectMeta>, BackendError> {
        self.inner.stat(key).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BackendError> {
        let written = self.inner.put(key, bytes).await;
        self.hold(key).await;
        written
    }

    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<PutOutcome, BackendError> {
        let written = self.inner.put_if_absent(key, bytes).await;
        self.hold(key).await;
        written
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.inner.delete(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>, BackendError> {
        self.inner.list(prefix, after).await
    }
}

/// Lets clients vanish while they put files to a target, then puts the same files and reads them.
async fn vanish_while_putting(server: &Server, target: &pfs::Commit, kept: &[&str]) {
    let seed = Cell::new(0);
    let begin = async |client: Client| {
        seed.set(seed.get() + 1);
        let put = UnfinishedPut::begin(&client, target).await;
        put.send(delete("/kept")).await;
        put.send(add("/whole", "all of it")).await;
        let before = objects(server, "chunks/").await;
        put.send_bytes("/half", &noise(seed.get(), 12 << 20)).await;
        soon(async {
            while objects(server, "chunks/").await == before {
                tokio::task::yield_now().await;
            }
        })
        .await;
        put
    };
    vanish_in(server, 2, begin).await;
    nothing_is_staged(server).await;
    assert_eq!(paths_in(server, target, "/**").await, kept);
    server.put(target, "/half", "again").await;
    server.put(target, "/whole", "again").await;
}

#[tokio::test]
async fn a_put_to_an_open_commit_that_breaks_off_leaves_nothing_in_it() {
    let server = Server::start().await;
    let commit = opened(&server).await;
    vanish_while_putting(&server, &commit, &[]).await;
    server.finish_commit(&commit).await.unwrap();
    assert_eq!(paths_in(&server, &commit, "/**").await, ["/half", "/whole"]);
    assert_eq!(server.get(&commit, "/half", 0).await.unwrap(), b"again");
}

#[tokio::test]
async fn a_put_to_a_branch_that_breaks_off_makes_no_commit() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let branch = head("images", "master");
    server.put(&branch, "/kept", "kept").await;
    let first = server.inspect_commit(&branch).await.unwrap().commit;
    vanish_while_putting(&server, &branch, &["/kept"]).await;
    assert_eq!(paths_in(&server, &branch, "/**").await, ["/half", "/kept", "/whole"]);
    let parent = convert::commit(repo("images"), "master^2");
    assert_eq!(server.inspect_commit(&parent).await.unwrap().commit, first);
}

#[tokio::test]
async fn a_dropped_put_does_not_take_effect_as_far_as_it_was_sent() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let branch = head("images", "master");
    server.put(&branch, "/old", "old").await;
    server.create_repo("notes").await;
    let notes = server.start_commit("notes", "master").await.unwrap();
    let begin = async |client: Client| {
        server.put(&notes, "/note", "x").await;
        let put = UnfinishedPut::begin(&client, &branch).await;
        put.send(delete("/old")).await;
        // Copies nothing, and folds what is staged in the other commit: a sign that the server has read the messages.
        let source = convert::file(notes.clone(), "/none");
        put.send(Body::CopyFile(pfs::CopyFile {
            dst: "/copy".into(),
            src: Some(source),
            ..Default::default()
        }))
        .await;
        nothing_is_staged(&server).await;
        put
    };
    vanish_in(&server, TIMES, begin).await;
    assert_eq!(server.get(&branch, "/old", 0).await.unwrap(), b"old");
}

#[tokio::test]
async fn edits_are_removed_if_their_client_vanishes_while_they_are_staged() {
    let (backend, server) = StallingBackend::serve().await;
    let commit = opened(&server).await;
    backend.stall("staged/");
    let begin = async |client: Client| {
        let call = begin_put(&client, &commit, vec![add("/lost", "x")]);
        backend.is_reached().await;
        call
    };
    vanish_in(&server, 2, begin).await;
    nothing_is_staged(&server).await;
    backend.go_on();
    server.put(&commit, "/kept", "x").await;
    server.finish_commit(&commit).await.unwrap();
    assert_eq!(paths_in(&server, &commit, "/**").await, ["/kept"]);
}

#[tokio::test]
async fn a_writer_that_vanishes_gives_its_permit_back() {
    let (backend, server) = StallingBackend::serve().await;
    server.create_repo("images").await;
    server.put(&head("images", "master"), "/d", "a file").await;
    let commit = server.start_commit("images", "master").await.unwrap();
    backend.stall("nodes/");
    let begin = async |client: Client| {
        // Edits that put a folder in the place of a file are not staged but applied, with a permit that excludes other
        // writers.
        let call = begin_put(&client, &commit, vec![delete("/d"), add("/d/lost", "x")]);
        backend.is_reached().await;
        call
    };
    vanish_in(&server, 2, begin).await;
    // This one is staged: it needs a permit and no node.
    server.put(&commit, "/kept", "x").await;
    backend.go_on();
    server.finish_commit(&commit).await.unwrap();
    assert_eq!(paths_in(&server, &commit, "/**").await, ["/d", "/kept"]);
}

#[tokio::test]
async fn a_reader_that_vanishes_while_it_folds_edits_lets_others_read() {
    let (backend, server) = StallingBackend::serve().await;
    let commit = opened(&server).await;
    server.put(&commit, "/a", "one").await;
    backend.stall("nodes/");
    let begin = async |client: Client| {
        let request = pfs::GetFileRequest {
            file: Some(convert::file(commit.clone(), "/a")),
            ..Default::default()
        };
        let mut pfs = client.pfs();
        let call = tokio::spawn(async move { pfs.get_file(request).await.map(drop) });
        backend.is_reached().await;
        AbortOnDropHandle::new(call)
    };
    vanish_in(&server, 2, begin).await;
    backend.go_on();
    assert_eq!(server.get(&commit, "/a", 0).await.unwrap(), b"one");
    nothing_is_staged(&server).await;
}

#[tokio::test]
async fn a_get_that_breaks_off_is_freed() {
    // More than all buffers between the server and a client that reads nothing.
    const MIB: usize = 32;
    let server = Server::start().await;
    server.create_repo("images").await;
    let commit = head("images", "master");
    let zeros = vec![0; 1 << 20];
    let steps = (0..MIB).map(|_| add_bytes("/large", &zeros));
    server.modify(&commit, steps.collect()).await.unwrap();
    let request = pfs::GetFileRequest {
        file: Some(convert::file(commit.clone(), "/large")),
        ..Default::default()
    };
    let file = async |client: Client| {
        let mut bytes = client.pfs().get_file(request.clone()).await.unwrap().into_inner();
        next(&mut bytes).await.unwrap().unwrap();
        bytes
    };
    vanish_in(&server, TIMES, file).await;
    let archive = async |client: Client| {
        let mut bytes = client.pfs().get_file_tar(request.clone()).await.unwrap().into_inner();
        next(&mut bytes).await.unwrap().unwrap();
        bytes
    };
    vanish_in(&server, TIMES, archive).await;
    assert_eq!(server.get(&commit, "/large", 0).await.unwrap().len(), MIB << 20);
}

#[tokio::test]
async fn followers_of_logs_that_vanish_are_freed_and_others_go_on() {
    let server = with_pipeline().await;
    let (job, id) = only_job(&server).await;
    let write = |message: &str| {
        let line = LogLine {
            ts: Timestamp::now(),
            datum: None,
            user: true,
            message: message.into(),
        };
        let batch = LogBatch {
            pipeline: edges_key(),
            job: id,
            set: 0,
            worker: "w".into(),
            run: None,
            stored: false,
            lines: vec![line],
        };
        server.core.live().logs.add(edges_key().job(id), batch, true);
    };
    write("one");
    let request = pps::GetLogsRequest {
        job: Some(job),
        follow: true,
        ..Default::default()
    };
    let follow = async |client: Client| {
        let mut lines = client.pps().get_logs(request.clone()).await.unwrap().into_inner();
        assert_eq!(next(&mut lines).await.unwrap().unwrap().message, "one");
        lines
    };
    let mut other = follow(server.client.clone()).await;
    vanish_in(&server, TIMES, follow).await;
    write("two");
    assert_eq!(next(&mut other).await.unwrap().unwrap().message, "two");

    let line = MasterLine {
        pipeline: edges_key(),
        ts: Timestamp::now(),
        message: "pipeline is running".into(),
    };
    let stored = wire::encode(&line).into();
    server.core.store().put(&line.key(), stored).await.unwrap();
    let request = pps::GetLogsRequest {
        pipeline: Some(edges()),
        master: true,
        follow: true,
        ..Default::default()
    };
    let follow_master = async |client: Client| {
        let mut lines = client.pps().get_logs(request.clone()).await.unwrap().into_inner();
        next(&mut lines).await.unwrap().unwrap();
        lines
    };
    vanish_in(&server, TIMES, follow_master).await;
}

#[tokio::test]
async fn waits_of_clients_that_vanish_are_freed() {
    let server = with_pipeline().await;
    let (job, _) = only_job(&server).await;
    server.create_repo("notes").await;
    let commit = server.start_commit("notes", "master").await.unwrap();

    let inspect_commit = async |client: Client| {
        let request = pfs::InspectCommitRequest {
            commit: Some(commit.clone()),
            wait: pfs::CommitState::Finished as i32,
        };
        let mut pfs = client.pfs();
        begun(&client, async move { pfs.inspect_commit(request).await }).await
    };
    vanish_in(&server, TIMES, inspect_commit).await;
    let inspect_job = async |client: Client| {
        let request = pps::InspectJobRequest {
            job: Some(job.clone()),
            wait: true,
            details: false,
        };
        let mut pps = client.pps();
        begun(&client, async move { pps.inspect_job(request).await }).await
    };
    vanish_in(&server, TIMES, inspect_job).await;
    let inspect_commit_set = async |client: Client| {
        let request = pfs::InspectCommitSetRequest {
            commit_set: Some(pfs::CommitSet { id: commit.id.clone() }),
            wait: true,
        };
        client.pfs().inspect_commit_set(request).await.unwrap()
    };
    vanish_in(&server, TIMES, inspect_commit_set).await;
    let inspect_job_set = async |client: Client| {
        let request = pps::InspectJobSetRequest {
            job_set: Some(pps::JobSet { id: job.id.clone() }),
            wait: true,
            details: false,
        };
        client.pps().inspect_job_set(request).await.unwrap()
    };
    vanish_in(&server, TIMES, inspect_job_set).await;

    // All these clients waited for what happens now.
    server.finish_commit(&commit).await.unwrap();
    let info = server.inspect_commit(&commit).await.unwrap();
    assert!(info.finished.is_some());
}

#[tokio::test]
async fn subscriptions_of_clients_that_vanish_are_freed() {
    let server = with_pipeline().await;
    let commits = async |client: Client| {
        // The open commit never reaches the state, so each subscription waits for it.
        let request = pfs::SubscribeCommitRequest {
            repo: Some(repo("notes")),
            branch: "master".into(),
            state: pfs::CommitState::Finished as i32,
            ..Default::default()
        };
        client.pfs().subscribe_commit(request).await.unwrap()
    };
    server.create_repo("notes").await;
    server.start_commit("notes", "master").await.unwrap();
    vanish_in(&server, TIMES, commits).await;
    let jobs = async |client: Client| {
        let request = pps::SubscribeJobRequest {
            pipeline: Some(edges()),
            details: false,
        };
        let mut jobs = client.pps().subscribe_job(request).await.unwrap().into_inner();
        next(&mut jobs).await.unwrap().unwrap();
        jobs
    };
    vanish_in(&server, TIMES, jobs).await;

    // The server waits for the request after the first batch.
    server
        .modify(&head("images", "master"), vec![add("/two", "2")])
        .await
        .unwrap();
    let datums = async |client: Client| {
        let start = pps::StartCreateDatumRequest {
            input: Some(images()),
            number: 1,
        };
        let first = pps::CreateDatumRequest {
            body: Some(pps::create_datum_request::Body::Start(start)),
        };
        // The requests end with the call: a client library keeps a call, of which only the reply is dropped, open as long
        // as there may be more requests.
        let (requests, receiver) = mpsc::channel(1);
        requests.send(first).await.unwrap();
        let requests_of_call = ReceiverStream::new(receiver);
        let mut datums = client.pps().create_datum(requests_of_call).await.unwrap().into_inner();
        next(&mut datums).await.unwrap().unwrap();
        (datums, requests)
    };
    vanish_in(&server, TIMES, datums).await;
}

#[tokio::test]
async fn an_offered_file_is_closed_when_its_put_breaks_off() {
    // More than the write buffer: the server cannot read it to its end while no chunk is stored.
    const BYTES: u64 = 64 << 20;
    for is_cut in [false, true] {
        let (backend, server) = StallingBackend::serve().await;
        server.create_repo("images").await;
        let branch = head("images", "master");
        let file = tempfile::tempfile().unwrap();
        file.set_len(BYTES).unwrap();
        let offered = offer(&server, file).await;
        let url = offered.url();
        let closed = tokio::task::spawn_blocking(move || {
            let mut read = 0;
            offered.wait(|bytes| read += bytes);
            read
        });
        backend.stall("chunks/");
        let connection = RelayedClient::connect(&server).await;
        let call = begin_put(&connection.client, &branch, vec![add_from("/offered", url)]);
        backend.is_reached().await;
        assert!(!closed.is_finished(), "the server is still reading");
        if is_cut {
            connection.cut().await;
        }
        drop(call);
        let read = soon(closed).await.unwrap();
        assert!(read < BYTES, "{read} bytes were read");

        backend.go_on();
        server.put(&branch, "/other", "x").await;
        assert_eq!(paths_in(&server, &branch, "/**").await, ["/other"]);
    }
}
