//! `history`: one commit after the other to a repository with a pipeline; each job is awaited.
//!
//! The last jobs should take no longer than the first ones, although the number of datums and commits grows.

use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use serde_json::json;

use crate::harness::{BenchServer, between, median, scratch_folder};
use crate::image;
use crate::options::CommonOptions;
use crate::report::{Report, Row};

/// Arguments of the benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// Number of commits
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(2..))]
    commits: u32,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { commits: 2000 }
    }
}

/// Runs the benchmark.
pub(crate) async fn run(common: &CommonOptions, arguments: &Arguments) -> anyhow::Result<Report> {
    const FIRST: &str = "job, first ones";
    const LAST: &str = "job, last ones";
    let folder = scratch_folder(common)?;
    image::build(folder.path())?;
    let up = BenchServer::start(common, folder.path(), 2).await?;
    up.create_repo("files").await?;
    up.create_pipeline(&json!({
        "pipeline": {"name": "copy"},
        "transform": {"image": image::IMAGE, "cmd": [image::COMMAND]},
        "input": {"pfs": {"name": "input", "repo": "files", "glob": "/*"}},
    }))
    .await?;
    let (mut jobs, mut waits): (Vec<Duration>, Vec<Duration>) = Default::default();
    for number in 0..arguments.commits {
        let file = (format!("/{number:06}.txt"), Bytes::from(format!("file {number}\n")));
        let started = Instant::now();
        let commit = up.put_files("files", [file]).await?;
        let output = up.commit_of("copy", &commit).await?;
        waits.push(started.elapsed());
        jobs.push(between(&commit.finished, &output.finished)?);
    }
    up.stop();
    // The very first job starts the container.
    let share = (arguments.commits as usize / 20).clamp(1, 100);
    let some = |times: &[Duration]| median(times.to_vec()).context("no commits were made");
    let first = 1..(1 + share).min(jobs.len());
    let last = jobs.len() - share..jobs.len();
    let mut report = Report::new(
        "history",
        format!(
            "{} commits of one file, each job awaited; medians of {share} jobs",
            arguments.commits
        ),
        "jobs",
        FIRST,
        json!({"commits": arguments.commits}),
    );
    report.row(Row::new(FIRST, 1, some(&jobs[first.clone()])?));
    report.row(Row::new(LAST, 1, some(&jobs[last.clone()])?));
    report.row(Row::new("put to output, first ones", 1, some(&waits[first])?));
    report.row(Row::new("put to output, last ones", 1, some(&waits[last])?));
    report.row(Row::new("put to output, all", 1, some(&waits)?));
    report.ratio("last_jobs_to_first", LAST, FIRST);
    report.note("A job's time is that between its finished input commit and its finished output commit.");
    Ok(report)
}
