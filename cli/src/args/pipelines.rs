//! Arguments of commands on pipelines, defaults and secrets.

use clap::Args;

use super::shared::{ProjectArg, RawArgs, ViewArgs, YesArgs};

/// `create pipeline`, `update pipeline`.
#[derive(Debug, Args)]
pub(crate) struct WritePipeline {
    /// File, URL or - (standard input) with one or more specs, JSON or YAML [default: -]
    #[arg(short, long, value_name = "SOURCE")]
    pub file: Vec<String>,
    /// Jsonnet template that makes the specs
    #[arg(long, value_name = "SOURCE")]
    pub jsonnet: Option<String>,
    /// Argument of the template
    #[arg(long = "arg", value_name = "NAME=VALUE")]
    pub args: Vec<String>,
    /// Push the image under a tag of its own before creating the pipeline
    #[arg(short, long)]
    pub push_images: bool,
    /// Registry to push to
    #[arg(short, long, value_name = "REGISTRY")]
    pub registry: Option<String>,
    /// User name at the registry
    #[arg(short, long, value_name = "USER")]
    pub username: Option<String>,
    /// Change nothing, print the spec with all defaults filled in
    #[arg(long)]
    pub dry_run: bool,
    /// Ignored (1.x)
    #[arg(long, hide = true)]
    pub password: bool,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub raw: RawArgs,
}

/// `update pipeline`.
#[derive(Debug, Args)]
pub(crate) struct UpdatePipeline {
    #[command(flatten)]
    pub write: WritePipeline,
    /// Compute every result again, also those that the change does not affect
    #[arg(long)]
    pub reprocess: bool,
}

/// `edit pipeline`.
#[derive(Debug, Args)]
pub(crate) struct EditPipeline {
    /// Name of the pipeline
    pub pipeline: String,
    /// Compute every result again
    #[arg(long)]
    pub reprocess: bool,
    /// Editor [default: $EDITOR, else vim]
    #[arg(long, value_name = "COMMAND")]
    pub editor: Option<String>,
    /// Encoding of the file to edit [default: json]
    #[arg(short, long, value_name = "json|yaml", hide_possible_values = true)]
    pub output: Option<super::shared::Encoding>,
    #[command(flatten)]
    pub project: ProjectArg,
}

