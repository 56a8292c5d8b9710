//! Commands, the answers to them, and transactions, which consist of both.

use howdah_spec::PipelineSpec;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::entities::{
    BranchTrigger, Content, DatumCounts, DatumIndex, ImagePin, JobOutcome, JobState, JobStats, PipelineState, Staged,
};
use crate::ids::GlobalId;
use crate::names::{BranchKey, BranchName, CommitKey, JobKey, PipelineKey, ProjectName, RepoKey};
use crate::refs::CommitRef;

/// A command with the time and the fresh id that `decide` must not draw itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Present time.
    pub at: Timestamp,
    /// Fresh id, for a new commit set or transaction.
    pub id: GlobalId,
    /// The command.
    pub command: Command,
}

/// A secret whose data was sealed after it was stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// Its name.
    pub name: String,
    /// When it was created, which tells it from a later one of the same name.
    pub created: Timestamp,
    /// The sealed data.
    pub data: String,
}

/// A request to change the state.
///
/// The log keeps the commands of open transactions: variants and fields are never renamed, and a new field gets a
/// default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Creates a project; with `update`, changes the description of an existing one.
    CreateProject {
        /// Its name.
        name: ProjectName,
        /// Free text.
        description: String,
        /// Whether it may exist.
        update: bool,
    },
    /// Deletes a project; with `force`, with everything in it.
    DeleteProject {
        /// Its name.
        name: ProjectName,
        /// Whether it may have repositories and pipelines.
        force: bool,
    },
    /// Creates a user repository; with `update`, changes the description of an existing one.
    CreateRepo {
        /// Its key.
        repo: RepoKey,
        /// Free text.
        description: String,
        /// Whether it may exist.
        update: bool,
    },
    /// Deletes a repository and its system repositories. Succeeds if it does not exist.
    DeleteRepo {
        /// Its key.
        repo: RepoKey,
        /// Whether other branches may depend on it; those links are removed.
        force: bool,
    },
    /// Deletes all repositories of some projects, or of all.
    DeleteRepos {
        /// The projects; `None` means all.
        projects: Option<Vec<ProjectName>>,
        /// As for a single one.
        force: bool,
    },

    /// Opens a commit on a branch, which is created if it is missing. Answers [`Reply::Commit`].
    StartCommit {
        /// Repository.
        repo: RepoKey,
        /// Branch; `None` changes no branch.
        branch: Option<BranchName>,
        /// Parent; `None` means the head of the branch.
        parent: Option<CommitRef>,
        /// Free text.
        description: String,
    },
    /// Replaces the content of an open commit, if that is the expected one and nothing is staged.
    SetContent {
        /// The commit.
        commit: CommitKey,
        /// Content that the new one was computed from.
        expected: Content,
        /// New content.
        content: Content,
    },
    /// Stages edits of an open commit, if its content and its last staged edit are the expected ones.
    StageEdits {
        /// The commit.
        commit: CommitKey,
        /// Content that the edits were made for.
        expected: Content,
        /// Last staged edit that they were made for.
        after: Option<GlobalId>,
        /// The edits.
        staged: Staged,
    },
    /// Folds staged edits of an open commit into its content, if that is the expected one. Edits that were staged after
    /// them stay staged.
    SettleEdits {
        /// The commit.
        commit: CommitKey,
        /// Content that the edits were applied to.
        expected: Content,
        /// Last of the applied edits.
        through: GlobalId,
        /// New content.
        content: Content,
    },
    /// Adds a finished commit to a branch in one step, if its head is the expected one. Answers [`Reply::Commit`].
    WriteCommit {
        /// Branch; created if it is missing.
        branch: BranchKey,
        /// Head that the content was computed from; `None` for a missing branch.
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
        /// New description; empty keeps the old one.
        description: String,
        /// Error: the commit finishes as failed.
        error: Option<String>,
        /// Whether the output commit of a job may be finished: the job is killed.
        force: bool,
    },
    /// Undoes everything written to an open commit.
    ClearCommit {
        /// The commit.
        commit: CommitKey,
    },
    /// Removes the commits of a set; their files stay in their children.
    /// Answers [`Reply::Removed`].
    SquashCommitSet {
        /// The set.
        id: GlobalId,
    },
    /// Removes the commits of a set and their files. Answers [`Reply::Removed`].
    DropCommitSet {
        /// The set.
        id: GlobalId,
    },
    /// Squashes one commit; with `recursive`, everything derived from it too.
    /// Answers [`Reply::Removed`].
    SquashCommit {
        /// The commit.
        commit: CommitKey,
        /// Whether to take along what is derived.
        recursive: bool,
    },
    /// Drops one commit; with `recursive`, everything derived from it too.
    /// Answers [`Reply::Removed`].
    DropCommit {
        /// The commit.
        commit: CommitKey,
        /// Whether to take along what is derived.
        recursive: bool,
    },

    /// Creates a branch or changes its head, provenance and trigger.
    CreateBranch {
        /// Its key.
        branch: BranchKey,
        /// New head; `None` keeps the head, or adds an empty commit to a new branch.
        head: Option<CommitRef>,
        /// New direct provenance.
        provenance: Vec<BranchKey>,
        /// New trigger.
        trigger: Option<BranchTrigger>,
    },
    /// Deletes a branch; its commits stay.
    DeleteBranch {
        /// Its key.
        branch: BranchKey,
        /// Whether other branches may depend on it; those links are removed.
        force: bool,
    },

    /// Creates or updates a pipeline. Answers [`Reply::Pipeline`].
    CreatePipeline {
        /// The effective spec.
        spec: Box<PipelineSpec>,
        /// The spec as the user wrote it, in JSON.
        user_json: String,
        /// The effective spec, in JSON.
        effective_json: String,
        /// Whether it may exist.
        update: bool,
        /// Whether an update processes every datum again.
        reprocess: bool,
        /// Fresh random text, for a new salt.
        salt: String,
        /// Content of the spec commit.
        spec_content: Content,
    },
    /// Deletes a pipeline with its jobs and repositories. Answers [`Reply::DeletedPipelines`].
    DeletePipeline {
        /// Its key.
        pipeline: PipelineKey,
        /// Whether other pipelines may read its output; those links are removed.
        force: bool,
        /// Whether the output repository stays, as a plain one.
        keep_repo: bool,
        /// Whether a missing pipeline is an error.
        must_exist: bool,
    },
    /// Deletes all pipelines of some projects, or of all. Answers [`Reply::DeletedPipelines`].
    DeletePipelines {
        /// The projects; `None` means all.
        projects: Option<Vec<ProjectName>>,
        /// As for a single one.
        force: bool,
        /// As for a single one.
        keep_repo: bool,
    },
    /// Starts a stopped pipeline.
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
    /// Adds a version with the present spec to a pipeline. Answers [`Reply::Pipeline`].
    RerunPipeline {
        /// Its key.
        pipeline: PipelineKey,
        /// Whether every datum is processed again.
        reprocess: bool,
        /// Fresh random text, for a new salt with `reprocess`.
        salt: String,
    },
    /// Records the state of a pipeline.
    SetPipelineState {
        /// Its key.
        pipeline: PipelineKey,
        /// Version that the state was observed of; another one is a conflict.
        version: u64,
        /// New state.
        state: PipelineState,
        /// Why.
        reason: String,
    },
    /// Records the digest that the image of a version was resolved to.
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
    /// Records progress of a running job. The new state must not be final and not before the present one.
    SetJobState {
        /// Its key.
        job: JobKey,
        /// RUNNING, EGRESSING or FINISHING.
        state: JobState,
        /// Reason of the job.
        reason: String,
        /// Datums so far; `None` keeps the counts.
        counts: Option<DatumCounts>,
    },
    /// Returns a job to STARTING after an infrastructure error, without plan and progress.
    RestartJob {
        /// Its key.
        job: JobKey,
        /// Why.
        reason: String,
    },
    /// Ends a job with its output and meta commits. If it did not succeed, ends the downstream jobs that cannot run any
    /// more.
    FinishJob {
        /// Its key.
        job: JobKey,
        /// How it ended.
        outcome: JobOutcome,
        /// Its datums.
        counts: DatumCounts,
        /// Time and bytes of its datums.
        stats: JobStats,
        /// Content of the output commit; `None` means that of its nearest ancestor that finished without an error.
        output: Option<Content>,
        /// Datum records; `None` if there are none.
        datums: Option<DatumIndex>,
    },
    /// Kills a job. Succeeds without a change if it has ended.
    StopJob {
        /// Its key.
        job: JobKey,
        /// Reason; empty means "job stopped".
        reason: String,
    },
    /// Kills all jobs of a set.
    StopJobSet {
        /// The set.
        id: GlobalId,
        /// Reason; empty means "job stopped".
        reason: String,
    },
    /// Kills and deletes a job; its commits stay.
    DeleteJob {
        /// Its key.
        job: JobKey,
    },

    /// Opens a transaction with the id of the envelope. Answers [`Reply::Transaction`].
    StartTransaction,
    /// Appends a command to a transaction, after a trial run behind the earlier ones. Answers as the command will.
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
    /// Deletes a transaction.
    DeleteTransaction {
        /// The transaction.
        id: GlobalId,
    },
    /// Deletes all transactions.
    DeleteTransactions,
    /// Runs commands as one: all of them or none. Answers [`Reply::Batch`].
    Batch {
        /// The commands, in order.
        commands: Vec<Command>,
    },

    /// Stores a secret. It replaces one with the same name.
    CreateSecret {
        /// Its name.
        name: String,
        /// Type, such as `Opaque`.
        kind: String,
        /// The data, in a text form of the caller.
        data: String,
    },
    /// Replaces the data of secrets by its sealed form. Skips secrets that were deleted or replaced meanwhile.
    SealSecrets {
        /// The secrets.
        secrets: Vec<SealedSecret>,
    },
    /// Deletes a secret.
    DeleteSecret {
        /// Its name.
        name: String,
    },
    /// Sets the defaults for all pipelines, or for those of one project.
    SetDefaults {
        /// The project; `None` means all.
        project: Option<ProjectName>,
        /// A JSON object.
        json: String,
    },
    /// Deletes everything in a scope.
    DeleteAll {
        /// The scope.
        scope: DeletionScope,
    },
}

