//! The metadata of Howdah as a value: entities, commands, events, and the rules between them.
//!
//! ```text
//!            Envelope (command, time, fresh id)
//!                 │
//!   State ──► decide ──► Decision { events, state after, reply }    or    Rejection
//!                 │
//!   State ──► apply(event) ... ──► the same state after
//! ```
//!
//! [`decide()`] is a pure function: no clock, no randomness, no I/O. Time and fresh ids come in with the [`Envelope`].
//! The events of a decision are atomic: the log stores all of them
//! or none. Applying them with [`apply()`] to the old state gives exactly the state of the decision. A restart that
//! reads the log therefore has the same state as before.
//!
//! Overview:
//! - [`ids`], [`names`]: [`GlobalId`], hashes, validated names, keys ([`RepoKey`], [`BranchKey`],
//!   [`CommitKey`], [`PipelineKey`], [`JobKey`]) that print and parse in the shapes clients know;
//! - [`entities`]: [`Project`], [`Repo`], [`Branch`], [`Commit`], [`CommitSet`], [`Pipeline`] with
//!   its [`PipelineVersion`]s, [`Job`], [`Secret`], and the small values in them
//!   ([`Content`], [`DatumIndex`], [`DatumCounts`], states);
//! - [`command`]: [`Envelope`], [`Command`], [`Reply`], [`Transaction`]; [`rejection`]: [`Rejection`] with the texts
//!   that clients search for and a [`RejectionKind`] for the status code;
//! - [`event`]: [`Event`], the content of the log, which every later release must read;
//! - [`state`]: [`State`], cheap to clone, read through methods (`state.commit(&key)` ...) and
//!   [`query`]: `resolve_commit`, `commit_state`, `commit_set`, `base_content`, `build_content`,
//!   `list_commits`, `job_inputs`, `job_ready`, `job_base`, `open_jobs` ...;
//! - [`refs`]: [`CommitRef`] and the text form of references with ancestry;
//! - [`datum`]: datum ids and hashes; [`limits`]: bounds on texts and transactions;
//! - [`spec_view`]: the keys in a pipeline spec.
//!
//! Not here: file contents, trees, storage of the log, scheduling. Triggers are stored and checked here; the caller
//! fires them with [`Command::CreateBranch`].

pub mod apply;
pub mod command;
pub mod datum;
pub mod decide;
pub mod entities;
pub mod event;
pub mod ids;
pub mod limits;
pub mod names;
pub mod query;
pub mod refs;
pub mod rejection;
pub mod spec_view;
pub mod state;

pub use apply::apply;
pub use command::{Command, DeletionScope, Envelope, Reply, SealedSecret, Transaction, TransactionStep};
pub use datum::{DatumPart, datum_hash, datum_id};
pub use decide::{Decision, decide};
pub use entities::{
    Branch, BranchTrigger, Commit, CommitOrigin, CommitSet, CommitState, Content, DatumCounts, DatumIndex, ImagePin,
    Job, JobOutcome, JobState, JobStats, Pipeline, PipelineKind, PipelineState, PipelineVersion, Project, Repo, Secret,
    Staged,
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
