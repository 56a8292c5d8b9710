//! Removing commits from history: squash and drop (semantics 8).

use std::collections::BTreeSet;

use crate::command::Reply;
use crate::event::Event;
use crate::ids::GlobalId;
use crate::names::{CommitKey, RepoType};
use crate::query;
use crate::rejection::Rejection;

use super::{Outcome, Work};

/// What becomes of the data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// It lives on in the children.
    Squash,
    /// It goes.
    Drop,
}

impl Work {
    pub(super) fn remove_set(&mut self, id: GlobalId, how: How) -> Outcome {
        let commits = query::set_members(&self.state, id);
        if commits.is_empty() {
            return Err(Rejection::NoCommitSet(id));
        }
        let dependants = query::subvenant_sets(&self.state, id);
        if !dependants.is_empty() {
            return Err(Rejection::SubvenantSets { id, dependants });
        }
        self.remove(commits, how)
    }

    pub(super) fn remove_commit(&mut self, commit: &CommitKey, recursive: bool, how: How) -> Outcome {
        self.require_repo(&commit.repo)?;
        if !self.state.commits.contains_key(commit) {
            return Err(Rejection::NoCommit(commit.clone()));
        }
        let first = self.with_twin(commit);
        let commits = self.with_derived(&first);
        if !recursive && commits.len() > first.len() {
            let mut dependants = commits;
            dependants.retain(|derived| !first.contains(derived));
            return Err(Rejection::SubvenantCommits {
                commit: commit.clone(),
                dependants,
            });
        }
        self.remove(commits, how)
    }

    /// Gives a commit and, if a job writes it, the other commit of that job: one would mean
    /// nothing without the other.
    fn with_twin(&self, commit: &CommitKey) -> Vec<CommitKey> {
        let twin = match (commit.repo.kind, commit.job()) {
            (RepoType::User, Some(job)) => Some(job.meta_commit()),
            (RepoType::Meta, Some(job)) => Some(job.output_commit()),
            _ => None,
        };
        let there = twin.filter(|twin| self.state.commits.contains_key(twin));
        std::iter::once(commit.clone()).chain(there).collect()
    }

    /// Gives commits and everything made from them, in order of creation.
    fn with_derived(&self, first: &[CommitKey]) -> Vec<CommitKey> {
        let mut seen: BTreeSet<CommitKey> = first.iter().cloned().collect();
        let mut pending = first.to_vec();
        while let Some(key) = pending.pop() {
            let Some(commit) = self.state.commits.get(&key) else {
                continue;
            };
            for derived in &commit.subvenance {
                for derived in self.with_twin(derived) {
                    if seen.insert(derived.clone()) {
                        pending.push(derived);
                    }
                }
            }
        }
        let mut commits: Vec<_> = seen.into_iter().collect();
        commits.sort_by_key(|key| self.state.commits.get(key).map(|commit| commit.seq));
        commits
    }

    fn remove(&mut self, commits: Vec<CommitKey>, how: How) -> Outcome {
        let going: BTreeSet<&CommitKey> = commits.iter().collect();
        for key in &commits {
            self.check_removable(key, &going, how)?;
        }
        let branches: Vec<_> = commits.iter().flat_map(|key| self.branches_at(key)).collect();
        // Jobs go with their commits, whether they have ended or not.
        self.emit(Event::CommitsRemoved {
            commits: commits.clone(),
            drop: how == How::Drop,
            at: self.at,
        });
        for branch in branches {
            self.touch(&branch, false);
        }
        Ok(Reply::Removed(commits))
    }

    fn check_removable(&self, key: &CommitKey, going: &BTreeSet<&CommitKey>, how: How) -> Result<(), Rejection> {
        let Some(commit) = self.state.commits.get(key) else {
            return Ok(());
        };
        if key.repo.kind == RepoType::Spec {
            let verb = match how {
                How::Squash => "squash",
                How::Drop => "drop",
            };
            return Err(Rejection::UpdatedPipeline {
                verb,
                commit: key.clone(),
            });
        }
        let children = || commit.children.iter().map(|id| key.repo.commit(*id));
        match how {
            How::Squash if commit.children.is_empty() => Err(Rejection::SquashWithoutChildren(key.clone())),
            How::Squash => {
                let open = |child: &CommitKey| self.state.commits.get(child).is_some_and(|c| c.finished.is_none());
                match children().find(|child| !going.contains(child) && open(child)) {
                    Some(child) => Err(Rejection::SquashBelowOpen {
                        commit: key.clone(),
                        child,
                    }),
                    None => Ok(()),
                }
            }
            How::Drop if children().any(|child| !going.contains(&child)) => {
                Err(Rejection::DropWithChildren(key.clone()))
            }
            How::Drop => Ok(()),
        }
    }

    fn branches_at(&self, key: &CommitKey) -> Vec<crate::names::BranchKey> {
        let names = self.state.repos.get(&key.repo).map(|repo| repo.branches.clone());
        names
            .unwrap_or_default()
            .into_iter()
            .map(|name| key.repo.branch(name))
            .filter(|branch| self.state.branches.get(branch).is_some_and(|b| b.head == Some(key.id)))
            .collect()
    }
}
