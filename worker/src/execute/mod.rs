//! Running the datums of a set in slots.

pub(crate) mod datum;
pub(crate) mod environment;
pub(crate) mod failure_messages;
pub(crate) mod logs;
pub(crate) mod set_runner;
pub(crate) mod slot_thread;
