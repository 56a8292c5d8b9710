//! Removal of commits from history: squash and drop (semantics 8).
//!
//! Both remove commits with everything that a job wrote together with them. A squash needs children, which keep the
//! files; a drop must leave no children. Children move to the parent of the removed commit, and so do branch heads. A
//! branch whose head moved propagates, so that downstream branches are derived from the new head.

use std::collections::BTreeSet;

use crate::command::Reply;
use crate::event::Event;
use crate::ids::GlobalId;
use crate::names::{BranchKey, CommitKey, RepoType};
use crate::query;
use crate::rejection::Rejection;

use super::builder::{CommandResult, DecisionBuilder};

/// The two ways to remove commits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// The files stay in the children.
    Squash,
    /// The files are removed.
    Drop,
}

impl DecisionBuilder {
    /// Removes the commits of a set.
    pub(super) fn remove_set(&mut self, id: GlobalId, removal: Removal) -> CommandResult {
        let commits = query::set_members(&self.state, id);
        if commits.is_empty() {
            return Err(Rejection::NoCommitSet(id));
        }
        let dependants = query::subvenant_sets(&self.state, id);
        if !dependants.is_empty() {
            return Err(Rejection::SubvenantSets { id, dependants });
        }
        self.remove(commits, removal)
    }

    /// Removes one commit; with `recursive`, everything derived from it too.
    pub(super) fn remove_commit(&mut self, commit: &CommitKey, recursive: bool, removal: Removal) -> CommandResult {
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
        self.remove(commits, removal)
    }

    /// Returns a commit and, if a job wrote it, the other commit of that job.
    ///
    /// The output without its datum records could not be the base of a later job, and records without output would let
    /// a later job skip datums whose output is gone.
    fn with_twin(&self, commit: &CommitKey) -> Vec<CommitKey> {
        let twin = match (commit.repo.kind, commit.job()) {
            (RepoType::User, Some(job)) => Some(job.meta_commit()),
            (RepoType::Meta, Some(job)) => Some(job.output_commit()),
            _ => None,
        };
        let existing = twin.filter(|twin| self.state.commits.contains_key(twin));
        std::iter::once(commit.clone()).chain(existing).collect()
    }

    /// Returns commits and everything derived from them, in the order of creation.
    fn with_derived(&self, first: &[CommitKey]) -> Vec<CommitKey> {
        let mut seen: BTreeSet<CommitKey> = first.iter().cloned().collect();
        let mut pending = first.to_vec();
        while let Some(key) = pending.pop() {
            let Some(commit) = self.state.commits.get(&key) else {
                continue;
            };
            for derived in &commit.subvenance {
                // Both commits of a job, as above: an input may reach only one of them.
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

    fn remove(&mut self, commits: Vec<CommitKey>, removal: Removal) -> CommandResult {
        // All commits are checked before the event: a child that is removed too is no obstacle.
        let removed: BTreeSet<&CommitKey> = commits.iter().collect();
        for key in &commits {
            self.check_removable(key, &removed, removal)?;
        }
        // Before the event, which moves the heads to the parents.
        let branches: Vec<_> = commits.iter().flat_map(|key| self.branches_at(key)).collect();
        // The event removes the jobs of the commits too, open ones included. The scheduler stops what it no longer
        // finds.
        self.emit(Event::CommitsRemoved {
            commits: commits.clone(),
            drop: removal == Removal::Drop,
            at: self.at,
        });
        // The parent may be derived from older inputs than the present heads, or there may be no parent at all.
        for branch in branches {
            self.touch(&branch, false);
        }
        Ok(Reply::Removed(commits))
    }

    /// Checks that a commit can be removed together with the others in `removed`.
    fn check_removable(
        &self,
        key: &CommitKey,
        removed: &BTreeSet<&CommitKey>,
        removal: Removal,
    ) -> Result<(), Rejection> {
        let Some(commit) = self.state.commits.get(key) else {
            return Ok(());
        };
        if key.repo.kind == RepoType::Spec {
            let verb = match removal {
                Removal::Squash => "squash",
                Removal::Drop => "drop",
            };
            return Err(Rejection::UpdatedPipeline {
                verb,
                commit: key.clone(),
            });
        }
        let children = || commit.children.iter().map(|id| key.repo.commit(*id));
        match removal {
            Removal::Squash if commit.children.is_empty() => Err(Rejection::SquashWithoutChildren(key.clone())),
            Removal::Squash => {
                // An open child has its content from this commit or waits for it. Its base would change while it is
                // written.
                let open = |child: &CommitKey| self.state.commits.get(child).is_some_and(|c| c.finished.is_none());
                match children().find(|child| !removed.contains(child) && open(child)) {
                    Some(child) => Err(Rejection::SquashBelowOpen {
                        commit: key.clone(),
                        child,
                    }),
                    None => Ok(()),
                }
            }
            Removal::Drop if children().any(|child| !removed.contains(&child)) => {
                Err(Rejection::DropWithChildren(key.clone()))
            }
            Removal::Drop => Ok(()),
        }
    }

    /// Returns the branches with this commit as their head.
    fn branches_at(&self, key: &CommitKey) -> Vec<BranchKey> {
        let names = self.state.repos.get(&key.repo).map(|repo| repo.branches.clone());
        names
            .unwrap_or_default()
            .into_iter()
            .map(|name| key.repo.branch(name))
            .filter(|branch| self.state.branches.get(branch).is_some_and(|b| b.head == Some(key.id)))
            .collect()
    }
}
