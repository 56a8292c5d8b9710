//! `datums`: many trivial datums on one worker.
//!
//! The program reads one small file and writes one. Howdah runs it in a warm container, prepares inputs, stores outputs
//! and records provenance; the peers only run it. The main result is the time from the start of a job to its finished
//! output commit with warm containers. The report also has the first job, which starts the containers, and the time
//! from the input commit to the output commit.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Args;
use serde_json::json;

use crate::harness::{BenchServer, JobTimes, scratch_folder};
use crate::image;
use crate::options::CommonOptions;
use crate::peers::{PeerOutcome, PeerWork};
use crate::report::{Report, Row};

const REPO: &str = "files";
const PIPELINE: &str = "trivial";

/// Name of the row with the main result.
const HOWDAH: &str = "howdah";
/// Name of the row that all rows are compared with.
const LOOP: &str = "fork+exec loop";

/// Arguments of the benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// Number of datums
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    datums: u32,
    /// Datums to run at once, in Howdah and in the peers
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    slots: u32,
    /// Runs of `docker run` for the average; 0 skips it
    #[arg(long, value_name = "N", default_value_t = 20)]
    docker_sample: u32,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            datums: 2000,
            slots: 2,
            docker_sample: 20,
        }
    }
}

/// Runs the benchmark.
pub(crate) async fn run(common: &CommonOptions, arguments: &Arguments) -> anyhow::Result<Report> {
    let folder = scratch_folder(common)?;
    image::build(folder.path())?;
    let inputs = write_inputs(&folder.path().join("in"), arguments.datums)?;

    let up = BenchServer::start(common, folder.path(), arguments.slots).await?;
    let [cold, warm] = run_jobs(&up, arguments).await?;
    let outputs = sample_outputs(&up, arguments).await?;
    up.stop();

    let mut report = Report::new(
        "datums",
        format!("{} trivial datums, {} at once", arguments.datums, arguments.slots),
        "datums",
        LOOP,
        json!({"datums": arguments.datums, "slots": arguments.slots, "docker_sample": arguments.docker_sample}),
    );
    let datums = u64::from(arguments.datums);
    report.row(Row::new(HOWDAH, datums, warm.job));
    report.row(Row::new("howdah, commit to commit", datums, warm.commit));
    report.row(Row::new("howdah, first job", datums, cold.job));
    report.row(Row::new("howdah, first, commit to commit", datums, cold.commit));
    report.note(format!(
        "{HOWDAH:?} is the time from the start of a job to its finished output commit, containers warm; the first job starts them."
    ));

    let program = image::write_program(folder.path())?;
    let work = PeerWork {
        program: &program,
        inputs: &inputs,
        folder: folder.path(),
        at_once: arguments.slots as usize,
    };
    run_peers(&mut report, &work, arguments)?;
    compare(&outputs, &folder.path().join("loop"))?;

    report.ratio("to_loop", HOWDAH, LOOP);
    report.ratio("to_xargs", HOWDAH, "xargs");
    report.ratio("to_gnu_parallel", HOWDAH, "GNU parallel");
    report.ratio("to_docker_run", HOWDAH, "docker run");
    Ok(report)
}

fn name(number: u32) -> String {
    format!("{number:06}.txt")
}

/// Returns the content of an input file. It differs from round to round: otherwise the second job would skip all datums.
fn content(number: u32, round: u32) -> String {
    format!("input {number} of round {round}\n").repeat(8)
}

fn write_inputs(folder: &Path, datums: u32) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    (0..datums)
        .map(|number| {
            let path = folder.join(name(number));
            std::fs::write(&path, content(number, 2)).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(path)
        })
        .collect()
}

/// Runs the first job, which starts the containers, and a second one.
async fn run_jobs(up: &BenchServer, arguments: &Arguments) -> anyhow::Result<[JobTimes; 2]> {
    up.create_repo(REPO).await?;
    up.create_pipeline(&json!({
        "pipeline": {"name": PIPELINE},
        "transform": {"image": image::IMAGE, "cmd": [image::COMMAND]},
        "parallelismSpec": {"constant": arguments.slots},
        "input": {"pfs": {"name": "input", "repo": REPO, "glob": "/*"}},
    }))
    .await?;
    let cold = run_job(up, arguments, 1).await?;
    let warm = run_job(up, arguments, 2).await?;
    Ok([cold, warm])
}

async fn run_job(up: &BenchServer, arguments: &Arguments, round: u32) -> anyhow::Result<JobTimes> {
    let files =
        (0..arguments.datums).map(move |number| (format!("/{}", name(number)), Bytes::from(content(number, round))));
    let commit = up.put_files(REPO, files).await?;
    let (job, output) = up.job_of(PIPELINE, &commit).await?;
    let datums = i64::from(arguments.datums);
    ensure!(
        job.data_processed == datums && job.data_skipped == 0,
        "expected {datums} processed datums, found {} and {} skipped",
        job.data_processed,
        job.data_skipped
    );
    JobTimes::of(&commit, &job, &output)
}

/// Checks that every datum has an output, and reads some of the outputs.
async fn sample_outputs(up: &BenchServer, arguments: &Arguments) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let count = up.count_files(PIPELINE).await?;
    ensure!(
        count == arguments.datums as usize,
        "expected {} output files, found {count}",
        arguments.datums
    );
    let mut outputs = Vec::new();
    for number in (0..arguments.datums).step_by((arguments.datums as usize / 20).max(1)) {
        outputs.push((
            name(number),
            up.get_file(PIPELINE, &format!("/{}", name(number))).await?,
        ));
    }
    Ok(outputs)
}

/// Checks that Howdah's outputs are those of the bare program.
fn compare(outputs: &[(String, Vec<u8>)], folder: &Path) -> anyhow::Result<()> {
    for (name, content) in outputs {
        let path = folder.join(name);
        let expected = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(
            *content == expected,
            "the output {name} differs from that of the bare program"
        );
    }
    Ok(())
}

fn run_peers(report: &mut Report, work: &PeerWork<'_>, arguments: &Arguments) -> anyhow::Result<()> {
    let datums = u64::from(arguments.datums);
    report.row(Row::new(LOOP, datums, work.bare_loop()?));
    for (name, outcome) in [("xargs", work.xargs()?), ("GNU parallel", work.parallel()?)] {
        match outcome {
            PeerOutcome::Took(time) => report.row(Row::new(name, datums, time)),
            PeerOutcome::Missing(reason) => report.skip(name, reason),
        }
    }
    if arguments.docker_sample == 0 {
        report.skip("docker run", "left out by --docker-sample 0");
    } else {
        let sample = arguments.docker_sample.min(arguments.datums);
        report.row(Row::new(
            "docker run",
            u64::from(sample),
            work.docker_run(sample as usize)?,
        ));
        report.note(format!("\"docker run\" is the average of {sample} runs."));
    }
    Ok(())
}
