//! Commits: resolution of references, states, and the base of a commit.

use std::sync::Arc;

use crate::entities::{Commit, CommitState, Content};
use crate::ids::GlobalId;
use crate::names::{BranchName, CommitKey, RepoKey};
use crate::refs::{self, Ancestry, CommitRef, RefStart};
use crate::rejection::Rejection;
use crate::state::State;

/// The base of a commit: the ancestor whose content it starts from.
#[derive(Clone, Debug, PartialEq)]
pub enum BaseCommit {
    /// There is none: every ancestor failed, or there is no ancestor.
    Nothing,
    /// Unknown yet: this ancestor is not finished.
    Open(CommitKey),
    /// The nearest ancestor that finished without an error.
    Good(Arc<Commit>),
}

/// Returns the state of a commit.
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

/// Returns the base of a commit.
#[must_use]
pub fn base_commit(state: &State, commit: &Commit) -> BaseCommit {
    nearest_good(state, &commit.key.repo, commit.parent)
}

/// Returns the content of the base of a commit; `None` while the base is open, or without the commit.
#[must_use]
pub fn base_content(state: &State, key: &CommitKey) -> Option<Content> {
    content_of_base(base_commit(state, state.commits.get(key)?))
}

/// Returns the content that a new commit with this parent starts from; `None` while its base is open.
#[must_use]
pub fn build_content(state: &State, repo: &RepoKey, parent: Option<GlobalId>) -> Option<Content> {
    content_of_base(nearest_good(state, repo, parent))
}

fn content_of_base(base: BaseCommit) -> Option<Content> {
    match base {
        BaseCommit::Nothing => Some(Content::EMPTY),
        BaseCommit::Open(_) => None,
        BaseCommit::Good(commit) => Some(commit.content),
    }
}

/// Walks from `from` along the parents to the first commit that finished without an error.
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
        // The target of the short cut may have been removed since. The parent link is always right, only slower.
        next = commit
            .skip_to
            .filter(|id| state.commits.contains_key(&repo.commit(*id)))
            .or(commit.parent);
    }
    BaseCommit::Nothing
}

/// Returns the commit of a reference (semantics 6).
///
/// An id may have commits in other repositories only. It then means the commit of this repository that those were
/// derived from.
///
/// # Errors
/// When the repository, the branch or the commit does not exist, or the ancestry leads past the first commit.
pub fn resolve_commit(state: &State, reference: &CommitRef) -> Result<CommitKey, Rejection> {
    let repo = &reference.repo;
    if !state.repos.contains_key(repo) {
        return Err(Rejection::NoRepo(repo.clone()));
    }
    let (base, ancestry) = refs::parse(&reference.id_or_ref)?;
    let start = match base {
        RefStart::Id(id) => by_id(state, repo, id)?,
        RefStart::Branch(name) => head(state, repo, name)?,
        RefStart::Unnamed => match &reference.branch {
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
            // No underflow: `parse` rejects steps of at least `count`.
            let position = count - steps;
            let distance = commits.checked_sub(position).ok_or_else(|| too_far(commits))?;
            if count > commits {
                return Err(too_far(commits));
            }
            back(state, start, distance).map_err(too_far)
        }
    }
}

/// Returns the commit of a reference, and its branch if the text names one without ancestry.
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
        (RefStart::Branch(name), Ancestry::Back(0)) => Some(name),
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

/// Returns the ancestor this number of parents back.
///
/// # Errors
/// The number of commits, if there are fewer ancestors.
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

/// Returns the number of a commit and its ancestors.
fn length(state: &State, start: &CommitKey) -> u64 {
    let mut key = start.clone();
    let mut count = 1;
    while let Some(parent) = state.commits.get(&key).and_then(|commit| commit.parent) {
        key.id = parent;
        count += 1;
    }
    count
}
