//! How far the datums of a set and its participants have come, and when the set is over.
//!
//! Plain data: [`SetRunner`](super::set_runner::SetRunner) locks it and wakes the waiting task.

use howdah_protocol::objects::{Datum, DatumResult};
use tokio::sync::OwnedSemaphorePermit;

use crate::error::InfraError;
use crate::execute::interrupt::Interrupt;
use crate::slots::slot_guard::SlotDemand;

/// The progress of a set: its datums, the participants that process them, and why it ends early.
#[derive(Default)]
pub(super) struct SetProgress {
    /// Datums that no slot has begun, with their places in the set.
    pub(super) waiting: std::iter::Enumerate<std::vec::IntoIter<Datum>>,
    /// Participants that have not asked for their first datum, with a running stage.
    pub(super) called: usize,
    /// Participants that have not asked for their first datum, with a stage that must be started.
    pub(super) starting: usize,
    /// Participants that have asked for a datum.
    pub(super) working: usize,
    /// Whether no further slots are taken, because one failed to start its stage.
    pub(super) no_more_calls: bool,
    pub(super) results: Vec<(usize, DatumResult)>,
    /// Permit to store the set, taken by the last participant once all results exist.
    pub(super) storing_permit: Option<OwnedSemaphorePermit>,
    /// The first interrupt. Later ones are usually consequences of it.
    pub(super) interrupt: Option<Interrupt>,
    /// The first error of a participant that could not start its stage.
    pub(super) start_error: Option<InfraError>,
    /// Keeps further sets of the pipeline away while datums wait.
    pub(super) demand: Option<SlotDemand>,
}

impl SetProgress {
    /// Returns whether no participant works and none will.
    pub(super) fn is_over(&self) -> bool {
        self.working == 0 && (self.waiting.len() == 0 || self.called + self.starting == 0)
    }

    /// Removes all datums that no slot has begun.
    pub(super) fn drop_waiting(&mut self) {
        self.waiting = Vec::new().into_iter().enumerate();
        self.demand = None;
    }

    /// Returns the number of participants in a phase.
    pub(super) fn count(&mut self, phase: ParticipantPhase) -> &mut usize {
        match phase {
            ParticipantPhase::Called => &mut self.called,
            ParticipantPhase::Starting => &mut self.starting,
            ParticipantPhase::Working => &mut self.working,
        }
    }
}

/// How far a participant has come.
#[derive(Clone, Copy)]
pub(super) enum ParticipantPhase {
    Called,
    Starting,
    Working,
}
