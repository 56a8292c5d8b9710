//! Listings of commits, branches, repositories and pipelines.

use std::sync::Arc;

use jiff::Timestamp;

use crate::entities::{Branch, Commit, CommitOrigin, Pipeline, Repo};
use crate::names::{BranchName, CommitKey, ProjectName, RepoKey, RepoType};
use crate::rejection::Rejection;
use crate::state::State;

/// Which commits to list.
#[derive(Clone, Debug, Default)]
pub struct CommitQuery {
    /// Repository; `None` means all user repositories.
    pub repo: Option<RepoKey>,
    /// Only commits made on this branch.
    pub branch: Option<BranchName>,
    /// Only this commit and its ancestors.
    pub to: Option<CommitKey>,
    /// With `to`: only commits after this one.
    pub from: Option<CommitKey>,
    /// Most commits to return; 0 means no limit.
    pub number: u64,
    /// Oldest first.
    pub reverse: bool,
    /// Only commits of this origin.
    pub origin: Option<CommitOrigin>,
    /// Only commits started before this time; with `reverse`, after it.
    pub bound: Option<Timestamp>,
}

/// Returns commits, newest first; with `reverse`, oldest first.
///
/// # Errors
/// When a repository or commit does not exist, when `from` has no `to`, or when `reverse` has either.
pub fn list_commits(state: &State, query: &CommitQuery) -> Result<Vec<Arc<Commit>>, Rejection> {
    if let Some(repo) = &query.repo
        && !state.repos.contains_key(repo)
    {
        return Err(Rejection::NoRepo(repo.clone()));
    }
    if query.reverse && (query.from.is_some() || query.to.is_some()) {
        return Err(Rejection::Invalid(
            "cannot use reverse together with from or to".to_owned(),
        ));
    }
    match (&query.to, &query.from) {
        (None, Some(_)) => Err(Rejection::Invalid(
            "cannot use from without to: name the commit to list ancestors of".to_owned(),
        )),
        (Some(to), from) => walk(state, query, to, from.as_ref()),
        (None, None) => Ok(by_time(state, query)),
    }
}

fn limit(query: &CommitQuery) -> usize {
    match query.number {
        0 => usize::MAX,
        number => usize::try_from(number).unwrap_or(usize::MAX),
    }
}

fn passes(query: &CommitQuery, commit: &Commit) -> bool {
    let in_time = query.bound.is_none_or(|bound| {
        if query.reverse {
            commit.started > bound
        } else {
            commit.started < bound
        }
    });
    in_time
        && query.origin.is_none_or(|origin| commit.origin == origin)
        && query
            .branch
            .as_ref()
            .is_none_or(|name| commit.branch.as_ref() == Some(name))
}

fn walk(
    state: &State,
    query: &CommitQuery,
    to: &CommitKey,
    from: Option<&CommitKey>,
) -> Result<Vec<Arc<Commit>>, Rejection> {
    for key in [Some(to), from].into_iter().flatten() {
        if !state.commits.contains_key(key) {
            return Err(Rejection::NoCommit(key.clone()));
        }
    }
    let end = from.map(|key| key.id);
    let ancestors = std::iter::successors(state.commits.get(to), |commit| {
        state.commits.get(&commit.key.repo.commit(commit.parent?))
    });
    Ok(ancestors
        .take_while(|commit| Some(commit.key.id) != end)
        .filter(|commit| passes(query, commit))
        .take(limit(query))
        .cloned()
        .collect())
}

fn by_time(state: &State, query: &CommitQuery) -> Vec<Arc<Commit>> {
    let repos: Vec<RepoKey> = match &query.repo {
        Some(repo) => vec![repo.clone()],
        None => state
            .repos
            .keys()
            .filter(|r| r.kind == RepoType::User)
            .cloned()
            .collect(),
    };
    // Each repository is in order, so the limit holds for each. Without it, a short listing would clone every commit.
    let mut found: Vec<Arc<Commit>> = Vec::new();
    for repo in &repos {
        let Some(order) = state.repo_commits.get(repo) else {
            continue;
        };
        let look = |id: &crate::ids::GlobalId| state.commits.get(&repo.commit(*id)).cloned();
        let keep = |commit: &Arc<Commit>| passes(query, commit);
        if query.reverse {
            found.extend(order.values().filter_map(look).filter(keep).take(limit(query)));
        } else {
            found.extend(order.values().rev().filter_map(look).filter(keep).take(limit(query)));
        }
    }
    if repos.len() > 1 {
        found.sort_by_key(|commit| commit.seq);
        if !query.reverse {
            found.reverse();
        }
        found.truncate(limit(query));
    }
    found
}

/// Returns the branches of a repository, newest first; with `reverse`, oldest first.
///
/// # Errors
/// When the repository does not exist.
pub fn list_branches(state: &State, repo: &RepoKey, reverse: bool) -> Result<Vec<Arc<Branch>>, Rejection> {
    let entity = state.repos.get(repo).ok_or_else(|| Rejection::NoRepo(repo.clone()))?;
    let mut branches: Vec<_> = entity
        .branches
        .iter()
        .filter_map(|name| state.branches.get(&repo.branch(name.clone())).cloned())
        .collect();
    branches.sort_by_key(|branch| branch.seq);
    if !reverse {
        branches.reverse();
    }
    Ok(branches)
}

/// Returns repositories, newest first; without projects those of all, without a type those of all types.
#[must_use]
pub fn list_repos(state: &State, projects: &[ProjectName], kind: Option<RepoType>) -> Vec<Arc<Repo>> {
    let mut repos: Vec<_> = state
        .repos
        .values()
        .filter(|repo| projects.is_empty() || projects.contains(&repo.key.project))
        .filter(|repo| kind.is_none_or(|kind| repo.key.kind == kind))
        .cloned()
        .collect();
    repos.sort_by_key(|repo| std::cmp::Reverse(repo.seq));
    repos
}

/// Returns pipelines, newest first; without projects those of all.
#[must_use]
pub fn list_pipelines(state: &State, projects: &[ProjectName]) -> Vec<Arc<Pipeline>> {
    let mut pipelines: Vec<_> = state
        .pipelines
        .values()
        .filter(|pipeline| projects.is_empty() || projects.contains(&pipeline.key.project))
        .cloned()
        .collect();
    pipelines.sort_by_key(|pipeline| std::cmp::Reverse(pipeline.seq));
    pipelines
}
