//! The metadata: the command loop, which is the only place that changes it, and staged edits.

mod command_loop;
pub mod staging;

pub use command_loop::{CommandLoop, Core, LoopError, SubmitError, open};
