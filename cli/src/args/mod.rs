//! The grammar of the command line, as clap types.
//!
//! [`verbs`] holds the tree of verbs and nouns, the other modules the arguments of each family.

#![allow(missing_docs, reason = "fields without a comment are flattened argument groups")]

pub(crate) mod admin;
pub(crate) mod files;
pub(crate) mod history;
pub(crate) mod jobs;
pub(crate) mod pipelines;
pub(crate) mod repos;
pub(crate) mod shared;
pub(crate) mod verbs;

use std::time::Duration;

use clap::{Args, CommandFactory, Parser};

/// Text below the list of commands in the main help.
const AFTER_HELP: &str = "\
Files and commits are named like this:
  REPO@BRANCH:PATH    REPO@ID:PATH    REPO@BRANCH^2 (two commits back)    REPO@BRANCH.1 (the first)

The hyphenated commands of 1.x (create-repo, put-file, list-job ...) work too.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "howdah",
    version,
    about = "Versioned, containerised data pipelines",
    after_help = AFTER_HELP,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    infer_long_args = false,
    max_term_width = 100
)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: verbs::Verb,
}

/// Flags that every command has.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Global {
    /// Show what this program does, and all causes of errors
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub verbose: bool,
    /// Print without colours
    #[arg(long, global = true, help_heading = "Global options")]
    pub no_color: bool,
    /// How long the server may take to answer
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        value_parser = crate::duration::parse,
        help_heading = "Global options"
    )]
    pub rpc_timeout: Option<Duration>,
    /// Ignored: no usage metrics are sent
    #[arg(long, global = true, hide = true)]
    pub no_metrics: bool,
}

/// Builds the command tree under the name that the program was called by.
pub(crate) fn command(program: &str) -> clap::Command {
    let name = program.to_owned();
    CommandLine::command().name(name.clone()).bin_name(name)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_tree_is_sound() {
        super::command("howdah").debug_assert();
    }
}
