//! Arguments of commands on jobs, datums and logs.

use std::time::Duration;

use clap::Args;

use super::shared::{PagerArgs, ProjectArg, RawArgs, ViewArgs};

/// `list job`.
#[derive(Debug, Args)]
pub(crate) struct ListJob {
    /// List the jobs of this set [default: the sets themselves]
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    /// List jobs, not sets of jobs
    #[arg(short = 'x', long)]
    pub expand: bool,
    /// List jobs of this pipeline
    #[arg(short, long, value_name = "PIPELINE")]
    pub pipeline: Option<String>,
    /// List jobs that read this commit
    #[arg(short, long, value_name = "REPO@COMMIT")]
    pub input: Vec<String>,
    /// List jobs of older versions of the pipeline too
    #[arg(long, value_name = "none|all|N", allow_hyphen_values = true)]
    pub history: Option<String>,
    /// List jobs in this state
    #[arg(long, value_name = "STATE")]
    pub state: Vec<String>,
    /// List jobs of every project
    #[arg(short = 'A', long)]
    pub all_projects: bool,
    /// List the job that made this commit (hyphenated form)
    #[arg(long, value_name = "REPO@COMMIT", hide = true)]
    pub output_commit: Option<String>,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub view: ViewArgs,
    #[command(flatten)]
    pub pager: PagerArgs,
}

/// `inspect job`.
#[derive(Debug, Args)]
pub(crate) struct InspectJob {
    /// The job
    #[arg(value_name = "PIPELINE@ID")]
    pub job: String,
    /// Wait until the job has ended (1.x)
    #[arg(short, long, hide = true)]
    pub block: bool,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `wait job`.
#[derive(Debug, Args)]
pub(crate) struct WaitJob {
    /// A job, or the id of a set
    #[arg(value_name = "PIPELINE@ID|ID")]
    pub job: String,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub view: ViewArgs,
    #[command(flatten)]
    pub pager: PagerArgs,
}

/// `stop job`, `delete job`.
#[derive(Debug, Args)]
pub(crate) struct JobName {
    /// A job, or the id of a set
    #[arg(value_name = "PIPELINE@ID|ID")]
    pub job: String,
    #[command(flatten)]
    pub project: ProjectArg,
}

/// `list datum`.
#[derive(Debug, Args)]
pub(crate) struct ListDatum {
    /// List the datums of this job
    #[arg(value_name = "PIPELINE@ID")]
    pub job: Option<String>,
    /// List the datums that the pipeline in this spec would have
    #[arg(short, long, value_name = "SOURCE")]
    pub file: Option<String>,
    /// Ignored (1.x)
    #[arg(long = "pageSize", value_name = "N", hide = true)]
    pub page_size: Option<u64>,
    /// Ignored (1.x)
    #[arg(long, value_name = "N", hide = true)]
    pub page: Option<u64>,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub raw: RawArgs,
}

/// `inspect datum`.
#[derive(Debug, Args)]
pub(crate) struct InspectDatum {
    /// The job
    #[arg(value_name = "PIPELINE@ID")]
    pub job: String,
    /// Id of the datum
    #[arg(value_name = "DATUM")]
    pub datum: String,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub raw: RawArgs,
}

/// `restart datum`.
#[derive(Debug, Args)]
pub(crate) struct RestartDatumArgs {
    /// The job
    #[arg(value_name = "PIPELINE@ID")]
    pub job: String,
    /// Paths that the datum's files must match, separated by commas
    #[arg(value_name = "PATH[,PATH...]")]
    pub paths: String,
    #[command(flatten)]
    pub project: ProjectArg,
}

/// `next datum`.
#[derive(Debug, Args)]
pub(crate) struct NextDatum {
    /// Report that the previous datum has failed, with this reason
    #[arg(long, value_name = "TEXT")]
    pub error: Option<String>,
}

/// `logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// A job (1.2)
    #[arg(value_name = "ID", hide = true)]
    pub id: Option<String>,
    /// Logs of this pipeline
    #[arg(short, long, value_name = "PIPELINE")]
    pub pipeline: Option<String>,
    /// Logs of this job; an id alone means every job of the set
    #[arg(short, long, value_name = "PIPELINE@ID")]
    pub job: Option<String>,
    /// Logs of this datum
    #[arg(long, value_name = "DATUM")]
    pub datum: Option<String>,
    /// Logs of datums with these input files
    #[arg(long, value_name = "PATH[,PATH...]", value_delimiter = ',')]
    pub inputs: Vec<String>,
    /// Print lines of the coordinator about the pipeline
    #[arg(long)]
    pub master: bool,
    /// Print lines of the workers, not of the user's code
    #[arg(long)]
    pub worker: bool,
    /// Keep printing new lines
    #[arg(short, long)]
    pub follow: bool,
    /// How far back to read [default: 24h; for a job, from an hour before it was created]
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    pub since: Option<Duration>,
    /// Print only the last lines
    #[arg(short, long, value_name = "N")]
    pub tail: Option<u64>,
    /// Print messages as JSON, one per line
    #[arg(long)]
    pub raw: bool,
    #[command(flatten)]
    pub project: ProjectArg,
}
