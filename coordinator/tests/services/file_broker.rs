//! Files that clients on the same machine offer instead of sending their bytes.

use std::fs::File;
use std::io::Write;

use howdah_api::file_broker::{FILE_BROKER_HEADER, FileOffer};
use howdah_api::pfs_v2::modify_file_request::Body;
use howdah_api::{admin_v2, pfs_v2 as pfs};
use tonic::Code;

use super::files::inspect;
use super::{Server, head, soon};

/// Asks the server for the name of its file broker, as a client does, and offers it a file.
pub(super) async fn offer(server: &Server, file: File) -> FileOffer {
    let request = admin_v2::InspectClusterRequest::default();
    let answer = server.client.admin().inspect_cluster(request).await.unwrap();
    let name = answer
        .metadata()
        .get(FILE_BROKER_HEADER)
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let offered = tokio::task::spawn_blocking(move || FileOffer::offer(&name, &file));
    offered.await.unwrap().unwrap()
}

pub(super) fn add_from(path: &str, url: String) -> Body {
    Body::AddFile(pfs::AddFile {
        path: path.into(),
        datum: String::new(),
        source: Some(pfs::add_file::Source::Url(pfs::add_file::UrlSource {
            url,
            ..Default::default()
        })),
    })
}

/// Returns bytes without repetition, so that no two chunks are equal.
fn content(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[tokio::test]
async fn an_offered_file_is_stored_as_its_bytes_would_be() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let commit = head("images", "master");
    let bytes = content((9 << 20) + 77);
    let offered = offer(&server, file_of(&bytes)).await;
    let url = offered.url();
    let waiting = tokio::task::spawn_blocking(move || {
        let mut read = 0;
        offered.wait(|bytes| read += bytes);
        read
    });
    server.modify(&commit, vec![add_from("/offered", url)]).await.unwrap();
    assert!(soon(waiting).await.unwrap() >= bytes.len() as u64);
    assert!(server.get(&commit, "/offered", 0).await.unwrap() == bytes);

    let chunks = server.core.store().list("chunks/").await.unwrap();
    let raw = bytes.chunks(1 << 20).map(|part| {
        Body::AddFile(pfs::AddFile {
            path: "/sent".into(),
            datum: String::new(),
            source: Some(pfs::add_file::Source::Raw(part.to_vec().into())),
        })
    });
    server.modify(&commit, raw.collect()).await.unwrap();
    assert_eq!(chunks.len(), server.core.store().list("chunks/").await.unwrap().len());
    let received = inspect(&server, &commit, "/offered").await.unwrap();
    let sent = inspect(&server, &commit, "/sent").await.unwrap();
    assert_eq!((received.hash, received.size_bytes), (sent.hash, sent.size_bytes));
}

#[tokio::test]
async fn a_file_that_becomes_shorter_leaves_no_commit() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let commit = head("images", "master");
    let file = file_of(&content(9 << 20));
    let offered = offer(&server, file.try_clone().unwrap()).await;
    file.set_len(5 << 20).unwrap();
    let failed = server.modify(&commit, vec![add_from("/offered", offered.url())]).await;
    let status = failed.unwrap_err();
    assert!(
        status.message().contains("cannot read the file that is being put"),
        "{status}"
    );
    assert_eq!(server.inspect_commit(&commit).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_file_that_was_not_offered_cannot_be_put() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let commit = head("images", "master");
    let steps = vec![add_from("/offered", format!("howdah-lent:{:032x}", 7))];
    let status = server.modify(&commit, steps).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(server.inspect_commit(&commit).await.unwrap_err().code(), Code::NotFound);
}
