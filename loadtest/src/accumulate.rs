//! `accumulate`: a repository grows round by round, and its pipeline reads all files every time.

use bytes::Bytes;
use clap::Args;
use serde_json::json;

use crate::harness::{BenchServer, scratch_folder};
use crate::options::CommonOptions;
use crate::report::{Report, Row};
use crate::scripted::{self, ScriptedWorker};

/// Arguments of the benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// Files added in each round
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    files: u32,
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..))]
    rounds: u32,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            files: 20_000,
            rounds: 10,
        }
    }
}

/// Runs the benchmark.
pub(crate) async fn run(common: &CommonOptions, arguments: &Arguments) -> anyhow::Result<Report> {
    const FIRST: &str = "round 1";
    let Arguments { files, rounds } = *arguments;
    let folder = scratch_folder(common)?;
    let up = BenchServer::start_with(common, folder.path(), &["--no-worker"]).await?;
    let worker = ScriptedWorker::start(folder.path(), &up.nats_url().await?, 1)?;
    up.create_repo("files").await?;
    up.create_pipeline(&json!({
        "pipeline": {"name": "count"},
        "transform": {"image": scripted::IMAGE, "cmd": [scripted::COMMAND]},
        "input": {"pfs": {"name": scripted::INPUT, "repo": "files", "glob": "/"}},
    }))
    .await?;
    let mut report = Report::new(
        "accumulate",
        format!("{files} files added {rounds} times, all of them read every time: from the commit to the command"),
        "starts",
        FIRST,
        json!({"files": files, "rounds": rounds}),
    );
    let mut last = String::new();
    for round in 1..=rounds {
        let file = move |number: u32| {
            let content = Bytes::from(format!("file {number} of round {round}\n"));
            (format!("/{round:03}-{number:07}.txt"), content)
        };
        let commit = up.put_files("files", (0..files).map(file)).await?;
        up.job_of("count", &commit).await?;
        let waited = worker.first_command_after(&commit)?;
        last = format!("round {round}");
        report.row(Row::new(&last, 1, waited));
    }
    let count = String::from_utf8(up.get_file("count", "/count").await?)?;
    anyhow::ensure!(
        count == (files * rounds).to_string(),
        "the last command saw {count} files"
    );
    report.ratio("last_round_to_first", &last, FIRST);
    report.note("Commands are functions of this program (no containers).");
    drop(worker);
    up.stop();
    Ok(report)
}
