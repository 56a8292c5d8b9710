//! What may be asked of the state, and what is answered.

use howdah_spec::PipelineSpec;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::entities::{
    Content, DatumCounts, DatumIndex, ImagePin, JobOutcome, JobState, JobStats, PipelineState, Staged, TransactionStep,
    Trigger,
};
use crate::ids::GlobalId;
use crate::names::{BranchKey, BranchName, CommitKey, JobKey, PipelineKey, ProjectName, RepoKey};
use crate::refs::CommitRef;

/// A command with everything that must not be invented inside: time and a fresh id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Now.
    pub at: Timestamp,
    /// Fresh id, used if a commit set or a transaction is made.
    pub id: GlobalId,
    /// What is asked.
    pub command: Command,
}

/// A change asked for.
///
/// Commands are kept in the log inside open transactions, so variants and fields are never
/// renamed; new fields get a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Makes a project; with `update`, changes its description if it is there.
    CreateProject {
        /// Its name.
        name: ProjectName,
        /// Free text.
        description: String,
        /// Whether it may exist.
        update: bool,
    },
    /// Removes a project; with `force`, with everything in it.
    DeleteProject {
        /// Its name.
        name: ProjectName,
        /// Whether it may hold anything.
        force: bool,
    },
    /// Makes a user repository; with `update`, changes its description if it is there.
    CreateRepo {
        /// Its key.
        repo: RepoKey,
        /// Free text.
        description: String,
        /// Whether it may exist.
        update: bool,
    },
    /// Removes a repository and its system repositories; a missing one is no error.
    DeleteRepo {
        /// Its key.
        repo: RepoKey,
        /// Whether other branches may depend on it; those links are cut.
        force: bool,
    },
    /// Removes all repositories of some projects, or of all.
    DeleteRepos {
        /// The projects; none means all.
        projects: Option<Vec<ProjectName>>,
        /// As for one.
        force: bool,
    },

    /// Opens a commit on a branch, which is made if missing. Answers [`Reply::Commit`].
    StartCommit {
        /// Repository.
        repo: RepoKey,
        /// Branch; none leaves every branch as it is.
        branch: Option<BranchName>,
        /// Parent, instead of the branch's head.
        parent: Option<CommitRef>,
        /// Free text.
        description: String,
    },
    /// Replaces the content of an open commit, if it is still what was expected and nothing is staged.
    SetContent {
        /// The commit.
        commit: CommitKey,
        /// Content the new one was computed from.
        expected: Content,
        /// New content.
        content: Content,
    },
    /// Adds edits to those that an open commit has staged, if content and staged edits are still what was expected.
    StageEdits {
        /// The commit.
        commit: CommitKey,
        /// Content that the edits fit.
        expected: Content,
        /// Last of the staged edits that they fit.
        after: Option<GlobalId>,
        /// The edits.
        staged: Staged,
    },
    /// Makes staged edits of an open commit part of its content, if that is still what was expected. Edits that were
    /// staged after them stay.
    SettleEdits {
        /// The commit.
        commit: CommitKey,
        /// Content they were applied to.
        expected: Content,
        /// Last of the edits that were applied.
        through: GlobalId,
        /// New content.
        content: Content,
    },
    /// Makes a finished commit on a branch, in one step, if the head is still what was expected.
    /// Answers [`Reply::Commit`].
    WriteCommit {
        /// Branch, made if missing.
        branch: BranchKey,
        /// Head the content was computed from; none for a missing branch.
        expected_head: Option<GlobalId>,
        /// Content.
        content: Content,
        /// Free text.
        description: String,
    },
    /// Finishes an open commit that has nothing staged.
    FinishCommit {
        /// The commit.
        commit: CommitKey,
        /// Replaces the description unless empty.
        description: String,
        /// Finishes it as failed.
        error: Option<String>,
        /// Also output of a pipeline; its job is killed.
        force: bool,
    },
    /// Takes back everything written to an open commit.
    ClearCommit {
        /// The commit.
        commit: CommitKey,
    },
    /// Removes the commits of a set, keeping their changes in their children.
    /// Answers [`Reply::Removed`].
    SquashCommitSet {
        /// The set.
        id: GlobalId,
    },
    /// Removes the commits of a set and their data. Answers [`Reply::Removed`].
    DropCommitSet {
        /// The set.
        id: GlobalId,
    },
    /// Squashes one commit; with `recursive`, everything derived from it as well.
    /// Answers [`Reply::Removed`].
    SquashCommit {
        /// The commit.
        commit: CommitKey,
        /// Whether to take along what is derived.
        recursive: bool,
    },
    /// Drops one commit; with `recursive`, everything derived from it as well.
    /// Answers [`Reply::Removed`].
    DropCommit {
        /// The commit.
        commit: CommitKey,
        /// Whether to take along what is derived.
        recursive: bool,
    },

    /// Makes a branch or changes its head, provenance and trigger.
    CreateBranch {
        /// Its key.
        branch: BranchKey,
        /// Commit to point to; none keeps the head, or makes an empty commit.
        head: Option<CommitRef>,
        /// Direct provenance, replacing the former one.
        provenance: Vec<BranchKey>,
        /// Trigger, replacing the former one.
        trigger: Option<Trigger>,
    },
    /// Removes a branch; its commits stay.
    DeleteBranch {
        /// Its key.
        branch: BranchKey,
        /// Whether other branches may depend on it; those links are cut.
        force: bool,
    },

    /// Makes or updates a pipeline. Answers [`Reply::Pipeline`].
    CreatePipeline {
        /// The effective spec.
        spec: Box<PipelineSpec>,
        /// What the user gave, as JSON.
        user_json: String,
        /// The effective spec as JSON.
        effective_json: String,
        /// Whether it may exist.
        update: bool,
        /// With an update: do every datum again.
        reprocess: bool,
        /// Fresh random text, used as salt when one is needed.
        salt: String,
        /// Content of the spec commit.
        spec_content: Content,
    },
    /// Removes a pipeline with its jobs and repositories. Answers [`Reply::DeletedPipelines`].
    DeletePipeline {
        /// Its key.
        pipeline: PipelineKey,
        /// Whether others may read its output; those links are cut.
        force: bool,
        /// Keeps the output repository as a plain one.
        keep_repo: bool,
        /// Whether a missing pipeline is an error.
        must_exist: bool,
    },
    /// Removes all pipelines of some projects, or of all. Answers [`Reply::DeletedPipelines`].
    DeletePipelines {
        /// The projects; none means all.
        projects: Option<Vec<ProjectName>>,
        /// As for one.
        force: bool,
        /// As for one.
        keep_repo: bool,
    },
    /// Takes a stopped pipeline up again.
    StartPipeline {
        /// Its key.
        pipeline: PipelineKey,
    },
    /// Stops a pipeline and kills its jobs.
    StopPipeline {
        /// Its key.
        pipeline: PipelineKey,
        /// Whether a missing pipeline is an error.
        must_exist: bool,
    },
    /// Updates a pipeline to the spec it has. Answers [`Reply::Pipeline`].
    RerunPipeline {
        /// Its key.
        pipeline: PipelineKey,
        /// Do every datum again.
        reprocess: bool,
        /// Fresh random text, used as salt with `reprocess`.
        salt: String,
    },
    /// Records how a pipeline is doing.
    SetPipelineState {
        /// Its key.
        pipeline: PipelineKey,
        /// Version that was looked at; a newer one makes this a conflict.
        version: u64,
        /// New state.
        state: PipelineState,
        /// Why.
        reason: String,
    },
    /// Records the digest a version's image was resolved to.
    PinImage {
        /// Its key.
        pipeline: PipelineKey,
        /// The version.
        version: u64,
        /// Reference and digest.
        pin: ImagePin,
    },

    /// CREATED to STARTING.
    StartJob {
        /// Its key.
        job: JobKey,
    },
    /// STARTING to RUNNING, with a plan.
    PlanJob {
        /// Its key.
        job: JobKey,
        /// Object key of the plan.
        plan: String,
        /// Total and skipped datums.
        counts: DatumCounts,
    },
    /// Records progress of a job that runs; its state may be any that is not final and not before
    /// the present one.
    SetJobState {
        /// Its key.
        job: JobKey,
        /// RUNNING, EGRESSING or FINISHING.
        state: JobState,
        /// Shown as the job's reason.
        reason: String,
        /// Datums so far; none leaves them as they are.
        counts: Option<DatumCounts>,
    },
    /// Back to STARTING after trouble with infrastructure: plan and progress are forgotten.
    RestartJob {
        /// Its key.
        job: JobKey,
        /// What went wrong.
        reason: String,
    },
    /// Ends a job together with its output and meta commits, and with the downstream jobs that
    /// cannot run any more if it did not succeed.
    FinishJob {
        /// Its key.
        job: JobKey,
        /// How it ended.
        outcome: JobOutcome,
        /// Its datums.
        counts: DatumCounts,
        /// What they took.
        stats: JobStats,
        /// Content of the output commit; none for that of the nearest good ancestor.
        output: Option<Content>,
        /// Datum records; none if nothing was recorded.
        datums: Option<DatumIndex>,
    },
    /// Kills a job; one that has ended is left alone.
    StopJob {
        /// Its key.
        job: JobKey,
        /// Why; empty for "job stopped".
        reason: String,
    },
    /// Kills all jobs of a set.
    StopJobSet {
        /// The set.
        id: GlobalId,
        /// Why; empty for "job stopped".
        reason: String,
    },
    /// Kills a job and forgets it; its commits stay.
    DeleteJob {
        /// Its key.
        job: JobKey,
    },

    /// Opens a transaction under the envelope's id. Answers [`Reply::Transaction`].
    StartTransaction,
    /// Tries a command after the earlier ones of a transaction and keeps it.
    /// Answers what the command will answer.
    AppendTransaction {
        /// The transaction.
        id: GlobalId,
        /// The command.
        command: Box<Command>,
    },
    /// Runs all commands of a transaction at once. Answers [`Reply::TransactionFinished`].
    FinishTransaction {
        /// The transaction.
        id: GlobalId,
    },
    /// Throws a transaction away.
    DeleteTransaction {
        /// The transaction.
        id: GlobalId,
    },
    /// Throws all transactions away.
    DeleteTransactions,
    /// Runs commands at once, all or nothing. Answers [`Reply::Batch`].
    Batch {
        /// The commands, in order.
        commands: Vec<Command>,
    },

    /// Stores a secret, replacing one of that name.
    CreateSecret {
        /// Its name.
        name: String,
        /// Type word, such as `Opaque`.
        kind: String,
        /// The data, in whatever text form.
        data: String,
    },
    /// Removes a secret.
    DeleteSecret {
        /// Its name.
        name: String,
    },
    /// Sets the defaults of all pipelines, or of those of one project: a JSON object.
    SetDefaults {
        /// The project; none for all.
        project: Option<ProjectName>,
        /// The JSON text.
        json: String,
    },
    /// Removes everything of a kind.
    DeleteAll {
        /// What.
        scope: Scope,
    },
}

