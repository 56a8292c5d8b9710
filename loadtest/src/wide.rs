//! `wide`: one commit of very many files, one datum for each; what Howdah itself uses up.

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Args;
use serde_json::json;

use crate::harness::{BenchServer, between, scratch_folder};
use crate::options::CommonOptions;
use crate::process::{peak, processor_time};
use crate::report::{Report, Row};
use crate::scripted::{self, ScriptedWorker};

/// Arguments of the benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// Number of files
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    files: u32,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { files: 1_000_000 }
    }
}

/// Runs the benchmark.
pub(crate) async fn run(common: &CommonOptions, arguments: &Arguments) -> anyhow::Result<Report> {
    const COORDINATOR: &str = "coordinator, processor time";
    let folder = scratch_folder(common)?;
    let up = BenchServer::start_with(common, folder.path(), &["--no-worker"]).await?;
    let files = arguments.files;
    up.create_repo("files").await?;
    let file = |number: u32| (format!("/{number:07}.txt"), Bytes::from(format!("file {number}\n")));
    let commit = up.put_files("files", (0..files).map(file)).await?;
    let memory_of_put = peak(up.process()).context("the process has ended")?;
    let before = processor_time(up.process())?;
    let worker = ScriptedWorker::start(folder.path(), &up.nats_url().await?, 2)?;
    up.create_pipeline(&json!({
        "pipeline": {"name": "copy"},
        "transform": {"image": scripted::IMAGE, "cmd": [scripted::COMMAND]},
        "parallelismSpec": {"constant": 2},
        "input": {"pfs": {"name": scripted::INPUT, "repo": "files", "glob": "/*"}},
    }))
    .await?;
    let output = up.head_of("copy").await?;
    let (job, output) = up.job_of("copy", &output).await?;
    ensure!(
        job.data_processed == i64::from(files),
        "{} datums were processed",
        job.data_processed
    );
    let mut report = Report::new(
        "wide",
        format!("{files} files, one datum each, no containers"),
        "datums",
        COORDINATOR,
        json!({"files": files}),
    );
    let datums = u64::from(files);
    report.row(Row::new(
        COORDINATOR,
        datums,
        processor_time(up.process())?.saturating_sub(before),
    ));
    report.row(Row::new(
        "worker, processor time",
        datums,
        processor_time(worker.process())?,
    ));
    report.row(Row::new(
        "job, start to output",
        datums,
        between(&job.started, &output.finished)?,
    ));
    let mebibytes = |bytes: u64| bytes / (1 << 20);
    report.value(
        "coordinator_mib",
        mebibytes(peak(up.process()).context("the process has ended")?),
    );
    report.value("coordinator_mib_after_put", mebibytes(memory_of_put));
    report.value(
        "worker_mib",
        mebibytes(peak(worker.process()).context("the process has ended")?),
    );
    report.note(format!(
        "Input commit: {}.",
        commit.commit.map(|commit| commit.id).unwrap_or_default()
    ));
    drop(worker);
    up.stop();
    Ok(report)
}
