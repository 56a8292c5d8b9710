//! A worker without containers: its one command is a function of this program.
//!
//! Everything else is the real worker, in a separate process (`howdah-loadtest scripted-worker`). It shows the cost of
//! Howdah itself, and makes jobs of a million datums possible on a small machine.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use howdah_api::{convert, pfs_v2};
use howdah_queue::{NatsAccess, Queue, QueueOptions};
use howdah_store::{S3Config, Store, StoreConfig};
use howdah_worker::runtime::scripted::{ScriptedCall, ScriptedEnd, ScriptedRuntime};
use howdah_worker::{DEFAULT_CACHE_BYTES, OutputLimits, Scratch, WorkerParts};
use tokio_util::sync::CancellationToken;

/// Name of the command.
pub(crate) const COMMAND: &str = "copy";
/// Name of the input that it reads.
pub(crate) const INPUT: &str = "input";
/// Access key and secret key of the benchmark's S3 server.
pub(crate) const BUCKET_KEY: &str = "benchmark";
/// Image in the specs of pipelines. It does not exist.
pub(crate) const IMAGE: &str = "scripted:1";

/// Arguments of the worker.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    nats_url: String,
    #[command(flatten)]
    nats: NatsAccess,
    #[arg(long)]
    store: String,
    /// The S3 server of the store, started with [`BUCKET_KEY`]; none for a local folder.
    #[arg(long)]
    s3_endpoint: Option<String>,
    #[arg(long)]
    folder: PathBuf,
    #[arg(long)]
    slots: usize,
}

/// Runs the worker until SIGTERM.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let starts = arguments.folder.join("starts");
    std::fs::create_dir_all(&starts).with_context(|| format!("cannot make the folder {}", starts.display()))?;
    let runtime = ScriptedRuntime::new();
    runtime.define(COMMAND, move |call| match work(&call, &starts) {
        Ok(()) => ScriptedEnd::ok(),
        Err(error) => ScriptedEnd {
            code: Some(1),
            stderr: format!("{error:#}"),
            ..ScriptedEnd::default()
        },
    });
    let mut store = StoreConfig::new(&arguments.store);
    if let Some(endpoint) = &arguments.s3_endpoint {
        store.s3 = S3Config {
            endpoint: Some(endpoint.clone()),
            access_key: Some(BUCKET_KEY.to_owned()),
            secret_key: Some(BUCKET_KEY.to_owned()),
            ..S3Config::default()
        };
    }
    let store_is_local = arguments.s3_endpoint.is_none();
    let store = Store::open(&store).await?;
    let installation = howdah_worker::wait_for_installation(&store, &CancellationToken::new()).await?;
    let options = QueueOptions {
        access: arguments.nats.clone(),
        ..QueueOptions::worker(&arguments.nats_url, "scripted", installation.context("stopped")?)
    };
    let queue = Queue::connect(&options).await?;
    let parts = WorkerParts {
        name: "scripted".to_owned(),
        queue,
        store,
        store_is_local,
        runtime: Arc::new(runtime),
        scratch: Scratch::open(&arguments.folder.join("scratch"))?,
        slots: arguments.slots,
        cache_bytes: DEFAULT_CACHE_BYTES,
        output_limits: OutputLimits::default(),
        pipelines: Vec::new(),
        metrics: Arc::default(),
    };
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::spawn(async move {
        terminate.recv().await;
        stop.cancel();
    });
    howdah_worker::run_with(parts, shutdown).await?;
    Ok(())
}

/// The command. Records the start of the first command of the job in this slot. Copies a single input file; of several
/// files it writes their number.
fn work(call: &ScriptedCall, starts: &Path) -> anyhow::Result<()> {
    let slot = call.path("/pfs/out");
    let slot = slot.ancestors().nth(2).and_then(Path::file_name).unwrap_or_default();
    note_start(&starts.join(call.var("PACH_JOB_ID").unwrap_or_default()), slot)?;
    let out = call.path("/pfs/out");
    let mut files = 0u64;
    for entry in std::fs::read_dir(call.path(&format!("/pfs/{INPUT}")))? {
        let entry = entry?;
        files += 1;
        if files == 1 && std::fs::metadata(entry.path())?.is_file() {
            std::fs::copy(entry.path(), out.join(entry.file_name()))?;
        }
    }
    if files > 1 {
        std::fs::write(out.join("count"), files.to_string())?;
    }
    Ok(())
}

fn note_start(job: &Path, slot: &OsStr) -> anyhow::Result<()> {
    let file = job.join(slot);
    if file.exists() {
        return Ok(());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    std::fs::create_dir_all(job)?;
    Ok(std::fs::write(file, now.to_string())?)
}

/// A worker in a separate process. Dropping it stops it.
pub(crate) struct ScriptedWorker {
    child: Child,
    folder: PathBuf,
}

impl ScriptedWorker {
    /// Starts a worker that serves the Howdah over `<folder>/howdah`.
    pub(crate) fn start(folder: &Path, nats_url: &str, slots: u32) -> anyhow::Result<Self> {
        let store = format!("file://{}", folder.join("howdah/store").display());
        let credentials = folder.join("howdah/nats/worker.credentials").display().to_string();
        let arguments = ["--store", &store, "--nats-credentials", &credentials];
        Self::start_over(folder, nats_url, slots, &arguments)
    }

    /// Starts a worker over the store that the arguments in `store` name.
    pub(crate) fn start_over(folder: &Path, nats_url: &str, slots: u32, store: &[&str]) -> anyhow::Result<Self> {
        let own = folder.join("scripted");
        std::fs::create_dir_all(&own).with_context(|| format!("cannot make the folder {}", own.display()))?;
        let log = std::fs::File::create(own.join("log"))?;
        let child = Command::new(std::env::current_exe()?)
            .args(["scripted-worker", "--nats-url", nats_url, "--slots", &slots.to_string()])
            .args(store)
            .arg("--folder")
            .arg(&own)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start the worker")?;
        Ok(Self { child, folder: own })
    }

    /// Returns the id of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Returns the time from the end of a commit to the first command of its job; zero if the command started earlier.
    pub(crate) fn first_command_after(&self, commit: &pfs_v2::CommitInfo) -> anyhow::Result<Duration> {
        let first = self.slots_busy_after(commit)?.into_iter().next();
        first.context("no command of the job was run")
    }

    /// Returns, for each slot with a command, the time from the end of a commit to its first command; sorted.
    pub(crate) fn slots_busy_after(&self, commit: &pfs_v2::CommitInfo) -> anyhow::Result<Vec<Duration>> {
        let job = commit
            .commit
            .as_ref()
            .map(|commit| commit.id.as_str())
            .unwrap_or_default();
        let finished = commit.finished.as_ref().and_then(convert::from_timestamp);
        let finished = finished.context("the commit has no time")?.as_microsecond();
        let folder = self.folder.join("starts").join(job);
        let mut times = Vec::new();
        for slot in std::fs::read_dir(&folder).with_context(|| format!("no command of job {job} was run"))? {
            let started: i64 = std::fs::read_to_string(slot?.path())?.parse()?;
            times.push(Duration::from_micros(u64::try_from(started - finished).unwrap_or(0)));
        }
        times.sort_unstable();
        Ok(times)
    }
}

impl Drop for ScriptedWorker {
    fn drop(&mut self) {
        crate::harness::stop(&mut self.child);
    }
}
