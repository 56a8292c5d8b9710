//! The tree of verbs and nouns.

use clap::Subcommand;

use super::admin::{self, Anything, Nothing};
use super::{files, history, jobs, pipelines, repos};

/// The first word of a command.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run everything on this machine: coordinator, worker and message queue
    Up(Box<admin::UpArgs>),
    /// Use the server at an address from now on
    Connect(admin::Connect),
    /// Make a project, repo, branch, pipeline, secret or defaults
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Create(CreateNoun),
    /// Change a project, repo, pipeline or defaults
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Update(UpdateNoun),
    /// Change a pipeline in an editor
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Edit(EditNoun),
    /// Show one thing in full
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Inspect(InspectNoun),
    /// List things
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    List(ListNoun),
    /// Delete things
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Delete(DeleteNoun),
    /// Put files into a branch
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Put(PutNoun),
    /// Get files out of a commit
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Get(GetNoun),
    /// Copy files within and between repos
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Copy(CopyNoun),
    /// List files that match a pattern
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Glob(GlobNoun),
    /// Compare files of two commits
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Diff(DiffNoun),
    /// Start a commit, a stopped pipeline or a transaction
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Start(StartNoun),
    /// Finish a commit or a transaction
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Finish(FinishNoun),
    /// Stop a pipeline, a job or a transaction
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Stop(StopNoun),
    /// Resume a stopped transaction
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Resume(ResumeNoun),
    /// Run a pipeline again on its present input
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Rerun(RerunNoun),
    /// Tick the cron inputs of a pipeline now
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Run(RunNoun),
    /// Restart datums of a running job
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Restart(RestartNoun),
    /// Wait for commits or jobs to end
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Wait(WaitNoun),
    /// Print commits as they finish
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Subscribe(SubscribeNoun),
    /// Find commits that touched a file
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Find(FindNoun),
    /// Remove commits and keep their data in their children
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Squash(SquashNoun),
    /// Draw repos and pipelines as a graph
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Draw(DrawNoun),
    /// Check a pipeline's spec and change nothing
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Validate(ValidateNoun),
    /// Show pipelines that run longer than expected
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Check(CheckNoun),
    /// Ask for the next datum (inside batching user code)
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Next(NextNoun),
    /// Print the lines that user code printed
    #[command(alias = "log")]
    Logs(jobs::Logs),
    /// Check the consistency of the server's metadata
    Fsck(admin::Fsck),
    /// Print the versions of this program and of the server
    Version(admin::VersionArgs),
    /// Read and change the configuration of this program
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Config(admin::ConfigVerb),
    /// Print a completion script for a shell
    Completion(files::Completion),
    /// Print how this program was built
    #[command(hide = true)]
    Buildinfo(Nothing),
    /// Print this reference as Markdown
    #[command(hide = true)]
    HelpMarkdown(Nothing),
    /// Print a pipeline's spec (2.0 to 2.2)
    #[command(hide = true, subcommand, subcommand_required = true, arg_required_else_help = true)]
    Extract(ExtractNoun),
    /// Wait for all commits or jobs downstream of commits (1.x)
    #[command(hide = true, subcommand, subcommand_required = true, arg_required_else_help = true)]
    Flush(FlushNoun),
    /// Print that no port forwarding is needed
    #[command(hide = true)]
    PortForward(Anything),
    /// Not applicable without Kubernetes
    #[command(hide = true)]
    KubeEvents(Anything),
    /// Not applicable without Kubernetes
    #[command(hide = true)]
    Loki(Anything),
    /// Access control (not provided)
    #[command(hide = true)]
    Auth(Anything),
    /// Enterprise features (not provided)
    #[command(hide = true)]
    Enterprise(Anything),
    /// Licences (not provided)
    #[command(hide = true)]
    License(Anything),
    /// Identity providers (not provided)
    #[command(hide = true)]
    Idp(Anything),
    /// Space is freed without a command (1.x)
    #[command(hide = true, alias = "garbage")]
    GarbageCollect(Anything),
    /// Not provided yet
    #[command(hide = true)]
    Shell(Anything),
    /// Not provided yet
    #[command(hide = true)]
    Mount(Anything),
    /// Not provided yet
    #[command(hide = true)]
    Unmount(Anything),
    /// Not provided yet
    #[command(hide = true)]
    Debug(Anything),
    /// Installation is separate (1.x)
    #[command(hide = true)]
    Deploy(Anything),
    /// Installation is separate (1.x)
    #[command(hide = true)]
    Undeploy(Anything),
    /// Not provided (1.x)
    #[command(hide = true)]
    Restore(Anything),
}

