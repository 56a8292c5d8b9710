//! Arguments of commands on projects and repos.

use clap::Args;

use super::shared::{ProjectArg, RawArgs, ViewArgs, YesArgs};

/// `create project`, `update project`.
#[derive(Debug, Args)]
pub(crate) struct WriteProject {
    /// Name of the project
    pub project: String,
    /// Description of the project
    #[arg(short, long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// `inspect project`.
#[derive(Debug, Args)]
pub(crate) struct InspectProject {
    /// Name of the project
    pub project: String,
    #[command(flatten)]
    pub raw: RawArgs,
}

/// `list project`.
#[derive(Debug, Args)]
pub(crate) struct ListProject {
    #[command(flatten)]
    pub raw: RawArgs,
}

/// `delete project`.
#[derive(Debug, Args)]
pub(crate) struct DeleteProject {
    /// Name of the project
    pub project: String,
    /// Delete it together with everything in it
    #[arg(short, long)]
    pub force: bool,
    #[command(flatten)]
    pub yes: YesArgs,
}

/// `create repo`, `update repo`.
#[derive(Debug, Args)]
pub(crate) struct WriteRepo {
    /// Name of the repo
    pub repo: String,
    /// Description of the repo
    #[arg(short, long, value_name = "TEXT")]
    pub description: Option<String>,
    #[command(flatten)]
    pub project: ProjectArg,
}

/// `inspect repo`.
#[derive(Debug, Args)]
pub(crate) struct InspectRepo {
    /// Name of the repo
    pub repo: String,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `list repo`.
#[derive(Debug, Args)]
pub(crate) struct ListRepo {
    /// List repos of every type, those of the system too
    #[arg(long)]
    pub all: bool,
    /// List repos of this type
    #[arg(long = "type", value_name = "TYPE", default_value = "user")]
    pub kind: String,
    /// List repos of every project
    #[arg(short = 'A', long)]
    pub all_projects: bool,
    /// List repos that this one is made from (hyphenated form)
    #[arg(long, value_name = "REPO", hide = true)]
    pub provenance: Vec<String>,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `delete repo`.
#[derive(Debug, Args)]
pub(crate) struct DeleteRepo {
    /// Name of the repo
    pub repo: Option<String>,
    /// Delete it even if other branches are made from it
    #[arg(short, long)]
    pub force: bool,
    /// Delete every repo of the project
    #[arg(long)]
    pub all: bool,
    /// With --all: of every project
    #[arg(short = 'A', long)]
    pub all_projects: bool,
    #[command(flatten)]
    pub project: ProjectArg,
}
