//! `restart`: a coordinator with a long history is killed and started again.

use std::time::Instant;

use bytes::Bytes;
use clap::Args;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use crate::harness::{BenchServer, scratch_folder};
use crate::options::CommonOptions;
use crate::report::{Report, Row};
use crate::scripted::{self, ScriptedWorker};

/// Repositories for the further commits.
const REPOS: usize = 64;

/// Arguments of the benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// Finished jobs
    #[arg(long, value_name = "N", default_value_t = 4000)]
    jobs: u32,
    /// Pipelines, in a chain
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pipelines: u32,
    /// Commits in addition to those of the jobs
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    commits: usize,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            jobs: 4000,
            pipelines: 5,
            commits: 100_000,
        }
    }
}

/// Runs the benchmark.
pub(crate) async fn run(common: &CommonOptions, arguments: &Arguments) -> anyhow::Result<Report> {
    const READY: &str = "kill to answering";
    let folder = scratch_folder(common)?;
    let up = BenchServer::start_with(common, folder.path(), &["--no-worker"]).await?;
    let worker = ScriptedWorker::start(folder.path(), &up.nats_url().await?, 2)?;
    up.create_repo("files").await?;
    let mut last = "files".to_owned();
    for number in 1..=arguments.pipelines {
        let name = format!("stage-{number}");
        up.create_pipeline(&json!({
            "pipeline": {"name": name},
            "transform": {"image": scripted::IMAGE, "cmd": [scripted::COMMAND]},
            "input": {"pfs": {"name": scripted::INPUT, "repo": last, "glob": "/*"}},
        }))
        .await?;
        last = name;
    }
    let file = |number: u32| (format!("/{number:06}.txt"), Bytes::from(format!("file {number}\n")));
    let rounds = arguments.jobs / arguments.pipelines;
    for number in 0..rounds {
        let commit = up.put_files("files", [file(number)]).await?;
        up.commit_of(&last, &commit).await?;
    }
    let repos: Vec<String> = (0..REPOS).map(|number| format!("other-{number}")).collect();
    futures::stream::iter(&repos)
        .map(|repo| {
            let up = &up;
            async move {
                up.create_repo(repo).await?;
                for _ in 0..arguments.commits / REPOS {
                    up.empty_commit(repo).await?;
                }
                anyhow::Ok(())
            }
        })
        .buffer_unordered(REPOS)
        .try_collect::<()>()
        .await?;
    up.kill()?;
    drop(worker);

    let killed = Instant::now();
    let up = BenchServer::start_with(common, folder.path(), &["--no-worker"]).await?;
    let ready = killed.elapsed();
    let worker = ScriptedWorker::start(folder.path(), &up.nats_url().await?, 2)?;
    let commit = up.put_files("files", [file(rounds)]).await?;
    up.commit_of(&last, &commit).await?;
    let worked = killed.elapsed();
    let mut report = Report::new(
        "restart",
        format!(
            "Restart with {} jobs of {} pipelines and {} further commits",
            rounds * arguments.pipelines,
            arguments.pipelines,
            arguments.commits
        ),
        "restarts",
        READY,
        json!({"jobs": arguments.jobs, "pipelines": arguments.pipelines, "commits": arguments.commits}),
    );
    report.row(Row::new(READY, 1, ready));
    report.row(Row::new("kill to the end of a new change", 1, worked));
    drop(worker);
    up.stop();
    Ok(report)
}
