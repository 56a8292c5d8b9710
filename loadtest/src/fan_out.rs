//! `fan-out`: datums that wait, on many slots of many workers.
//!
//! Every datum sleeps, like a datum that waits for a remote service. The benchmark shows how many slots are busy on
//! average: the ideal is the time of all datums divided by the number of slots. The first job starts right after its
//! pipeline is created, while containers start, which takes processor time. The warm job starts when every slot has a
//! container; the worker starts them some time after the creation of a pipeline, with or without work.

use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use clap::Args;
use serde_json::json;

use crate::harness::{BenchServer, JobTimes, scratch_folder};
use crate::image;
use crate::options::CommonOptions;
use crate::report::{Report, Row};

const REPO: &str = "files";
const PIPELINE: &str = "sleeping";

/// Name of the row that rows are compared with.
const IDEAL: &str = "ideal";
const WARM: &str = "howdah, containers warm";
const COLD: &str = "howdah, containers started";

/// Longest time for the start of one container, on average: two start at a time on a small machine.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time between two counts of the containers. Counting takes processor time from their start.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// Arguments of the benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// Number of datums
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    datums: u32,
    /// Time that each sleeps
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    sleep_ms: u32,
    /// Number of workers
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    workers: u32,
    /// Slots of each worker
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    slots: u32,
    /// Number of datums in each set [default: chosen by Howdah]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    set_size: Option<u32>,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            datums: 2000,
            sleep_ms: 500,
            workers: 8,
            slots: 32,
            set_size: None,
        }
    }
}

/// Runs the benchmark.
pub(crate) async fn run(common: &CommonOptions, arguments: &Arguments) -> anyhow::Result<Report> {
    let folder = scratch_folder(common)?;
    image::build(folder.path())?;
    let mut up = BenchServer::start(common, folder.path(), arguments.slots).await?;
    for _ in 1..arguments.workers {
        up.add_worker(arguments.slots).await?;
    }
    let all_slots = arguments.workers * arguments.slots;
    up.create_repo(REPO).await?;
    let created = Instant::now();
    up.create_pipeline(&json!({
        "pipeline": {"name": PIPELINE},
        "transform": {
            "image": image::IMAGE,
            "cmd": [image::COMMAND],
            "env": {"SLEEP_MS": arguments.sleep_ms.to_string()},
        },
        // A set is in progress until its result is stored, but its slot has started the next one by then: to keep all
        // slots busy, more sets than slots must be in progress.
        "parallelismSpec": {"constant": 2 * all_slots},
        "datumSetSpec": arguments.set_size.map(|number| json!({"number": number})),
        "input": {"pfs": {"name": "input", "repo": REPO, "glob": "/*"}},
    }))
    .await?;
    let cold = run_job(&up, arguments, 1).await?;
    let started = image::containers()?;
    wait_for_containers(all_slots).await?;
    let all_warm = created.elapsed();
    let warm = run_job(&up, arguments, 2).await?;
    let stopping = Instant::now();
    up.stop();
    let stopping = stopping.elapsed();

    let mut report = Report::new(
        "fan-out",
        format!(
            "{} datums that sleep {} ms, {} workers with {} slots",
            arguments.datums, arguments.sleep_ms, arguments.workers, arguments.slots
        ),
        "datums",
        IDEAL,
        json!({
            "datums": arguments.datums,
            "sleep_ms": arguments.sleep_ms,
            "workers": arguments.workers,
            "slots": arguments.slots,
        }),
    );
    let datums = u64::from(arguments.datums);
    report.row(Row::new(WARM, datums, warm.job));
    report.row(Row::new(COLD, datums, cold.job));
    report.row(Row::new(IDEAL, datums, ideal(arguments)));
    report.note("\"ideal\" is the time of all datums divided by the number of slots.".to_owned());
    report.note(format!(
        "{started} containers ran at the end of the first job, all {all_slots} {:.1} s after the pipeline was created; \
         removing them took {:.1} s.",
        all_warm.as_secs_f64(),
        stopping.as_secs_f64()
    ));
    report.ratio("warm_to_ideal", WARM, IDEAL);
    report.ratio("cold_to_ideal", COLD, IDEAL);
    Ok(report)
}

/// Waits until every slot has a container.
async fn wait_for_containers(all: u32) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let running = image::containers()?;
        if running >= all as usize {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < PATIENCE * all,
            "only {running} of {all} containers run after {} s",
            begun.elapsed().as_secs()
        );
        tokio::time::sleep(COUNT_EVERY).await;
    }
}

fn ideal(arguments: &Arguments) -> Duration {
    Duration::from_millis(arguments.sleep_ms.into()) * arguments.datums / (arguments.workers * arguments.slots)
}

async fn run_job(up: &BenchServer, arguments: &Arguments, round: u32) -> anyhow::Result<JobTimes> {
    let files = (0..arguments.datums).map(move |number| {
        let content = format!("file {number} of round {round}\n");
        (format!("/{number:06}.txt"), Bytes::from(content))
    });
    let commit = up.put_files(REPO, files).await?;
    let (job, output) = up.job_of(PIPELINE, &commit).await?;
    ensure!(
        job.data_processed == i64::from(arguments.datums),
        "expected {} processed datums, found {}",
        arguments.datums,
        job.data_processed
    );
    JobTimes::of(&commit, &job, &output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ideal_keeps_every_slot_busy() {
        let arguments = Arguments::default();
        assert_eq!(ideal(&arguments), Duration::from_micros(3_906_250));
    }
}