/// `create`.
#[derive(Debug, Subcommand)]
pub(crate) enum CreateNoun {
    /// Make a project
    #[command(alias = "projects")]
    Project(repos::WriteProject),
    /// Make a repo
    #[command(alias = "repos")]
    Repo(repos::WriteRepo),
    /// Make a branch, or change its head, provenance and trigger
    #[command(alias = "branches")]
    Branch(history::CreateBranch),
    /// Make pipelines from specs
    #[command(alias = "pipelines")]
    Pipeline(pipelines::WritePipeline),
    /// Store a secret for pipelines
    #[command(alias = "secrets")]
    Secret(pipelines::CreateSecret),
    /// Set the defaults of pipeline specs
    Defaults(pipelines::WriteDefaults),
    /// Not supported (1.x)
    #[command(hide = true, alias = "jobs")]
    Job(Anything),
    /// Not provided yet
    #[command(hide = true, alias = "snapshots")]
    Snapshot(Anything),
}

/// `update`.
#[derive(Debug, Subcommand)]
pub(crate) enum UpdateNoun {
    /// Change the description of a project
    #[command(alias = "projects")]
    Project(repos::WriteProject),
    /// Change the description of a repo
    #[command(alias = "repos")]
    Repo(repos::WriteRepo),
    /// Change pipelines, or make those that do not exist
    #[command(alias = "pipelines")]
    Pipeline(pipelines::UpdatePipeline),
    /// Change the defaults of pipeline specs
    Defaults(pipelines::WriteDefaults),
}

/// `edit`.
#[derive(Debug, Subcommand)]
pub(crate) enum EditNoun {
    /// Edit a pipeline's spec and update the pipeline
    #[command(alias = "pipelines")]
    Pipeline(pipelines::EditPipeline),
    /// Not provided yet
    #[command(hide = true)]
    Metadata(Anything),
}

/// `inspect`.
#[derive(Debug, Subcommand)]
pub(crate) enum InspectNoun {
    /// Show a project
    #[command(alias = "projects")]
    Project(repos::InspectProject),
    /// Show a repo
    #[command(alias = "repos")]
    Repo(repos::InspectRepo),
    /// Show a branch
    #[command(alias = "branches")]
    Branch(history::InspectBranch),
    /// Show a commit
    #[command(alias = "commits")]
    Commit(history::InspectCommit),
    /// Show a file, and its origin
    #[command(alias = "files")]
    File(files::OneFile),
    /// Show a pipeline
    #[command(alias = "pipelines")]
    Pipeline(pipelines::InspectPipeline),
    /// Show a job
    #[command(alias = "jobs")]
    Job(jobs::InspectJob),
    /// Show a datum of a job
    #[command(alias = "datums")]
    Datum(jobs::InspectDatum),
    /// Show a secret, without its values
    #[command(alias = "secrets")]
    Secret(pipelines::SecretName),
    /// Show an open transaction
    #[command(alias = "transactions")]
    Transaction(admin::InspectTransaction),
    /// Show the server's identity
    Cluster(Nothing),
    /// Show the defaults of pipeline specs
    Defaults(pipelines::ReadDefaults),
    /// Not provided yet
    #[command(hide = true, alias = "snapshots")]
    Snapshot(Anything),
}

/// `list`.
#[derive(Debug, Subcommand)]
pub(crate) enum ListNoun {
    /// List projects
    #[command(alias = "projects")]
    Project(repos::ListProject),
    /// List repos
    #[command(alias = "repos")]
    Repo(repos::ListRepo),
    /// List the branches of a repo
    #[command(alias = "branches")]
    Branch(history::ListBranch),
    /// List commits, newest first
    #[command(alias = "commits")]
    Commit(history::ListCommit),
    /// List the files and folders in a folder
    #[command(alias = "files")]
    File(files::OneFile),
    /// List pipelines
    #[command(alias = "pipelines")]
    Pipeline(pipelines::ListPipeline),
    /// List jobs, newest first
    #[command(alias = "jobs")]
    Job(jobs::ListJob),
    /// List the datums of a job, or those that a spec would have
    #[command(alias = "datums")]
    Datum(jobs::ListDatum),
    /// List secrets
    #[command(alias = "secrets")]
    Secret(pipelines::ListSecret),
    /// List open transactions
    #[command(alias = "transactions")]
    Transaction(admin::ListTransaction),
    /// Not provided
    #[command(hide = true, alias = "tasks")]
    Task(Anything),
    /// Not provided yet
    #[command(hide = true, alias = "snapshots")]
    Snapshot(Anything),
}

