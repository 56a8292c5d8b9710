//! Commits, commit sets, and the links between commits.
//!
//! Links are stored at both ends (parent and children, provenance and subvenance). Each method here changes both.

use std::sync::Arc;

use imbl::OrdSet;
use jiff::Timestamp;

use crate::entities::{Commit, CommitOrigin, CommitSet, Content};
use crate::ids::GlobalId;
use crate::names::{BranchKey, BranchName, CommitKey, RepoType};
use crate::query::{BaseCommit, base_commit, build_content};
use crate::state::State;

impl State {
    pub(super) fn edit_commit(&mut self, key: &CommitKey, edit: impl FnOnce(&mut Commit)) {
        if let Some(commit) = self.commits.get_mut(key) {
            edit(Arc::make_mut(commit));
        }
    }

    pub(super) fn start_commit(
        &mut self,
        key: &CommitKey,
        branch: Option<&BranchName>,
        parent: Option<GlobalId>,
        description: &str,
        at: Timestamp,
    ) {
        let mut commit = self.open_commit(key, parent, CommitOrigin::User, at);
        commit.branch = branch.cloned();
        commit.description = Arc::from(description);
        self.add_commit(commit);
        if let Some(branch) = branch {
            self.set_head(&key.repo.branch(branch.clone()), key.id, at);
        }
    }

    pub(super) fn write_commit(
        &mut self,
        branch: &BranchKey,
        id: GlobalId,
        origin: CommitOrigin,
        description: &str,
        content: Content,
        at: Timestamp,
    ) {
        let parent = self.branches.get(branch).and_then(|branch| branch.head);
        let key = branch.repo.commit(id);
        let mut commit = self.open_commit(&key, parent, origin, at);
        commit.branch = Some(branch.name.clone());
        commit.description = Arc::from(description);
        commit.content = content;
        commit.finishing = Some(at);
        commit.finished = Some(at);
        self.add_commit(commit);
        self.set_head(branch, id, at);
    }

    /// Adds the AUTO commit of a branch for a changed head upstream.
    pub(super) fn propagate_to(&mut self, key: &BranchKey, id: GlobalId, at: Timestamp) {
        let Some(branch) = self.branches.get(key).cloned() else {
            return;
        };
        let mut commit = self.open_commit(&key.repo.commit(id), branch.head, CommitOrigin::Auto, at);
        commit.branch = Some(key.name.clone());
        // The heads upstream are those of this set already: the event lists branches in the order of provenance. In any
        // other order the commit would be derived from the heads of the set before.
        commit.provenance = branch
            .direct_provenance
            .iter()
            .filter_map(|key| Some(key.repo.commit(self.branches.get(key)?.head?)))
            .collect();
        self.add_commit(commit);
        self.set_head(key, id, at);
    }

    /// Returns a new commit, which is not part of the state yet. Its content is that of its base; while the base is not
    /// settled, it is empty.
    fn open_commit(
        &mut self,
        key: &CommitKey,
        parent: Option<GlobalId>,
        origin: CommitOrigin,
        at: Timestamp,
    ) -> Commit {
        Commit {
            key: key.clone(),
            branch: None,
            parent,
            children: OrdSet::new(),
            origin,
            description: Arc::from(""),
            started: at,
            finishing: None,
            finished: None,
            error: None,
            provenance: Vec::new(),
            subvenance: OrdSet::new(),
            content: build_content(self, &key.repo, parent).unwrap_or_default(),
            staged: Vec::new(),
            datums: None,
            skip_to: None,
            seq: self.take_seq(),
        }
    }

    /// Puts a commit into the state, with the links to it and the indices.
    fn add_commit(&mut self, commit: Commit) {
        let key = commit.key.clone();
        // Events of `decide` never get here. A second commit of this key would leave links to the first one behind.
        if self.commits.contains_key(&key) || !self.repos.contains_key(&key.repo) {
            return;
        }
        if let Some(parent) = commit.parent {
            self.edit_commit(&key.repo.commit(parent), |parent| {
                parent.children.insert(key.id);
            });
        }
        for upstream in &commit.provenance {
            self.edit_commit(upstream, |upstream| {
                upstream.subvenance.insert(key.clone());
            });
        }
        self.repo_commits
            .entry(key.repo.clone())
            .or_default()
            .insert(commit.seq, key.id);
        match self.sets.get_mut(&key.id) {
            Some(set) => Arc::make_mut(set).repos.push(key.repo.clone()),
            None => {
                let set = CommitSet {
                    repos: vec![key.repo.clone()],
                    created: commit.started,
                    seq: commit.seq,
                };
                self.set_order.insert(set.seq, key.id);
                self.sets.insert(key.id, Arc::new(set));
            }
        }
        self.commits.insert(key, Arc::new(commit));
    }

