//! Transactions and batches.

use howdah_api::{convert, pfs_v2 as pfs, transaction_v2 as tx};
use tonic::Code;

use super::{Server, code_and_text, head, repo};

async fn start(server: &Server) -> (Server, tx::Transaction) {
    let transaction = server
        .client
        .transactions()
        .start_transaction(tx::StartTransactionRequest {})
        .await
        .unwrap()
        .into_inner();
    let client = server.client.with_transaction(Some(&transaction.id)).unwrap();
    let inside = Server {
        core: server.core.clone(),
        client,
    };
    (inside, transaction)
}

#[tokio::test]
async fn requests_take_effect_when_the_transaction_finishes() {
    let server = Server::start().await;
    let (inside, transaction) = start(&server).await;
    inside.create_repo("images").await;
    let commit = inside.start_commit("images", "master").await.unwrap();
    assert_eq!(commit.id, transaction.id);
    // The request names the commit by its branch, which does not exist yet.
    inside.finish_commit(&head("images", "master")).await.unwrap();

    let inspect = pfs::InspectRepoRequest {
        repo: Some(repo("images")),
    };
    let status = inside.client.pfs().inspect_repo(inspect.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    let finish = tx::FinishTransactionRequest {
        transaction: Some(transaction.clone()),
    };
    let info = server
        .client
        .transactions()
        .finish_transaction(finish)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.transaction, Some(transaction));
    assert_eq!(info.requests.len(), 3);
    assert_eq!(
        info.requests[0].create_repo.as_ref().unwrap().repo,
        Some(repo("images"))
    );
    assert_eq!(info.responses[1].commit, Some(commit.clone()));
    server.client.pfs().inspect_repo(inspect).await.unwrap();
    let info = server.inspect_commit(&commit).await.unwrap();
    assert!(info.finished.is_some());
}

#[tokio::test]
async fn a_bad_request_is_refused_and_not_appended() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let (inside, transaction) = start(&server).await;
    let again = pfs::CreateRepoRequest {
        repo: Some(repo("images")),
        ..Default::default()
    };
    let status = inside.client.pfs().create_repo(again).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    let inspect = tx::InspectTransactionRequest {
        transaction: Some(transaction),
    };
    let info = server
        .client
        .transactions()
        .inspect_transaction(inspect)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.requests, []);
    assert!(info.started.is_some());
}

#[tokio::test]
async fn an_unknown_transaction_fails_writes_but_not_reads() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let (inside, transaction) = start(&server).await;
    let delete = tx::DeleteTransactionRequest {
        transaction: Some(transaction.clone()),
    };
    server.client.transactions().delete_transaction(delete).await.unwrap();
    let inspect = pfs::InspectRepoRequest {
        repo: Some(repo("images")),
    };
    inside.client.pfs().inspect_repo(inspect).await.unwrap();
    let status = inside.start_commit("images", "master").await.unwrap_err();
    let text = format!("transactions {} not found", transaction.id);
    assert_eq!(code_and_text(&status), (Code::NotFound, text.as_str()));
}

#[tokio::test]
async fn a_batch_takes_effect_whole_or_not_at_all() {
    let server = Server::start().await;
    let create = |name: &str| tx::TransactionRequest {
        create_repo: Some(pfs::CreateRepoRequest {
            repo: Some(repo(name)),
            ..Default::default()
        }),
        ..Default::default()
    };
    let start = tx::TransactionRequest {
        start_commit: Some(pfs::StartCommitRequest {
            branch: Some(convert::branch("default", "images", "master")),
            ..Default::default()
        }),
        ..Default::default()
    };
    let finish = tx::TransactionRequest {
        finish_commit: Some(pfs::FinishCommitRequest {
            commit: Some(head("images", "master")),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut transactions = server.client.transactions();
    let broken = tx::BatchTransactionRequest {
        requests: vec![create("images"), create("images")],
    };
    let status = transactions.batch_transaction(broken).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    let whole = tx::BatchTransactionRequest {
        requests: vec![create("images"), start, finish],
    };
    let info = transactions.batch_transaction(whole).await.unwrap().into_inner();
    let commit = info.responses[1].commit.clone().unwrap();
    assert_eq!(commit.id, info.transaction.unwrap().id);
    assert!(server.inspect_commit(&commit).await.unwrap().finished.is_some());
}
