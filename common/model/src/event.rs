//! What happened: the content of the metadata log.
//!
//! Events are written for good. Variants and fields are **never renamed or given another meaning**;
//! a new field gets a default, a new meaning gets a new variant. `tests/samples` holds one sample
//! of each that must parse for ever.
//!
//! They are kept small: what follows from the state by the definition of the thing is not
//! repeated. The commits of a [`Event::Propagated`], for example, have as parent the former head of
//! their branch and as provenance the heads of the branch's direct provenance.

use std::sync::Arc;

use howdah_spec::PipelineSpec;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::command::{Command, Reply};
use crate::entities::{
    Content, DatumCounts, DatumIndex, ImagePin, JobOutcome, JobState, JobStats, Origin, PipelineKind, PipelineState,
    Staged, Trigger,
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
    /// A project came into being.
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
    /// An empty project went.
    ProjectDeleted {
        /// Its name.
        name: ProjectName,
    },
    /// A repository came into being.
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
    /// A repository went, with its branches and commits and every link to them.
    RepoDeleted {
        /// Its key.
        repo: RepoKey,
        /// When.
        at: Timestamp,
    },
    /// A branch came into being or was rewired: head, direct provenance and trigger are as given
    /// from now on.
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
        trigger: Option<Trigger>,
        /// When.
        at: Timestamp,
    },
    /// A branch went, with every link to it; its commits stay.
    BranchDeleted {
        /// Its key.
        branch: BranchKey,
        /// When.
        at: Timestamp,
    },
    /// A commit was opened. Its content is that of the nearest good ancestor.
    CommitStarted {
        /// Its key.
        commit: CommitKey,
        /// Branch whose head it becomes.
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
    /// A finished commit was put on a branch, whose former head is its parent.
    CommitWritten {
        /// Branch.
        branch: BranchKey,
        /// Id.
        id: GlobalId,
        /// Who asked for it.
        origin: Origin,
        /// Free text.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        description: String,
        /// Content.
        #[serde(default, skip_serializing_if = "is_empty_content")]
        content: Content,
        /// When.
        at: Timestamp,
    },
    /// Content of an open commit changed; nothing is staged any more.
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
    /// Staged edits of an open commit became part of its content.
    EditsSettled {
        /// The commit.
        commit: CommitKey,
        /// Last of them.
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
    /// Changed heads took effect downstream: every branch listed got an open AUTO commit, in this
    /// order; its parent is the branch's former head, its provenance the heads of the branch's
    /// direct provenance. Every pipeline listed got a job.
    Propagated {
        /// Id of the set.
        id: GlobalId,
        /// Branches, provenance first.
        branches: Vec<BranchKey>,
        /// Pipelines.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        jobs: Vec<PipelineKey>,
        /// When.
        at: Timestamp,
    },
    /// Commits went, with their jobs. Children and branch heads go to the nearest ancestor left.
    CommitsRemoved {
        /// The commits.
        commits: Vec<CommitKey>,
        /// Whether data went too (drop) or lives on in the children (squash).
        drop: bool,
        /// When.
        at: Timestamp,
    },
    /// A pipeline came into being or got another version.
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
    /// A pipeline was stopped by a user.
    PipelineStopped {
        /// Its key.
        pipeline: PipelineKey,
        /// When.
        at: Timestamp,
    },
    /// A stopped pipeline was started again.
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
    /// A version's image was resolved.
    ImagePinned {
        /// Its key.
        pipeline: PipelineKey,
        /// The version.
        version: u64,
        /// Reference and digest.
        pin: ImagePin,
    },
    /// A pipeline went, with its jobs and versions; its repositories go by their own events.
    PipelineDeleted {
        /// Its key.
        pipeline: PipelineKey,
    },
    /// A job was looked at for the first time.
    JobStarted {
        /// Its key.
        job: JobKey,
        /// When.
        at: Timestamp,
    },
    /// A job's datums were planned and handed out.
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
    /// A job that runs got on.
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
    /// A job went back to STARTING.
    JobRestarted {
        /// Its key.
        job: JobKey,
        /// What went wrong.
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
        /// What they took.
        #[serde(default, skip_serializing_if = "no_stats")]
        stats: JobStats,
        /// Content of the output commit; none for that of the nearest good ancestor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Content>,
        /// Datum records of the meta commit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        datums: Option<DatumIndex>,
        /// When.
        at: Timestamp,
    },
    /// A job was forgotten.
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
    /// A command was put into a transaction.
    TransactionAppended {
        /// The transaction.
        id: GlobalId,
        /// The command.
        command: Command,
        /// What it was answered.
        reply: Reply,
    },
    /// A transaction was finished or thrown away.
    TransactionClosed {
        /// Its id.
        id: GlobalId,
        /// Whether it took effect.
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
    /// A secret went.
    SecretDeleted {
        /// Its name.
        name: String,
    },
    /// Defaults for pipelines changed.
    DefaultsSet {
        /// The project; none for all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        project: Option<ProjectName>,
        /// A JSON object.
        json: String,
    },
    /// Projects, repositories, pipelines and jobs all went; `default` was made anew.
    AllDeleted {
        /// When.
        at: Timestamp,
    },
}
