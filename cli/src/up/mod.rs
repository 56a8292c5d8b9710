//! `howdah up`: coordinator, one worker and a NATS server over a local folder, until Ctrl-C.
//!
//! ```text
//! start: lock of the folder -> NATS server -> coordinator -> summary on standard output -> worker
//! stop:  worker -> coordinator -> NATS server
//! ```
//!
//! Coordinator and worker run as tasks of this process, the NATS server as a child process. The first part that fails
//! stops the others, and its error is the error of the command. A second Ctrl-C while the worker stops ends everything
//! at once. Which container engine the worker uses is the worker's own decision; the summary only reports one.

mod nats;
mod nats_users;
mod private_file;
mod tls;
mod token;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use howdah_coordinator::CoordinatorConfig;
use howdah_queue::NatsAccess;
use howdah_store::{PRIVATE_FILE_MODE, StoreConfig, make_private_folder};
use howdah_telemetry::{init_logging, refuse_unknown_settings};
use howdah_worker::WorkerConfig;
use howdah_worker::runtime::docker::containment::Containment;
use howdah_worker::runtime::docker::credentials::Credentials;
use howdah_worker::runtime::docker::{DockerConfig, DockerRuntime};
use nix::fcntl::{Flock, FlockArg};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args::admin::UpArgs;
use crate::error::CliError;
use crate::output::printer::Printer;
use nats::EmbeddedNats;

/// Longest wait for the container engine before the summary is printed without it.
const ENGINE_PATIENCE: Duration = Duration::from_secs(3);

/// What a failed write of the summary is reported as.
const NO_STDOUT: &str = "cannot write to standard output";

/// Runs until Ctrl-C or SIGTERM, or until a part fails.
///
/// The caller does not handle Ctrl-C, so that this function can stop the parts in order.
pub(crate) async fn run(arguments: UpArgs, printer: Printer) -> Result<(), CliError> {
    run_all(arguments, printer)
        .await
        .map_err(|error| CliError::refused(format!("{error:#}")))
}

