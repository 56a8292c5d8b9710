//! What each busy slot does, as presence shows it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use howdah_protocol::messages::SlotStatus;

/// The status of every busy slot. Written by the slots, read whenever presence is published.
#[derive(Default)]
pub(crate) struct SlotStatusBoard {
    slots: Mutex<BTreeMap<usize, SlotStatus>>,
}

impl SlotStatusBoard {
    /// Shows what a slot does until the returned guard is dropped.
    pub(crate) fn show(&self, slot: usize, status: SlotStatus) -> ShownSlotStatus<'_> {
        self.lock().insert(slot, status);
        ShownSlotStatus { board: self, slot }
    }

    /// Returns the status of all busy slots, ordered by slot.
    pub(crate) fn all(&self) -> Vec<SlotStatus> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, SlotStatus>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot's entry on the board. Drop it before the slot is released, or it removes the entry of the slot's next set.
pub(crate) struct ShownSlotStatus<'a> {
    board: &'a SlotStatusBoard,
    slot: usize,
}

impl ShownSlotStatus<'_> {
    /// Changes what is shown.
    pub(crate) fn update(&self, change: impl FnOnce(&mut SlotStatus)) {
        if let Some(status) = self.board.lock().get_mut(&self.slot) {
            change(status);
        }
    }
}

impl Drop for ShownSlotStatus<'_> {
    fn drop(&mut self) {
        self.board.lock().remove(&self.slot);
    }
}