/// `inspect pipeline`.
#[derive(Debug, Args)]
pub(crate) struct InspectPipeline {
    /// Name of the pipeline; NAME^ is the version before
    pub pipeline: String,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `list pipeline`.
#[derive(Debug, Args)]
pub(crate) struct ListPipeline {
    /// Name of one pipeline
    pub pipeline: Option<String>,
    /// Print specs as `create pipeline` accepts them
    #[arg(short, long)]
    pub spec: bool,
    /// Older versions to list too
    #[arg(long, value_name = "none|all|N", default_value = "none", allow_hyphen_values = true)]
    pub history: String,
    /// List pipelines as they were at this set of commits
    #[arg(short, long, value_name = "ID")]
    pub commit: Option<String>,
    /// List pipelines in this state
    #[arg(long, value_name = "STATE")]
    pub state: Vec<String>,
    /// List pipelines of every project
    #[arg(short = 'A', long)]
    pub all_projects: bool,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `extract pipeline` (2.0 to 2.2).
#[derive(Debug, Args)]
pub(crate) struct ExtractPipeline {
    /// Name of the pipeline
    pub pipeline: String,
    /// Encoding [default: json]
    #[arg(short, long, value_name = "json|yaml", hide_possible_values = true)]
    pub output: Option<super::shared::Encoding>,
    #[command(flatten)]
    pub project: ProjectArg,
}

/// `delete pipeline`.
#[derive(Debug, Args)]
pub(crate) struct DeletePipeline {
    /// Name of the pipeline
    pub pipeline: Option<String>,
    /// Delete every pipeline of the project
    #[arg(long)]
    pub all: bool,
    /// With --all: of every project
    #[arg(short = 'A', long)]
    pub all_projects: bool,
    /// Delete it even if something depends on it
    #[arg(short, long)]
    pub force: bool,
    /// Keep the output repo
    #[arg(long)]
    pub keep_repo: bool,
    /// Always done (1.x)
    #[arg(long, hide = true)]
    pub delete_jobs: bool,
    /// Always done (1.x)
    #[arg(long, hide = true)]
    pub delete_repo: bool,
    #[command(flatten)]
    pub project: ProjectArg,
}

/// Commands that take the name of a pipeline.
#[derive(Debug, Args)]
pub(crate) struct OnePipeline {
    /// Name of the pipeline
    pub pipeline: String,
    #[command(flatten)]
    pub project: ProjectArg,
}

/// `rerun pipeline`.
#[derive(Debug, Args)]
pub(crate) struct RerunPipeline {
    /// Name of the pipeline
    pub pipeline: String,
    /// Compute every result again
    #[arg(long)]
    pub reprocess: bool,
    #[command(flatten)]
    pub project: ProjectArg,
}

/// `draw pipeline`.
#[derive(Debug, Args)]
pub(crate) struct DrawPipeline {
    /// Width of a box
    #[arg(long, value_name = "N", default_value_t = 11)]
    pub box_width: usize,
    /// Lines between two rows of boxes
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub edge_height: usize,
    /// Draw pipelines as they were at this set of commits
    #[arg(short, long, value_name = "ID")]
    pub commit: Option<String>,
    #[command(flatten)]
    pub project: ProjectArg,
}

/// `validate pipeline`.
#[derive(Debug, Args)]
pub(crate) struct ValidatePipeline {
    /// File, URL or - (standard input) with one or more specs [default: -]
    #[arg(short, long, value_name = "SOURCE")]
    pub file: Vec<String>,
}

/// `check status`.
#[derive(Debug, Args)]
pub(crate) struct CheckStatus {
    /// Check every project
    #[arg(short = 'A', long)]
    pub all_projects: bool,
    /// Print messages as JSON
    #[arg(long)]
    pub raw: bool,
    #[command(flatten)]
    pub project: ProjectArg,
}

/// `create defaults`, `update defaults`.
#[derive(Debug, Args)]
pub(crate) struct WriteDefaults {
    /// Set the defaults of the whole cluster
    #[arg(long)]
    pub cluster: bool,
    /// Set the defaults of this project
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
    /// File, URL or - (standard input) with the defaults [default: -]
    #[arg(short, long, value_name = "SOURCE")]
    pub file: Option<String>,
    /// Give existing pipelines the new defaults
    #[arg(long)]
    pub regenerate: bool,
    /// With --regenerate: compute every result again
    #[arg(long)]
    pub reprocess: bool,
    /// Change nothing, print which pipelines would change
    #[arg(long)]
    pub dry_run: bool,
}

/// `inspect defaults`.
#[derive(Debug, Args)]
pub(crate) struct ReadDefaults {
    /// The defaults of the whole cluster
    #[arg(long)]
    pub cluster: bool,
    /// The defaults of this project
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
}

/// `delete defaults`.
#[derive(Debug, Args)]
pub(crate) struct DeleteDefaults {
    /// Delete the defaults of the whole cluster
    #[arg(long)]
    pub cluster: bool,
    /// Delete the defaults of this project
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
    /// Give existing pipelines the new defaults
    #[arg(long)]
    pub regenerate: bool,
    /// With --regenerate: compute every result again
    #[arg(long)]
    pub reprocess: bool,
    /// Change nothing, print which pipelines would change
    #[arg(long)]
    pub dry_run: bool,
}

/// `create secret`.
#[derive(Debug, Args)]
pub(crate) struct CreateSecret {
    /// File or - (standard input) with a Kubernetes Secret manifest, JSON or YAML
    #[arg(short, long, value_name = "FILE")]
    pub file: String,
}

/// `list secret`.
#[derive(Debug, Args)]
pub(crate) struct ListSecret {}

/// `inspect secret`, `delete secret`.
#[derive(Debug, Args)]
pub(crate) struct SecretName {
    /// Name of the secret
    pub secret: String,
}

/// `delete all`.
#[derive(Debug, Args)]
pub(crate) struct DeleteAll {
    #[command(flatten)]
    pub yes: YesArgs,
}
