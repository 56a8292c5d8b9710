//! Files: put, read, listed, copied and deleted.

use std::io::Read;

use howdah_api::pfs_v2::modify_file_request::Body;
use howdah_api::{convert, pfs_v2 as pfs};
use tonic::{Code, Status};

use super::{Server, add, all, code_and_text, delete, head, repo};

async fn paths(stream: tonic::Streaming<pfs::FileInfo>) -> Vec<String> {
    let infos = all(stream).await.unwrap();
    infos.into_iter().map(|info| info.file.unwrap().path).collect()
}

/// Lists what a glob matches.
pub(super) async fn paths_in(server: &Server, commit: &pfs::Commit, pattern: &str) -> Vec<String> {
    let request = pfs::GlobFileRequest {
        commit: Some(commit.clone()),
        pattern: pattern.to_owned(),
        ..Default::default()
    };
    let found = server.client.pfs().glob_file(request).await.unwrap();
    paths(found.into_inner()).await
}

/// Makes a repo with `/a/b/file3`, `/a/file2` and `/file1` in one commit.
pub(super) async fn sample(server: &Server) -> pfs::Commit {
    server.create_repo("images").await;
    let commit = head("images", "master");
    let steps = vec![add("/file1", "one"), add("/a/file2", "two"), add("a/b/file3", "three")];
    server.modify(&commit, steps).await.unwrap();
    commit
}

pub(super) async fn inspect(server: &Server, commit: &pfs::Commit, path: &str) -> Result<pfs::FileInfo, Status> {
    let request = pfs::InspectFileRequest {
        file: Some(convert::file(commit.clone(), path)),
    };
    let reply = server.client.pfs().inspect_file(request).await?;
    Ok(reply.into_inner())
}

#[tokio::test]
async fn a_put_replaces_a_file_and_an_append_extends_it() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let commit = head("images", "master");
    server.put(&commit, "/a", "one").await;
    server.modify(&commit, vec![add("/a", "two")]).await.unwrap();
    assert_eq!(server.get(&commit, "/a", 0).await.unwrap(), b"onetwo");
    assert_eq!(server.get(&commit, "a", 4).await.unwrap(), b"wo");
    server.put(&commit, "/a", "three").await;
    assert_eq!(server.get(&commit, "/a", 0).await.unwrap(), b"three");
    let before = convert::commit(repo("images"), "master^2");
    assert_eq!(server.get(&before, "/a", 0).await.unwrap(), b"one");
}

#[tokio::test]
async fn a_file_without_a_source_is_empty() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let commit = head("images", "master");
    let empty = Body::AddFile(pfs::AddFile {
        path: "/empty".into(),
        ..Default::default()
    });
    server.modify(&commit, vec![empty]).await.unwrap();
    assert_eq!(server.get(&commit, "/empty", 0).await.unwrap(), b"");
    let info = inspect(&server, &commit, "/empty").await.unwrap();
    assert_eq!(info.file_type, pfs::FileType::File as i32);
    assert_eq!(info.hash.len(), 32);
}

#[tokio::test]
async fn a_put_that_breaks_off_leaves_no_commit_and_its_chunks_are_used_again() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let commit = head("images", "master");
    // Random bytes, so that no two chunks are equal.
    let mut state = 1_u64;
    let mut noise = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let files: Vec<Body> = (0..40)
        .map(|number| {
            let content: Vec<u8> = (0..500_000).map(|_| noise()).collect();
            Body::AddFile(pfs::AddFile {
                path: format!("/{number:02}"),
                datum: String::new(),
                source: Some(pfs::add_file::Source::Raw(content.into())),
            })
        })
        .collect();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let mut client = server.client.pfs();
    let call = tokio::spawn(async move {
        client
            .modify_file(tokio_stream::wrappers::ReceiverStream::new(receiver))
            .await
    });
    for body in std::iter::once(Body::SetCommit(commit.clone())).chain(files[..35].iter().cloned()) {
        sender.send(pfs::ModifyFileRequest { body: Some(body) }).await.unwrap();
    }
    // The client dies in the middle of its request.
    while chunks(&server).await.len() < 3 {
        tokio::task::yield_now().await;
    }
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    drop(sender);
    assert_eq!(server.inspect_commit(&commit).await.unwrap_err().code(), Code::NotFound);

    let before = chunks(&server).await;
    server.modify(&commit, files).await.unwrap();
    let after = chunks(&server).await;
    assert!(before.iter().all(|chunk| after.contains(chunk)), "a chunk has gone");
    let stored: u64 = after.iter().map(|chunk| chunk.size - 5).sum();
    assert_eq!(stored, 40 * 500_000, "something was stored twice");
}

