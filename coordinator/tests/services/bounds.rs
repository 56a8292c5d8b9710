//! Bounds on the texts of requests, and on the number of requests of a transaction.

use howdah_api::{convert, pfs_v2 as pfs, pps_v2 as pps, transaction_v2 as tx};
use howdah_model::limits::{MAX_NAME_BYTES, MAX_SPEC_BYTES, MAX_TEXT_BYTES, MAX_TRANSACTION_REQUESTS};
use tonic::{Code, Status};

use super::pipeline_helpers::create;
use super::{Server, code_and_text, head, repo};

fn create_repo(name: &str, description: usize) -> pfs::CreateRepoRequest {
    pfs::CreateRepoRequest {
        repo: Some(repo(name)),
        description: "x".repeat(description),
        update: false,
    }
}

/// Checks that a request was refused because of a field.
fn expect_too_long(result: Result<impl std::fmt::Debug, Status>, field: &str, bytes: usize, limit: usize) {
    let status = result.unwrap_err();
    let text = format!("{field} is too long: it has {bytes} bytes, at most {limit} are allowed");
    assert_eq!(code_and_text(&status), (Code::InvalidArgument, text.as_str()));
}

#[tokio::test]
async fn texts_that_are_too_long_are_refused_by_name() {
    let server = Server::start().await;
    let mut pfs = server.client.pfs();
    pfs.create_repo(create_repo(&"n".repeat(MAX_NAME_BYTES), MAX_TEXT_BYTES))
        .await
        .unwrap();
    let bytes = MAX_TEXT_BYTES + 1;
    let long = "x".repeat(bytes);
    let refused = pfs.create_repo(create_repo("a", bytes)).await;
    expect_too_long(refused, "description", bytes, MAX_TEXT_BYTES);
    let refused = pfs.create_repo(create_repo(&"n".repeat(256), 0)).await;
    expect_too_long(refused, "repo.name", 256, MAX_NAME_BYTES);

    server.create_repo("images").await;
    let start = pfs::StartCommitRequest {
        branch: Some(convert::branch_of(repo("images"), "master")),
        description: long.clone(),
        ..Default::default()
    };
    expect_too_long(pfs.start_commit(start).await, "description", bytes, MAX_TEXT_BYTES);
    let refused = server.start_commit("images", &"b".repeat(256)).await;
    expect_too_long(refused, "branch.name", 256, MAX_NAME_BYTES);
    let put = vec![super::add("/a", "a")];
    let refused = server.modify(&head("images", &"b".repeat(256)), put).await;
    expect_too_long(refused, "branch.name", 256, MAX_NAME_BYTES);
    let commit = server.start_commit("images", "master").await.unwrap();
    let finish = pfs::FinishCommitRequest {
        commit: Some(commit.clone()),
        error: long.clone(),
        ..Default::default()
    };
    expect_too_long(pfs.finish_commit(finish).await, "error", bytes, MAX_TEXT_BYTES);
    let other = pfs::Commit { id: long, ..commit };
    expect_too_long(server.inspect_commit(&other).await, "commit.id", bytes, 1024);

    let spec = |bytes: usize| {
        let description = "x".repeat(bytes);
        format!(
            r#"{{"pipeline": {{"name": "p"}}, "description": "{description}",
            "input": {{"pfs": {{"repo": "images", "glob": "/*"}}}}, "transform": {{"image": "i", "cmd": ["c"]}}}}"#
        )
    };
    create(&server, &spec(MAX_SPEC_BYTES / 2), false).await.unwrap();
    let large = spec(MAX_SPEC_BYTES);
    let refused = create(&server, &large, true).await;
    expect_too_long(refused, "the specification", large.len(), MAX_SPEC_BYTES);
    let defaults = pps::SetClusterDefaultsRequest {
        cluster_defaults_json: format!("{{}}{}", " ".repeat(MAX_SPEC_BYTES)),
        ..Default::default()
    };
    let refused = server.client.pps().set_cluster_defaults(defaults).await;
    expect_too_long(refused, "the defaults", MAX_SPEC_BYTES + 2, MAX_SPEC_BYTES);
    let secret = |bytes: usize| {
        let value = "x".repeat(bytes);
        let text = format!(r#"{{"kind": "Secret", "metadata": {{"name": "s"}}, "stringData": {{"key": "{value}"}}}}"#);
        pps::CreateSecretRequest {
            file: text.into_bytes(),
        }
    };
    let mut pps = server.client.pps();
    pps.create_secret(secret(MAX_SPEC_BYTES - 1024)).await.unwrap();
    let large = secret(MAX_SPEC_BYTES);
    let bytes = large.file.len();
    expect_too_long(pps.create_secret(large).await, "the secret", bytes, MAX_SPEC_BYTES);
}

#[tokio::test]
async fn an_error_does_not_repeat_a_long_name() {
    let server = Server::start().await;
    let request = create_repo(&"a b".repeat(100_000), 0);
    let status = server.client.pfs().create_repo(request).await.unwrap_err();
    assert!(status.message().len() < 200, "{} bytes", status.message().len());
    assert!(status.message().contains("of 300000 bytes"), "{}", status.message());
}

#[tokio::test]
async fn a_batch_has_a_bounded_number_of_requests() {
    let server = Server::start().await;
    let batch = |number: usize| tx::BatchTransactionRequest {
        requests: (0..number)
            .map(|number| tx::TransactionRequest {
                create_repo: Some(create_repo(&format!("r{number}"), 0)),
                ..Default::default()
            })
            .collect(),
    };
    let mut transactions = server.client.transactions();
    let status = transactions
        .batch_transaction(batch(MAX_TRANSACTION_REQUESTS + 1))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status.message().contains("at most 1000 requests"),
        "{}",
        status.message()
    );
    transactions.batch_transaction(batch(20)).await.unwrap();
}
