//! Writing to a commit that is open, many times, by many.

use howdah_api::{convert, pfs_v2 as pfs, transaction_v2 as tx};
use tonic::Code;

use super::files::paths_in;
use super::{Server, add, delete, head, repo, soon};

async fn objects(server: &Server, prefix: &str) -> usize {
    server.core.store().list(prefix).await.unwrap().len()
}

/// Waits until nothing staged lies in the store.
async fn nothing_is_staged(server: &Server) {
    soon(async {
        while objects(server, "staged/").await > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn opened(server: &Server) -> pfs::Commit {
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
async fn writes_of_all_kinds_take_effect_in_their_order() {
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
    // What was a directory is none any more.
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
        let expected = format!("file / directory path collision: {file:?} is a file");
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
    // More than may wait, read now and then, while others write.
    let expected: Vec<String> = (0..150).map(|n| format!("/{n:03}")).collect();
    let writes = expected.iter().enumerate().map(async |(number, path)| {
        server.modify(&commit, vec![add(path, "x")]).await.unwrap();
        if number % 10 == 0 {
            assert_eq!(server.get(&commit, path, 0).await.unwrap(), b"x");
        }
    });
    futures::future::join_all(writes).await;
    server.finish_commit(&commit).await.unwrap();
    assert_eq!(paths_in(&server, &commit, "/*").await, expected);
    nothing_is_staged(&server).await;
}

#[tokio::test]
async fn a_cleared_commit_has_nothing_of_what_was_written() {
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
async fn a_transaction_finishes_a_commit_with_all_that_was_written() {
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
async fn what_was_written_is_there_after_a_restart() {
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
async fn what_is_lost_is_named_and_can_be_given_up() {
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
