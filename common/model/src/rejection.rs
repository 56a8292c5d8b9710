//! Why a command was refused, in the words clients search for.

use crate::ids::GlobalId;
use crate::names::{BranchKey, BranchName, CommitKey, JobKey, NameError, PipelineKey, ProjectName, RepoKey};
use crate::refs::{CommitRef, RefError};

/// Kind of a refusal; each has one status code on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionKind {
    /// Something named is not there.
    NotFound,
    /// Something that should be made is there already.
    AlreadyExists,
    /// The request makes no sense in any state.
    InvalidArgument,
    /// The request makes no sense in this state.
    FailedPrecondition,
    /// The state changed under the request; try again from fresh reads.
    Conflict,
    /// Anything else; the text tells.
    Unknown,
}

/// A refusal.
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
    /// A reference leads to no commit.
    #[error("commit {0} not found")]
    NoRef(CommitRef),
    /// Ancestry goes past the first commit.
    #[error("commit {reference} not found: there are only {commits} commits to count")]
    PastTheFirst {
        /// What was asked.
        reference: CommitRef,
        /// How many there are.
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

    /// The project is there.
    #[error("project {0} already exists")]
    ProjectExists(ProjectName),
    /// The repository is there.
    #[error("repo {0} already exists")]
    RepoExists(RepoKey),
    /// The pipeline is there.
    #[error("pipeline \"{0}\" already exists")]
    PipelineExists(PipelineKey),
    /// A second commit in one repository in one set.
    #[error("repo {0} already has a commit in this transaction")]
    CommitInTransaction(RepoKey),

    /// A bad name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A bad reference.
    #[error(transparent)]
    Reference(#[from] RefError),
    /// A reference that names nothing.
    #[error("commit of repo {0} not given: name a branch or an id")]
    EmptyRef(RepoKey),
    /// Anything else that is wrong with a request whatever the state.
    #[error("{0}")]
    Invalid(String),
    /// A system repository where a user repository is expected.
    #[error("repo {0} belongs to the system: only repos of type user can be created")]
    SystemRepo(RepoKey),
    /// A command that cannot be part of a transaction.
    #[error("{0} cannot be part of a transaction: run it on its own")]
    NotInTransaction(&'static str),

    /// The project that must stay.
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
    /// The repository is a pipeline's.
    #[error(
        "cannot delete a repo associated with a pipeline - delete the pipeline instead: repo {repo}, pipeline \"{pipeline}\""
    )]
    RepoOfPipeline {
        /// The repository.
        repo: RepoKey,
        /// The pipeline.
        pipeline: PipelineKey,
    },
    /// A branch others depend on.
    #[error(
        "branch {branch} cannot be deleted because it's in the direct provenance of {}; delete that first, or use force to cut the link", list(.dependants)
    )]
    BranchInProvenance {
        /// The branch.
        branch: BranchKey,
        /// Those that depend on it.
        dependants: Vec<BranchKey>,
    },
    /// A branch watched by a trigger.
    #[error("branch {branch} cannot be deleted because the trigger of {} watches it; delete that first, or use force to remove the trigger", list(.watchers))]
    BranchWatched {
        /// The branch.
        branch: BranchKey,
        /// Branches with a trigger on it.
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
        /// What was to be done with it.
        verb: &'static str,
    },
    /// Provenance and trigger at once.
    #[error("branch {0} cannot have both provenance and a trigger")]
    ProvenanceAndTrigger(BranchKey),
    /// Triggers that watch each other.
    #[error("triggers cannot form a loop: {0}")]
    TriggerLoop(BranchKey),
    /// Provenance that goes in a circle.
    #[error("branch {0} cannot be in its own provenance: {1} depends on it")]
    Cycle(BranchKey, BranchKey),
    /// Two branches of one repository in one graph.
    #[error("multiple branches from the same repo, \"{0}\", cannot participate in a DAG")]
    TwoBranches(RepoKey),

    /// The parent is open.
    #[error("parent commit {0} has not been finished")]
    ParentOpen(CommitKey),
    /// The commit is closed.
    #[error("commit {0} has already finished")]
    CommitFinished(CommitKey),
    /// The commit is open but must not be.
    #[error("commit {0} not finished")]
    CommitNotFinished(CommitKey),
    /// A branch that only the system writes to.
    #[error("cannot start a commit on an output branch: {0}")]
    OutputBranch(BranchKey),
    /// An output commit that only its job finishes.
    #[error("cannot finish output commit {0} of a pipeline: use 'stop job' instead")]
    OutputCommit(CommitKey),
    /// An output commit that only its job writes to.
    #[error("cannot write to output commit {0} of a pipeline: its job does that")]
    WriteToOutput(CommitKey),
    /// Squash at the tip.
    #[error("cannot squash a commit that has no children: {0}")]
    SquashWithoutChildren(CommitKey),
    /// Squash below an open commit.
    #[error("cannot squash commit {commit}: its child {child} has not been finished")]
    SquashBelowOpen {
        /// The commit.
        commit: CommitKey,
        /// Its open child.
        child: CommitKey,
    },
    /// Removal of a version of a pipeline.
    #[error("cannot {verb} commit {commit} because it updated a pipeline")]
    UpdatedPipeline {
        /// `squash` or `drop`.
        verb: &'static str,
        /// Commit of the spec repository.
        commit: CommitKey,
    },
    /// Drop in the middle.
    #[error("cannot drop a commit that has children: {0}")]
    DropWithChildren(CommitKey),
    /// Others were made from the set.
    #[error("commit set {id} cannot be dropped because it has subvenant commit sets: {}", list(.dependants))]
    SubvenantSets {
        /// The set.
        id: GlobalId,
        /// Sets derived from it.
        dependants: Vec<GlobalId>,
    },
    /// Others were made from the commit.
    #[error("commit {commit} cannot be removed because it has subvenant commits: {}; use the recursive form to remove those too", list(.dependants))]
    SubvenantCommits {
        /// The commit.
        commit: CommitKey,
        /// Commits derived from it.
        dependants: Vec<CommitKey>,
    },

    /// The pipeline cannot run at all.
    #[error("pipeline \"{0}\" has failed: only an update changes that")]
    PipelineFailed(PipelineKey),
    /// The pipeline is at another version now.
    #[error("pipeline \"{pipeline}\" is at version {current}, not {expected}")]
    VersionMoved {
        /// The pipeline.
        pipeline: PipelineKey,
        /// Version there is.
        current: u64,
        /// Version that was expected.
        expected: u64,
    },
    /// The pipeline is stopped.
    #[error("pipeline \"{0}\" is stopped")]
    PipelineStopped(PipelineKey),
    /// A pipeline reading itself.
    #[error("pipeline \"{0}\" cannot have its own output as an input")]
    OwnInput(PipelineKey),
    /// Neither an input nor a reason to have none.
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
        /// State it is in.
        state: crate::JobState,
        /// State it was to go to.
        to: crate::JobState,
    },
    /// Input of the job is not finished without an error.
    #[error("job {job} cannot go on: input commit {commit} is not finished, or has an error")]
    JobInput {
        /// The job.
        job: JobKey,
        /// The commit.
        commit: CommitKey,
    },

    /// The head is another by now.
    #[error("the head of branch {branch} has moved: expected {}, found {}", or_none(.expected), or_none(.found))]
    HeadMoved {
        /// The branch.
        branch: BranchKey,
        /// Head the request was made from.
        expected: Option<GlobalId>,
        /// Head there is.
        found: Option<GlobalId>,
    },
    /// The content is another by now.
    #[error("the content of commit {0} has changed meanwhile")]
    ContentMoved(CommitKey),
    /// Something is staged that has to be settled first.
    #[error("commit {0} has edits that are not part of its content yet")]
    Unsettled(CommitKey),
    /// A request of the transaction answers otherwise than it did when appended.
    #[error("transaction {id} cannot finish: request {index} has another result now than when it was appended")]
    TransactionMoved {
        /// The transaction.
        id: GlobalId,
        /// Which request, from 0.
        index: usize,
    },
    /// The envelope's id is taken.
    #[error("id {0} is in use: send the command with a fresh one")]
    IdInUse(GlobalId),
    /// A branch name where a repository has none of it to give.
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
    /// Gives the kind of the refusal.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        use Rejection as R;
        match self {
            R::NoProject(_)
            | R::NoRepo(_)
            | R::NoBranch(_)
            | R::NoCommit(_)
            | R::NoRef(_)
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
            R::Invalid(_) | R::NotInTransaction(_) | R::EmptyRef(_) | R::SystemRepo(_) => {
                RejectionKind::InvalidArgument
            }
            R::PermanentProject(_)
            | R::ProjectNotEmpty { .. }
            | R::PipelineStopped(_)
            | R::PipelineFailed(_)
            | R::JobState { .. }
            | R::JobInput { .. } => RejectionKind::FailedPrecondition,
            R::VersionMoved { .. }
            | R::HeadMoved { .. }
            | R::ContentMoved(_)
            | R::Unsettled(_)
            | R::TransactionMoved { .. }
            | R::IdInUse(_) => RejectionKind::Conflict,
            _ => RejectionKind::Unknown,
        }
    }
}
