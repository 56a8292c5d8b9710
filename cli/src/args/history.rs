//! Arguments of commands on commits and branches.

use clap::{Args, ValueEnum};

use super::shared::{PagerArgs, ProjectArg, RawArgs, ViewArgs};

/// The origin of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub(crate) enum OriginFilter {
    /// A user.
    User,
    /// The system, because something upstream changed.
    Auto,
    /// A repair.
    Fsck,
}

/// `start commit`.
#[derive(Debug, Args)]
pub(crate) struct StartCommit {
    /// Branch to put the commit on, as REPO@BRANCH; REPO alone makes a commit on no branch
    #[arg(value_name = "REPO@BRANCH")]
    pub branch: String,
    /// Commit to start from [default: the head of the branch]
    #[arg(short, long, value_name = "COMMIT")]
    pub parent: Option<String>,
    /// Description of the commit
    #[arg(short, long, alias = "description", value_name = "TEXT")]
    pub message: Option<String>,
    #[command(flatten)]
    pub project: ProjectArg,
}

/// `finish commit`.
#[derive(Debug, Args)]
pub(crate) struct FinishCommit {
    /// The open commit
    #[arg(value_name = "REPO@BRANCH-OR-ID")]
    pub commit: String,
    /// Description of the commit, in place of that of its start
    #[arg(short, long, alias = "description", value_name = "TEXT")]
    pub message: Option<String>,
    /// Finish it even if its provenance is not finished
    #[arg(short, long)]
    pub force: bool,
    #[command(flatten)]
    pub project: ProjectArg,
}

/// `inspect commit`.
#[derive(Debug, Args)]
pub(crate) struct InspectCommit {
    /// The commit
    #[arg(value_name = "REPO@BRANCH-OR-ID")]
    pub commit: String,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `list commit`.
#[derive(Debug, Args)]
pub(crate) struct ListCommit {
    /// List the commits of a set, a repo or a branch [default: the sets themselves]
    #[arg(value_name = "ID|REPO|REPO@BRANCH")]
    pub target: Option<String>,
    /// List commits, not sets of commits
    #[arg(short = 'x', long)]
    pub expand: bool,
    /// List at most this many
    #[arg(short, long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub number: u64,
    /// Stop before this commit
    #[arg(short, long, value_name = "COMMIT")]
    pub from: Option<String>,
    /// List commits of every origin
    #[arg(long)]
    pub all: bool,
    /// List commits of this origin
    #[arg(long, value_name = "user|auto|fsck", hide_possible_values = true, ignore_case = true)]
    pub origin: Option<OriginFilter>,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub view: ViewArgs,
    #[command(flatten)]
    pub pager: PagerArgs,
}

/// `wait commit`.
#[derive(Debug, Args)]
pub(crate) struct WaitCommit {
    /// A commit, or the id of a set
    #[arg(value_name = "REPO@BRANCH-OR-ID|ID")]
    pub commit: String,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `subscribe commit`.
#[derive(Debug, Args)]
pub(crate) struct SubscribeCommit {
    /// Repo or branch to watch
    #[arg(value_name = "REPO[@BRANCH]")]
    pub branch: String,
    /// Show commits after this one
    #[arg(long, value_name = "COMMIT")]
    pub from: Option<String>,
    /// Show only commits made from now on
    #[arg(long)]
    pub new: bool,
    /// Show commits of every origin
    #[arg(long)]
    pub all: bool,
    /// Show commits of this origin
    #[arg(long, value_name = "user|auto|fsck", hide_possible_values = true, ignore_case = true)]
    pub origin: Option<OriginFilter>,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `delete commit`, `squash commit`.
#[derive(Debug, Args)]
pub(crate) struct CommitSetId {
    /// Id of the set of commits
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `delete commitV2`, `squash commitV2`.
#[derive(Debug, Args)]
pub(crate) struct OneCommit {
    /// The commit
    #[arg(value_name = "REPO@BRANCH-OR-ID")]
    pub commit: String,
    /// Include every commit that was made from it
    #[arg(short, long)]
    pub recursive: bool,
    #[command(flatten)]
    pub project: ProjectArg,
}

/// `find commit`.
#[derive(Debug, Args)]
pub(crate) struct FindCommit {
    /// The file, and the branch to search back from
    #[arg(value_name = "REPO@BRANCH:PATH")]
    pub file: String,
    /// Stop after this many commits
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub limit: u32,
    /// Stop after this time
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    pub timeout: Option<std::time::Duration>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub project: ProjectArg,
}

/// `flush commit` (1.x).
#[derive(Debug, Args)]
pub(crate) struct FlushCommit {
    /// Commits to wait for
    #[arg(value_name = "REPO@COMMIT", required = true)]
    pub commits: Vec<String>,
    /// Wait only for commits in these repos
    #[arg(short, long = "repos", value_name = "REPO")]
    pub repos: Vec<String>,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `flush job` (1.x).
#[derive(Debug, Args)]
pub(crate) struct FlushJob {
    /// Commits or ids whose jobs to wait for
    #[arg(value_name = "REPO@COMMIT", required = true)]
    pub commits: Vec<String>,
    /// Wait only for jobs of these pipelines
    #[arg(short, long, value_name = "PIPELINE")]
    pub pipeline: Vec<String>,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `create branch`.
#[derive(Debug, Args)]
pub(crate) struct CreateBranch {
    /// The branch
    #[arg(value_name = "REPO@BRANCH")]
    pub branch: String,
    /// Branch or commit that the head is set to
    #[arg(long, value_name = "BRANCH-OR-ID")]
    pub head: Option<String>,
    /// Branch that this one is made from
    #[arg(short, long, value_name = "REPO@BRANCH")]
    pub provenance: Vec<String>,
    /// Branch whose commits move this one when the conditions below are met
    #[arg(short, long, value_name = "BRANCH")]
    pub trigger: Option<String>,
    /// Trigger after this much new data, for instance 100M
    #[arg(long, value_name = "SIZE")]
    pub trigger_size: Option<String>,
    /// Trigger after this many commits
    #[arg(long, value_name = "N")]
    pub trigger_commits: Option<i64>,
    /// Trigger at these times
    #[arg(long, value_name = "CRON")]
    pub trigger_cron: Option<String>,
    /// Trigger when all conditions are met, not when one is
    #[arg(long)]
    pub trigger_all: bool,
    #[command(flatten)]
    pub project: ProjectArg,
}

/// `inspect branch`.
#[derive(Debug, Args)]
pub(crate) struct InspectBranch {
    /// The branch
    #[arg(value_name = "REPO@BRANCH")]
    pub branch: String,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `list branch`.
#[derive(Debug, Args)]
pub(crate) struct ListBranch {
    /// Name of the repo
    pub repo: String,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub raw: RawArgs,
    /// Print times in full (RFC 3339, UTC), not as ages
    #[arg(long)]
    pub full_timestamps: bool,
}

/// `delete branch`.
#[derive(Debug, Args)]
pub(crate) struct DeleteBranch {
    /// The branch
    #[arg(value_name = "REPO@BRANCH")]
    pub branch: String,
    /// Delete it even if other branches are made from it
    #[arg(short, long)]
    pub force: bool,
    #[command(flatten)]
    pub project: ProjectArg,
}
