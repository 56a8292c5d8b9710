//! Arguments of commands on files.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::shared::{PagerArgs, ProjectArg, ViewArgs};

/// How `put file --split` cuts a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Split {
    /// One record per line.
    Line,
    /// One record per JSON value.
    Json,
    /// Not provided.
    Sql,
    /// Not provided.
    Csv,
}

/// `put file`.
#[derive(Debug, Args)]
pub(crate) struct PutFile {
    /// Branch, and the path in it
    #[arg(value_name = "REPO@BRANCH[:PATH]")]
    pub target: String,
    /// File, folder (with -r) or URL to put; - is standard input [default: -]
    #[arg(short, long, value_name = "SOURCE")]
    pub file: Vec<String>,
    /// File or URL with one source per line; - is standard input
    #[arg(short, long, value_name = "LIST")]
    pub input_file: Option<String>,
    /// Put everything below the given folders
    #[arg(short, long)]
    pub recursive: bool,
    /// Add to the end of files that exist, instead of replacing them
    #[arg(short, long)]
    pub append: bool,
    /// Compress the data that is sent to the server
    #[arg(short, long)]
    pub compress: bool,
    /// How many URLs the server fetches at once
    #[arg(short, long, value_name = "N", default_value_t = 10)]
    pub parallelism: u32,
    /// Name targets by the whole text of the source, not by its base name
    #[arg(long)]
    pub full_path: bool,
    /// Put the files in .tar, .tar.gz and .tgz archives, not the archives
    #[arg(long)]
    pub untar: bool,
    /// Show a progress bar [default: on a terminal, if it takes long]
    #[arg(long, value_name = "BOOL", hide_possible_values = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub progress: Option<bool>,
    /// Start a commit of its own (hyphenated form)
    #[arg(long, hide = true)]
    pub commit: bool,
    /// Description of the commit (1.x)
    #[arg(short, long, value_name = "TEXT", hide = true)]
    pub message: Option<String>,
    /// Replace files that exist (1.x; always done)
    #[arg(long, hide = true)]
    pub overwrite: bool,
    /// Cut files into records (1.x)
    #[arg(long, value_name = "FORMAT", hide = true)]
    pub split: Option<Split>,
    /// Records per file of --split (1.x)
    #[arg(long, value_name = "N", default_value_t = 0, hide = true)]
    pub target_file_datums: u64,
    /// Bytes per file of --split (1.x)
    #[arg(long, value_name = "N", default_value_t = 0, hide = true)]
    pub target_file_bytes: u64,
    /// Records that every file of --split begins with (1.x)
    #[arg(long, value_name = "N", default_value_t = 0, hide = true)]
    pub header_records: u64,
    #[command(flatten)]
    pub project: ProjectArg,
}

/// `get file`.
#[derive(Debug, Args)]
pub(crate) struct GetFile {
    /// The file; the path is a glob
    #[arg(value_name = "REPO@BRANCH-OR-ID:PATH")]
    pub file: String,
    /// File, or with -r folder, to write to; a URL exports on the server's side
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<String>,
    /// Get folders and everything in them
    #[arg(short, long)]
    pub recursive: bool,
    /// Skip this many bytes
    #[arg(long, value_name = "BYTES", default_value_t = 0, hide_default_value = true)]
    pub offset: u64,
    /// Append the missing part to a partial file of an earlier attempt
    #[arg(long)]
    pub retry: bool,
    /// Show a progress bar [default: on a terminal, if it takes long]
    #[arg(long, value_name = "BOOL", hide_possible_values = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub progress: Option<bool>,
    /// Ignored (1.x)
    #[arg(short, long, value_name = "N", hide = true)]
    pub parallelism: Option<u32>,
    #[command(flatten)]
    pub project: ProjectArg,
}

/// `list file`, `inspect file`.
#[derive(Debug, Args)]
pub(crate) struct OneFile {
    /// The file or folder
    #[arg(value_name = "REPO@BRANCH-OR-ID[:PATH]")]
    pub file: String,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `glob file`.
#[derive(Debug, Args)]
pub(crate) struct GlobFile {
    /// The pattern; quote it, so that the shell does not expand it
    #[arg(value_name = "REPO@BRANCH-OR-ID:PATTERN")]
    pub pattern: String,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// `diff file`.
#[derive(Debug, Args)]
pub(crate) struct DiffFile {
    /// The new side
    #[arg(value_name = "REPO@BRANCH-OR-ID:PATH")]
    pub new: String,
    /// The old side [default: the same path in the parent commit]
    #[arg(value_name = "REPO@BRANCH-OR-ID:PATH")]
    pub old: Option<String>,
    /// Compare only the direct children of the folder
    #[arg(short, long)]
    pub shallow: bool,
    /// Print names and sizes, not contents
    #[arg(long)]
    pub name_only: bool,
    /// Program that compares two files [default: git diff --no-index, or diff]
    #[arg(long, value_name = "COMMAND")]
    pub diff_command: Option<String>,
    /// Project of the old side [default: that of the new side]
    #[arg(long, value_name = "PROJECT")]
    pub old_project: Option<String>,
    #[command(flatten)]
    pub project: ProjectArg,
    #[command(flatten)]
    pub pager: PagerArgs,
}

/// `delete file`.
#[derive(Debug, Args)]
pub(crate) struct DeleteFile {
    /// The file
    #[arg(value_name = "REPO@BRANCH:PATH")]
    pub file: String,
    /// Delete a folder and everything in it
    #[arg(short, long)]
    pub recursive: bool,
    #[command(flatten)]
    pub project: ProjectArg,
}

/// `copy file`.
#[derive(Debug, Args)]
pub(crate) struct CopyFile {
    /// The source
    #[arg(value_name = "REPO@BRANCH-OR-ID:PATH")]
    pub source: String,
    /// The target; a path that ends with / is the folder to copy a file into
    #[arg(value_name = "REPO@BRANCH:PATH")]
    pub target: String,
    /// Add to the end of files that exist, instead of replacing them
    #[arg(short, long)]
    pub append: bool,
    /// Project of the source
    #[arg(long, value_name = "PROJECT")]
    pub src_project: Option<String>,
    /// Project of the target
    #[arg(long, value_name = "PROJECT")]
    pub dest_project: Option<String>,
    /// Replace files that exist (1.x; always done)
    #[arg(short, long, hide = true)]
    pub overwrite: bool,
    #[command(flatten)]
    pub project: ProjectArg,
}

/// `completion`.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    #[arg(
        value_name = "bash|zsh|fish",
        default_value = "bash",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub shell: CompletionShell,
    /// Write the script to the path at which the shell looks for it
    #[arg(long)]
    pub install: bool,
    /// With --install: the file to write
    #[arg(long, value_name = "PATH")]
    pub path: Option<PathBuf>,
}

/// Shells with completion scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompletionShell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}
