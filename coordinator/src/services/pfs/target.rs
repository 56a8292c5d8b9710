//! What a write goes to: an open commit, or a branch that gets a new one.

use std::sync::Arc;

use howdah_api::pfs_v2 as pfs;
use howdah_model::query::{self, BaseCommit};
use howdah_model::refs::{self, Ancestry, RefStart};
use howdah_model::{BranchKey, Command, Commit, CommitKey, Content, Rejection, State};
use tonic::Status;

use crate::services::status::IntoStatus;
use crate::services::{find, wire};

/// Where a write goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Into this commit, which must be open.
    Commit(CommitKey),
    /// Into the head of this branch if that is open; else it becomes a new finished commit.
    Branch(BranchKey),
}

/// What a write starts from at one moment, and how its result is submitted.
#[derive(Debug)]
pub struct Footing {
    /// The content to edit.
    pub base: Content,
    kind: FootingKind,
}

#[derive(Debug)]
enum FootingKind {
    Open(Arc<Commit>),
    Head(BranchKey, Option<howdah_model::GlobalId>),
}

impl Target {
    /// Reads the target that a request names.
    pub fn new(state: &State, commit: &pfs::Commit) -> Result<Self, Status> {
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

    /// Returns what a write starts from now. Fails early for what can never succeed.
    pub fn footing(&self, state: &State) -> Result<Footing, Status> {
        match self {
            Self::Commit(key) => open_commit(state, key),
            Self::Branch(key) => {
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
                let base = query::build_content(state, &key.repo, head);
                Ok(Footing {
                    base: base
                        .ok_or_else(|| Status::unavailable(format!("branch {key} has a head that is not finished")))?,
                    kind: FootingKind::Head(key.clone(), head),
                })
            }
        }
    }
}

fn open_commit(state: &State, key: &CommitKey) -> Result<Footing, Status> {
    let commit = find::commit_by_key(state, key)?;
    if !commit.is_open() {
        return Err(Rejection::CommitFinished(key.clone()).into_status());
    }
    if let BaseCommit::Open(base) = query::base_commit(state, commit) {
        return Err(Status::unknown(format!(
            "base commit {base} for commit {key} unfinished"
        )));
    }
    Ok(Footing {
        base: commit.content,
        kind: FootingKind::Open(commit.clone()),
    })
}

impl Footing {
    /// Returns the commit, if it is an open one.
    pub fn open(&self) -> Option<&Commit> {
        match &self.kind {
            FootingKind::Open(commit) => Some(commit),
            FootingKind::Head(..) => None,
        }
    }

    /// Returns the command that makes `content` what the target holds, if nobody was faster.
    pub fn command(&self, content: Content) -> Command {
        match &self.kind {
            FootingKind::Open(commit) => Command::SetContent {
                commit: commit.key.clone(),
                expected: self.base,
                content,
            },
            FootingKind::Head(branch, head) => Command::WriteCommit {
                branch: branch.clone(),
                expected_head: *head,
                content,
                description: String::new(),
            },
        }
    }
}