/// `delete`.
#[derive(Debug, Subcommand)]
pub(crate) enum DeleteNoun {
    /// Delete a project
    #[command(alias = "projects")]
    Project(repos::DeleteProject),
    /// Delete a repo
    #[command(alias = "repos")]
    Repo(repos::DeleteRepo),
    /// Delete a branch, not its commits
    #[command(alias = "branches")]
    Branch(history::DeleteBranch),
    /// Delete a set of commits and their data
    #[command(alias = "commits")]
    Commit(history::CommitSetId),
    /// Delete one commit and its data
    #[command(name = "commitV2", alias = "commitv2")]
    CommitV2(history::OneCommit),
    /// Delete files from a branch
    #[command(alias = "files")]
    File(files::DeleteFile),
    /// Delete a pipeline, its jobs and its output
    #[command(alias = "pipelines")]
    Pipeline(pipelines::DeletePipeline),
    /// Delete a job
    #[command(alias = "jobs")]
    Job(jobs::JobName),
    /// Delete a secret
    #[command(alias = "secrets")]
    Secret(pipelines::SecretName),
    /// Delete a transaction without applying it
    #[command(alias = "transactions")]
    Transaction(admin::MaybeTransaction),
    /// Delete the defaults of pipeline specs
    Defaults(pipelines::DeleteDefaults),
    /// Delete everything
    All(pipelines::DeleteAll),
    /// Not provided yet
    #[command(hide = true, alias = "snapshots")]
    Snapshot(Anything),
}

/// `put`.
#[derive(Debug, Subcommand)]
pub(crate) enum PutNoun {
    /// Put files, folders, URLs or standard input
    #[command(alias = "files")]
    File(files::PutFile),
}

/// `get`.
#[derive(Debug, Subcommand)]
pub(crate) enum GetNoun {
    /// Get a file, or with -r a folder
    #[command(alias = "files")]
    File(files::GetFile),
    /// Not provided (1.x)
    #[command(hide = true)]
    Object(Anything),
    /// Not provided (1.x)
    #[command(hide = true)]
    Tag(Anything),
}

/// `copy`.
#[derive(Debug, Subcommand)]
pub(crate) enum CopyNoun {
    /// Copy a file or folder; no bytes are moved
    #[command(alias = "files")]
    File(files::CopyFile),
}

/// `glob`.
#[derive(Debug, Subcommand)]
pub(crate) enum GlobNoun {
    /// List files and folders that match a pattern
    #[command(alias = "files")]
    File(files::GlobFile),
}

/// `diff`.
#[derive(Debug, Subcommand)]
pub(crate) enum DiffNoun {
    /// Compare files and folders
    #[command(alias = "files")]
    File(files::DiffFile),
}

/// `start`.
#[derive(Debug, Subcommand)]
pub(crate) enum StartNoun {
    /// Open a commit and print its id
    #[command(alias = "commits")]
    Commit(history::StartCommit),
    /// Start a stopped pipeline
    #[command(alias = "pipelines")]
    Pipeline(pipelines::OnePipeline),
    /// Start a transaction: changes are collected until it is finished
    #[command(alias = "transactions")]
    Transaction(Nothing),
}

/// `finish`.
#[derive(Debug, Subcommand)]
pub(crate) enum FinishNoun {
    /// Close an open commit
    #[command(alias = "commits")]
    Commit(history::FinishCommit),
    /// Apply all changes of a transaction, or none
    #[command(alias = "transactions")]
    Transaction(admin::MaybeTransaction),
}

