//! Projects, repos, branches and commits.

use howdah_api::{convert, pfs_v2 as pfs};
use tonic::Code;

use super::{Server, all, code_and_text, head, next, repo, soon};

#[tokio::test]
async fn repos_are_created_updated_and_deleted() {
    let server = Server::start().await;
    let mut pfs = server.client.pfs();
    let inspect = || pfs::InspectRepoRequest {
        repo: Some(repo("images")),
    };
    let status = pfs.inspect_repo(inspect()).await.unwrap_err();
    assert_eq!(
        code_and_text(&status),
        (Code::NotFound, "repo default/images not found")
    );
    server.create_repo("images").await;
    let again = pfs::CreateRepoRequest {
        repo: Some(repo("images")),
        description: "pictures".into(),
        update: false,
    };
    let status = pfs.create_repo(again.clone()).await.unwrap_err();
    assert_eq!(
        code_and_text(&status),
        (Code::AlreadyExists, "repo default/images already exists")
    );
    let update = pfs::CreateRepoRequest { update: true, ..again };
    pfs.create_repo(update).await.unwrap();
    let info = pfs.inspect_repo(inspect()).await.unwrap().into_inner();
    assert_eq!(info.description, "pictures");
    assert_eq!(info.repo, Some(repo("images")));
    assert!(info.details.is_some());

    let delete = || pfs::DeleteRepoRequest {
        repo: Some(repo("images")),
        force: false,
    };
    assert!(pfs.delete_repo(delete()).await.unwrap().into_inner().deleted);
    assert!(!pfs.delete_repo(delete()).await.unwrap().into_inner().deleted);
}

#[tokio::test]
async fn a_bad_name_is_refused() {
    let server = Server::start().await;
    let request = pfs::CreateRepoRequest {
        repo: Some(repo("a b")),
        ..Default::default()
    };
    let status = server.client.pfs().create_repo(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unknown);
    assert!(status.message().contains("only alphanumeric characters"));
    let status = server
        .client
        .pfs()
        .create_repo(pfs::CreateRepoRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        code_and_text(&status),
        (Code::InvalidArgument, "validate request: repo must be set")
    );
}

#[tokio::test]
async fn a_project_with_repos_is_deleted_only_by_force() {
    let server = Server::start().await;
    let mut pfs = server.client.pfs();
    let create = pfs::CreateProjectRequest {
        project: Some(convert::project("vision")),
        description: "eyes".into(),
        update: false,
    };
    pfs.create_project(create).await.unwrap();
    let create = pfs::CreateRepoRequest {
        repo: Some(convert::repo("vision", "images")),
        ..Default::default()
    };
    pfs.create_repo(create).await.unwrap();

    let inspect = pfs::InspectProjectV2Request {
        project: Some(convert::project("vision")),
    };
    let found = pfs.inspect_project_v2(inspect).await.unwrap().into_inner();
    assert_eq!(found.defaults_json, "{}");
    assert_eq!(found.info.unwrap().description, "eyes");

    let delete = |force| pfs::DeleteProjectRequest {
        project: Some(convert::project("vision")),
        force,
    };
    let status = pfs.delete_project(delete(false)).await.unwrap_err();
    assert_eq!(
        code_and_text(&status),
        (
            Code::FailedPrecondition,
            "cannot delete project vision: repo vision/images still exists"
        )
    );
    pfs.delete_project(delete(true)).await.unwrap();
    let projects = pfs.list_project(pfs::ListProjectRequest {}).await.unwrap();
    let names: Vec<String> = all(projects.into_inner())
        .await
        .unwrap()
        .into_iter()
        .map(|info| info.project.unwrap().name)
        .collect();
    assert_eq!(names, ["default"]);
}

#[tokio::test]
async fn a_subscription_reports_the_first_commit_and_those_of_users() {
    let server = Server::start().await;
    server.create_repo("images").await;
    server.create_branch("images", "master").await;
    let request = pfs::SubscribeCommitRequest {
        repo: Some(repo("images")),
        branch: "master".into(),
        state: pfs::CommitState::Finished as i32,
        ..Default::default()
    };
    let mut commits = server
        .client
        .pfs()
        .subscribe_commit(request)
        .await
        .unwrap()
        .into_inner();
    let first = next(&mut commits).await.unwrap().unwrap();
    assert_eq!(first.origin.unwrap().kind, pfs::OriginKind::Auto as i32);
    let commit = server.start_commit("images", "master").await.unwrap();
    assert_eq!(commit.branch, None);
    server.put(&commit, "/a", "hey").await;
    server.finish_commit(&commit).await.unwrap();
    let second = next(&mut commits).await.unwrap().unwrap();
    assert_eq!(second.commit, Some(commit));
    assert_eq!(second.origin.unwrap().kind, pfs::OriginKind::User as i32);
    assert_eq!(second.details.unwrap().size_bytes, 3);
}

