//! The target of a write: what a request names, and the write base that it has in one state.
//!
//! ```text
//!  pfs::Commit --WriteTarget::new--> Commit(key) | Branch(key)        once, when the call begins
//!  WriteTarget + State --base------> OpenCommit  | NewCommit          again for every attempt to write
//! ```
//!
//! Nothing here writes. A base is valid only for the state from which it was read. The command that is submitted names
//! the base that it was made for, and the command loop rejects the command if the target has another base by then.

use std::sync::Arc;

use howdah_api::pfs_v2 as pfs;
use howdah_model::query::{self, BaseCommit};
use howdah_model::refs::{self, Ancestry, RefStart};
use howdah_model::{BranchKey, Commit, CommitKey, Content, GlobalId, Rejection, State};
use tonic::Status;

use crate::services::status::IntoStatus;
use crate::services::{find, wire};

/// What a request names as the place to write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WriteTarget {
    /// This commit, which must be open.
    Commit(CommitKey),
    /// The head of this branch if it is open; else a new commit on the branch.
    Branch(BranchKey),
}

/// What a target is at one moment.
#[derive(Debug)]
pub(super) enum WriteBase {
    /// An open commit, which takes the edits.
    OpenCommit(Arc<Commit>),
    /// A branch without an open commit. The edits make a new, finished commit.
    NewCommit(BranchBase),
}

/// A branch that gets a new commit.
#[derive(Debug)]
pub(super) struct BranchBase {
    /// The branch; it may not exist yet.
    pub branch: BranchKey,
    /// Its head, which the new commit follows.
    pub head: Option<GlobalId>,
    /// The content that the edits change.
    pub content: Content,
}

impl WriteTarget {
    /// Reads the target that a request names.
    ///
    /// # Errors
    /// When the reference is no reference, or its repo or commit does not exist. A branch need not exist.
    pub(super) fn new(state: &State, commit: &pfs::Commit) -> Result<Self, Status> {
        let reference = wire::commit_ref(Some(commit))?;
        find::repo(state, &reference.repo)?;
        let (base, ancestry) =
            refs::parse(&reference.id_or_ref).map_err(|error| Rejection::from(error).into_status())?;
        let branch = match (base, ancestry) {
            (RefStart::Branch(name), Ancestry::Back(0)) => Some(name),
            (RefStart::Unnamed, Ancestry::Back(0)) => reference.branch.clone(),
            _ => None,
        };
        match branch {
            Some(name) => Ok(Self::Branch(reference.repo.branch(name))),
            None => Ok(Self::Commit(find::commit_key(state, &reference)?)),
        }
    }

    /// Returns what the target is in a state.
    ///
    /// # Errors
    /// When nothing can be written to it: the commit is finished or builds on an open one, or the branch belongs to a
    /// pipeline.
    pub(super) fn base(&self, state: &State) -> Result<WriteBase, Status> {
        match self {
            Self::Commit(key) => open_commit(state, key),
            Self::Branch(key) => branch_base(state, key),
        }
    }
}

fn branch_base(state: &State, key: &BranchKey) -> Result<WriteBase, Status> {
    find::repo(state, &key.repo)?;
    let branch = state.branch(key);
    if branch.is_some_and(|branch| !branch.direct_provenance.is_empty()) {
        return Err(Rejection::OutputBranch(key.clone()).into_status());
    }
    let head = branch.and_then(|branch| branch.head);
    let commit = head.and_then(|id| state.commit(&key.repo.commit(id)));
    if let Some(commit) = commit.filter(|commit| commit.is_open()) {
        return open_commit(state, &commit.key);
    }
    let content = query::build_content(state, &key.repo, head)
        .ok_or_else(|| Status::unavailable(format!("branch {key} has a head that is not finished")))?;
    Ok(WriteBase::NewCommit(BranchBase {
        branch: key.clone(),
        head,
        content,
    }))
}

fn open_commit(state: &State, key: &CommitKey) -> Result<WriteBase, Status> {
    let commit = find::commit_by_key(state, key)?;
    if !commit.is_open() {
        return Err(Rejection::CommitFinished(key.clone()).into_status());
    }
    if let BaseCommit::Open(base) = query::base_commit(state, commit) {
        return Err(Status::unknown(format!(
            "base commit {base} for commit {key} unfinished"
        )));
    }
    Ok(WriteBase::OpenCommit(commit.clone()))
}
