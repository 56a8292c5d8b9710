//! `first-datum`: the time from a commit of very many new files to the first command.

use bytes::Bytes;
use clap::Args;
use serde_json::json;

use crate::harness::{BenchServer, between, scratch_folder};
use crate::options::CommonOptions;
use crate::report::{Report, Row};
use crate::scripted::{self, ScriptedWorker};

/// Slots of the worker.
const SLOTS: u32 = 8;

/// Arguments of the benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// Number of files
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    files: u32,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { files: 100_000 }
    }
}

/// Runs the benchmark.
pub(crate) async fn run(common: &CommonOptions, arguments: &Arguments) -> anyhow::Result<Report> {
    const FIRST: &str = "first command, empty base";
    let folder = scratch_folder(common)?;
    let up = BenchServer::start_with(common, folder.path(), &["--no-worker"]).await?;
    let worker = ScriptedWorker::start(folder.path(), &up.nats_url().await?, SLOTS)?;
    up.create_repo("files").await?;
    up.create_pipeline(&json!({
        "pipeline": {"name": "copy"},
        "transform": {"image": scripted::IMAGE, "cmd": [scripted::COMMAND]},
        "parallelismSpec": {"constant": SLOTS},
        "input": {"pfs": {"name": scripted::INPUT, "repo": "files", "glob": "/*"}},
    }))
    .await?;
    let mut report = Report::new(
        "first-datum",
        format!(
            "{} new files: from the finished commit to the first command",
            arguments.files
        ),
        "starts",
        FIRST,
        json!({"files": arguments.files}),
    );
    let mut total = Vec::new();
    for (round, (name, after)) in [
        (FIRST, ", empty base"),
        ("first command, as many files before", ", as many files before"),
    ]
    .into_iter()
    .enumerate()
    {
        let files = arguments.files;
        let file = move |number: u32| {
            (
                format!("/{round}-{number:07}.txt"),
                Bytes::from(format!("file {number}\n")),
            )
        };
        let commit = up.put_files("files", (0..files).map(file)).await?;
        let (_, output) = up.job_of("copy", &commit).await?;
        let busy = worker.slots_busy_after(&commit)?;
        anyhow::ensure!(
            busy.len() == SLOTS as usize,
            "only {} of {SLOTS} slots had a datum",
            busy.len()
        );
        report.row(Row::new(name, 1, busy[0]));
        report.row(Row::new(format!("all slots busy{after}"), 1, busy[busy.len() - 1]));
        total.push(between(&commit.finished, &output.finished)?);
    }
    for (time, name) in total
        .into_iter()
        .zip(["whole job, empty base", "whole job, as many files before"])
    {
        report.row(Row::new(name, 1, time));
    }
    report.note("Commands are functions of this program (no containers); a warm container adds about a millisecond.");
    drop(worker);
    up.stop();
    Ok(report)
}