/// `stop`.
#[derive(Debug, Subcommand)]
pub(crate) enum StopNoun {
    /// Stop a pipeline and kill its jobs
    #[command(alias = "pipelines")]
    Pipeline(pipelines::OnePipeline),
    /// Stop a job, or every job of a set
    #[command(alias = "jobs")]
    Job(jobs::JobName),
    /// Stop using the active transaction; it stays on the server
    #[command(alias = "transactions")]
    Transaction(Nothing),
}

/// `resume`.
#[derive(Debug, Subcommand)]
pub(crate) enum ResumeNoun {
    /// Use a stopped transaction again
    #[command(alias = "transactions")]
    Transaction(admin::TransactionId),
}

/// `rerun`.
#[derive(Debug, Subcommand)]
pub(crate) enum RerunNoun {
    /// Run a pipeline again on its present input
    #[command(alias = "pipelines")]
    Pipeline(pipelines::RerunPipeline),
}

/// `run`.
#[derive(Debug, Subcommand)]
pub(crate) enum RunNoun {
    /// Tick the cron inputs of a pipeline now
    Cron(pipelines::OnePipeline),
    /// Not supported (1.x)
    #[command(hide = true, alias = "pipelines")]
    Pipeline(Anything),
    /// Not provided yet
    #[command(hide = true)]
    PfsLoadTest(Anything),
    /// Not provided yet
    #[command(hide = true)]
    PpsLoadTest(Anything),
}

/// `restart`.
#[derive(Debug, Subcommand)]
pub(crate) enum RestartNoun {
    /// Restart matching datums of a running job
    #[command(alias = "datums")]
    Datum(jobs::RestartDatumArgs),
    /// Not applicable without Kubernetes
    #[command(hide = true)]
    Cluster(Anything),
}

/// `wait`.
#[derive(Debug, Subcommand)]
pub(crate) enum WaitNoun {
    /// Wait until a commit, or every commit of a set, is finished
    #[command(alias = "commits")]
    Commit(history::WaitCommit),
    /// Wait until a job, or every job of a set, has ended
    #[command(alias = "jobs")]
    Job(jobs::WaitJob),
}

/// `subscribe`.
#[derive(Debug, Subcommand)]
pub(crate) enum SubscribeNoun {
    /// Print commits of a repo or branch as they finish, for ever
    #[command(alias = "commits")]
    Commit(history::SubscribeCommit),
}

/// `find`.
#[derive(Debug, Subcommand)]
pub(crate) enum FindNoun {
    /// Find commits that added, changed or removed a file
    #[command(alias = "commits")]
    Commit(history::FindCommit),
}

/// `squash`.
#[derive(Debug, Subcommand)]
pub(crate) enum SquashNoun {
    /// Squash a set of commits
    #[command(alias = "commits")]
    Commit(history::CommitSetId),
    /// Squash one commit
    #[command(name = "commitV2", alias = "commitv2")]
    CommitV2(history::OneCommit),
}

/// `draw`.
#[derive(Debug, Subcommand)]
pub(crate) enum DrawNoun {
    /// Draw repos and pipelines as boxes and edges
    #[command(alias = "pipelines")]
    Pipeline(pipelines::DrawPipeline),
}

/// `validate`.
#[derive(Debug, Subcommand)]
pub(crate) enum ValidateNoun {
    /// Check specs, without asking the server
    #[command(alias = "pipelines")]
    Pipeline(pipelines::ValidatePipeline),
}

/// `check`.
#[derive(Debug, Subcommand)]
pub(crate) enum CheckNoun {
    /// Show pipelines that run longer than expected
    Status(pipelines::CheckStatus),
}

/// `next`.
#[derive(Debug, Subcommand)]
pub(crate) enum NextNoun {
    /// Wait for the next datum and print its variables
    #[command(alias = "datums")]
    Datum(jobs::NextDatum),
}

/// `extract`.
#[derive(Debug, Subcommand)]
pub(crate) enum ExtractNoun {
    /// Print a pipeline's spec
    #[command(alias = "pipelines")]
    Pipeline(pipelines::ExtractPipeline),
}

/// `flush`.
#[derive(Debug, Subcommand)]
pub(crate) enum FlushNoun {
    /// Wait for every commit downstream of the given ones
    #[command(alias = "commits")]
    Commit(history::FlushCommit),
    /// Wait for every job downstream of the given commits
    #[command(alias = "jobs")]
    Job(history::FlushJob),
}
