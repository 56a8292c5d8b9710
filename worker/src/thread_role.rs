//! Which threads belong to a slot and may therefore block.
//!
//! A slot runs on a thread of its own (`execute::slot_thread`) that serves no other task. Code that has a short
//! blocking step asks here whether it runs on such a thread: there it blocks in place, elsewhere it moves the step to
//! Tokio's blocking pool ([`crate::blocking::short`]). This module only holds the mark; it starts no thread.

use std::cell::Cell;

thread_local! {
    static IS_SLOT_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Marks the current thread as one that belongs to a slot.
pub(crate) fn mark_slot_thread() {
    IS_SLOT_THREAD.set(true);
}

/// Returns whether the current thread belongs to a slot, so that blocking it delays no other task.
pub(crate) fn is_slot_thread() -> bool {
    IS_SLOT_THREAD.get()
}
