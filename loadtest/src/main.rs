//! Benchmarks of Howdah against floors and peers that are measured in the same run.
//!
//! `howdah-loadtest NAME` runs one benchmark, `howdah-loadtest all` every one with its defaults. Each starts
//! its own Howdah over a temporary folder, independent of any other Howdah on the machine, and prints a table, the
//! important ratios, and one line of JSON for machines. No benchmark passes or fails by time: machines differ, and
//! ratios are for people to judge.
//!
//! - [`harness`]: a running Howdah; [`api`]: the calls that benchmarks share;
//! - [`peers`]: other ways to run the same program;
//! - [`report`]: tables, ratios, JSON;
//! - [`contest`]: phases of work done round by round by Howdah and by other programs that store files;
//! - one module per benchmark, with its arguments and a `run`: [`datums`], [`small_files`], [`big_file`],
//!   [`one_change`], [`history`], [`first_datum`], [`restart`], [`wide`],
//!   [`fan_out`], [`s3`], [`load_shapes`], [`accumulate`]; some use a worker that runs
//!   functions instead of containers ([`scripted`]).
//!
//! To add a benchmark, add a module, a variant of `Benchmark` and a line in `run_all`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "reports go to standard output, failures to standard error"
)]

mod accumulate;
mod api;
mod big_file;
mod contest;
mod datums;
mod fan_out;
mod first_datum;
mod harness;
mod history;
mod image;
mod load_shapes;
mod noise;
mod one_change;
mod options;
mod peers;
mod process;
mod report;
mod restart;
mod s3;
mod scripted;
mod small_files;
mod wide;

use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, Subcommand};

use crate::options::CommonOptions;
use crate::report::Printed;

/// Benchmarks of Howdah beside its peers.
#[derive(Debug, Parser)]
#[command(version)]
struct LoadtestArguments {
    #[command(flatten)]
    common: CommonOptions,
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Debug, Subcommand)]
enum Benchmark {
    /// Many trivial datums on one worker, beside loops, xargs, GNU parallel and docker run
    Datums(datums::Arguments),
    /// Many small files put, listed, got and put again, beside restic, borg, rustic, dvc, tar and cp
    SmallFiles(small_files::Arguments),
    /// One large file put, got and put again, beside restic, borg, rustic, dvc, tar and cp
    BigFile(big_file::Arguments),
    /// One file added before a chain of pipelines with many finished datums, beside make
    OneChange(one_change::Arguments),
    /// One commit after the other, each job awaited
    History(history::Arguments),
    /// Time from a commit of very many files to the first command
    FirstDatum(first_datum::Arguments),
    /// A repository that grows, read as a whole by every job
    Accumulate(accumulate::Arguments),
    /// A coordinator with a long history is killed and started again
    Restart(restart::Arguments),
    /// Many datums that only wait, on many slots of many workers
    FanOut(fan_out::Arguments),
    /// A million datums without containers: memory and processor time
    Wide(wide::Arguments),
    /// Commits of many modifications of many files, every byte read back and compared
    LoadShapes(load_shapes::Arguments),
    /// Small files and a chain of pipelines over an S3 server with latency: requests, and objects written
    S3(s3::Arguments),
    /// Every benchmark with its defaults
    All,
    /// Worker without containers, for other benchmarks
    #[command(hide = true)]
    ScriptedWorker(scripted::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = LoadtestArguments::parse();
    let work = async {
        match cli.benchmark {
            Benchmark::Datums(arguments) => print(&cli.common, &datums::run(&cli.common, &arguments).await?.print()),
            Benchmark::SmallFiles(arguments) => print(&cli.common, &small_files::run(&cli.common, &arguments).await?),
            Benchmark::BigFile(arguments) => print(&cli.common, &big_file::run(&cli.common, &arguments).await?),
            Benchmark::OneChange(arguments) => {
                print(&cli.common, &one_change::run(&cli.common, &arguments).await?.print());
            }
            Benchmark::History(arguments) => print(&cli.common, &history::run(&cli.common, &arguments).await?.print()),
            Benchmark::FirstDatum(arguments) => {
                print(&cli.common, &first_datum::run(&cli.common, &arguments).await?.print());
            }
            Benchmark::Accumulate(arguments) => {
                print(&cli.common, &accumulate::run(&cli.common, &arguments).await?.print());
            }
            Benchmark::Restart(arguments) => print(&cli.common, &restart::run(&cli.common, &arguments).await?.print()),
            Benchmark::FanOut(arguments) => print(&cli.common, &fan_out::run(&cli.common, &arguments).await?.print()),
            Benchmark::Wide(arguments) => print(&cli.common, &wide::run(&cli.common, &arguments).await?.print()),
            Benchmark::LoadShapes(arguments) => {
                print(&cli.common, &load_shapes::run(&cli.common, &arguments).await?.print());
            }
            Benchmark::S3(arguments) => print(&cli.common, &s3::run(&cli.common, &arguments).await?),
            Benchmark::ScriptedWorker(arguments) => scripted::run(&arguments).await?,
            Benchmark::All => run_all(&cli.common).await?,
        }
        anyhow::Ok(())
    };
    // On Ctrl-C the work is dropped, which stops its processes and removes its folders.
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

/// Runs every benchmark, also after one has failed.
async fn run_all(common: &CommonOptions) -> anyhow::Result<()> {
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
    let one_change = one_change::run(common, &one_change::Arguments::default()).await;
    show("one-change", one_change.map(|report| report.print()));
    let history = history::run(common, &history::Arguments::default()).await;
    show("history", history.map(|report| report.print()));
    let first_datum = first_datum::run(common, &first_datum::Arguments::default()).await;
    show("first-datum", first_datum.map(|report| report.print()));
    let accumulate = accumulate::run(common, &accumulate::Arguments::default()).await;
    show("accumulate", accumulate.map(|report| report.print()));
    let restart = restart::run(common, &restart::Arguments::default()).await;
    show("restart", restart.map(|report| report.print()));
    let fan_out = fan_out::run(common, &fan_out::Arguments::default()).await;
    show("fan-out", fan_out.map(|report| report.print()));
    let wide = wide::run(common, &wide::Arguments::default()).await;
    show("wide", wide.map(|report| report.print()));
    let load_shapes = load_shapes::run(common, &load_shapes::Arguments::default()).await;
    show("load-shapes", load_shapes.map(|report| report.print()));
    show("s3", s3::run(common, &s3::Arguments::default()).await);
    show("big-file", big_file::run(common, &big_file::Arguments::default()).await);
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn print(common: &CommonOptions, printed: &Printed) {
    if !common.json {
        println!("{}", printed.text);
    }
    println!("{}", printed.json);
}
