//! `one-change`: pipelines in a chain, each with many finished datums; one file is added.
//!
//! Measures the time from the start of the put to the finished output commit of the last pipeline, for several numbers
//! of datums: the cost should depend on the change, not on the stored data.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::api::Api;
use crate::harness::{BenchServer, median, scratch_folder};
use crate::image;
use crate::options::CommonOptions;
use crate::report::{Report, Row};
use crate::scripted::{self, ScriptedWorker};

const REPO: &str = "files";

/// Where commands run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CommandRuntime {
    /// In containers.
    Docker,
    /// In this program, as functions.
    Scripted,
}

/// Arguments of the benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// Finished datums of each pipeline; several numbers show how the time grows
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_values_t = [1000, 10_000])]
    datums: Vec<u32>,
    /// Pipelines in the chain
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pipelines: u32,
    /// Files to add, one after the other; the median time counts
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    changes: u32,
    /// Where the commands run
    #[arg(long, value_enum, default_value = "scripted")]
    runtime: CommandRuntime,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            datums: vec![1000, 10_000],
            pipelines: 5,
            changes: 9,
            runtime: CommandRuntime::Scripted,
        }
    }
}

/// Runs the benchmark.
pub(crate) async fn run(common: &CommonOptions, arguments: &Arguments) -> anyhow::Result<Report> {
    const MAKE: &str = "make, last size";
    let mut report = Report::new(
        "one-change",
        format!(
            "One file added before {} pipelines in a chain, end to end",
            arguments.pipelines
        ),
        "changes",
        MAKE,
        json!({"datums": arguments.datums, "pipelines": arguments.pipelines, "changes": arguments.changes,
               "runtime": format!("{:?}", arguments.runtime).to_lowercase()}),
    );
    let mut names = Vec::new();
    for datums in &arguments.datums {
        let name = format!("howdah, {datums} datums");
        report.row(Row::new(&name, 1, chain(common, arguments, *datums).await?));
        names.push(name);
    }
    let last = arguments.datums.last().copied().unwrap_or_default();
    let folder = scratch_folder(common)?;
    match make(folder.path(), last, arguments.pipelines)? {
        Some(time) => report.row(Row::new(MAKE, 1, time)),
        None => report.skip(MAKE, "not installed: apt-get install make"),
    }
    if let [first, .., last] = &names[..] {
        report.ratio("last_size_to_first", last, first);
    }
    report.note(
        "Time from the start of the put to the finished output commit of the last pipeline; median of the changes.",
    );
    Ok(report)
}

async fn chain(common: &CommonOptions, arguments: &Arguments, datums: u32) -> anyhow::Result<Duration> {
    let folder = scratch_folder(common)?;
    let (up, worker) = match arguments.runtime {
        CommandRuntime::Docker => {
            image::build(folder.path())?;
            (BenchServer::start(common, folder.path(), 2).await?, None)
        }
        CommandRuntime::Scripted => {
            let up = BenchServer::start_with(common, folder.path(), &["--no-worker"]).await?;
            let worker = ScriptedWorker::start(folder.path(), &up.nats_url().await?, 2)?;
            (up, Some(worker))
        }
    };
    let transform = match arguments.runtime {
        CommandRuntime::Docker => json!({"image": image::IMAGE, "cmd": [image::COMMAND]}),
        CommandRuntime::Scripted => json!({"image": scripted::IMAGE, "cmd": [scripted::COMMAND]}),
    };
    let chain = Chain::build(&up, arguments.pipelines, datums, &transform).await?;
    let mut times = Vec::new();
    for number in datums..datums + arguments.changes {
        times.push(chain.add_file(&up, number).await?);
    }
    drop(worker);
    up.stop();
    median(times).context("no changes were made")
}

/// Pipelines in a chain that have processed some files.
pub(crate) struct Chain {
    last: String,
}

impl Chain {
    /// Makes the pipelines, puts the input files and waits for the job of the last pipeline.
    pub(crate) async fn build(api: &Api, pipelines: u32, files: u32, transform: &Value) -> anyhow::Result<Self> {
        api.create_repo(REPO).await?;
        let mut last = REPO.to_owned();
        for number in 1..=pipelines {
            let name = format!("stage-{number}");
            api.create_pipeline(&json!({
                "pipeline": {"name": name},
                "transform": transform,
                "parallelismSpec": {"constant": 2},
                "input": {"pfs": {"name": scripted::INPUT, "repo": last, "glob": "/*"}},
            }))
            .await?;
            last = name;
        }
        let commit = api.put_files(REPO, (0..files).map(file)).await?;
        api.job_of(&last, &commit).await?;
        Ok(Self { last })
    }

    /// Adds the file with a number; the files with lower numbers exist. Returns the time from the start of the put to
    /// the finished output commit of the last pipeline.
    pub(crate) async fn add_file(&self, api: &Api, number: u32) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let commit = api.put_files(REPO, [file(number)]).await?;
        api.commit_of(&self.last, &commit).await?;
        let took = started.elapsed();
        let (job, _) = api.job_of(&self.last, &commit).await?;
        ensure!(
            (job.data_processed, job.data_skipped) == (1, i64::from(number)),
            "expected 1 datum processed and {number} skipped, found {} and {}",
            job.data_processed,
            job.data_skipped
        );
        Ok(took)
    }
}

fn file(number: u32) -> (String, Bytes) {
    (format!("/{number:07}.txt"), Bytes::from(format!("file {number}\n")))
}

/// Measures how long `make` takes for one new file in a chain of copies. `None` if it is not installed.
fn make(folder: &Path, files: u32, stages: u32) -> anyhow::Result<Option<Duration>> {
    if Command::new("make").arg("--version").output().is_err() {
        return Ok(None);
    }
    for stage in 0..=stages {
        let stage_folder = folder.join(stage.to_string());
        std::fs::create_dir(&stage_folder)?;
        for number in 0..files {
            std::fs::write(stage_folder.join(format!("{number:07}")), "x")?;
        }
    }
    let mut rules =
        format!(".SUFFIXES:\nMAKEFLAGS += -rR\nFILES := $(notdir $(wildcard 0/*))\nall: $(FILES:%={stages}/%)\n");
    for stage in 1..=stages {
        rules += &format!("{stage}/%: {}/%\n\t@cp $< $@\n", stage - 1);
    }
    std::fs::write(folder.join("Makefile"), rules)?;
    std::fs::write(folder.join("0/new"), "x")?;
    let started = Instant::now();
    let status = Command::new("make").arg("--silent").current_dir(folder).status()?;
    ensure!(status.success(), "make failed: {status}");
    ensure!(
        folder.join(format!("{stages}/new")).is_file(),
        "make did not copy the new file to the end"
    );
    Ok(Some(started.elapsed()))
}