async fn chunks(server: &Server) -> Vec<howdah_store::ObjectMeta> {
    server.core.store().list("chunks/").await.unwrap()
}

#[tokio::test]
async fn a_large_file_is_put_and_read_in_several_messages() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let commit = server.start_commit("images", "master").await.unwrap();
    // Larger than the limit of one message, in chunks of the size that the SDK uses.
    let data: Vec<u8> = (0..50u32 << 20).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect();
    let data = prost::bytes::Bytes::from(data);
    let chunks = (0..data.len()).step_by(19 << 20).map(|start| {
        let end = data.len().min(start + (19 << 20));
        Body::AddFile(pfs::AddFile {
            path: "/large".into(),
            datum: String::new(),
            source: Some(pfs::add_file::Source::Raw(data.slice(start..end))),
        })
    });
    server.modify(&commit, chunks.collect()).await.unwrap();
    server.finish_commit(&commit).await.unwrap();
    assert!(server.get(&commit, "/large", 0).await.unwrap() == data);
    let tail = server.get(&commit, "/large", 30 << 20).await.unwrap();
    assert!(tail == data[30 << 20..]);
}

#[tokio::test]
async fn an_open_commit_shows_its_files_so_far() {
    let server = Server::start().await;
    server.create_repo("images").await;
    server.put(&head("images", "master"), "/a", "old").await;
    let commit = server.start_commit("images", "master").await.unwrap();
    assert_eq!(server.get(&commit, "/a", 0).await.unwrap(), b"old");
    server.put(&head("images", "master"), "/b", "new").await;
    assert_eq!(server.get(&commit, "/b", 0).await.unwrap(), b"new");
    server.finish_commit(&commit).await.unwrap();
    let status = server.modify(&commit, vec![add("/c", "x")]).await.unwrap_err();
    assert_eq!(
        code_and_text(&status),
        (
            Code::Unknown,
            format!("commit default/images@{} has already finished", commit.id).as_str()
        )
    );
}

#[tokio::test]
async fn writers_of_one_branch_do_not_lose_each_others_files() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let commit = head("images", "master");
    let paths: Vec<String> = (0..12).map(|n| format!("/{n:02}")).collect();
    let writes = paths.iter().map(|path| server.modify(&commit, vec![add(path, "x")]));
    for result in futures::future::join_all(writes).await {
        result.unwrap();
    }
    assert_eq!(paths_in(&server, &commit, "/*").await, paths);
}

#[tokio::test]
async fn lists_are_in_byte_order_with_folders_before_their_files() {
    let server = Server::start().await;
    let commit = sample(&server).await;
    let mut pfs = server.client.pfs();
    let file = |path: &str| Some(convert::file(commit.clone(), path));
    let walk = |path: &str| pfs::WalkFileRequest {
        file: file(path),
        ..Default::default()
    };
    let list = |path: &str| pfs::ListFileRequest {
        file: file(path),
        ..Default::default()
    };
    let found = pfs.walk_file(walk("/a")).await.unwrap().into_inner();
    assert_eq!(paths(found).await, ["/a/", "/a/b/", "/a/b/file3", "/a/file2"]);
    let found = pfs.list_file(list("")).await.unwrap().into_inner();
    assert_eq!(paths(found).await, ["/a/", "/file1"]);
    let found = pfs.list_file(list("/file1")).await.unwrap().into_inner();
    assert_eq!(paths(found).await, ["/file1"]);
    let found = pfs.list_file(list("/nothing")).await.unwrap().into_inner();
    assert_eq!(paths(found).await, Vec::<String>::new());
    let status = pfs.walk_file(walk("/nothing")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("does not contain item: (/nothing)"));
}

