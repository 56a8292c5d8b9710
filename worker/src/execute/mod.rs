//! Running the datums of a set in slots.
//!
//! - `set_runner`: shares the datums of one set between slots; `set_progress`: how far they have come; `interrupt`: why
//!   that ends early.
//! - `datum`: one datum with its tries; `datum_output` stores what a try produced, `datum_totals` sums up its times.
//! - `environment`: variables of user code; `failure_messages`: texts about failed runs.
//! - `lines`: cuts the output of a command into lines; `logs`: the lines of a set, until they are stored.
//! - `slot_thread`: the threads on which slots run.
//!
//! A failed command is a result, not an error. Errors of infrastructure and stops are
//! [`Interrupt`](interrupt::Interrupt)s: they end the whole set without a result. This folder does not know where sets
//! come from and does not answer the queue (`intake`).

pub(crate) mod datum;
mod datum_output;
pub(crate) mod datum_totals;
mod environment;
mod failure_messages;
pub(crate) mod interrupt;
mod lines;
pub(crate) mod logs;
mod set_progress;
pub(crate) mod set_runner;
pub(crate) mod slot_thread;
