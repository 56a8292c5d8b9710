//! Requests as commands and commands as requests, for transactions.

use howdah_api::pfs_v2 as pfs;
use howdah_model::{Command, CommitRef};

use crate::services::wire;

pub use super::branch::{create_branch_command, delete_branch_command};
pub use super::commit::{finish_commit_command, squash_set_command, start_commit_command};
pub use super::repo::{create_repo_command, delete_repo_command};

/// Writes [`Command::CreateRepo`] as its request.
pub fn create_repo(command: &Command) -> Option<pfs::CreateRepoRequest> {
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
pub fn delete_repo(command: &Command) -> Option<pfs::DeleteRepoRequest> {
    let Command::DeleteRepo { repo, force } = command else {
        return None;
    };
    Some(pfs::DeleteRepoRequest {
        repo: Some(wire::repo(repo)),
        force: *force,
    })
}

/// Writes [`Command::StartCommit`] as its request.
pub fn start_commit(command: &Command) -> Option<pfs::StartCommitRequest> {
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
pub fn finish_commit(command: &Command) -> Option<pfs::FinishCommitRequest> {
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
pub fn create_branch(command: &Command) -> Option<pfs::CreateBranchRequest> {
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
        trigger: trigger.as_ref().map(super::convert::trigger_message),
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
