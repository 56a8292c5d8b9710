//! Metadata: one command loop changes it, everything else submits commands and reads the published state.
//!
//! ```text
//!  orphaned_edits     finds staged edits that no commit mentions
//!  plain_secrets      seals secrets that were stored in plain text
//!  core               Core, the handle that every other part holds; open(), lead()
//!  edit_stager        stages one write to an open commit
//!  folding            folds staged edits into a commit's tree
//!  staging            what those two share: Staging, StagingError
//!  commit_locks       write permits and the fold lock of each commit
//!  command_loop       decides, appends to the log, publishes, answers
//!  log_tail           the state that the log contains, for a coordinator that does not lead
//!  snapshot           snapshots of the state, pruning of the log
//!  commands           CommandHandle: submits commands, reads the published state
//! ```
//!
//! A file uses only files below it. Staged edits reach the command loop through [`CommandHandle`] alone, so the loop
//! runs without staging, and staging runs over anything that answers commands.
//!
//! What can go wrong: an append to the log whose outcome is unknown (see [`command_loop`]), another coordinator that
//! writes the same log ([`LoopError::Fenced`]), an object of staged edits that is missing ([`StagingError::Lost`]).
//! Which commands are allowed and what they change is decided in `howdah_model`, not here.

mod command_loop;
mod commands;
mod commit_locks;
mod core;
mod edit_stager;
mod folding;
mod log_tail;
mod logged_event;
mod orphaned_edits;
mod plain_secrets;
mod snapshot;
mod staging;
#[cfg(test)]
mod tests;

pub use command_loop::{CommandLoop, LogStatus, LoopError};
pub use commands::{CommandHandle, SubmitError};
pub use commit_locks::WritePermit;
pub use core::{Core, lead, open, open_with};
pub use edit_stager::{EditStager, StagingOutcome};
pub use log_tail::LogTail;
pub use logged_event::LoggedEvent;
pub use orphaned_edits::orphaned_edits;
pub use plain_secrets::seal_plain_secrets;
pub use staging::{Staging, StagingError};
