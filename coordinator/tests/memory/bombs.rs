//! Compressed messages that are a thousand times larger when they are decompressed.

use std::future::poll_fn;
use std::io::Write;
use std::pin::Pin;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::future::join_all;
use howdah_api::pfs_v2::modify_file_request::Body as Message;
use howdah_api::{convert, pfs_v2 as pfs};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tonic::Code;

use super::{PeakMemory, Server};

const BOMBS: usize = 60;
const BOMB_BYTES: usize = 19 << 20;
/// Memory for what clients send: two puts at a time.
const REQUEST_MEMORY: usize = 96 << 20;
/// Less than what all bombs need, which is more than a gigabyte.
const LIMIT: usize = 320 << 20;

/// A client that sends bytes which it has compressed before.
#[derive(Clone)]
struct RawClient {
    client: Client<HttpConnector, Body>,
    port: u16,
}

impl RawClient {
    fn new(port: u16) -> Self {
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        Self { client, port }
    }

    /// Sends the frames of a call; returns the code and the text of its status.
    async fn call(&self, path: &str, frames: Vec<Bytes>) -> (Code, String) {
        let request = axum::http::Request::post(format!("http://127.0.0.1:{}{path}", self.port))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-encoding", "gzip")
            .body(Body::from(frames.concat()))
            .unwrap();
        let (parts, mut body) = self.client.request(request).await.unwrap().into_parts();
        let mut headers = parts.headers;
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            if let Ok(trailers) = frame.unwrap().into_trailers() {
                headers.extend(trailers);
            }
        }
        let code = headers.get("grpc-status").unwrap().as_bytes();
        let text = headers.get("grpc-message").map_or("", |text| text.to_str().unwrap());
        (Code::from_bytes(code), text.replace("%20", " "))
    }
}

/// Makes the frame of a message.
fn frame(message: &impl prost::Message, is_compressed: bool) -> Bytes {
    let mut bytes = message.encode_to_vec();
    if is_compressed {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&bytes).unwrap();
        bytes = encoder.finish().unwrap();
    }
    let mut frame = vec![u8::from(is_compressed)];
    frame.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&bytes);
    frame.into()
}

fn modify(message: Message) -> pfs::ModifyFileRequest {
    pfs::ModifyFileRequest { body: Some(message) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_compressed_messages_wait_for_memory() {
    let server = Server::start(REQUEST_MEMORY).await;
    let client = RawClient::new(server.port);
    let bomb = frame(
        &modify(Message::AddFile(pfs::AddFile {
            path: "/zeros".into(),
            datum: String::new(),
            source: Some(pfs::add_file::Source::Raw(vec![0; BOMB_BYTES].into())),
        })),
        true,
    );
    assert!(bomb.len() < 64 << 10, "{} bytes", bomb.len());
    let memory = PeakMemory::begin();
    let put = async |number: usize| {
        let commit = convert::head(convert::repo("default", "images"), format!("branch-{number}"));
        let target = frame(&modify(Message::SetCommit(commit)), false);
        client.call("/pfs_v2.API/ModifyFile", vec![target, bomb.clone()]).await
    };
    let answers = join_all((0..BOMBS).map(put)).await;
    memory.expect_at_most(LIMIT);
    let mut written = 0;
    for (code, text) in answers {
        match code {
            Code::Ok => written += 1,
            Code::ResourceExhausted => assert!(text.contains("96 MiB"), "{text}"),
            other => panic!("{other:?} {text}"),
        }
    }
    assert!(written > 0, "those that got memory are written");
    let file = pfs::InspectFileRequest {
        file: Some(convert::file(
            convert::head(convert::repo("default", "images"), "branch-0"),
            "/zeros",
        )),
    };
    let info = server.client.pfs().inspect_file(file).await.unwrap().into_inner();
    assert_eq!(info.size_bytes, BOMB_BYTES as i64);
}

#[tokio::test]
async fn most_calls_have_small_messages() {
    let server = Server::start(REQUEST_MEMORY).await;
    let client = RawClient::new(server.port);
    let request = pfs::CreateRepoRequest {
        repo: Some(convert::repo("default", "large")),
        description: "x".repeat(BOMB_BYTES),
        update: false,
    };
    let compressed = client.call("/pfs_v2.API/CreateRepo", vec![frame(&request, true)]).await;
    assert_eq!(compressed.0, Code::ResourceExhausted, "{}", compressed.1);
    assert!(compressed.1.contains("2097152"), "{}", compressed.1);
    let plain = client
        .call("/pfs_v2.API/CreateRepo", vec![frame(&request, false)])
        .await;
    assert_eq!(plain.0, Code::ResourceExhausted);
    assert!(
        plain.1.contains("/pfs_v2.API/CreateRepo: a message of 199"),
        "{}",
        plain.1
    );
    assert!(plain.1.contains("the limit is 2097152 bytes"), "{}", plain.1);
    let repos = server.client.pfs().list_repo(pfs::ListRepoRequest::default()).await;
    let mut repos = repos.unwrap().into_inner();
    while let Some(info) = repos.message().await.unwrap() {
        assert_ne!(info.repo.unwrap().name, "large");
    }
}