async fn run_all(args: UpArgs, printer: Printer) -> anyhow::Result<()> {
    init_logging(&args.log)?;
    refuse_unknown_settings()?;
    let data = data_folder(args.data.as_deref())?;
    let _lock = lock(&data)?;
    // Installed before anything starts: without handlers an early Ctrl-C would kill this process halfway, and the
    // parts that run already would not be stopped in order.
    let mut stop_signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);

    // The coordinator connects to NATS when it starts, and the worker to both, so this order needs no retries.
    let nats = EmbeddedNats::start(nats::find(args.nats_server.as_deref())?, data.join("nats")).await?;
    let nats_url = nats.url();
    let store = format!("file://{}", data.join("store").display());
    let coordinator_stop = CancellationToken::new();
    let mut config = CoordinatorConfig::new(args.listen, args.port, &nats_url, &store);
    config.memory = args.memory;
    config.retries = args.retries;
    config.secret_key_file = Some(data.join("secret.key"));
    config.make_secret_key = true;
    config.nats = NatsAccess::with_credentials(nats.users().coordinator.clone());
    config.access = args.access.clone();
    let token_file = match &args.access.auth_token_file {
        Some(file) => file.clone(),
        None => token::ensure(&data)?,
    };
    config.access.auth_token_file = Some(token_file.clone());
    let made = if args.tls {
        Some(tls::ensure(&data, args.listen, &args.access.host_name)?)
    } else {
        None
    };
    if let Some(made) = &made {
        config.access.tls_cert = Some(made.cert.clone());
        config.access.tls_key = Some(made.key.clone());
    }
    let is_encrypted = config.access.tls_cert.is_some();
    let coordinator = howdah_coordinator::start(config, coordinator_stop.clone()).await?;
    let engine = if args.no_worker {
        None
    } else {
        Some(find_engine(&data).await)
    };
    let summary = summary(&Summary {
        data: &data,
        token_file: &token_file,
        is_encrypted,
        ca: made.as_ref().map(|made| made.ca.as_path()),
        nats_url: &nats_url,
        worker_credentials: &nats.users().worker,
        store: &store,
        address: coordinator.address,
        engine: engine.as_ref(),
    });
    printer.line(summary).context(NO_STDOUT)?;

    let worker_stop = CancellationToken::new();
    let worker = start_worker(&args, &data, &nats, &store, worker_stop.clone());
    let mut serving = tokio::spawn(coordinator.join());
    let nats_stop = CancellationToken::new();
    let mut supervising = std::pin::pin!(nats.supervise(nats_stop.clone()));

    let mut worker = worker;
    let (mut worker_ended, mut serving_ended, mut nats_ended) = (false, false, false);
    // The first part that ends decides the outcome. It must not be polled again below: a join handle or an async
    // function that is polled after completion panics.
    let outcome = tokio::select! {
        () = asked_to_stop(&mut stop_signals) => Ok(()),
        ended = &mut worker => { worker_ended = true; flatten(ended, "the worker") }
        ended = &mut serving => { serving_ended = true; flatten(ended, "the coordinator") }
        ended = &mut supervising => { nats_ended = true; ended.context("the NATS server failed") }
    };
    if outcome.is_ok() {
        // The reader of the output may have ended; the parts must stop in order all the same.
        let _ = printer.line("Stopping ...");
    }
    // The worker stops first: it returns its unfinished datum sets and reports its results, which needs coordinator
    // and queue. In the other order every running datum would be lost and run again.
    worker_stop.cancel();
    let mut outcomes = vec![outcome];
    // Without NATS the worker cannot return anything, so it is not awaited.
    if !worker_ended && !nats_ended {
        tokio::select! {
            ended = &mut worker => outcomes.push(flatten(ended, "the worker")),
            // Supervised as long as the worker needs it.
            _ = &mut supervising => {}
            () = asked_to_stop(&mut stop_signals) => bail!("stopped at once, as asked a second time"),
        }
    }
    coordinator_stop.cancel();
    if !serving_ended {
        outcomes.push(flatten(serving.await, "the coordinator"));
    }
    // Dropping `supervising` at the end of this function kills the server; it holds no state that must survive.
    nats_stop.cancel();
    outcomes.into_iter().collect()
}

async fn asked_to_stop((interrupt, terminate): &mut (Signal, Signal)) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn flatten(ended: Result<anyhow::Result<()>, tokio::task::JoinError>, part: &str) -> anyhow::Result<()> {
    ended
        .with_context(|| format!("{part} panicked"))?
        .with_context(|| format!("{part} failed"))
}

/// Returns the address of the container engine, or the reason why none answers.
///
/// For the summary only: the worker looks for its engine itself, whenever it needs one.
async fn find_engine(data: &Path) -> Result<String, String> {
    let runtime = DockerRuntime::new(DockerConfig {
        scratch: data.join("scratch"),
        host: None,
        credentials: Credentials::default(),
        scratch_on_engine: None,
        containment: Containment::default(),
    });
    match tokio::time::timeout(ENGINE_PATIENCE, runtime.check()).await {
        Ok(Ok(address)) => Ok(address),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!(
            "the container engine did not answer within {} s",
            ENGINE_PATIENCE.as_secs()
        )),
    }
}

/// Returns the text about the container engine in the summary.
fn engine_line(engine: Option<&Result<String, String>>) -> String {
    match engine {
        None => "none needed: no worker here (--no-worker)".to_owned(),
        Some(Ok(address)) => address.clone(),
        Some(Err(reason)) => format!(
            "NONE: {reason}\n             \
             No pipeline can run until an engine answers; it is found as soon as it does, nothing needs to be \
             started again."
        ),
    }
}

/// What the summary of a start tells.
struct Summary<'a> {
    data: &'a Path,
    token_file: &'a Path,
    is_encrypted: bool,
    /// What clients must trust, if it was made here.
    ca: Option<&'a Path>,
    nats_url: &'a str,
    worker_credentials: &'a Path,
    store: &'a str,
    address: SocketAddr,
    engine: Option<&'a Result<String, String>>,
}

