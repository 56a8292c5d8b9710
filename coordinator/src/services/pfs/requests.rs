//! Converts the requests that a transaction can hold into commands, and commands back into requests.
//!
//! A client sends requests, and the state keeps them as commands. An inspected transaction shows them as requests.
//!
//! `*_command` reads a request; `*_request` writes a command and returns `None` for a command of another kind.

use howdah_api::pfs_v2 as pfs;
use howdah_model::{Command, CommitRef, GlobalId, State};
use tonic::Status;

use super::convert::{trigger, trigger_message};
use crate::services::pending::PendingCommands;
use crate::services::{find, wire};

/// Reads a request to make a repo.
pub(crate) fn create_repo_command(request: &pfs::CreateRepoRequest) -> Result<Command, Status> {
    Ok(Command::CreateRepo {
        repo: wire::repo_key(request.repo.as_ref())?,
        description: request.description.clone(),
        update: request.update,
    })
}

/// Reads a request to delete a repo.
pub(crate) fn delete_repo_command(request: &pfs::DeleteRepoRequest) -> Result<Command, Status> {
    Ok(Command::DeleteRepo {
        repo: wire::repo_key(request.repo.as_ref())?,
        force: request.force,
    })
}

/// Reads a request to start a commit.
pub(crate) fn start_commit_command(request: &pfs::StartCommitRequest) -> Result<Command, Status> {
    let branch = request.branch.as_ref().ok_or_else(|| wire::missing("branch"))?;
    Ok(Command::StartCommit {
        repo: wire::repo_key(branch.repo.as_ref())?,
        branch: wire::branch_name(&branch.name)?,
        parent: wire::optional_commit_ref(request.parent.as_ref())?,
        description: request.description.clone(),
    })
}

/// Reads a request to finish a commit, which may be one of a transaction not yet finished.
pub(crate) fn finish_commit_command(
    state: &State,
    pending: &PendingCommands<'_>,
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
pub(crate) fn squash_set_command(request: &pfs::SquashCommitSetRequest) -> Result<Command, Status> {
    let id = commit_set_id(request.commit_set.as_ref())?;
    Ok(Command::SquashCommitSet { id })
}

/// Reads the id of a commit set that must be named.
pub(crate) fn commit_set_id(set: Option<&pfs::CommitSet>) -> Result<GlobalId, Status> {
    let set = set.ok_or_else(|| wire::missing("commit_set"))?;
    wire::global_id(&set.id, || {
        Status::not_found(format!("no commits found for commitset {}", set.id))
    })
}

/// Reads a request to make or move a branch.
pub(crate) fn create_branch_command(request: &pfs::CreateBranchRequest) -> Result<Command, Status> {
    if request
        .branch_propagation_specs
        .iter()
        .any(|spec| spec.propagation_spec.is_some_and(|spec| spec.never))
    {
        return Err(Status::unimplemented("not supported yet: branch_propagation_specs"));
    }
    Ok(Command::CreateBranch {
        branch: wire::branch_key(request.branch.as_ref())?,
        head: wire::optional_commit_ref(request.head.as_ref())?,
        provenance: request
            .provenance
            .iter()
            .map(|branch| wire::branch_key(Some(branch)))
            .collect::<Result<_, _>>()?,
        trigger: request.trigger.as_ref().map(trigger).transpose()?,
    })
}

/// Reads a request to delete a branch.
pub(crate) fn delete_branch_command(request: &pfs::DeleteBranchRequest) -> Result<Command, Status> {
    Ok(Command::DeleteBranch {
        branch: wire::branch_key(request.branch.as_ref())?,
        force: request.force,
    })
}

/// Writes [`Command::CreateRepo`] as its request.
pub(crate) fn create_repo_request(command: &Command) -> Option<pfs::CreateRepoRequest> {
    let Command::CreateRepo {
        repo,
        description,
        update,
    } = command
    else {
        return None;
    };
    Some(pfs::CreateRepoRequest {
        repo: Some(wire::repo(repo)),
        description: description.clone(),
        update: *update,
    })
}

/// Writes [`Command::DeleteRepo`] as its request.
pub(crate) fn delete_repo_request(command: &Command) -> Option<pfs::DeleteRepoRequest> {
    let Command::DeleteRepo { repo, force } = command else {
        return None;
    };
    Some(pfs::DeleteRepoRequest {
        repo: Some(wire::repo(repo)),
        force: *force,
    })
}

/// Writes [`Command::StartCommit`] as its request.
pub(crate) fn start_commit_request(command: &Command) -> Option<pfs::StartCommitRequest> {
    let Command::StartCommit {
        repo,
        branch,
        parent,
        description,
    } = command
    else {
        return None;
    };
    let name = branch.as_ref().map(ToString::to_string).unwrap_or_default();
    Some(pfs::StartCommitRequest {
        parent: parent.as_ref().map(reference),
        description: description.clone(),
        branch: Some(howdah_api::convert::branch_of(wire::repo(repo), name)),
    })
}

/// Writes [`Command::FinishCommit`] as its request.
pub(crate) fn finish_commit_request(command: &Command) -> Option<pfs::FinishCommitRequest> {
    let Command::FinishCommit {
        commit,
        description,
        error,
        force,
    } = command
    else {
        return None;
    };
    Some(pfs::FinishCommitRequest {
        commit: Some(wire::commit(commit)),
        description: description.clone(),
        error: error.clone().unwrap_or_default(),
        force: *force,
    })
}

/// Writes [`Command::CreateBranch`] as its request.
pub(crate) fn create_branch_request(command: &Command) -> Option<pfs::CreateBranchRequest> {
    let Command::CreateBranch {
        branch,
        head,
        provenance,
        trigger,
    } = command
    else {
        return None;
    };
    Some(pfs::CreateBranchRequest {
        head: head.as_ref().map(reference),
        branch: Some(wire::branch(branch)),
        provenance: provenance.iter().map(wire::branch).collect(),
        trigger: trigger.as_ref().map(trigger_message),
        ..Default::default()
    })
}

fn reference(reference: &CommitRef) -> pfs::Commit {
    let repo = wire::repo(&reference.repo);
    pfs::Commit {
        branch: reference
            .branch
            .as_ref()
            .map(|name| howdah_api::convert::branch_of(repo.clone(), name.as_str())),
        id: reference.id_or_ref.clone(),
        repo: Some(repo),
    }
}
