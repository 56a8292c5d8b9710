//! A decision under construction: a clone of the state, and the events that changed it so far.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::apply::apply;
use crate::command::Reply;
use crate::event::Event;
use crate::ids::GlobalId;
use crate::names::{BranchKey, RepoKey};
use crate::rejection::Rejection;
use crate::state::State;

/// The answer to one command.
pub(super) type CommandResult = Result<Reply, Rejection>;

/// A decision under construction.
pub(super) struct DecisionBuilder {
    pub(super) state: State,
    pub(super) events: Vec<Event>,
    pub(super) at: Timestamp,
    /// Id of the commit set that new commits belong to.
    pub(super) id: GlobalId,
    /// Whether the set exists in the state before the command: it must not get more commits then.
    pub(super) id_taken: bool,
    /// Branches whose head or provenance changed. The value: whether a branch with provenance gets a new commit even if
    /// the heads of its provenance are the same.
    pub(super) dirty: BTreeMap<BranchKey, bool>,
}

impl DecisionBuilder {
    pub(super) fn new(state: &State, at: Timestamp, id: GlobalId) -> Self {
        Self {
            state: state.clone(),
            events: Vec::new(),
            at,
            id,
            id_taken: state.sets.contains_key(&id),
            dirty: BTreeMap::new(),
        }
    }

    pub(super) fn emit(&mut self, event: Event) {
        apply(&mut self.state, &event);
        self.events.push(event);
    }

    /// Notes that the head or the provenance of a branch changed.
    pub(super) fn touch(&mut self, branch: &BranchKey, force: bool) {
        *self.dirty.entry(branch.clone()).or_default() |= force;
    }

    /// Checks that a repository can get a commit of this set.
    pub(super) fn claim(&self, repo: &RepoKey) -> Result<(), Rejection> {
        if self.id_taken {
            return Err(Rejection::IdInUse(self.id));
        }
        if self.state.commits.contains_key(&repo.commit(self.id)) {
            return Err(Rejection::CommitInTransaction(repo.clone()));
        }
        Ok(())
    }
}
