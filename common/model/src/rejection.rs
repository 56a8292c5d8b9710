//! Rejections: why a command is not accepted.
//!
//! Clients search for some of these texts, and tests pin them.

use crate::ids::GlobalId;
use crate::limits::{MAX_TRANSACTION_BYTES, MAX_TRANSACTION_REQUESTS};
use crate::names::{BranchKey, BranchName, CommitKey, JobKey, NameError, PipelineKey, ProjectName, RepoKey};
use crate::refs::{CommitRef, RefError};

/// Kind of a rejection. Each has one status code on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionKind {
    /// A named thing does not exist.
    NotFound,
    /// The thing to create exists already.
    AlreadyExists,
    /// The request is wrong in every state.
    InvalidArgument,
    /// The request is wrong in the present state.
    FailedPrecondition,
    /// The state has changed since the request was made. Read again and retry.
    Conflict,
    /// Anything else; the text explains it.
    Unknown,
}

/// Why a command is not accepted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Rejection {
    /// No such project.
    #[error("project \"{0}\" not found")]
    NoProject(ProjectName),
    /// No such repository.
    #[error("repo {0} not found")]
    NoRepo(RepoKey),
    /// No such branch.
    #[error("branch \"{}\" not found in repo {}", .0.name, .0.repo)]
    NoBranch(BranchKey),
    /// No such commit.
    #[error("commit {0} not found")]
    NoCommit(CommitKey),
    /// The ancestry leads past the first commit.
    #[error("commit {reference} not found: there are only {commits} commits to count")]
    PastTheFirst {
        /// The reference.
        reference: CommitRef,
        /// Number of commits up to the first.
        commits: u64,
    },
    /// No commit of a global id.
    #[error("no commits found for commitset {0}")]
    NoCommitSet(GlobalId),
    /// No such pipeline.
    #[error("pipeline \"{0}\" not found")]
    NoPipeline(PipelineKey),
    /// No such version of a pipeline.
    #[error("pipeline \"{0}\" version {1} not found")]
    NoPipelineVersion(PipelineKey, u64),
    /// No such job.
    #[error("jobs {0} not found")]
    NoJob(JobKey),
    /// No such transaction.
    #[error("transactions {0} not found")]
    NoTransaction(GlobalId),
    /// No such secret.
    #[error("secret {0:?} not found")]
    NoSecret(String),

    /// The project exists.
    #[error("project {0} already exists")]
    ProjectExists(ProjectName),
    /// The repository exists.
    #[error("repo {0} already exists")]
    RepoExists(RepoKey),
    /// The pipeline exists.
    #[error("pipeline \"{0}\" already exists")]
    PipelineExists(PipelineKey),
    /// A second commit of one set in one repository.
    #[error("repo {0} already has a commit in this transaction")]
    CommitInTransaction(RepoKey),

    /// A name is not legal.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A reference is not legal.
    #[error(transparent)]
    Reference(#[from] RefError),
    /// A reference names neither a branch nor an id.
    #[error("commit of repo {0} not given: name a branch or an id")]
    EmptyRef(RepoKey),
    /// The request is wrong in every state, for another reason.
    #[error("{0}")]
    Invalid(String),
    /// A text has too many bytes.
    #[error("{field} is too long: it has {bytes} bytes, at most {limit} are allowed")]
    TooLong {
        /// The field of the request.
        field: &'static str,
        /// Bytes that it has.
        bytes: usize,
        /// Most bytes that it may have.
        limit: usize,
    },
    /// A transaction or batch has too many requests, or too long ones.
    #[error(
        "a transaction can hold at most {} requests and {} bytes of texts; with this one there are {requests} and {bytes}",
        MAX_TRANSACTION_REQUESTS,
        MAX_TRANSACTION_BYTES
    )]
    TransactionFull {
        /// Number of requests.
        requests: usize,
        /// Bytes of their texts.
        bytes: usize,
    },
    /// Only user repositories can be created.
    #[error("repo {0} belongs to the system: only repos of type user can be created")]
    SystemRepo(RepoKey),
    /// The command cannot be part of a transaction.
    #[error("{0} cannot be part of a transaction: run it on its own")]
    NotInTransaction(&'static str),

    /// The project `default` cannot be deleted.
    #[error("project \"{0}\" cannot be deleted: it is always there")]
    PermanentProject(ProjectName),
    /// The project is not empty.
    #[error("cannot delete project {project}: repo {repo} still exists")]
    ProjectNotEmpty {
        /// The project.
        project: ProjectName,
        /// One of its repositories.
        repo: RepoKey,
    },
    /// The repository belongs to a pipeline.
    #[error(
        "cannot delete a repo associated with a pipeline - delete the pipeline instead: repo {repo}, pipeline \"{pipeline}\""
    )]
    RepoOfPipeline {
        /// The repository.
        repo: RepoKey,
        /// The pipeline.
        pipeline: PipelineKey,
    },
    /// Other branches depend on the branch.
    #[error(
        "branch {branch} cannot be deleted because it's in the direct provenance of {}; delete that first, or use force to cut the link", list(.dependants)
    )]
    BranchInProvenance {
        /// The branch.
        branch: BranchKey,
        /// Branches that depend on it.
        dependants: Vec<BranchKey>,
    },
    /// A trigger watches the branch.
    #[error("branch {branch} cannot be deleted because the trigger of {} watches it; delete that first, or use force to remove the trigger", list(.watchers))]
    BranchWatched {
        /// The branch.
        branch: BranchKey,
        /// Branches with a trigger that watches it.
        watchers: Vec<BranchKey>,
    },
    /// The branch belongs to a pipeline.
    #[error(
        "branch {branch} is written by pipeline \"{pipeline}\" and cannot be {verb}: update or delete the pipeline instead"
    )]
    BranchOfPipeline {
        /// The branch.
        branch: BranchKey,
        /// The pipeline.
        pipeline: PipelineKey,
        /// The rejected change, as a participle.
        verb: &'static str,
    },
    /// A branch cannot have provenance and a trigger.
    #[error("branch {0} cannot have both provenance and a trigger")]
    ProvenanceAndTrigger(BranchKey),
    /// Triggers that watch each other in a circle.
    #[error("triggers cannot form a loop: {0}")]
    TriggerLoop(BranchKey),
    /// Provenance in a circle.
    #[error("branch {0} cannot be in its own provenance: {1} depends on it")]
    Cycle(BranchKey, BranchKey),
    /// Two branches of one repository in one graph.
    #[error("multiple branches from the same repo, \"{0}\", cannot participate in a DAG")]
    TwoBranches(RepoKey),

    /// The parent is open.
    #[error("parent commit {0} has not been finished")]
    ParentOpen(CommitKey),
    /// The commit is finished.
    #[error("commit {0} has already finished")]
    CommitFinished(CommitKey),
    /// The commit is open.
    #[error("commit {0} not finished")]
    CommitNotFinished(CommitKey),
    /// Only the system writes to the branch.
    #[error("cannot start a commit on an output branch: {0}")]
    OutputBranch(BranchKey),
    /// Only its job finishes the output commit.
    #[error("cannot finish output commit {0} of a pipeline: use 'stop job' instead")]
    OutputCommit(CommitKey),
    /// Only its job writes to the output commit.
    #[error("cannot write to output commit {0} of a pipeline: its job does that")]
    WriteToOutput(CommitKey),
    /// A squash needs children, which keep the files.
    #[error("cannot squash a commit that has no children: {0}")]
    SquashWithoutChildren(CommitKey),
    /// A squash needs finished children.
    #[error("cannot squash commit {commit}: its child {child} has not been finished")]
    SquashBelowOpen {
        /// The commit.
        commit: CommitKey,
        /// Its open child.
        child: CommitKey,
    },
    /// The commit of a pipeline version cannot be removed.
    #[error("cannot {verb} commit {commit} because it updated a pipeline")]
    UpdatedPipeline {
        /// `squash` or `drop`.
        verb: &'static str,
        /// Commit of the spec repository.
        commit: CommitKey,
    },
    /// A drop must leave no children.
    #[error("cannot drop a commit that has children: {0}")]
    DropWithChildren(CommitKey),
    /// Other sets are derived from the set.
    #[error("commit set {id} cannot be dropped because it has subvenant commit sets: {}", list(.dependants))]
    SubvenantSets {
        /// The set.
        id: GlobalId,
        /// Sets derived from it.
        dependants: Vec<GlobalId>,
    },
    /// Other commits are derived from the commit.
    #[error("commit {commit} cannot be removed because it has subvenant commits: {}; use the recursive form to remove those too", list(.dependants))]
    SubvenantCommits {
        /// The commit.
        commit: CommitKey,
        /// Commits derived from it.
        dependants: Vec<CommitKey>,
    },

    /// The pipeline is in state FAILURE.
    #[error("pipeline \"{0}\" has failed: only an update changes that")]
    PipelineFailed(PipelineKey),
    /// The pipeline has another version by now.
    #[error("pipeline \"{pipeline}\" is at version {current}, not {expected}")]
    VersionMoved {
        /// The pipeline.
        pipeline: PipelineKey,
        /// Present version.
        current: u64,
        /// Expected version.
        expected: u64,
    },
    /// The pipeline is stopped.
    #[error("pipeline \"{0}\" is stopped")]
    PipelineStopped(PipelineKey),
    /// The pipeline reads its own output.
    #[error("pipeline \"{0}\" cannot have its own output as an input")]
    OwnInput(PipelineKey),
    /// The pipeline has no input and is not a spout.
    #[error("pipeline \"{0}\": no input set")]
    NoInput(PipelineKey),
    /// The job has ended.
    #[error("job {0} has already finished")]
    JobOver(JobKey),
    /// The job is in another state.
    #[error("job {job} is in state {state}: cannot go to {to}")]
    JobState {
        /// The job.
        job: JobKey,
        /// Its state.
        state: crate::JobState,
        /// The requested state.
        to: crate::JobState,
    },
    /// An input commit of the job is not finished, or has an error.
    #[error("job {job} cannot continue: input commit {commit} is not finished, or has an error")]
    JobInput {
        /// The job.
        job: JobKey,
        /// The commit.
        commit: CommitKey,
    },

    /// The branch has another head by now.
    #[error("the head of branch {branch} has moved: expected {}, found {}", or_none(.expected), or_none(.found))]
    HeadMoved {
        /// The branch.
        branch: BranchKey,
        /// Expected head.
        expected: Option<GlobalId>,
        /// Present head.
        found: Option<GlobalId>,
    },
    /// The commit has another content or other staged edits by now.
    #[error("the content of commit {0} has changed meanwhile")]
    ContentMoved(CommitKey),
    /// The commit has staged edits that must be folded into its content first.
    #[error("commit {0} has edits that are not part of its content yet")]
    UnfoldedEdits(CommitKey),
    /// A command of the transaction has another answer than in its trial run.
    #[error("transaction {id} cannot finish: request {index} has another result now than when it was appended")]
    TransactionMoved {
        /// The transaction.
        id: GlobalId,
        /// Number of the command, from 0.
        index: usize,
    },
    /// The id of the envelope is in use.
    #[error("id {0} is in use: send the command with a fresh one")]
    IdInUse(GlobalId),
    /// The branch has no head.
    #[error("branch {0} of repo {1} has no commits")]
    EmptyBranch(BranchName, RepoKey),
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn or_none(id: &Option<GlobalId>) -> String {
    id.map_or_else(|| "none".to_owned(), |id| id.to_string())
}