    /// Finishes a commit without a change of its content. A finished one stays as it is.
    pub(super) fn finish_commit(&mut self, key: &CommitKey, error: Option<&str>, at: Timestamp) {
        let Some(commit) = self.commits.get(key).cloned() else {
            return;
        };
        if commit.finished.is_some() {
            return;
        }
        let skip_to = error.and_then(|_| self.end_of_failures(&commit));
        self.edit_commit(key, |commit| {
            commit.finishing = Some(at);
            commit.finished = Some(at);
            commit.error = error.map(Arc::from);
            commit.skip_to = skip_to;
        });
    }

    /// Returns the nearest ancestor that has not failed; if all have failed, the oldest one.
    ///
    /// [`crate::entities::Commit::skip_to`] holds it. Without that short cut, a branch with a thousand failed commits
    /// would cost a walk over all of them for each new commit.
    fn end_of_failures(&self, commit: &Commit) -> Option<GlobalId> {
        match base_commit(self, commit) {
            BaseCommit::Good(base) => Some(base.key.id),
            BaseCommit::Open(base) => Some(base.id),
            // All failed: the short cut of the parent ends at the oldest, or the parent is the oldest.
            BaseCommit::Nothing => {
                let parent = commit.parent?;
                let parent = self.commits.get(&commit.key.repo.commit(parent))?;
                // The target of the short cut may have been squashed since.
                let kept = parent
                    .skip_to
                    .filter(|id| self.commits.contains_key(&commit.key.repo.commit(*id)));
                Some(kept.unwrap_or(parent.key.id))
            }
        }
    }

    /// Removes a commit: its children and branch heads move to its parent.
    pub(super) fn remove_commit(&mut self, key: &CommitKey, at: Timestamp) {
        let Some(commit) = self.commits.get(key).cloned() else {
            return;
        };
        // Children first, while both ends of the link are known. Their content stays: a tree is complete and not a
        // difference to the parent, so a squash changes no file.
        for child in &commit.children {
            self.edit_commit(&key.repo.commit(*child), |child| child.parent = commit.parent);
        }
        if let Some(parent) = commit.parent {
            self.edit_commit(&key.repo.commit(parent), |parent| {
                parent.children.remove(&key.id);
                parent.children.extend(commit.children.iter().copied());
            });
        }
        let branches = self.repos.get(&key.repo).map(|repo| repo.branches.clone());
        for name in branches.unwrap_or_default() {
            let branch = key.repo.branch(name);
            if self
                .branches
                .get(&branch)
                .is_some_and(|branch| branch.head == Some(key.id))
            {
                self.edit_branch(&branch, |branch| {
                    branch.head = commit.parent;
                    branch.updated = at;
                });
            }
        }
        if let Some(order) = self.repo_commits.get_mut(&key.repo) {
            order.remove(&commit.seq);
        }
        self.forget_commit(key);
    }

    /// Removes a commit and all that refers to it, except parent and children.
    ///
    /// [`State::remove_repo`](State) calls it alone: there, all of them are removed.
    pub(super) fn forget_commit(&mut self, key: &CommitKey) {
        let Some(commit) = self.commits.remove(key) else { return };
        for upstream in &commit.provenance {
            self.edit_commit(upstream, |upstream| {
                upstream.subvenance.remove(key);
            });
        }
        for derived in &commit.subvenance {
            self.edit_commit(derived, |derived| derived.provenance.retain(|p| p != key));
        }
        if let Some(set) = self.sets.get_mut(&key.id) {
            let set = Arc::make_mut(set);
            set.repos.retain(|repo| *repo != key.repo);
            if set.repos.is_empty() {
                let seq = set.seq;
                self.set_order.remove(&seq);
                self.sets.remove(&key.id);
            }
        }
        // Only the output commit takes its job along: a spec commit may have the same id and not be made by the job.
        if key.repo.kind == RepoType::User
            && let Some(job) = key.job()
        {
            self.remove_job(&job);
        }
    }
}
