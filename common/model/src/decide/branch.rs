//! Branches: creation, provenance, heads, triggers, deletion.

use std::collections::BTreeSet;

use crate::command::Reply;
use crate::entities::{Branch, BranchTrigger};
use crate::event::Event;
use crate::ids::GlobalId;
use crate::names::{BranchKey, RepoKey, RepoType};
use crate::refs::CommitRef;
use crate::rejection::Rejection;

use super::builder::{CommandResult, DecisionBuilder};

impl DecisionBuilder {
    pub(super) fn create_branch(
        &mut self,
        key: &BranchKey,
        head: Option<&CommitRef>,
        provenance: &[BranchKey],
        trigger: Option<&BranchTrigger>,
    ) -> CommandResult {
        self.require_repo(&key.repo)?;
        let owner = self.pipeline_of(key);
        if let Some(pipeline) = &owner
            && (key.repo.kind != RepoType::User || trigger.is_some() || !provenance.is_empty())
        {
            return Err(Rejection::BranchOfPipeline {
                branch: key.clone(),
                pipeline: pipeline.clone(),
                verb: "rewired",
            });
        }
        if trigger.is_some() && !provenance.is_empty() {
            return Err(Rejection::ProvenanceAndTrigger(key.clone()));
        }
        let head = head
            .map(|reference| self.resolve_in(&key.repo, reference))
            .transpose()?;
        if let Some(trigger) = trigger {
            self.check_trigger(key, trigger)?;
        }
        // A user may move the head of an output branch. Its provenance follows the spec and stays.
        let provenance = match (&owner, self.state.branches.get(key)) {
            (Some(_), Some(branch)) => branch.direct_provenance.clone(),
            _ => distinct(provenance),
        };
        self.put_branch(key, head.map(|head| head.id), &provenance, trigger)?;
        Ok(Reply::Done)
    }

    /// Creates or changes a branch; without a head, the present one stays.
    ///
    /// # Errors
    /// When the provenance would be a circle, or would join two branches of one repository.
    pub(super) fn put_branch(
        &mut self,
        key: &BranchKey,
        head: Option<GlobalId>,
        provenance: &[BranchKey],
        trigger: Option<&BranchTrigger>,
    ) -> Result<(), Rejection> {
        for upstream in provenance {
            if upstream == key {
                return Err(Rejection::Cycle(key.clone(), upstream.clone()));
            }
            self.ensure_branch(upstream)?;
            let branch = self.state.branches.get(upstream);
            if branch.is_some_and(|branch| branch.provenance.contains(key)) {
                return Err(Rejection::Cycle(key.clone(), upstream.clone()));
            }
        }
        let present = self.state.branches.get(key).cloned();
        let former = present.as_ref().and_then(|branch| branch.head);
        let head = head.or(former);
        let rewired = present.as_ref().is_none_or(|b| b.direct_provenance != provenance);
        let unchanged =
            present.is_some_and(|branch| !rewired && branch.head == head && branch.trigger.as_ref() == trigger);
        if unchanged {
            return Ok(());
        }
        self.emit(Event::BranchSet {
            branch: key.clone(),
            head,
            provenance: provenance.to_vec(),
            trigger: trigger.cloned(),
            at: self.at,
        });
        // After the event, on the new closures. An error drops the whole decision, and the event with it.
        if rewired {
            self.check_graph(key)?;
        }
        if rewired || head != former {
            self.touch(key, rewired);
        }
        Ok(())
    }

    /// Creates a branch for others to depend on, if it is missing. `propagate` adds its empty first commit.
    fn ensure_branch(&mut self, key: &BranchKey) -> Result<(), Rejection> {
        self.require_repo(&key.repo)?;
        if !self.state.branches.contains_key(key) {
            self.put_branch(key, None, &[], None)?;
        }
        Ok(())
    }

    /// Checks that no branch in the graph around this one has two branches of one repository upstream of it, or two
    /// downstream of it.
    ///
    /// A change would otherwise reach a repository twice, which has room for one commit of a set.
    fn check_graph(&self, key: &BranchKey) -> Result<(), Rejection> {
        let Some(branch) = self.state.branches.get(key) else {
            return Ok(());
        };
        let here = std::iter::once(key);
        for below in here.clone().chain(&branch.subvenance) {
            self.check_distinct(below, |branch| &branch.provenance)?;
        }
        for above in here.chain(&branch.provenance) {
            self.check_distinct(above, |branch| &branch.subvenance)?;
        }
        Ok(())
    }

    fn check_distinct(&self, key: &BranchKey, side: fn(&Branch) -> &imbl::OrdSet<BranchKey>) -> Result<(), Rejection> {
        let Some(branch) = self.state.branches.get(key) else {
            return Ok(());
        };
        let mut repos: BTreeSet<&RepoKey> = BTreeSet::from([&key.repo]);
        match side(branch).iter().find(|other| !repos.insert(&other.repo)) {
            Some(other) => Err(Rejection::TwoBranches(other.repo.clone())),
            None => Ok(()),
        }
    }