#[tokio::test]
async fn pages_begin_after_their_marker() {
    let server = Server::start().await;
    let commit = sample(&server).await;
    let mut pfs = server.client.pfs();
    let page = |marker: &str, number, reverse| pfs::WalkFileRequest {
        file: Some(convert::file(commit.clone(), "/")),
        pagination_marker: Some(convert::file(commit.clone(), marker)),
        number,
        reverse,
    };
    let found = pfs.walk_file(page("/a/b/", 2, false)).await.unwrap().into_inner();
    assert_eq!(paths(found).await, ["/a/b/file3", "/a/file2"]);
    let found = pfs.walk_file(page("/a/file2", 2, true)).await.unwrap().into_inner();
    assert_eq!(paths(found).await, ["/a/b/file3", "/a/b/"]);
    for refused in [page("/", 0, true), page("/", 100_001, false)] {
        let status = pfs.walk_file(refused).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_folder_has_the_size_of_the_files_below_it() {
    let server = Server::start().await;
    let commit = sample(&server).await;
    let folder = inspect(&server, &commit, "/a").await.unwrap();
    assert_eq!(folder.file_type, pfs::FileType::Dir as i32);
    assert_eq!((folder.size_bytes, folder.hash.len()), (8, 32));
    assert_eq!(folder.file.unwrap().path, "/a/");
    assert!(folder.committed.is_some());
    let status = inspect(&server, &commit, "/nothing").await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(
        status
            .message()
            .starts_with("file /nothing not found in repo default/images at commit "),
        "{status}"
    );
}

#[tokio::test]
async fn a_get_must_match_exactly_one_file() {
    let server = Server::start().await;
    let commit = sample(&server).await;
    assert_eq!(server.get(&commit, "/file*", 0).await.unwrap(), b"one");
    for several in ["/a", "/*"] {
        let status = server.get(&commit, several, 0).await.unwrap_err();
        assert_eq!(status.code(), Code::Unknown);
        assert!(status.message().ends_with("Use GetFileTAR instead"), "{status}");
    }
    let status = server.get(&commit, "/nothing", 0).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn a_tar_has_folders_and_files_with_absolute_names() {
    let server = Server::start().await;
    let commit = sample(&server).await;
    let entries = async |path: &str| {
        let request = pfs::GetFileRequest {
            file: Some(convert::file(commit.clone(), path)),
            ..Default::default()
        };
        let stream = server.client.pfs().get_file_tar(request).await.unwrap();
        let bytes = all(stream.into_inner()).await.unwrap().concat();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            found.push((name, content));
        }
        found
    };
    let entry = |name: &str, content: &str| (name.to_owned(), content.to_owned());
    assert_eq!(
        entries("/").await,
        [
            entry("/", ""),
            entry("/a/", ""),
            entry("/a/b/", ""),
            entry("/a/b/file3", "three"),
            entry("/a/file2", "two"),
            entry("/file1", "one"),
        ]
    );
    assert_eq!(entries("/file1").await, [entry("/file1", "one")]);
    // The pattern matches a folder and the file below it; the file comes once.
    assert_eq!(
        entries("/a/**").await,
        [
            entry("/a/b/", ""),
            entry("/a/b/file3", "three"),
            entry("/a/file2", "two"),
        ]
    );
}

#[tokio::test]
async fn files_are_copied_and_deleted() {
    let server = Server::start().await;
    let commit = sample(&server).await;
    server.create_repo("other").await;
    let copy = |from: &str, to: &str| {
        Body::CopyFile(pfs::CopyFile {
            dst: to.into(),
            datum: String::new(),
            src: Some(convert::file(commit.clone(), from)),
            append: false,
        })
    };
    let other = head("other", "master");
    let steps = vec![copy("/a", "/x"), copy("/file1", "/y"), copy("/nothing", "/z")];
    server.modify(&other, steps).await.unwrap();
    assert_eq!(server.get(&other, "/x/b/file3", 0).await.unwrap(), b"three");
    assert_eq!(server.get(&other, "/y", 0).await.unwrap(), b"one");

    server
        .modify(&other, vec![delete("/x/b/"), delete("/nothing")])
        .await
        .unwrap();
    let request = pfs::GlobFileRequest {
        commit: Some(other.clone()),
        pattern: "/**".into(),
        ..Default::default()
    };
    let found = server.client.pfs().glob_file(request).await.unwrap().into_inner();
    assert_eq!(paths(found).await, ["/x/", "/x/file2", "/y"]);
}

#[tokio::test]
async fn a_difference_lists_the_nodes_of_each_side() {
    let server = Server::start().await;
    let commit = sample(&server).await;
    let steps = vec![
        delete("/file1"),
        delete("/a/file2"),
        add("/a/file2", "2"),
        add("/new", "n"),
    ];
    server.modify(&commit, steps).await.unwrap();
    let request = pfs::DiffFileRequest {
        new_file: Some(convert::file(commit, "/")),
        ..Default::default()
    };
    let found = server.client.pfs().diff_file(request).await.unwrap().into_inner();
    let path = |info: Option<pfs::FileInfo>| info.map(|info| info.file.unwrap().path);
    let found: Vec<_> = all(found)
        .await
        .unwrap()
        .into_iter()
        .map(|one| (path(one.old_file), path(one.new_file)))
        .collect();
    let both = |path: &str| (Some(path.to_owned()), Some(path.to_owned()));
    assert_eq!(
        found,
        [
            both("/"),
            both("/a/"),
            both("/a/file2"),
            (Some("/file1".to_owned()), None),
            (None, Some("/new".to_owned())),
        ]
    );
}

#[tokio::test]
async fn commits_that_changed_a_path_are_found() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let commit = head("images", "master");
    for (path, data) in [("/a", "1"), ("/b", "x"), ("/a", "2")] {
        server.put(&commit, path, data).await;
    }
    let newest = server.inspect_commit(&commit).await.unwrap().commit.unwrap();
    let oldest = convert::commit(repo("images"), "master.1");
    let oldest = server.inspect_commit(&oldest).await.unwrap().commit.unwrap();
    let request = pfs::FindCommitsRequest {
        start: Some(commit),
        file_path: "/a".into(),
        limit: 0,
    };
    let found = server.client.pfs().find_commits(request).await.unwrap().into_inner();
    let found = all(found).await.unwrap();
    use pfs::find_commits_response::Result::{FoundCommit, LastSearchedCommit};
    let results: Vec<_> = found.into_iter().map(|one| one.result.unwrap()).collect();
    assert_eq!(
        results,
        [
            FoundCommit(newest),
            FoundCommit(oldest.clone()),
            LastSearchedCommit(oldest),
        ]
    );
}

#[tokio::test]
async fn nothing_is_written_when_one_edit_fails() {
    let server = Server::start().await;
    let commit = sample(&server).await;
    let before = server.inspect_commit(&commit).await.unwrap().commit;
    for (path, words) in [
        ("/a*b", "not allowed in path"),
        ("/\u{e9}", "only printable ASCII characters allowed"),
        ("/../x", "not allowed in path"),
        ("/file1/below", "path collision"),
        ("/a", "path collision"),
    ] {
        let steps = vec![add("/fine", "x"), add(path, "x")];
        let status = server.modify(&commit, steps).await.unwrap_err();
        assert_eq!(status.code(), Code::Unknown, "{path}");
        assert!(status.message().contains(words), "{path}: {status}");
    }
    let after = server.inspect_commit(&commit).await.unwrap().commit;
    assert_eq!(before, after);
}

#[tokio::test]
async fn the_first_message_must_name_the_commit() {
    let server = Server::start().await;
    let message = pfs::ModifyFileRequest {
        body: Some(add("/a", "x")),
    };
    let stream = futures::stream::iter(vec![message]);
    let status = server.client.pfs().modify_file(stream).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("validate recv:"), "{status}");
    let commit = head("nothing", "master");
    let status = server.modify(&commit, vec![add("/a", "x")]).await.unwrap_err();
    assert_eq!(
        code_and_text(&status),
        (Code::NotFound, "repo default/nothing not found")
    );
}

#[tokio::test]
async fn a_glob_that_takes_too_many_steps_is_refused_and_holds_nobody_up() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let commit = head("images", "master");
    let names = (0..20).map(|n| -> &'static str { Box::leak(format!("/{}{n}", "a".repeat(200)).into_boxed_str()) });
    let steps = names.map(|path| add(path, "x")).collect();
    server.modify(&commit, steps).await.unwrap();
    for pattern in [
        format!("/{}b", "!(*a*a)".repeat(150)),
        format!("/{}b{}", "*!(".repeat(38), ")".repeat(38)),
    ] {
        let request = pfs::GlobFileRequest {
            commit: Some(commit.clone()),
            pattern: pattern.clone(),
            ..Default::default()
        };
        let started = std::time::Instant::now();
        let found = server.client.pfs().glob_file(request).await.unwrap().into_inner();
        let (listed, answered) = tokio::join!(all(found), inspect(&server, &commit, "/"));
        answered.unwrap();
        let status = listed.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains("takes too many steps"), "{status}");
        assert_eq!(
            server.get(&commit, &pattern, 0).await.unwrap_err().code(),
            Code::InvalidArgument
        );
        assert!(started.elapsed() < std::time::Duration::from_secs(10));
    }
}
