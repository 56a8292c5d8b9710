//! From the queue to a slot and back: everything that talks to the queue about datum sets and about this worker.
//!
//! - `pulling` keeps pull requests open while slots are free and starts a task per delivered set.
//! - `delivery` carries one set from its message to its acknowledgement; `job_objects` loads its plan and datums.
//! - `running_sets` is the registry by which sets are cancelled; `delivery_journal` survives a kill of the process;
//!   `set_ends` counts such ends, so that a set that ends the process is not run for ever.
//! - `log_recovery` stores log lines that a killed process or a failing store has left on the disk.
//! - `heartbeat` publishes presence and receives orders of the coordinator.
//! - `intake_state` is what these share.
//!
//! Errors of the queue are logged and retried; none of them stops the worker. How a datum runs is `execute`'s business.

pub(crate) mod delivery;
pub(crate) mod delivery_journal;
pub(crate) mod heartbeat;
pub(crate) mod intake_state;
pub(crate) mod job_objects;
pub(crate) mod log_recovery;
pub(crate) mod pulling;
pub(crate) mod running_sets;
mod set_ends;
