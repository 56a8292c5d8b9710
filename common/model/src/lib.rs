//! The metadata of Howdah as a value: what exists, what may be asked, what happens.
//!
//! ```text
//!            Envelope (command, time, fresh id)
//!                 │
//!   State ──► decide ──► Decision { events, state after, reply }    or    Rejection
//!                 │
//!   State ──► apply(event) ... ──► the same state after
//! ```
//!
//! [`decide()`] is a pure function: no clock, no randomness, no I/O. Its events are atomic: the log
//! stores all of them or none. Folding [`apply()`] over them from the old state gives exactly the
//! state in the decision, so that a restart that reads the log knows what the first run knew.
//!
//! Overview:
//! - [`ids`], [`names`]: [`GlobalId`], hashes, validated names, keys ([`RepoKey`], [`BranchKey`],
//!   [`CommitKey`], [`PipelineKey`], [`JobKey`]) that print and parse in the shapes clients know;
//! - [`entities`]: [`Project`], [`Repo`], [`Branch`], [`Commit`], [`CommitSet`], [`Pipeline`] with
//!   its [`PipelineVersion`]s, [`Job`], [`Transaction`], [`Secret`], and the small values in them
//!   ([`Content`], [`DatumIndex`], [`DatumCounts`], states);
//! - [`command`]: [`Envelope`], [`Command`], [`Reply`]; [`rejection`]: [`Rejection`] with the texts
//!   clients search for and a [`RejectionKind`] for the status code;
//! - [`event`]: [`Event`], the content of the log, stable for ever;
//! - [`state`]: [`State`], cheap to clone, read through methods (`state.commit(&key)` ...) and
//!   [`query`]: `resolve_commit`, `commit_state`, `commit_set`, `base_content`, `build_content`,
//!   `list_commits`, `job_inputs`, `job_ready`, `job_base`, `open_jobs` ...;
//! - [`refs`]: [`CommitRef`] and the text form of references with ancestry;
//! - [`datum`]: datum ids and hashes;
//! - [`spec_view`]: keys out of a pipeline spec.
//!
//! What is not here: bytes of files, trees, the log's storage, scheduling. Triggers are stored and
//! checked; firing them is up to the caller, with [`Command::CreateBranch`].

pub mod apply;
pub mod command;
pub mod datum;
pub mod decide;
pub mod entities;
pub mod event;
pub mod ids;
pub mod names;
pub mod query;
pub mod refs;
pub mod rejection;
pub mod spec_view;
pub mod state;

pub use apply::apply;
pub use command::{Command, Envelope, Reply, Scope};
pub use datum::{DatumPart, datum_hash, datum_id};
pub use decide::{Decision, decide};
pub use entities::{
    Branch, Commit, CommitSet, CommitState, Content, DatumCounts, DatumIndex, ImagePin, Job, JobOutcome, JobState,
    JobStats, Origin, Pipeline, PipelineKind, PipelineState, PipelineVersion, Project, Repo, Secret, Staged,
    Transaction, TransactionStep, Trigger,
};
pub use event::Event;
pub use ids::{ContentHash, DatumHash, DatumId, GlobalId, IdError, TreeRoot};
pub use names::{
    BranchKey, BranchName, CommitKey, JobKey, NameError, PipelineKey, PipelineName, ProjectName, RepoKey, RepoName,
    RepoType,
};
pub use refs::CommitRef;
pub use rejection::{Rejection, RejectionKind};
pub use state::State;