/// What [`Command::DeleteAll`] removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Pipelines and secrets.
    Pps,
    /// Everything but secrets; `default` is made anew.
    Pfs,
}

impl Command {
    /// Gives the name of the request in words.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateProject { .. } => "create project",
            Self::DeleteProject { .. } => "delete project",
            Self::CreateRepo { .. } => "create repo",
            Self::DeleteRepo { .. } => "delete repo",
            Self::DeleteRepos { .. } => "delete repos",
            Self::StartCommit { .. } => "start commit",
            Self::SetContent { .. } => "set content",
            Self::StageEdits { .. } => "stage edits",
            Self::SettleEdits { .. } => "settle edits",
            Self::WriteCommit { .. } => "write commit",
            Self::FinishCommit { .. } => "finish commit",
            Self::ClearCommit { .. } => "clear commit",
            Self::SquashCommitSet { .. } => "squash commit set",
            Self::DropCommitSet { .. } => "drop commit set",
            Self::SquashCommit { .. } => "squash commit",
            Self::DropCommit { .. } => "drop commit",
            Self::CreateBranch { .. } => "create branch",
            Self::DeleteBranch { .. } => "delete branch",
            Self::CreatePipeline { .. } => "create pipeline",
            Self::DeletePipeline { .. } => "delete pipeline",
            Self::DeletePipelines { .. } => "delete pipelines",
            Self::StartPipeline { .. } => "start pipeline",
            Self::StopPipeline { .. } => "stop pipeline",
            Self::RerunPipeline { .. } => "rerun pipeline",
            Self::SetPipelineState { .. } => "set pipeline state",
            Self::PinImage { .. } => "pin image",
            Self::StartJob { .. } => "start job",
            Self::PlanJob { .. } => "plan job",
            Self::SetJobState { .. } => "set job state",
            Self::RestartJob { .. } => "restart job",
            Self::FinishJob { .. } => "finish job",
            Self::StopJob { .. } => "stop job",
            Self::StopJobSet { .. } => "stop job set",
            Self::DeleteJob { .. } => "delete job",
            Self::StartTransaction => "start transaction",
            Self::AppendTransaction { .. } => "append transaction",
            Self::FinishTransaction { .. } => "finish transaction",
            Self::DeleteTransaction { .. } => "delete transaction",
            Self::DeleteTransactions => "delete transactions",
            Self::Batch { .. } => "batch",
            Self::CreateSecret { .. } => "create secret",
            Self::DeleteSecret { .. } => "delete secret",
            Self::SetDefaults { .. } => "set defaults",
            Self::DeleteAll { .. } => "delete all",
        }
    }

    /// Tells whether the command may be appended to a transaction.
    #[must_use]
    pub fn fits_transaction(&self) -> bool {
        matches!(
            self,
            Self::CreateRepo { .. }
                | Self::DeleteRepo { .. }
                | Self::StartCommit { .. }
                | Self::FinishCommit { .. }
                | Self::SquashCommitSet { .. }
                | Self::CreateBranch { .. }
                | Self::DeleteBranch { .. }
                | Self::StopJob { .. }
                | Self::StartJob { .. }
                | Self::SetJobState { .. }
                | Self::CreatePipeline { .. }
        )
    }
}

/// What a command answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Done; there is nothing to say.
    Done,
    /// The commit that was started or written.
    Commit(CommitKey),
    /// Repositories removed; empty if there was none.
    DeletedRepos(Vec<RepoKey>),
    /// Pipelines removed; empty if there was none.
    DeletedPipelines(Vec<PipelineKey>),
    /// Commits removed.
    Removed(Vec<CommitKey>),
    /// Pipeline made or updated.
    Pipeline {
        /// Its key.
        pipeline: PipelineKey,
        /// Its version now.
        version: u64,
    },
    /// Transaction opened.
    Transaction(GlobalId),
    /// Transaction finished.
    TransactionFinished {
        /// Its id.
        id: GlobalId,
        /// Every request with its answer.
        steps: Vec<TransactionStep>,
    },
    /// Answers to the commands of a batch, in order.
    Batch(Vec<Reply>),
}
