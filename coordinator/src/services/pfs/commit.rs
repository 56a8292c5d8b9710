//! Commits and commit sets.

use std::sync::Arc;

use howdah_api::convert::from_timestamp;
use howdah_api::pfs_v2 as pfs;
use howdah_model::query::CommitQuery;
use howdah_model::{Command, Commit, CommitKey, CommitRef, GlobalId, Reply, State, query};
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

use super::convert::{commit_info, origin, reached};
use crate::core::Core;
use crate::services::change::{apply, apply_or_append, transaction_of};
use crate::services::reply::{self, Ended, Sender, StreamReply};
use crate::services::status::IntoStatus;
use crate::services::transaction::Pending;
use crate::services::{find, wire};
use crate::staging;

/// Reads a request to start a commit.
pub fn start_commit_command(request: &pfs::StartCommitRequest) -> Result<Command, Status> {
    let branch = request.branch.as_ref().ok_or_else(|| wire::missing("branch"))?;
    Ok(Command::StartCommit {
        repo: wire::repo_key(branch.repo.as_ref())?,
        branch: wire::branch_name(&branch.name)?,
        parent: wire::optional_commit_ref(request.parent.as_ref())?,
        description: request.description.clone(),
    })
}

/// Reads a request to finish a commit, which may be one of a transaction not yet finished.
pub fn finish_commit_command(
    state: &State,
    pending: &Pending<'_>,
    request: &pfs::FinishCommitRequest,
) -> Result<Command, Status> {
    let reference = wire::commit_ref(request.commit.as_ref())?;
    let commit = match pending.commit(&reference) {
        Some(commit) => commit,
        None => find::commit_key(state, &reference)?,
    };
    Ok(Command::FinishCommit {
        commit,
        description: request.description.clone(),
        error: (!request.error.is_empty()).then(|| request.error.clone()),
        force: request.force,
    })
}

/// Reads a request to squash a set.
pub fn squash_set_command(request: &pfs::SquashCommitSetRequest) -> Result<Command, Status> {
    let id = set_id(request.commit_set.as_ref())?;
    Ok(Command::SquashCommitSet { id })
}

fn set_id(set: Option<&pfs::CommitSet>) -> Result<GlobalId, Status> {
    let set = set.ok_or_else(|| wire::missing("commit_set"))?;
    wire::global_id(&set.id, || {
        Status::not_found(format!("no commits found for commitset {}", set.id))
    })
}

pub(super) async fn start_commit(
    core: &Core,
    metadata: &MetadataMap,
    request: pfs::StartCommitRequest,
) -> Result<Response<pfs::Commit>, Status> {
    match apply_or_append(core, metadata, start_commit_command(&request)?).await? {
        Reply::Commit(key) => Ok(Response::new(wire::commit(&key))),
        _ => Err(Status::internal("starting a commit answered no commit")),
    }
}

pub(super) async fn finish_commit(
    core: &Core,
    metadata: &MetadataMap,
    request: pfs::FinishCommitRequest,
) -> Result<Response<()>, Status> {
    let state = core.state();
    let pending = Pending::of_open(&state, transaction_of(metadata)?);
    let command = finish_commit_command(&state, &pending, &request)?;
    apply_or_append(core, metadata, command).await?;
    Ok(Response::new(()))
}

pub(super) async fn clear_commit(core: &Core, request: pfs::ClearCommitRequest) -> Result<Response<()>, Status> {
    let reference = wire::commit_ref(request.commit.as_ref())?;
    let state = core.state();
    let commit = find::commit(&state, &reference)?;
    let key = commit.key.clone();
    apply(core, Command::ClearCommit { commit: key }).await?;
    staging::remove(core, commit.staged.iter().map(|staged| staged.id).collect());
    Ok(Response::new(()))
}

pub(super) async fn inspect_commit(
    core: &Core,
    request: pfs::InspectCommitRequest,
) -> Result<Response<pfs::CommitInfo>, Status> {
    let reference = wire::commit_ref(request.commit.as_ref())?;
    let commit = wait_for_commit(core, &reference, request.wait).await?;
    Ok(Response::new(commit_info(&commit)))
}

/// Waits until a commit has come as far as is wanted, and returns it.
///
/// The reference is resolved once: a branch that moves meanwhile does not change what is waited for.
pub async fn wait_for_commit(core: &Core, reference: &CommitRef, wanted: i32) -> Result<Arc<Commit>, Status> {
    let key = find::commit_key(&core.state(), reference)?;
    wait_for_key(core, &key, wanted).await
}

async fn wait_for_key(core: &Core, key: &CommitKey, wanted: i32) -> Result<Arc<Commit>, Status> {
    let found = core.wait_for(|state| match state.commit(key) {
        None => Some(Err(deleted(key))),
        Some(commit) => reached(state, commit, wanted).then(|| Ok(commit.clone())),
    });
    found.await.unwrap_or_else(|| Err(going_down()))
}

fn deleted(key: &CommitKey) -> Status {
    Status::unknown(format!("commit {key} was deleted"))
}

/// Says that a wait ends because the server does.
pub fn going_down() -> Status {
    Status::unavailable("the coordinator is shutting down; try again in a moment")
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
    reply::lazily(commits.into_iter().map(|commit| Ok(commit_info(&commit))))
}