impl Rejection {
    /// Returns the kind of the rejection.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        use Rejection as R;
        match self {
            R::NoProject(_)
            | R::NoRepo(_)
            | R::NoBranch(_)
            | R::NoCommit(_)
            | R::PastTheFirst { .. }
            | R::NoCommitSet(_)
            | R::NoPipeline(_)
            | R::NoPipelineVersion(..)
            | R::NoJob(_)
            | R::NoTransaction(_)
            | R::EmptyBranch(..)
            | R::NoSecret(_) => RejectionKind::NotFound,
            R::ProjectExists(_) | R::RepoExists(_) | R::PipelineExists(_) | R::CommitInTransaction(_) => {
                RejectionKind::AlreadyExists
            }
            R::Invalid(_)
            | R::TooLong { .. }
            | R::TransactionFull { .. }
            | R::NotInTransaction(_)
            | R::EmptyRef(_)
            | R::SystemRepo(_) => RejectionKind::InvalidArgument,
            R::PermanentProject(_)
            | R::ProjectNotEmpty { .. }
            | R::PipelineStopped(_)
            | R::PipelineFailed(_)
            | R::JobState { .. }
            | R::JobInput { .. } => RejectionKind::FailedPrecondition,
            R::VersionMoved { .. }
            | R::HeadMoved { .. }
            | R::ContentMoved(_)
            | R::UnfoldedEdits(_)
            | R::TransactionMoved { .. }
            | R::IdInUse(_) => RejectionKind::Conflict,
            _ => RejectionKind::Unknown,
        }
    }
}
