//! From the queue to a slot: pulling datum sets, answering for them, and the worker's presence.

pub(crate) mod delivery;
pub(crate) mod delivery_journal;
pub(crate) mod heartbeat;
pub(crate) mod pulling;
pub(crate) mod running_sets;
