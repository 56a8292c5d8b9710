//! Branches, and the transitive closures of their provenance and subvenance.
//!
//! Both closures are exact after each event: `decide` and listings read them instead of walking the graph.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdSet;
use jiff::Timestamp;

use crate::entities::{Branch, BranchTrigger};
use crate::ids::GlobalId;
use crate::names::BranchKey;
use crate::state::State;

impl State {
    pub(super) fn edit_branch(&mut self, key: &BranchKey, edit: impl FnOnce(&mut Branch)) {
        if let Some(branch) = self.branches.get_mut(key) {
            edit(Arc::make_mut(branch));
        }
    }

    /// Adds a branch without head and provenance, if it is missing and its repository exists.
    fn ensure_branch(&mut self, key: &BranchKey, at: Timestamp) {
        if self.branches.contains_key(key) || !self.repos.contains_key(&key.repo) {
            return;
        }
        let branch = Branch {
            key: key.clone(),
            head: None,
            direct_provenance: Vec::new(),
            provenance: OrdSet::new(),
            subvenance: OrdSet::new(),
            trigger: None,
            created: at,
            updated: at,
            seq: self.take_seq(),
        };
        self.branches.insert(key.clone(), Arc::new(branch));
        if let Some(repo) = self.repos.get_mut(&key.repo) {
            Arc::make_mut(repo).branches.insert(key.name.clone());
        }
    }

    pub(super) fn set_branch(
        &mut self,
        key: &BranchKey,
        head: Option<GlobalId>,
        provenance: &[BranchKey],
        trigger: Option<&BranchTrigger>,
        at: Timestamp,
    ) {
        self.ensure_branch(key, at);
        self.edit_branch(key, |branch| {
            branch.head = head;
            branch.trigger = trigger.cloned();
            branch.updated = at;
        });
        self.rewire(key, provenance.to_vec());
    }

    pub(super) fn set_head(&mut self, key: &BranchKey, head: GlobalId, at: Timestamp) {
        self.ensure_branch(key, at);
        self.edit_branch(key, |branch| {
            branch.head = Some(head);
            branch.updated = at;
        });
    }

    /// Removes a branch, the provenance links to it, and the triggers that watch it.
    pub(super) fn remove_branch(&mut self, key: &BranchKey, at: Timestamp) {
        let Some(branch) = self.branches.get(key).cloned() else {
            return;
        };
        for dependant in &branch.subvenance {
            let Some(direct) = self.branches.get(dependant).map(|b| &b.direct_provenance) else {
                continue;
            };
            if direct.contains(key) {
                let rest = direct.iter().filter(|p| *p != key).cloned().collect();
                self.rewire(dependant, rest);
                self.edit_branch(dependant, |branch| branch.updated = at);
            }
        }
        self.rewire(key, Vec::new());
        self.branches.remove(key);
        let Some(repo) = self.repos.get_mut(&key.repo) else {
            return;
        };
        Arc::make_mut(repo).branches.remove(&key.name);
        for sibling in repo.branches.clone() {
            let sibling = key.repo.branch(sibling);
            let watches = |b: &Arc<Branch>| b.trigger.as_ref().is_some_and(|t| t.branch == key.name);
            if self.branches.get(&sibling).is_some_and(watches) {
                self.edit_branch(&sibling, |branch| branch.trigger = None);
            }
        }
    }

    /// Replaces the direct provenance of a branch, and updates the closures of it and of everything downstream.
    fn rewire(&mut self, key: &BranchKey, direct: Vec<BranchKey>) {
        let Some(branch) = self.branches.get(key) else { return };
        if branch.direct_provenance == direct {
            return;
        }
        // Collected before the change: the subvenance below is edited while it is walked.
        let downstream: Vec<BranchKey> = std::iter::once(key.clone())
            .chain(branch.subvenance.iter().cloned())
            .collect();
        self.edit_branch(key, |branch| branch.direct_provenance = direct);
        for affected in downstream {
            let new = self.closure(&affected);
            let Some(branch) = self.branches.get(&affected) else {
                continue;
            };
            let old = branch.provenance.clone();
            for gone in old.iter().filter(|b| !new.contains(*b)) {
                self.edit_branch(gone, |branch| {
                    branch.subvenance.remove(&affected);
                });
            }
            for come in new.iter().filter(|b| !old.contains(*b)) {
                self.edit_branch(come, |branch| {
                    branch.subvenance.insert(affected.clone());
                });
            }
            self.edit_branch(&affected, |branch| branch.provenance = new);
        }
    }

    /// Returns everything upstream of a branch, by a walk over direct provenance.
    fn closure(&self, key: &BranchKey) -> OrdSet<BranchKey> {
        let mut found = BTreeSet::new();
        let mut pending = vec![key.clone()];
        while let Some(next) = pending.pop() {
            let Some(branch) = self.branches.get(&next) else {
                continue;
            };
            for upstream in &branch.direct_provenance {
                if upstream != key && found.insert(upstream.clone()) {
                    pending.push(upstream.clone());
                }
            }
        }
        found.into_iter().collect()
    }
}
