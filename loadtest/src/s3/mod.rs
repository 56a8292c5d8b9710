//! `s3`: many small files, and one file added before a chain of pipelines, over a real S3 server behind a proxy that adds
//! latency to every request.
//!
//! The important results are requests, which depend only on Howdah: their number, how many of them run one after the
//! other, and how many objects are written. The bound: one object for each MiB of data, and ten for each commit.

mod findings;
mod proxy;
mod server;
mod traffic;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::contest::ContestWork;
use crate::contest::contestants::{Contestant, Howdah, REPO};
use crate::contest::measure::run as run_command;
use crate::contest::phase::{ContestPlace, Phase};
use crate::harness::{median, scratch_folder};
use crate::one_change::Chain;
use crate::options::CommonOptions;
use crate::report::Printed;
use crate::scripted;
use crate::small_files::SmallFileSet;
use findings::{Findings, TrafficRow};
use server::{Bucket, Programs};
use traffic::{S3Request, TrafficTotals, in_sequence};

/// Arguments of the benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// The S3 server s3s-fs [default: the one in PATH]
    #[arg(long, value_name = "PATH", env = "HOWDAH_TEST_S3_SERVER")]
    s3_server: Option<PathBuf>,
    /// Milliseconds that are added to each request
    #[arg(long, value_name = "MS", default_value_t = 20)]
    latency_ms: u64,
    /// Number of small files
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    files: u32,
    /// Bytes of each file
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    size: usize,
    /// Finished datums of each pipeline in the chain
    #[arg(long, value_name = "N", default_value_t = 1000)]
    datums: u32,
    /// Pipelines in the chain
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pipelines: u32,
    /// Files to add before the chain, one after the other; the median time counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    changes: u32,
    /// File to write a line to for every request: row of the table, began and ended (ms), kind, status, key
    #[arg(long, value_name = "PATH")]
    trace: Option<PathBuf>,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            s3_server: std::env::var_os("HOWDAH_TEST_S3_SERVER").map(PathBuf::from),
            latency_ms: 20,
            files: 10_000,
            size: 1024,
            datums: 1000,
            pipelines: 5,
            changes: 5,
            trace: None,
        }
    }
}

/// Folders for the small files.
const FOLDERS: u32 = 100;

/// Runs the benchmark.
pub(crate) async fn run(common: &CommonOptions, arguments: &Arguments) -> anyhow::Result<Printed> {
    let title = format!(
        "An S3 server that takes {} ms longer for each request: {} files of {} bytes; one file added before {} \
         pipelines with {} datums each",
        arguments.latency_ms, arguments.files, arguments.size, arguments.pipelines, arguments.datums
    );
    let parameters = json!({
        "latency_ms": arguments.latency_ms,
        "files": arguments.files,
        "size": arguments.size,
        "datums": arguments.datums,
        "pipelines": arguments.pipelines,
        "changes": arguments.changes,
    });
    let mut findings = Findings::new(title, parameters);
    match Programs::find(arguments.s3_server.as_deref()) {
        Err(reason) => findings.skip(reason),
        Ok(programs) => {
            let mut bench = S3Bench {
                common,
                arguments,
                programs,
                findings: &mut findings,
                trace: String::new(),
            };
            small_files(&mut bench).await?;
            one_change(&mut bench).await?;
            if let Some(path) = &arguments.trace {
                std::fs::write(path, bench.trace).with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
    }
    Ok(findings.print())
}

/// The state that both parts of the benchmark share.
struct S3Bench<'a> {
    common: &'a CommonOptions,
    arguments: &'a Arguments,
    programs: Programs,
    findings: &'a mut Findings,
    trace: String,
}

impl S3Bench<'_> {
    async fn bucket(&self, folder: &Path) -> anyhow::Result<Bucket> {
        let latency = Duration::from_millis(self.arguments.latency_ms);
        Bucket::start(self.common, &self.programs, folder, latency).await
    }

    fn note(&mut self, row: &str, requests: &[S3Request]) {
        for asked in requests {
            let _ = writeln!(
                self.trace,
                "{row}\t{}\t{}\t{:?}\t{}\t{}",
                asked.began.as_millis(),
                asked.ended.as_millis(),
                asked.kind,
                asked.status,
                asked.key
            );
        }
    }
}

