//! Events: the content of the metadata log.
//!
//! The log keeps every event. A variant or field is **never renamed and never gets another meaning**: a new field gets
//! a default, a new meaning gets a new variant. `tests/samples` holds a sample of each event, which must parse in every
//! later release.
//!
//! An event is small: it does not repeat what follows from the state. The commits of [`Event::Propagated`], for
//! example, have the former head of their branch as parent and the heads of the branch's direct provenance as
//! provenance.

use std::sync::Arc;

use howdah_spec::PipelineSpec;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::command::{Command, Reply};
use crate::entities::{
    BranchTrigger, CommitOrigin, Content, DatumCounts, DatumIndex, ImagePin, JobOutcome, JobState, JobStats,
    PipelineKind, PipelineState, Staged,
};
use crate::ids::GlobalId;
use crate::names::{BranchKey, BranchName, CommitKey, JobKey, PipelineKey, ProjectName, RepoKey};

fn is_false(value: &bool) -> bool {
    !*value
}

fn is_empty_content(content: &Content) -> bool {
    *content == Content::EMPTY
}

fn no_counts(counts: &DatumCounts) -> bool {
    *counts == DatumCounts::default()
}

fn no_stats(stats: &JobStats) -> bool {
    *stats == JobStats::default()
}

/// One change of the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A project was created.
    ProjectCreated {
        /// Its name.
        name: ProjectName,
        /// Free text.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        description: String,
        /// When.
        at: Timestamp,
    },
    /// A project's description changed.
    ProjectUpdated {
        /// Its name.
        name: ProjectName,
        /// Free text.
        description: String,
    },
    /// An empty project was deleted.
    ProjectDeleted {
        /// Its name.
        name: ProjectName,
    },
    /// A repository was created.
    RepoCreated {
        /// Its key.
        repo: RepoKey,
        /// Free text.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        description: String,
        /// When.
        at: Timestamp,
    },
    /// A repository's description changed.
    RepoUpdated {
        /// Its key.
        repo: RepoKey,
        /// Free text.
        description: String,
    },
    /// A repository was deleted, with its branches and commits and every link to them.
    RepoDeleted {
        /// Its key.
        repo: RepoKey,
        /// When.
        at: Timestamp,
    },
    /// A branch was created or changed: it has this head, direct provenance and trigger from now on.
    BranchSet {
        /// Its key.
        branch: BranchKey,
        /// Head.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        head: Option<GlobalId>,
        /// Direct provenance.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        provenance: Vec<BranchKey>,
        /// Trigger.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trigger: Option<BranchTrigger>,
        /// When.
        at: Timestamp,
    },
    /// A branch was deleted, with every link to it; its commits stay.
    BranchDeleted {
        /// Its key.
        branch: BranchKey,
        /// When.
        at: Timestamp,
    },
    /// A commit was opened. Its content is that of its nearest ancestor that finished without an error.
    CommitStarted {
        /// Its key.
        commit: CommitKey,
        /// Branch; the commit becomes its head.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch: Option<BranchName>,
        /// Parent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<GlobalId>,
        /// Free text.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        description: String,
        /// When.
        at: Timestamp,
    },
    /// A finished commit was added to a branch. The former head is its parent.
    CommitWritten {
        /// Branch.
        branch: BranchKey,
        /// Id.
        id: GlobalId,
        /// Why it was made.
        origin: CommitOrigin,
        /// Free text.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        description: String,
        /// Content.
        #[serde(default, skip_serializing_if = "is_empty_content")]
        content: Content,
        /// When.
        at: Timestamp,
    },
    /// The content of an open commit was replaced. It has no staged edits any more.
    ContentSet {
        /// The commit.
        commit: CommitKey,
        /// New content.
        content: Content,
    },
    /// Edits of an open commit were staged.
    EditsStaged {
        /// The commit.
        commit: CommitKey,
        /// The edits.
        staged: Staged,
    },
    /// Staged edits of an open commit were folded into its content.
    EditsSettled {
        /// The commit.
        commit: CommitKey,
        /// The last of these edits.
        through: GlobalId,
        /// New content.
        content: Content,
    },
    /// A commit without a job was finished.
    CommitFinished {
        /// The commit.
        commit: CommitKey,
        /// Replaces the description.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// When.
        at: Timestamp,
    },
    /// Changed heads were propagated. Each of these branches got an open AUTO commit, in this order: its parent is the
    /// former head of the branch, its provenance the heads of the branch's direct provenance. Each of these pipelines
    /// got a job.
    Propagated {
        /// Id of the set.
        id: GlobalId,
        /// Branches, each after those in its provenance.
        branches: Vec<BranchKey>,
        /// Pipelines.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        jobs: Vec<PipelineKey>,
        /// When.
        at: Timestamp,
    },
    /// Commits were removed, with their jobs. Children and branch heads move to the nearest remaining ancestor.
    CommitsRemoved {
        /// The commits.
        commits: Vec<CommitKey>,
        /// Whether the files were removed too (drop); otherwise they stay in the children (squash).
        drop: bool,
        /// When.
        at: Timestamp,
    },
    /// A pipeline was created or got another version.
    PipelineVersionAdded {
        /// Its key.
        pipeline: PipelineKey,
        /// What it does.
        kind: PipelineKind,
        /// Number of the version.
        version: u64,
        /// The effective spec.
        spec: Arc<PipelineSpec>,
        /// What the user gave, as JSON.
        user_json: String,
        /// The effective spec as JSON.
        effective_json: String,
        /// Salt.
        salt: String,
        /// Commit of the spec repository.
        spec_commit: GlobalId,
        /// When.
        at: Timestamp,
    },
    /// A user stopped a pipeline.
    PipelineStopped {
        /// Its key.
        pipeline: PipelineKey,
        /// When.
        at: Timestamp,
    },
    /// A user started a stopped pipeline.
    PipelineStarted {
        /// Its key.
        pipeline: PipelineKey,
        /// When.
        at: Timestamp,
    },
    /// A pipeline changed its state.
    PipelineStateSet {
        /// Its key.
        pipeline: PipelineKey,
        /// State.
        state: PipelineState,
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// The image of a version was resolved to a digest.
    ImagePinned {
        /// Its key.
        pipeline: PipelineKey,
        /// The version.
        version: u64,
        /// Reference and digest.
        pin: ImagePin,
    },
    /// A pipeline was deleted, with its jobs and versions. Its repositories have their own events.
    PipelineDeleted {
        /// Its key.
        pipeline: PipelineKey,
    },
    /// The scheduler started a job.
    JobStarted {
        /// Its key.
        job: JobKey,
        /// When.
        at: Timestamp,
    },
    /// The datums of a job were planned.
    JobPlanned {
        /// Its key.
        job: JobKey,
        /// Object key of the plan.
        plan: String,
        /// Total and skipped datums.
        #[serde(default, skip_serializing_if = "no_counts")]
        counts: DatumCounts,
        /// When.
        at: Timestamp,
    },
    /// The state, reason or counts of a running job changed.
    JobStateSet {
        /// Its key.
        job: JobKey,
        /// State.
        state: JobState,
        /// Reason.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// Datums so far.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        counts: Option<DatumCounts>,
    },
    /// A job returned to STARTING.
    JobRestarted {
        /// Its key.
        job: JobKey,
        /// Why.
        reason: String,
    },
    /// A job ended, and its output and meta commits were finished.
    JobFinished {
        /// Its key.
        job: JobKey,
        /// How it ended.
        outcome: JobOutcome,
        /// Its datums.
        #[serde(default, skip_serializing_if = "no_counts")]
        counts: DatumCounts,
        /// Time and bytes of its datums.
        #[serde(default, skip_serializing_if = "no_stats")]
        stats: JobStats,
        /// Content of the output commit; `None` means that of its nearest ancestor that finished without an error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Content>,
        /// Datum records of the meta commit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        datums: Option<DatumIndex>,
        /// When.
        at: Timestamp,
    },
    /// A job was deleted.
    JobDeleted {
        /// Its key.
        job: JobKey,
    },
    /// A transaction was opened.
    TransactionStarted {
        /// Its id.
        id: GlobalId,
        /// When.
        at: Timestamp,
    },
    /// A command was appended to a transaction.
    TransactionAppended {
        /// The transaction.
        id: GlobalId,
        /// The command.
        command: Command,
        /// The answer it got.
        reply: Reply,
    },
    /// A transaction was finished or deleted.
    TransactionClosed {
        /// Its id.
        id: GlobalId,
        /// Whether it was finished: its commands took effect.
        #[serde(default, skip_serializing_if = "is_false")]
        finished: bool,
    },
    /// A secret was stored.
    SecretSet {
        /// Its name.
        name: String,
        /// Type word.
        kind: String,
        /// The data.
        data: String,
        /// When.
        at: Timestamp,
    },
    /// A secret was deleted.
    SecretDeleted {
        /// Its name.
        name: String,
    },
    /// The defaults for pipelines changed.
    DefaultsSet {
        /// The project; `None` means all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        project: Option<ProjectName>,
        /// A JSON object.
        json: String,
    },
    /// All projects, repositories, pipelines and jobs were deleted; an empty project `default` was created.
    AllDeleted {
        /// When.
        at: Timestamp,
    },
}
