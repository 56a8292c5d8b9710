//! `howdah up`: coordinator, one worker and a NATS server over a local folder, until Ctrl-C.

mod nats;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use howdah_coordinator::CoordinatorConfig;
use howdah_store::StoreConfig;
use howdah_telemetry::{init_logging, refuse_unknown_settings};
use howdah_worker::WorkerConfig;
use nix::fcntl::{Flock, FlockArg};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args::admin::UpArgs;
use crate::error::CliError;
use nats::NatsServer;

/// Runs until Ctrl-C or SIGTERM, or until a part fails.
///
/// Ctrl-C is not handled by the caller, so that this can stop in order.
pub async fn run(arguments: UpArgs) -> Result<(), CliError> {
    run_all(arguments)
        .await
        .map_err(|error| CliError::refused(format!("{error:#}")))
}

async fn run_all(args: UpArgs) -> anyhow::Result<()> {
    init_logging(&args.log)?;
    refuse_unknown_settings()?;
    let data = data_folder(args.data.as_deref())?;
    let _lock = lock(&data)?;
    // Asked for before anything starts, so that an early Ctrl-C finds a handler.
    let mut stop_signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);

    let nats = NatsServer::start(nats::find(args.nats_server.as_deref())?, data.join("nats")).await?;
    let nats_url = nats.url();
    let store = format!("file://{}", data.join("store").display());
    let coordinator_stop = CancellationToken::new();
    let config = CoordinatorConfig::new(args.listen, args.port, &nats_url, &store);
    let coordinator = howdah_coordinator::start(config, coordinator_stop.clone()).await?;
    announce(&data, &nats_url, &store, &coordinator)?;

    let worker_stop = CancellationToken::new();
    let worker = start_worker(&args, &data, &nats_url, &store, worker_stop.clone());
    let mut serving = tokio::spawn(coordinator.join());
    let nats_stop = CancellationToken::new();
    let mut supervising = std::pin::pin!(nats.supervise(nats_stop.clone()));

    let mut worker = worker;
    let (mut worker_ended, mut serving_ended) = (false, false);
    let outcome = tokio::select! {
        () = asked_to_stop(&mut stop_signals) => Ok(()),
        ended = &mut worker => { worker_ended = true; flatten(ended, "the worker") }
        ended = &mut serving => { serving_ended = true; flatten(ended, "the coordinator") }
        ended = &mut supervising => ended.context("the NATS server failed"),
    };
    if outcome.is_ok() {
        print_line("Stopping ...")?;
    }
    // The worker hands its work back first, while coordinator and queue can still take it.
    worker_stop.cancel();
    let mut outcomes = vec![outcome];
    if !worker_ended {
        tokio::select! {
            ended = &mut worker => outcomes.push(flatten(ended, "the worker")),
            _ = &mut supervising => {}
            () = asked_to_stop(&mut stop_signals) => bail!("stopped at once, as asked a second time"),
        }
    }
    coordinator_stop.cancel();
    if !serving_ended {
        outcomes.push(flatten(serving.await, "the coordinator"));
    }
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

fn announce(data: &Path, nats_url: &str, store: &str, coordinator: &howdah_coordinator::Running) -> anyhow::Result<()> {
    let address = coordinator.address;
    print_line(&format!(
        "Howdah is up.\n  \
         clients    grpc://{address}\n  \
         metrics    http://{address}/metrics\n  \
         data       {}\n  \
         nats       {nats_url}\n  \
         one more worker:  howdah-worker --nats-url {nats_url} --store {store} --scratch FOLDER\n\
         Stop with Ctrl-C; started again it goes on where it was.",
        data.display()
    ))
}

fn print_line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

fn start_worker(
    args: &UpArgs,
    data: &Path,
    nats_url: &str,
    store: &str,
    stop: CancellationToken,
) -> JoinHandle<anyhow::Result<()>> {
    let mut config = WorkerConfig::new(nats_url, StoreConfig::new(store), data.join("scratch"));
    if let Some(slots) = args.slots.and_then(|slots| usize::try_from(slots).ok()) {
        config.slots = slots;
    }
    let wanted = !args.no_worker;
    tokio::spawn(async move {
        if wanted {
            return Ok(howdah_worker::run(config, stop).await?);
        }
        stop.cancelled().await;
        Ok(())
    })
}

fn data_folder(told: Option<&Path>) -> anyhow::Result<PathBuf> {
    let folder = match told {
        Some(folder) => folder.to_owned(),
        None => {
            let home = std::env::var_os("HOME").context("HOME is not set: say with --data where to keep everything")?;
            PathBuf::from(home).join(".local/share/howdah")
        }
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the data folder {}", folder.display()))?;
    std::path::absolute(&folder).with_context(|| format!("cannot find the data folder {}", folder.display()))
}

/// Keeps a second `howdah up` out of the folder for as long as the value lives.
fn lock(data: &Path) -> anyhow::Result<Flock<File>> {
    let path = data.join("lock");
    let open = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path);
    let mut file = open.with_context(|| format!("cannot open {}", path.display()))?;
    let mut holder = String::new();
    file.read_to_string(&mut holder)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let mut locked = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(locked) => locked,
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => bail!(
            "another `howdah up` (process {}) uses the data folder {}: stop that one, or choose another folder with --data",
            holder.trim(),
            data.display()
        ),
        Err((_, error)) => return Err(error).with_context(|| format!("cannot lock {}", path.display())),
    };
    locked.set_len(0)?;
    locked.rewind()?;
    write!(locked, "{}", std::process::id())?;
    Ok(locked)
}
