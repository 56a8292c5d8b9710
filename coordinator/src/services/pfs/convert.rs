//! Projects, repos, branches and commits of the state as messages.

use std::collections::HashMap;

use howdah_api::convert::to_timestamp;
use howdah_api::pfs_v2 as pfs;
use howdah_model::{Branch, BranchTrigger, Commit, CommitOrigin, CommitState, Project, Repo, State, query};
use tonic::Status;

use crate::services::wire::{self, signed};

/// Writes a project.
pub(super) fn project_info(project: &Project) -> pfs::ProjectInfo {
    pfs::ProjectInfo {
        project: Some(wire::project(&project.name)),
        description: project.description.clone(),
        created_at: Some(to_timestamp(project.created)),
        ..Default::default()
    }
}

/// Which of the two sizes of a repo is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RepoSize {
    /// The exact one, as `InspectRepo` gives it.
    Exact,
    /// The upper bound, as lists give it.
    Bound,
}

/// Writes a repo; its size is that of the head of `master`.
pub(super) fn repo_info(state: &State, repo: &Repo, size: RepoSize) -> pfs::RepoInfo {
    let bytes = bytes_of_master(state, repo);
    let branches = repo
        .branches
        .iter()
        .map(|name| wire::branch(&repo.key.branch(name.clone())))
        .collect();
    pfs::RepoInfo {
        repo: Some(wire::repo(&repo.key)),
        created: Some(to_timestamp(repo.created)),
        size_bytes_upper_bound: bytes,
        description: repo.description.to_string(),
        branches,
        details: (size == RepoSize::Exact).then_some(pfs::repo_info::Details { size_bytes: bytes }),
        auth_info: None,
        metadata: Default::default(),
    }
}

/// Returns the size in bytes of the head of a repo's `master`; 0 without one, an upper bound while it is open.
pub(super) fn bytes_of_master(state: &State, repo: &Repo) -> i64 {
    state
        .branch(&repo.key.branch(howdah_model::BranchName::master()))
        .and_then(|branch| state.commit(&repo.key.commit(branch.head?)))
        .map_or(0, |commit| signed(commit.bytes_bound()))
}

/// Writes a branch.
pub(super) fn branch_info(branch: &Branch) -> pfs::BranchInfo {
    pfs::BranchInfo {
        branch: Some(wire::branch(&branch.key)),
        head: branch.head.map(|id| wire::commit(&branch.key.repo.commit(id))),
        provenance: branch.provenance.iter().map(wire::branch).collect(),
        subvenance: branch.subvenance.iter().map(wire::branch).collect(),
        direct_provenance: branch.direct_provenance.iter().map(wire::branch).collect(),
        trigger: branch.trigger.as_ref().map(trigger_message),
        created_at: Some(to_timestamp(branch.created)),
        updated_at: Some(to_timestamp(branch.updated)),
        ..Default::default()
    }
}

/// Writes a trigger.
pub(super) fn trigger_message(trigger: &BranchTrigger) -> pfs::Trigger {
    pfs::Trigger {
        branch: trigger.branch.to_string(),
        all: trigger.all,
        rate_limit_spec: trigger.rate_limit_spec.clone(),
        size: trigger.size.clone(),
        commits: trigger.commits,
        cron_spec: trigger.cron_spec.clone(),
    }
}

/// Reads a trigger. Without a branch it watches `master`.
pub(super) fn trigger(message: &pfs::Trigger) -> Result<BranchTrigger, Status> {
    Ok(BranchTrigger {
        branch: wire::branch_name(&message.branch)?.unwrap_or_else(howdah_model::BranchName::master),
        all: message.all,
        rate_limit_spec: message.rate_limit_spec.clone(),
        size: message.size.clone(),
        commits: message.commits,
        cron_spec: message.cron_spec.clone(),
    })
}

/// Writes a commit.
pub(super) fn commit_info(commit: &Commit) -> pfs::CommitInfo {
    let repo = &commit.key.repo;
    let bytes = signed(commit.bytes_bound());
    let changed = commit.finished.or(commit.finishing).unwrap_or(commit.started);
    pfs::CommitInfo {
        commit: Some(wire::commit(&commit.key)),
        origin: Some(pfs::CommitOrigin {
            kind: origin_message(commit.origin) as i32,
        }),
        description: commit.description.to_string(),
        parent_commit: commit.parent.map(|id| wire::commit(&repo.commit(id))),
        child_commits: commit
            .children
            .iter()
            .map(|id| wire::commit(&repo.commit(*id)))
            .collect(),
        started: Some(to_timestamp(commit.started)),
        finishing: commit.finishing.map(to_timestamp),
        finished: commit.finished.map(to_timestamp),
        error: commit.error.as_deref().unwrap_or_default().to_owned(),
        size_bytes_upper_bound: bytes,
        // The size of an open commit is only a bound, and has a field of its own.
        details: commit.finished.map(|_| pfs::commit_info::Details {
            size_bytes: bytes,
            ..Default::default()
        }),
        direct_provenance: commit.provenance.iter().map(wire::commit).collect(),
        direct_subvenance: commit.subvenance.iter().map(wire::commit).collect(),
        created_at: Some(to_timestamp(commit.started)),
        updated_at: Some(to_timestamp(changed)),
        metadata: Default::default(),
        created_by: String::new(),
    }
}

fn origin_message(origin: CommitOrigin) -> pfs::OriginKind {
    match origin {
        CommitOrigin::User => pfs::OriginKind::User,
        CommitOrigin::Auto => pfs::OriginKind::Auto,
        CommitOrigin::Fsck => pfs::OriginKind::Fsck,
    }
}

/// Reads the origin to which a list is limited. The unknown origin is no limit.
pub(super) fn origin(kind: i32) -> Option<CommitOrigin> {
    match pfs::OriginKind::try_from(kind).unwrap_or_default() {
        pfs::OriginKind::Unknown => None,
        pfs::OriginKind::User => Some(CommitOrigin::User),
        pfs::OriginKind::Auto => Some(CommitOrigin::Auto),
        pfs::OriginKind::Fsck => Some(CommitOrigin::Fsck),
    }
}

/// Returns whether a commit has reached the state (`pfs::CommitState`) that a client waits for.
pub(super) fn reached(state: &State, commit: &Commit, wanted: i32) -> bool {
    let wanted = match pfs::CommitState::try_from(wanted).unwrap_or_default() {
        pfs::CommitState::Unknown | pfs::CommitState::Started => return true,
        pfs::CommitState::Ready => CommitState::Ready,
        pfs::CommitState::Finishing => CommitState::Finishing,
        pfs::CommitState::Finished => CommitState::Finished,
    };
    query::commit_state(state, commit) >= wanted
}

/// Counts user repos and their sizes by project.
pub(super) fn repo_summaries(state: &State) -> HashMap<howdah_model::ProjectName, (i64, i64)> {
    let mut summaries = HashMap::new();
    for repo in query::list_repos(state, &[], Some(howdah_model::RepoType::User)) {
        let entry = summaries.entry(repo.key.project.clone()).or_insert((0, 0));
        entry.0 += 1;
        entry.1 += bytes_of_master(state, &repo);
    }
    summaries
}
