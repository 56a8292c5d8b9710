//! Writes to an open commit: many of them, one after the other and at the same time.

use howdah_api::{convert, pfs_v2 as pfs, transaction_v2 as tx};
use howdah_coordinator::metadata::orphaned_edits;
use tonic::Code;

use super::files::paths_in;
use super::{Server, add, delete, head, repo, soon};

pub(super) async fn objects(server: &Server, prefix: &str) -> usize {
    server.core.store().list(prefix).await.unwrap().len()
}

/// Waits until the store has no staged edits.
pub(super) async fn nothing_is_staged(server: &Server) {
    soon(async {
        while objects(server, "staged/").await > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Creates repo `images` and starts a commit on its branch `master`.
pub(super) async fn opened(server: &Server) -> pfs::Commit {
    server.create_repo("images").await;
    server.start_commit("images", "master").await.unwrap()
}

#[tokio::test]
async fn many_writes_make_one_tree() {
    let server = Server::start().await;
    let commit = opened(&server).await;
    for number in 0..40 {
        let file = |name: &str| format!("/{number:02}/{name}");
        let mut steps = vec![add(&file("a"), "one"), add(&file("b"), "two"), add("/log", "line\n")];
        if number % 2 == 1 {
            steps.push(delete(&format!("/{:02}/", number - 1)));
        }
        server.modify(&commit, steps).await.unwrap();
    }
    let kept = (objects(&server, "staged/").await, objects(&server, "nodes/").await);
    assert_eq!(kept, (40, 0));
    let open = server.inspect_commit(&commit).await.unwrap();
    assert_eq!((open.size_bytes_upper_bound, open.details), (40 * 11, None));

    server.finish_commit(&commit).await.unwrap();
    assert_eq!(objects(&server, "nodes/").await, 1);
    nothing_is_staged(&server).await;
    let finished = server.inspect_commit(&commit).await.unwrap();
    assert_eq!(finished.details.unwrap().size_bytes, 20 * 6 + 40 * 5);
    assert_eq!(paths_in(&server, &commit, "/**").await.len(), 20 * 3 + 1);
    let log = server.get(&commit, "/log", 0).await.unwrap();
    assert_eq!(log, "line\n".repeat(40).as_bytes());
}

#[tokio::test]
async fn edits_of_all_kinds_take_effect_in_their_order() {
    let server = Server::start().await;
    server.create_repo("images").await;
    server.put(&head("images", "master"), "/old", "old").await;
    let commit = server.start_commit("images", "master").await.unwrap();
    server.put(&commit, "/a", "one").await;
    server.modify(&commit, vec![add("/a", " two")]).await.unwrap();
    server.modify(&commit, vec![add("/old", " and new")]).await.unwrap();
    assert_eq!(server.get(&commit, "/a", 0).await.unwrap(), b"one two");
    server.put(&commit, "/d/x", "x").await;
    server.modify(&commit, vec![delete("/a"), delete("/d/")]).await.unwrap();
    // The path of a deleted folder can be a file.
    server.put(&commit, "/d", "a file").await;
    server.put(&commit, "/b", "three").await;
    server.put(&commit, "/b", "four").await;
    server.finish_commit(&commit).await.unwrap();
    assert_eq!(paths_in(&server, &commit, "/**").await, ["/b", "/d", "/old"]);
    assert_eq!(server.get(&commit, "/b", 0).await.unwrap(), b"four");
    assert_eq!(server.get(&commit, "/old", 0).await.unwrap(), b"old and new");
    nothing_is_staged(&server).await;
}

#[tokio::test]
async fn a_file_that_would_be_a_directory_is_refused_when_it_is_written() {
    let server = Server::start().await;
    server.create_repo("images").await;
    server.put(&head("images", "master"), "/base/x", "x").await;
    let commit = server.start_commit("images", "master").await.unwrap();
    server.put(&commit, "/staged/x", "x").await;
    server.put(&commit, "/file", "x").await;
    for (steps, file) in [
        (vec![add("/ok", "x"), add("/base", "x")], "/base"),
        (vec![add("/ok", "x"), add("/base/x/y", "x")], "/base/x"),
        (vec![add("/ok", "x"), add("/staged", "x")], "/staged"),
        (vec![add("/ok", "x"), add("/staged/x/y/z", "x")], "/staged/x"),
        (vec![add("/file/x", "x")], "/file"),
        (vec![add("/new/x", "x"), add("/new.x", "x"), add("/new", "x")], "/new"),
    ] {
        let status = server.modify(&commit, steps).await.unwrap_err();
        assert_eq!(status.code(), Code::Unknown);
        let expected = format!("file / directory path collision: {file:?} cannot be a file while");
        assert!(status.message().starts_with(&expected), "{status}");
    }
    server.finish_commit(&commit).await.unwrap();
    assert_eq!(
        paths_in(&server, &commit, "/**").await,
        ["/base/", "/base/x", "/file", "/staged/", "/staged/x"]
    );
}

#[tokio::test]
async fn writers_of_one_open_commit_do_not_lose_each_others_files() {
    let server = Server::start().await;
    let commit = opened(&server).await;
    // More staged edits than a commit may have, with reads between them.
    let expected: Vec<String> = (0..150).map(|n| format!("/{n:03}")).collect();
    let writes = expected.iter().enumerate().map(async |(number, path)| {
        server.modify(&commit, vec![add(path, "x")]).await.unwrap();
        if number % 10 == 0 {
            assert_eq!(server.get(&commit, path, 0).await.unwrap(), b"x");
        }
    });
    futures::future::join_all(writes).await;
    server.finish_commit(&commit).await.unwrap();
    // One for each read, one each time that too many edits are staged, and one for the finish.
    let trees = objects(&server, "nodes/").await;
    assert!(trees <= 15 + 150 / 64 + 1, "{trees} trees");
    assert_eq!(paths_in(&server, &commit, "/*").await, expected);
    nothing_is_staged(&server).await;
}

#[tokio::test]
async fn a_cleared_commit_has_no_files() {
    let server = Server::start().await;
    let commit = opened(&server).await;
    server.put(&commit, "/a", "one").await;
    let request = pfs::ClearCommitRequest {
        commit: Some(commit.clone()),
    };
    server.client.pfs().clear_commit(request).await.unwrap();
    nothing_is_staged(&server).await;
    server.put(&commit, "/a/b", "two").await;
    server.finish_commit(&commit).await.unwrap();
    assert_eq!(paths_in(&server, &commit, "/**").await, ["/a/", "/a/b"]);
}

#[tokio::test]
async fn a_transaction_finishes_a_commit_with_its_staged_edits() {
    let server = Server::start().await;
    let commit = opened(&server).await;
    server.put(&commit, "/a", "one").await;
    let mut transactions = server.client.transactions();
    let begun = transactions.start_transaction(tx::StartTransactionRequest {}).await;
    let transaction = begun.unwrap().into_inner();
    let inside = server.client.with_transaction(Some(&transaction.id)).unwrap();
    let finish = pfs::FinishCommitRequest {
        commit: Some(commit.clone()),
        ..Default::default()
    };
    inside.pfs().finish_commit(finish.clone()).await.unwrap();
    server.put(&commit, "/b", "two").await;
    let request = tx::FinishTransactionRequest {
        transaction: Some(transaction),
    };
    transactions.finish_transaction(request).await.unwrap();
    assert_eq!(paths_in(&server, &commit, "/**").await, ["/a", "/b"]);

    let commit = server.start_commit("images", "master").await.unwrap();
    server.put(&commit, "/c", "three").await;
    let request = tx::BatchTransactionRequest {
        requests: vec![tx::TransactionRequest {
            finish_commit: Some(pfs::FinishCommitRequest {
                commit: Some(commit.clone()),
                ..finish
            }),
            ..Default::default()
        }],
    };
    transactions.batch_transaction(request).await.unwrap();
    assert_eq!(paths_in(&server, &commit, "/**").await, ["/a", "/b", "/c"]);
}

#[tokio::test]
async fn staged_edits_survive_a_restart() {
    let server = Server::start().await;
    let commit = opened(&server).await;
    server.put(&commit, "/a/b", "one").await;
    let again = Server::on(server.core.store().clone()).await;
    let status = again.modify(&commit, vec![add("/a", "x")]).await.unwrap_err();
    assert!(status.message().contains("path collision"), "{status}");
    again.put(&commit, "/c", "two").await;
    again.finish_commit(&commit).await.unwrap();
    assert_eq!(paths_in(&again, &commit, "/**").await, ["/a/", "/a/b", "/c"]);
}

#[tokio::test]
async fn a_lost_object_is_named_and_the_commit_can_be_cleared() {
    let server = Server::start().await;
    let commit = opened(&server).await;
    server.put(&commit, "/a", "one").await;
    let lost = server.core.store().list("staged/").await.unwrap().remove(0).key;
    server.core.store().delete(&lost).await.unwrap();
    let finishing = server.finish_commit(&commit).await.unwrap_err();
    let reading = server.get(&commit, "/a", 0).await.unwrap_err();
    for status in [finishing, reading] {
        assert_eq!(status.code(), Code::DataLoss);
        let expected = format!("object {lost} is missing: it holds files that were written to commit default/images@");
        assert!(status.message().starts_with(&expected), "{status}");
    }
    let request = pfs::ClearCommitRequest {
        commit: Some(commit.clone()),
    };
    server.client.pfs().clear_commit(request).await.unwrap();
    server.put(&commit, "/a", "again").await;
    server.finish_commit(&commit).await.unwrap();
    let finished = convert::commit(repo("images"), "master");
    assert_eq!(server.get(&finished, "/a", 0).await.unwrap(), b"again");
}

#[tokio::test]
async fn a_write_too_large_to_be_staged_succeeds_beside_many_small_ones() {
    let server = Server::start().await;
    let commit = opened(&server).await;
    let name = "x".repeat(200);
    let large: Vec<_> = (0..20_000).map(|n| add(&format!("/large/{name}/{n}"), "")).collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    let small = async {
        let mut written = 0;
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            let writes = (0..4).map(|n| format!("/small/{}", written + n));
            let writes = writes.map(async |path| server.modify(&commit, vec![add(&path, "x")]).await.unwrap());
            futures::future::join_all(writes).await;
            written += 4;
        }
        written
    };
    let large = async {
        let written = server.modify(&commit, large).await;
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        written.unwrap();
    };
    let (written, ()) = soon(async { tokio::join!(small, large) }).await;
    server.finish_commit(&commit).await.unwrap();
    assert_eq!(paths_in(&server, &commit, "/small/*").await.len(), written);
    assert_eq!(paths_in(&server, &commit, "/large/*/*").await.len(), 20_000);
}

#[tokio::test]
async fn a_cancelled_write_takes_effect_whole_or_not_at_all() {
    let server = Server::start().await;
    let commit = opened(&server).await;
    let mut last = 0;
    for number in 0..60 {
        let mut client = server.client.pfs();
        let messages = [
            pfs::modify_file_request::Body::SetCommit(commit.clone()),
            add(&format!("/{number}/a"), "x"),
            add(&format!("/{number}/b"), "x"),
        ];
        let messages = messages.map(|body| pfs::ModifyFileRequest { body: Some(body) });
        let call = tokio::spawn(async move { client.modify_file(futures::stream::iter(messages)).await });
        // Each call is cancelled at another moment.
        for _ in 0..number * 2 {
            tokio::task::yield_now().await;
        }
        call.abort();
        let outcome = call.await;
        if outcome.is_ok_and(|answer| answer.is_ok()) {
            last = number;
        }
    }
    server.finish_commit(&commit).await.unwrap();
    let found = paths_in(&server, &commit, "/*/*").await;
    for number in 0..60 {
        let files = found
            .iter()
            .filter(|path| path.starts_with(&format!("/{number}/")))
            .count();
        assert!(files == 0 || files == 2, "/{number}/ has {files} files");
    }
    assert!(
        last == 0 || found.contains(&format!("/{last}/a")),
        "an answered write is missing"
    );
}

#[tokio::test]
async fn orphaned_edits_are_found_when_they_are_old() {
    let server = Server::start().await;
    let commit = opened(&server).await;
    server.put(&commit, "/a", "one").await;
    server.create_repo("gone").await;
    let gone = server.start_commit("gone", "master").await.unwrap();
    server.put(&gone, "/b", "two").await;
    let before = server.core.store().list_staged().await.unwrap();
    let request = pfs::DeleteRepoRequest {
        repo: Some(repo("gone")),
        force: true,
    };
    server.client.pfs().delete_repo(request).await.unwrap();
    let kept = server.core.state();
    let kept = kept.commits().flat_map(|commit| &commit.staged).map(|staged| staged.id);
    let kept: Vec<_> = kept.collect();
    let orphaned: Vec<_> = before
        .iter()
        .map(|(id, _)| *id)
        .filter(|id| !kept.contains(id))
        .collect();
    assert_eq!((kept.len(), orphaned.len()), (1, 1));

    let now = std::time::SystemTime::now();
    let orphans_after = async |hours: u64| {
        let opened = now + std::time::Duration::from_secs(hours * 3600);
        orphaned_edits(&server.core, opened).await.unwrap()
    };
    assert_eq!(orphans_after(23).await, []);
    assert_eq!(orphans_after(25).await, orphaned);
}

#[tokio::test]
async fn open_commits_that_change_a_path_are_found() {
    let server = Server::start().await;
    let commit = opened(&server).await;
    server.put(&commit, "/a", "one").await;
    let request = pfs::FindCommitsRequest {
        start: Some(commit.clone()),
        file_path: "/a".to_owned(),
        limit: 0,
    };
    let found = server.client.pfs().find_commits(request).await.unwrap();
    let found = super::all(found.into_inner()).await.unwrap();
    let first = found[0].result.clone().unwrap();
    assert_eq!(first, pfs::find_commits_response::Result::FoundCommit(commit));
}