pub(super) fn inspect_commit_set(core: &Core, request: &pfs::InspectCommitSetRequest) -> StreamReply<pfs::CommitInfo> {
    let id = set_id(request.commit_set.as_ref())?;
    let state = core.state();
    let keys = find::commit_set(&state, id)?;
    if request.wait {
        let core = core.clone();
        return reply::from_task(|sender| send_as_they_finish(core, keys, sender));
    }
    reply::lazily(keys.into_iter().filter_map(move |key| {
        let commit = state.commit(&key)?;
        Some(Ok(commit_info(commit)))
    }))
}

/// Sends commits as they finish, those that are finished already first.
async fn send_as_they_finish(
    core: Core,
    mut pending: Vec<CommitKey>,
    sender: Sender<pfs::CommitInfo>,
) -> Result<(), Ended> {
    let mut watch = core.watch();
    while !pending.is_empty() {
        let state = watch.borrow_and_update().clone();
        let mut still_pending = Vec::new();
        for key in pending {
            match state.commit(&key) {
                None => return Err(deleted(&key).into()),
                Some(commit) if commit.finished.is_none() => still_pending.push(key),
                Some(commit) => sender.send(commit_info(commit)).await?,
            }
        }
        pending = still_pending;
        if !pending.is_empty() {
            tokio::select! {
                changed = watch.changed() => changed.map_err(|_| going_down())?,
                () = sender.gone() => return Err(Ended::Gone),
            }
        }
    }
    Ok(())
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
    reply::lazily(ids.into_iter().filter_map(move |id| {
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
) -> Result<Response<()>, Status> {
    apply_or_append(core, metadata, squash_set_command(&request)?).await?;
    Ok(Response::new(()))
}

pub(super) async fn drop_commit_set(core: &Core, request: pfs::DropCommitSetRequest) -> Result<Response<()>, Status> {
    let id = set_id(request.commit_set.as_ref())?;
    apply(core, Command::DropCommitSet { id }).await?;
    Ok(Response::new(()))
}

pub(super) async fn squash_commit(
    core: &Core,
    request: pfs::SquashCommitRequest,
) -> Result<Response<pfs::SquashCommitResponse>, Status> {
    let reference = wire::commit_ref(request.commit.as_ref())?;
    let commit = find::commit_key(&core.state(), &reference)?;
    let recursive = request.recursive;
    apply(core, Command::SquashCommit { commit, recursive }).await?;
    Ok(Response::new(Default::default()))
}

pub(super) async fn drop_commit(
    core: &Core,
    request: pfs::DropCommitRequest,
) -> Result<Response<pfs::DropCommitResponse>, Status> {
    let reference = wire::commit_ref(request.commit.as_ref())?;
    let commit = find::commit_key(&core.state(), &reference)?;
    let recursive = request.recursive;
    apply(core, Command::DropCommit { commit, recursive }).await?;
    Ok(Response::new(Default::default()))
}

pub(super) fn subscribe_commit(core: &Core, request: pfs::SubscribeCommitRequest) -> StreamReply<pfs::CommitInfo> {
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
    reply::from_task(move |sender| subscription(core, query, after, wanted, sender))
}

/// Sends commits of a repo in the order they were made, each once it has come as far as is wanted,
/// until the client goes away.
async fn subscription(
    core: Core,
    query: CommitQuery,
    mut after: u64,
    wanted: i32,
    sender: Sender<pfs::CommitInfo>,
) -> Result<(), Ended> {
    let mut watch = core.watch();
    loop {
        let state = watch.borrow_and_update().clone();
        for commit in newer_commits(&state, &query, after)? {
            after = commit.seq;
            let reached = wait_for_key(&core, &commit.key, wanted);
            tokio::select! {
                reached = reached => match reached {
                    Ok(commit) => sender.send(commit_info(&commit)).await?,
                    // Deleted before it got that far: it will never be reported.
                    Err(status) if status.code() == tonic::Code::Unknown => {}
                    Err(status) => return Err(status.into()),
                },
                () = sender.gone() => return Err(Ended::Gone),
            }
        }
        tokio::select! {
            changed = watch.changed() => changed.map_err(|_| going_down())?,
            () = sender.gone() => return Err(Ended::Gone),
        }
    }
}

/// Returns the commits made after a given one, oldest first.
///
/// Looks at the newest ones only, ever more of them: a subscription to a long history must not walk
/// it for every change of the state.
fn newer_commits(state: &State, query: &CommitQuery, after: u64) -> Result<Vec<Arc<Commit>>, Status> {
    let mut number = 16;
    loop {
        let query = CommitQuery {
            number,
            ..query.clone()
        };
        let commits = query::list_commits(state, &query).map_err(IntoStatus::into_status)?;
        let complete = (commits.len() as u64) < number;
        if complete || commits.last().is_some_and(|oldest| oldest.seq <= after) {
            let mut newer: Vec<_> = commits.into_iter().take_while(|commit| commit.seq > after).collect();
            newer.reverse();
            return Ok(newer);
        }
        number *= 8;
    }
}
