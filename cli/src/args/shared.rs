//! Flags that many commands share.

use clap::{Args, ValueEnum};

use crate::error::CliError;

/// How machine output is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    /// One JSON object after another.
    Json,
    /// YAML documents separated by `---`.
    Yaml,
}

/// The project a command works in.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ProjectArg {
    /// Project to work in [default: the project of the active context]
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
}

/// Output for programs.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RawArgs {
    /// Print messages as JSON, one object after another
    #[arg(long)]
    pub raw: bool,
    /// Encoding of --raw [default: json]
    #[arg(short, long, value_name = "json|yaml", hide_possible_values = true)]
    pub output: Option<Encoding>,
}

impl RawArgs {
    /// Returns the encoding of machine output; none if output is for people.
    pub(crate) fn encoding(&self) -> Result<Option<Encoding>, CliError> {
        match (self.raw, self.output) {
            (true, encoding) => Ok(Some(encoding.unwrap_or(Encoding::Json))),
            (false, None) => Ok(None),
            (false, Some(_)) => Err(CliError::refused("cannot set --output (-o) without --raw")),
        }
    }
}

/// Output for programs, or times in full.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ViewArgs {
    #[command(flatten)]
    pub raw: RawArgs,
    /// Print times in full (RFC 3339, UTC), not as ages
    #[arg(long)]
    pub full_timestamps: bool,
}

/// Lists that may be long.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PagerArgs {
    /// Print everything at once, without a pager
    #[arg(long)]
    pub no_pager: bool,
}

/// Answers to questions.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct YesArgs {
    /// Answer every question with yes
    #[arg(short, long)]
    pub yes: bool,
}