/// Returns the summary of a start: addresses, the data folder, and how to add a worker.
fn summary(start: &Summary<'_>) -> String {
    let (grpc, http) = if start.is_encrypted {
        ("grpcs", "https")
    } else {
        ("grpc", "http")
    };
    let trust = start.ca.map_or_else(String::new, |ca| {
        format!(
            "\n             first: howdah connect grpcs://{} --ca-file {}",
            start.address,
            ca.display()
        )
    });
    let Summary {
        nats_url,
        store,
        address,
        ..
    } = start;
    format!(
        "Howdah is up.\n  \
         clients    {grpc}://{address}{trust}\n  \
         metrics    {http}://{address}/metrics\n  \
         token      {} (for other users, containers and machines)\n  \
         data       {}\n  \
         nats       {nats_url}\n  \
         engine     {}\n  \
         one more worker:  howdah-worker --nats-url {nats_url} --nats-credentials {} \
         --store {store} --scratch FOLDER\n\
         Stop with Ctrl-C; started again, it continues where it stopped.",
        start.token_file.display(),
        start.data.display(),
        engine_line(start.engine),
        start.worker_credentials.display(),
    )
}

fn start_worker(
    args: &UpArgs,
    data: &Path,
    nats: &EmbeddedNats,
    store: &str,
    stop: CancellationToken,
) -> JoinHandle<anyhow::Result<()>> {
    let mut store = StoreConfig::new(store);
    store.limits = args.memory.limits();
    let mut config = WorkerConfig::new(nats.url(), store, data.join("scratch"));
    config.nats = NatsAccess::with_credentials(nats.users().worker.clone());
    if let Some(slots) = args.slots.and_then(|slots| usize::try_from(slots).ok()) {
        config.slots = slots;
    }
    config.output_limits = args.output_limits;
    config.docker.stages = args.stages.clone();
    let wanted = !args.no_worker;
    tokio::spawn(async move {
        if wanted {
            return Ok(howdah_worker::run(config, stop).await?);
        }
        stop.cancelled().await;
        Ok(())
    })
}

/// Returns the absolute path of the data folder, which is created if necessary.
fn data_folder(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let folder = match given {
        Some(folder) => folder.to_owned(),
        None => {
            let home = std::env::var_os("HOME").context("HOME is not set: name the data folder with --data")?;
            PathBuf::from(home).join(".local/share/howdah")
        }
    };
    make_private_folder(&folder, &["lock"])
        .with_context(|| format!("cannot make the data folder {}", folder.display()))?;
    std::path::absolute(&folder).with_context(|| format!("cannot find the data folder {}", folder.display()))
}

/// Longest wait for the lock of the data folder. A `howdah up` that stops, or was just killed, holds it for a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// Locks the data folder against a second `howdah up`, as long as the returned value lives.
///
/// The file holds the process id of the owner, for the message that the second one prints.
fn lock(data: &Path) -> anyhow::Result<Flock<File>> {
    let path = data.join("lock");
    let open = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(PRIVATE_FILE_MODE)
        .open(&path);
    let mut file = open.with_context(|| format!("cannot open {}", path.display()))?;
    let mut holder = String::new();
    file.read_to_string(&mut holder)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    let mut locked = loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => break locked,
            Err((back, nix::errno::Errno::EWOULDBLOCK)) if Instant::now() < deadline => {
                file = back;
                std::thread::sleep(Duration::from_millis(50));
            }
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => bail!(
                "another `howdah up` (process {}) uses the data folder {}: stop it, or choose another folder with --data",
                holder.trim(),
                data.display()
            ),
            Err((_, error)) => return Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    };
    locked.set_len(0)?;
    locked.rewind()?;
    write!(locked, "{}", std::process::id())?;
    Ok(locked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_engine_is_part_of_the_summary() {
        let line = engine_line(Some(&Err("no container engine is running: start it".to_owned())));
        assert!(
            line.starts_with("NONE: no container engine is running: start it\n"),
            "{line}"
        );
        assert!(line.contains("No pipeline can run until an engine answers"), "{line}");
        assert_eq!(engine_line(Some(&Ok("unix:///x".to_owned()))), "unix:///x");
        assert!(engine_line(None).contains("--no-worker"));
    }
}