/// What [`Command::DeleteAll`] deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeletionScope {
    /// Pipelines and secrets.
    Pps,
    /// Everything but secrets; an empty project `default` is created.
    Pfs,
}

impl Command {
    /// Returns the name of the command in words.
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
            Self::SealSecrets { .. } => "seal secrets",
            Self::DeleteSecret { .. } => "delete secret",
            Self::SetDefaults { .. } => "set defaults",
            Self::DeleteAll { .. } => "delete all",
        }
    }

    /// Returns whether the command may be appended to a transaction.
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

/// The answer to an accepted command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Done, without a result.
    Done,
    /// The commit that was opened or written.
    Commit(CommitKey),
    /// Deleted repositories; empty if there were none.
    DeletedRepos(Vec<RepoKey>),
    /// Deleted pipelines; empty if there were none.
    DeletedPipelines(Vec<PipelineKey>),
    /// Removed commits.
    Removed(Vec<CommitKey>),
    /// Created or updated pipeline.
    Pipeline {
        /// Its key.
        pipeline: PipelineKey,
        /// Its present version.
        version: u64,
    },
    /// Opened transaction.
    Transaction(GlobalId),
    /// Finished transaction.
    TransactionFinished {
        /// Its id.
        id: GlobalId,
        /// Its commands with their answers.
        steps: Vec<TransactionStep>,
    },
    /// Answers to the commands of a batch, in order.
    Batch(Vec<Reply>),
}

/// Commands that will take effect together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transaction {
    /// Its id, which becomes the id of every commit made in it.
    pub id: GlobalId,
    /// When it was started.
    pub started: Timestamp,
    /// The appended commands, with the answers of their trial runs.
    pub requests: Vec<TransactionStep>,
}

/// One command of a transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransactionStep {
    /// The command.
    pub command: Command,
    /// The answer of its trial run.
    pub reply: Reply,
}