#[tokio::test]
async fn a_commit_is_the_child_of_the_one_before() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let first = server.start_commit("images", "master").await.unwrap();
    let status = server.start_commit("images", "master").await.unwrap_err();
    assert_eq!(status.code(), Code::Unknown);
    assert!(status.message().contains("has not been finished"), "{status}");
    server.finish_commit(&first).await.unwrap();
    let status = server.finish_commit(&first).await.unwrap_err();
    assert!(status.message().contains("has already finished"), "{status}");
    let second = server.start_commit("images", "master").await.unwrap();
    server.finish_commit(&head("images", "master")).await.unwrap();

    let info = server.inspect_commit(&head("images", "master")).await.unwrap();
    assert_eq!(info.commit, Some(second.clone()));
    assert_eq!(info.parent_commit, Some(first.clone()));
    let back = convert::commit(repo("images"), "master^");
    let info = server.inspect_commit(&back).await.unwrap();
    assert_eq!(info.commit, Some(first.clone()));
    assert_eq!(info.child_commits, std::slice::from_ref(&second));

    let list = |to: Option<pfs::Commit>, reverse| pfs::ListCommitRequest {
        repo: Some(repo("images")),
        to,
        reverse,
        ..Default::default()
    };
    let ids =
        |infos: Vec<pfs::CommitInfo>| -> Vec<_> { infos.into_iter().map(|info| info.commit.unwrap().id).collect() };
    let mut pfs = server.client.pfs();
    let newest_first = pfs.list_commit(list(None, false)).await.unwrap().into_inner();
    assert_eq!(
        ids(all(newest_first).await.unwrap()),
        [second.id.clone(), first.id.clone()]
    );
    let to_first = pfs.list_commit(list(Some(first.clone()), false)).await.unwrap();
    assert_eq!(
        ids(all(to_first.into_inner()).await.unwrap()),
        std::slice::from_ref(&first.id)
    );
    let status = pfs.list_commit(list(Some(first), true)).await.unwrap_err();
    assert!(status.message().contains("reverse"), "{status}");
}

#[tokio::test]
async fn a_wait_ends_when_the_commit_finishes_or_is_deleted() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let commit = server.start_commit("images", "master").await.unwrap();
    let wait = |commit: &pfs::Commit| {
        let request = pfs::InspectCommitRequest {
            commit: Some(commit.clone()),
            wait: pfs::CommitState::Finished as i32,
        };
        let mut pfs = server.client.pfs();
        tokio::spawn(async move { pfs.inspect_commit(request).await })
    };
    let waiting = wait(&commit);
    server.finish_commit(&commit).await.unwrap();
    let info = soon(waiting).await.unwrap().unwrap().into_inner();
    assert!(info.finished.is_some());

    let commit = server.start_commit("images", "master").await.unwrap();
    let waiting = wait(&commit);
    let drop = pfs::DropCommitSetRequest {
        commit_set: Some(pfs::CommitSet { id: commit.id.clone() }),
    };
    server.client.pfs().drop_commit_set(drop).await.unwrap();
    let status = soon(waiting).await.unwrap().unwrap_err();
    // The wait may have begun before or after the deletion.
    assert!(
        status.message().contains("was deleted") || status.code() == Code::NotFound,
        "{status}"
    );
}

#[tokio::test]
async fn sets_are_listed_newest_first_and_reported_as_they_finish() {
    let server = Server::start().await;
    server.create_repo("images").await;
    let commit = server.start_commit("images", "master").await.unwrap();
    let set = pfs::CommitSet { id: commit.id.clone() };
    let inspect = pfs::InspectCommitSetRequest {
        commit_set: Some(set.clone()),
        wait: true,
    };
    let mut pfs = server.client.pfs();
    let mut waiting = pfs.inspect_commit_set(inspect).await.unwrap().into_inner();
    server.finish_commit(&commit).await.unwrap();
    let info = next(&mut waiting).await.unwrap().unwrap();
    assert_eq!(info.commit, Some(commit));
    assert!(next(&mut waiting).await.is_none());

    let sets = pfs.list_commit_set(pfs::ListCommitSetRequest::default()).await.unwrap();
    let sets = all(sets.into_inner()).await.unwrap();
    assert_eq!(sets[0].commit_set, Some(set));
    let unknown = pfs::InspectCommitSetRequest {
        commit_set: Some(pfs::CommitSet {
            id: "0123456789ab4def8123456789abcdef".into(),
        }),
        wait: false,
    };
    let status = pfs.inspect_commit_set(unknown).await.unwrap_err();
    assert_eq!(
        code_and_text(&status),
        (
            Code::NotFound,
            "no commits found for commitset 0123456789ab4def8123456789abcdef"
        )
    );
}

#[tokio::test]
async fn fsck_finds_nothing_in_a_new_repo() {
    let server = Server::start().await;
    server.create_repo("images").await;
    server.create_branch("images", "master").await;
    let request = pfs::FsckRequest::default();
    let found = server.client.pfs().fsck(request).await.unwrap().into_inner();
    assert_eq!(all(found).await.unwrap(), []);
}