async fn small_files(bench: &mut S3Bench<'_>) -> anyhow::Result<()> {
    let (common, arguments) = (bench.common, bench.arguments);
    let scratch = scratch_folder(common)?;
    let folder = scratch.path();
    let files = SmallFileSet::write(folder.join("in"), arguments.files, arguments.size, FOLDERS)?;
    let mut bucket = bench.bucket(folder).await?;
    let place = ContestPlace::make(folder, files.source(), Some(bucket.api().address()))?;
    let howdah = Howdah::new(common)?;
    let log = folder.join("output");
    for mut command in howdah.setup(&place) {
        run_in_background(&mut command, &log).await?;
    }
    for phase in files.phases() {
        let Some(mut command) = howdah.command(*phase, &place) else {
            continue;
        };
        let (commits, bytes) = match phase {
            Phase::Put => (1, u64::from(arguments.files) * arguments.size as u64),
            Phase::PutAgain => (1, arguments.size as u64),
            // Measured with empty caches, the worst case of reading.
            Phase::List | Phase::ListFolder | Phase::Get => {
                bucket.restart_coordinator().await?;
                // This answer means that the reads of the start itself are done.
                bucket.api().head_of(REPO).await?;
                (0, 0)
            }
        };
        if *phase == Phase::PutAgain {
            files.change()?;
        }
        bucket.proxy().take();
        let took = run_in_background(&mut command, &log).await?;
        let requests = bucket.proxy().take();
        if *phase == Phase::Get {
            files.check(&place.out)?;
        }
        bench.note(phase.name(), &requests);
        bench.findings.row(TrafficRow {
            name: phase.name(),
            unit: "1,000 files",
            items: f64::from(arguments.files) / 1000.0,
            commits,
            bytes,
            seconds: took.as_secs_f64(),
            in_sequence: in_sequence(&requests),
            sum: TrafficTotals::of(&requests),
        });
    }
    Ok(())
}

/// Runs a program; other tasks, such as the proxy, continue.
async fn run_in_background(command: &mut std::process::Command, log: &Path) -> anyhow::Result<Duration> {
    let measured = tokio::task::block_in_place(|| run_command(command, log))?;
    Ok(measured.took)
}

async fn one_change(bench: &mut S3Bench<'_>) -> anyhow::Result<()> {
    let arguments = bench.arguments;
    let scratch = scratch_folder(bench.common)?;
    let bucket = bench.bucket(scratch.path()).await?;
    let transform = json!({"image": scripted::IMAGE, "cmd": [scripted::COMMAND]});
    let pipelines = u64::from(arguments.pipelines);
    let chain = Chain::build(bucket.api(), arguments.pipelines, arguments.datums, &transform).await?;
    bench.note("first_jobs", &bucket.proxy().take());
    let (mut times, mut sequences, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for number in arguments.datums..arguments.datums + arguments.changes {
        bucket.proxy().take();
        times.push(chain.add_file(bucket.api(), number).await?);
        let requests = bucket.proxy().take();
        bench.note("one_change", &requests);
        sequences.push(in_sequence(&requests));
        all.extend(requests);
    }
    sequences.sort_unstable();
    let changes = u64::from(arguments.changes);
    bench.findings.row(TrafficRow {
        name: "one_change",
        unit: "job",
        items: (changes * pipelines) as f64,
        commits: changes * (1 + pipelines),
        bytes: 0,
        seconds: median(times).unwrap_or_default().as_secs_f64(),
        in_sequence: sequences[sequences.len() / 2],
        sum: TrafficTotals::of(&all),
    });
    Ok(())
}
