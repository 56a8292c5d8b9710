//! Options that all benchmarks have.

use std::path::PathBuf;

use clap::Args;

/// Options of every benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct CommonOptions {
    /// The `howdah` program [default: the one beside this program]
    #[arg(long, global = true, value_name = "PATH")]
    pub howdah: Option<PathBuf>,
    /// Folder for temporary data [default: the system's folder for temporary files]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub scratch: Option<PathBuf>,
    /// Print only the line of JSON
    #[arg(long, global = true)]
    pub json: bool,
}
