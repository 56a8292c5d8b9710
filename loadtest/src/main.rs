//! Benchmarks of Howdah against floors and peers that are measured in the same run.
//!
//! `howdah-loadtest NAME` runs one benchmark, `howdah-loadtest all` every one with its defaults. Each starts a
//! Howdah of its own over a temporary folder, so that nothing that runs already is used or disturbed, and prints
//! a table, the ratios that count, and one line of JSON for machines. Nothing here passes or fails by time:
//! machines differ, ratios are for people to judge.
//!
//! - [`harness`]: a running Howdah and the few API calls that benchmarks share;
//! - [`peers`]: other ways to run the same program;
//! - [`report`]: tables, ratios, JSON;
//! - [`contest`]: phases of work done round by round by Howdah and by other programs that store files;
//! - one module per benchmark, with its arguments and a `run`: [`datums`], [`small_files`], [`big_file`].
//!
//! Another benchmark is another module, another variant of `Benchmark` and another line in `run_all`.

mod big_file;
mod contest;
mod datums;
mod harness;
mod image;
mod noise;
mod peers;
mod report;
mod small_files;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Parser, Subcommand};

use crate::report::Printed;

/// Benchmarks of Howdah beside its peers.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    benchmark: Benchmark,
}

/// What every benchmark understands.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The `howdah` program [default: the one beside this program]
    #[arg(long, global = true, value_name = "PATH")]
    pub howdah: Option<PathBuf>,
    /// Folder under which temporary data goes [default: the system's folder for temporary files]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub scratch: Option<PathBuf>,
    /// Print only the line of JSON
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
enum Benchmark {
    /// Many trivial datums on one worker, beside loops, xargs, GNU parallel and docker run
    Datums(datums::Arguments),
    /// Many small files put, listed, got and put again, beside restic, borg, rustic, tar and cp
    SmallFiles(small_files::Arguments),
    /// One large file put, got and put again, beside restic, borg, rustic, tar and cp
    BigFile(big_file::Arguments),
    /// Every benchmark with its defaults
    All,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let work = async {
        match cli.benchmark {
            Benchmark::Datums(arguments) => print(&cli.common, &datums::run(&cli.common, &arguments).await?.print()),
            Benchmark::SmallFiles(arguments) => print(&cli.common, &small_files::run(&cli.common, &arguments).await?),
            Benchmark::BigFile(arguments) => print(&cli.common, &big_file::run(&cli.common, &arguments).await?),
            Benchmark::All => run_all(&cli.common).await?,
        }
        anyhow::Ok(())
    };
    // Dropping the work stops what it had started and removes its folders.
    let ended = tokio::select! {
        ended = work => ended,
        signal = tokio::signal::ctrl_c() => match signal {
            Ok(()) => Err(anyhow::anyhow!("interrupted")),
            Err(error) => Err(error.into()),
        },
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs every benchmark; one that fails does not keep the others from running.
async fn run_all(common: &Common) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    let mut show = |name: &'static str, result: anyhow::Result<Printed>| match result {
        Ok(printed) => print(common, &printed),
        Err(error) => {
            eprintln!("{name}: {error:#}");
            failed.push(name);
        }
    };
    let datums = datums::run(common, &datums::Arguments::default()).await;
    show("datums", datums.map(|report| report.print()));
    show(
        "small-files",
        small_files::run(common, &small_files::Arguments::default()).await,
    );
    show("big-file", big_file::run(common, &big_file::Arguments::default()).await);
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn print(common: &Common, printed: &Printed) {
    if !common.json {
        println!("{}", printed.text);
    }
    println!("{}", printed.json);
}