    /// Checks that a trigger on a branch makes no circle of triggers.
    fn check_trigger(&self, key: &BranchKey, trigger: &BranchTrigger) -> Result<(), Rejection> {
        let mut watched = Some(trigger.branch.clone());
        while let Some(name) = watched {
            let next = key.repo.branch(name);
            if next == *key {
                return Err(Rejection::TriggerLoop(key.clone()));
            }
            watched = self
                .state
                .branches
                .get(&next)
                .and_then(|branch| Some(branch.trigger.as_ref()?.branch.clone()));
        }
        Ok(())
    }

    /// Puts a trigger on a branch that a pipeline reads. Creates the branch if it is missing.
    pub(super) fn put_trigger(&mut self, key: &BranchKey, trigger: &BranchTrigger) -> Result<(), Rejection> {
        self.require_repo(&key.repo)?;
        self.check_trigger(key, trigger)?;
        let derived = self
            .state
            .branches
            .get(key)
            .is_some_and(|b| !b.direct_provenance.is_empty());
        if derived {
            return Err(Rejection::ProvenanceAndTrigger(key.clone()));
        }
        self.put_branch(key, None, &[], Some(trigger))
    }

    pub(super) fn delete_branch(&mut self, key: &BranchKey, force: bool) -> CommandResult {
        self.require_repo(&key.repo)?;
        if !self.state.branches.contains_key(key) {
            return Err(Rejection::NoBranch(key.clone()));
        }
        if let Some(pipeline) = self.pipeline_of(key) {
            return Err(Rejection::BranchOfPipeline {
                branch: key.clone(),
                pipeline,
                verb: "deleted",
            });
        }
        if !force {
            let dependants = self.direct_dependants(key);
            if !dependants.is_empty() {
                return Err(Rejection::BranchInProvenance {
                    branch: key.clone(),
                    dependants,
                });
            }
            let watchers = self.watchers(key);
            if !watchers.is_empty() {
                return Err(Rejection::BranchWatched {
                    branch: key.clone(),
                    watchers,
                });
            }
        }
        self.detach(key);
        self.emit(Event::BranchDeleted {
            branch: key.clone(),
            at: self.at,
        });
        Ok(Reply::Done)
    }

    /// Returns the branches with a trigger that watches this one.
    fn watchers(&self, key: &BranchKey) -> Vec<BranchKey> {
        let names = self.state.repos.get(&key.repo).map(|repo| repo.branches.clone());
        names
            .unwrap_or_default()
            .into_iter()
            .map(|name| key.repo.branch(name))
            .filter(|sibling| {
                let branch = self.state.branches.get(sibling);
                let trigger = branch.and_then(|branch| branch.trigger.as_ref());
                trigger.is_some_and(|trigger| trigger.branch == key.name)
            })
            .collect()
    }

    /// Returns the branches with this one in their direct provenance.
    pub(super) fn direct_dependants(&self, key: &BranchKey) -> Vec<BranchKey> {
        let Some(branch) = self.state.branches.get(key) else {
            return Vec::new();
        };
        branch
            .subvenance
            .iter()
            .filter(|below| {
                self.state
                    .branches
                    .get(*below)
                    .is_some_and(|b| b.direct_provenance.contains(key))
            })
            .cloned()
            .collect()
    }

    /// Prepares the dependants of a branch for its deletion. A branch of a pipeline loses all provenance, because a
    /// pipeline cannot run with a part of its input. Any other branch loses this link.
    pub(super) fn detach(&mut self, key: &BranchKey) {
        for dependant in self.direct_dependants(key) {
            if self.pipeline_of(&dependant).is_some() {
                self.unwire(&dependant);
            } else {
                self.touch(&dependant, false);
            }
        }
    }

    /// Removes all provenance of a branch.
    pub(super) fn unwire(&mut self, key: &BranchKey) {
        let Some(branch) = self.state.branches.get(key) else {
            return;
        };
        if branch.direct_provenance.is_empty() {
            return;
        }
        let (head, trigger) = (branch.head, branch.trigger.clone());
        self.emit(Event::BranchSet {
            branch: key.clone(),
            head,
            provenance: Vec::new(),
            trigger,
            at: self.at,
        });
        // So that `propagate` adds an empty commit if it has no head.
        self.touch(key, false);
    }
}

/// Returns branches without repetitions, in the same order.
pub(super) fn distinct(branches: &[BranchKey]) -> Vec<BranchKey> {
    let mut seen = BTreeSet::new();
    branches.iter().filter(|branch| seen.insert(*branch)).cloned().collect()
}
