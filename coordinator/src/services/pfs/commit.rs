//! Calls about commits and commit sets.

use howdah_api::convert::from_timestamp;
use howdah_api::pfs_v2 as pfs;
use howdah_model::query::CommitQuery;
use howdah_model::{Command, CommitKey, GlobalId, Reply, query};
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

use super::convert::{commit_info, origin};
use super::requests::{commit_set_id, finish_commit_command, squash_set_command, start_commit_command};
use super::wait::{send_as_they_finish, send_new_commits, wait_for_commit};
use crate::metadata::Core;
use crate::services::change::{apply, apply_or_append, transaction_of};
use crate::services::pending::PendingCommands;
use crate::services::reply::{self, StreamReply, UnaryReply};
use crate::services::status::IntoStatus;
use crate::services::{find, wire};

pub(super) async fn start_commit(
    core: &Core,
    metadata: &MetadataMap,
    request: pfs::StartCommitRequest,
) -> UnaryReply<pfs::Commit> {
    match apply_or_append(core, metadata, start_commit_command(&request)?).await? {
        Reply::Commit(key) => Ok(Response::new(wire::commit(&key))),
        _ => Err(Status::internal("starting a commit answered no commit")),
    }
}

pub(super) async fn finish_commit(
    core: &Core,
    metadata: &MetadataMap,
    request: pfs::FinishCommitRequest,
) -> UnaryReply<()> {
    let state = core.state();
    let pending = PendingCommands::of_transaction(&state, transaction_of(metadata)?);
    let command = finish_commit_command(&state, &pending, &request)?;
    apply_or_append(core, metadata, command).await?;
    Ok(Response::new(()))
}

pub(super) async fn clear_commit(core: &Core, request: pfs::ClearCommitRequest) -> UnaryReply<()> {
    let reference = wire::commit_ref(request.commit.as_ref())?;
    let state = core.state();
    let commit = find::commit(&state, &reference)?;
    let key = commit.key.clone();
    apply(core, Command::ClearCommit { commit: key }).await?;
    // Those that the state had before the command. Edits that were staged in between leave objects that nothing
    // mentions; they are removed after a later start.
    core.staging()
        .remove(commit.staged.iter().map(|staged| staged.id).collect());
    Ok(Response::new(()))
}

pub(super) async fn inspect_commit(core: &Core, request: pfs::InspectCommitRequest) -> UnaryReply<pfs::CommitInfo> {
    let reference = wire::commit_ref(request.commit.as_ref())?;
    let commit = wait_for_commit(core, &reference, request.wait).await?;
    Ok(Response::new(commit_info(&commit)))
}

pub(super) fn list_commit(core: &Core, request: &pfs::ListCommitRequest) -> StreamReply<pfs::CommitInfo> {
    let state = core.state();
    let key = |commit: Option<&pfs::Commit>| -> Result<Option<CommitKey>, Status> {
        wire::optional_commit_ref(commit)?
            .map(|reference| find::commit_key(&state, &reference))
            .transpose()
    };
    let to = key(request.to.as_ref())?;
    let from = key(request.from.as_ref())?;
    let repo = match (&request.repo, &to) {
        (Some(repo), _) => Some(wire::repo_key(Some(repo))?),
        (None, Some(to)) => Some(to.repo.clone()),
        (None, None) => None,
    };
    let query = CommitQuery {
        repo,
        branch: None,
        to,
        from,
        number: u64::try_from(request.number).map_err(|_| Status::invalid_argument("number cannot be negative"))?,
        reverse: request.reverse,
        origin: origin(request.origin_kind),
        bound: request.started_time.as_ref().and_then(from_timestamp),
    };
    let commits = query::list_commits(&state, &query).map_err(IntoStatus::into_status)?;
    reply::from_items(commits.into_iter().map(|commit| Ok(commit_info(&commit))))
}

pub(super) fn inspect_commit_set(core: &Core, request: &pfs::InspectCommitSetRequest) -> StreamReply<pfs::CommitInfo> {
    let id = commit_set_id(request.commit_set.as_ref())?;
    let state = core.state();
    let keys = find::commit_set(&state, id)?;
    if request.wait {
        let core = core.clone();
        return reply::from_task(|sender| send_as_they_finish(core, keys, sender));
    }
    reply::from_items(keys.into_iter().filter_map(move |key| {
        let commit = state.commit(&key)?;
        Some(Ok(commit_info(commit)))
    }))
}

pub(super) fn list_commit_set(core: &Core, request: &pfs::ListCommitSetRequest) -> StreamReply<pfs::CommitSetInfo> {
    let project = match &request.project {
        Some(project) if !project.name.is_empty() => Some(wire::project_name(Some(project))?),
        _ => None,
    };
    let state = core.state();
    if let Some(name) = &project {
        find::project(&state, name)?;
    }
    let ids: Vec<GlobalId> = state.set_ids().rev().collect();
    reply::from_items(ids.into_iter().filter_map(move |id| {
        let members = query::commit_set(&state, id);
        let wanted = project
            .as_ref()
            .is_none_or(|project| members.iter().any(|key| key.repo.project == *project));
        wanted.then(|| {
            Ok(pfs::CommitSetInfo {
                commit_set: Some(pfs::CommitSet { id: id.to_string() }),
                commits: members
                    .iter()
                    .filter_map(|key| state.commit(key))
                    .map(|commit| commit_info(commit))
                    .collect(),
            })
        })
    }))
}

pub(super) async fn squash_commit_set(
    core: &Core,
    metadata: &MetadataMap,
    request: pfs::SquashCommitSetRequest,
) -> UnaryReply<()> {
    apply_or_append(core, metadata, squash_set_command(&request)?).await?;
    Ok(Response::new(()))
}

pub(super) async fn drop_commit_set(core: &Core, request: pfs::DropCommitSetRequest) -> UnaryReply<()> {
    let id = commit_set_id(request.commit_set.as_ref())?;
    apply(core, Command::DropCommitSet { id }).await?;
    Ok(Response::new(()))
}

pub(super) async fn squash_commit(
    core: &Core,
    request: pfs::SquashCommitRequest,
) -> UnaryReply<pfs::SquashCommitResponse> {
    let reference = wire::commit_ref(request.commit.as_ref())?;
    let commit = find::commit_key(&core.state(), &reference)?;
    let recursive = request.recursive;
    apply(core, Command::SquashCommit { commit, recursive }).await?;
    Ok(Response::new(Default::default()))
}

pub(super) async fn drop_commit(core: &Core, request: pfs::DropCommitRequest) -> UnaryReply<pfs::DropCommitResponse> {
    let reference = wire::commit_ref(request.commit.as_ref())?;
    let commit = find::commit_key(&core.state(), &reference)?;
    let recursive = request.recursive;
    apply(core, Command::DropCommit { commit, recursive }).await?;
    Ok(Response::new(Default::default()))
}

pub(super) fn subscribe_commit(core: &Core, request: &pfs::SubscribeCommitRequest) -> StreamReply<pfs::CommitInfo> {
    let repo = wire::repo_key(request.repo.as_ref())?;
    let state = core.state();
    find::repo(&state, &repo)?;
    let after = match wire::optional_commit_ref(request.from.as_ref())? {
        None => 0,
        Some(reference) => find::commit(&state, &reference)?.seq,
    };
    let query = CommitQuery {
        repo: Some(repo),
        branch: wire::branch_name(&request.branch)?,
        origin: origin(request.origin_kind),
        ..CommitQuery::default()
    };
    let (core, wanted) = (core.clone(), request.state);
    reply::from_task(move |sender| send_new_commits(core, query, after, wanted, sender))
}
