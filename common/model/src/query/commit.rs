//! Commits: resolving references, states, what a commit builds on.

use std::sync::Arc;

use crate::entities::{Commit, CommitState, Content};
use crate::ids::GlobalId;
use crate::names::{BranchName, CommitKey, RepoKey};
use crate::refs::{self, Ancestry, Base, CommitRef};
use crate::rejection::Rejection;
use crate::state::State;

/// What a commit's content starts from.
#[derive(Clone, Debug, PartialEq)]
pub enum BaseCommit {
    /// Nothing: there is no ancestor without an error.
    Nothing,
    /// Not settled: this ancestor has not been finished.
    Open(CommitKey),
    /// The nearest ancestor that finished without an error.
    Good(Arc<Commit>),
}

/// Derives how far a commit is.
#[must_use]
pub fn commit_state(state: &State, commit: &Commit) -> CommitState {
    if commit.finished.is_some() {
        return CommitState::Finished;
    }
    if commit.finishing.is_some() {
        return CommitState::Finishing;
    }
    let ready = commit
        .provenance
        .iter()
        .all(|key| state.commits.get(key).is_none_or(|c| c.finished.is_some()));
    if ready {
        CommitState::Ready
    } else {
        CommitState::Started
    }
}

/// Finds what a commit builds on: its nearest ancestor that finished without an error.
#[must_use]
pub fn base_commit(state: &State, commit: &Commit) -> BaseCommit {
    nearest_good(state, &commit.key.repo, commit.parent)
}

/// Gives the content a commit builds on; none while that is not settled, or without the commit.
#[must_use]
pub fn base_content(state: &State, key: &CommitKey) -> Option<Content> {
    settled(base_commit(state, state.commits.get(key)?))
}

/// Gives the content a new commit with this parent starts from; none while that is not settled.
#[must_use]
pub fn build_content(state: &State, repo: &RepoKey, parent: Option<GlobalId>) -> Option<Content> {
    settled(nearest_good(state, repo, parent))
}

fn settled(base: BaseCommit) -> Option<Content> {
    match base {
        BaseCommit::Nothing => Some(Content::EMPTY),
        BaseCommit::Open(_) => None,
        BaseCommit::Good(commit) => Some(commit.content),
    }
}

/// Goes from `from` back along parents to the first commit that finished without an error.
pub(crate) fn nearest_good(state: &State, repo: &RepoKey, from: Option<GlobalId>) -> BaseCommit {
    let mut next = from;
    while let Some(id) = next {
        let Some(commit) = state.commits.get(&repo.commit(id)) else {
            return BaseCommit::Nothing;
        };
        if commit.is_good() {
            return BaseCommit::Good(commit.clone());
        }
        if commit.finished.is_none() {
            return BaseCommit::Open(commit.key.clone());
        }
        // The short cut may lead to a commit that has been removed since.
        next = commit
            .skip_to
            .filter(|id| state.commits.contains_key(&repo.commit(*id)))
            .or(commit.parent);
    }
    BaseCommit::Nothing
}

/// Finds the commit a reference means (semantics 6).
///
/// An id that has no commit in the repository but exists elsewhere stands for the commit of that
/// repository that the id's commits were made from.
///
/// # Errors
/// When the repository, the branch or the commit does not exist, or the ancestry makes no sense.
pub fn resolve_commit(state: &State, reference: &CommitRef) -> Result<CommitKey, Rejection> {
    let repo = &reference.repo;
    if !state.repos.contains_key(repo) {
        return Err(Rejection::NoRepo(repo.clone()));
    }
    let (base, ancestry) = refs::parse(&reference.id_or_ref)?;
    let start = match base {
        Base::Id(id) => by_id(state, repo, id)?,
        Base::Branch(name) => head(state, repo, name)?,
        Base::Unnamed => match &reference.branch {
            Some(name) => head(state, repo, name.clone())?,
            None => return Err(Rejection::EmptyRef(repo.clone())),
        },
    };
    let too_far = |commits| Rejection::PastTheFirst {
        reference: reference.clone(),
        commits,
    };
    match ancestry {
        Ancestry::Back(0) => Ok(start),
        Ancestry::Back(steps) => back(state, start, steps).map_err(too_far),
        Ancestry::FromStart(count, steps) => {
            let commits = length(state, &start);
            // `parse` has checked that steps are fewer than count.
            let position = count - steps;
            let distance = commits.checked_sub(position).ok_or_else(|| too_far(commits))?;
            if count > commits {
                return Err(too_far(commits));
            }
            back(state, start, distance).map_err(too_far)
        }
    }
}

/// Tells a branch from a commit: what a user wrote after `@`.
///
/// # Errors
/// As [`resolve_commit`].
pub fn resolve_branch_or_commit(
    state: &State,
    repo: &RepoKey,
    text: &str,
) -> Result<(Option<BranchName>, CommitKey), Rejection> {
    let commit = resolve_commit(state, &CommitRef::text(repo.clone(), text))?;
    let branch = match refs::parse(text)? {
        (Base::Branch(name), Ancestry::Back(0)) => Some(name),
        _ => None,
    };
    Ok((branch, commit))
}

fn head(state: &State, repo: &RepoKey, name: BranchName) -> Result<CommitKey, Rejection> {
    let key = repo.branch(name);
    let branch = state
        .branches
        .get(&key)
        .ok_or_else(|| Rejection::NoBranch(key.clone()))?;
    match branch.head {
        Some(id) => Ok(repo.commit(id)),
        None => Err(Rejection::EmptyBranch(key.name, key.repo)),
    }
}

fn by_id(state: &State, repo: &RepoKey, id: GlobalId) -> Result<CommitKey, Rejection> {
    let key = repo.commit(id);
    if state.commits.contains_key(&key) {
        return Ok(key);
    }
    super::set::commit_set(state, id)
        .into_iter()
        .rfind(|commit| commit.repo == *repo)
        .ok_or(Rejection::NoCommit(key))
}

/// Goes so many parents back; fails with the number of commits there are.
fn back(state: &State, start: CommitKey, steps: u64) -> Result<CommitKey, u64> {
    let mut key = start;
    for step in 0..steps {
        match state.commits.get(&key).and_then(|commit| commit.parent) {
            Some(parent) => key.id = parent,
            None => return Err(step + 1),
        }
    }
    Ok(key)
}

/// Counts a commit and its ancestors.
fn length(state: &State, start: &CommitKey) -> u64 {
    let mut key = start.clone();
    let mut count = 1;
    while let Some(parent) = state.commits.get(&key).and_then(|commit| commit.parent) {
        key.id = parent;
        count += 1;
    }
    count
}
