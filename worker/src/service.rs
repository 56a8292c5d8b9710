//! Starting and stopping a worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use howdah_queue::Queue;
use howdah_store::Store;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::scratch::Scratch;
use crate::config::{RuntimeKind, WorkerConfig, own_name};
use crate::context::{Kit, Parts};
use crate::error::WorkerError;
use crate::intake::{heartbeat, pulling};
use crate::metrics::Metrics;
use crate::runtime::Runtime;
use crate::runtime::docker::{DockerConfig, DockerRuntime};
use crate::serve_metrics;
use crate::slots::{IDLE_LIMIT, StageKey};
use howdah_telemetry::error_chain;

/// How often idle stages are looked for.
const REAP_EVERY: Duration = Duration::from_secs(5);
/// Time that running sets have to stop and be handed back.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// Pause between attempts to reach NATS at start.
const CONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Runs a worker until `shutdown` is cancelled, then hands its work back and removes its stages.
///
/// Waits for NATS if it is not there yet. A container engine that does not answer is reported and
/// tried again by every set that needs it.
pub async fn run(config: WorkerConfig, shutdown: CancellationToken) -> Result<(), WorkerError> {
    if config.slots == 0 {
        return Err(WorkerError::Setting {
            setting: "slots",
            text: "0 slots can do nothing: give at least 1".to_owned(),
        });
    }
    let scratch = Scratch::open(&config.scratch)?;
    let store = Store::open(&config.store).await.map_err(WorkerError::Store)?;
    let runtime = make_runtime(&config, &scratch);
    if let Err(source) = runtime.cleanup_orphans().await {
        tracing::warn!(
            "{}",
            error_chain(&WorkerError::Runtime {
                runtime: runtime.name(),
                source,
            })
        );
    }
    let name = config.name.clone().unwrap_or_else(own_name);
    let Some(queue) = connect(&config.nats_url, &name, &shutdown).await? else {
        return Ok(());
    };
    let metrics = Arc::new(Metrics::new());
    let parts = Parts {
        name,
        queue,
        store,
        store_is_local: !config.store.url.starts_with("s3:"),
        runtime: Arc::clone(&runtime),
        scratch,
        slots: config.slots,
        cache_bytes: config.cache_bytes,
        pipelines: config.pipelines,
        metrics: Arc::clone(&metrics),
    };
    let page = match config.metrics_addr {
        Some(addr) => Some(serve_metrics::start(addr, metrics, shutdown.clone()).await?),
        None => None,
    };
    run_with(parts, shutdown).await?;
    // A container whose start was given up in the last moment would stay until the next start.
    if let Err(error) = runtime.cleanup_orphans().await {
        tracing::debug!(error = %error_chain(&error), "not looked for containers left behind");
    }
    if let Some(page) = page {
        let _ = page.await;
    }
    Ok(())
}

/// Runs a worker made of given parts, as [`run`] does.
pub async fn run_with(parts: Parts, shutdown: CancellationToken) -> Result<(), WorkerError> {
    let kit = Arc::new(Kit::new(parts)?);
    let started = Timestamp::now();
    tracing::info!(
        worker = kit.name, slots = kit.pool.size(), runtime = kit.starter.runtime.name(),
        scratch = %kit.starter.scratch.root().display(), store = kit.store.describe(),
        "worker ready"
    );
    kit.receipts.redeem(&kit.queue).await;
    let sets = TaskTracker::new();
    let helpers = TaskTracker::new();
    // Presence goes on while work is handed back; everything else that takes orders ends first.
    let stop_presence = CancellationToken::new();
    helpers.spawn(heartbeat::presence(Arc::clone(&kit), started, stop_presence.clone()));
    helpers.spawn(heartbeat::controls(Arc::clone(&kit), stop_presence.clone()));
    helpers.spawn(heartbeat::resolves(Arc::clone(&kit), shutdown.clone()));
    helpers.spawn(reap(Arc::clone(&kit), shutdown.clone()));

    pulling::serve(&kit, &shutdown, &sets).await;

    tracing::info!(worker = kit.name, "stopping: handing back what is not finished");
    kit.tickets.shut_down();
    sets.close();
    kit.helpers.close();
    let patience = tokio::time::Instant::now() + STOP_PATIENCE;
    let all = async { tokio::join!(sets.wait(), kit.helpers.wait()) };
    if tokio::time::timeout_at(patience, all).await.is_err() {
        tracing::warn!("some datum sets did not stop in time; they will be given out again");
    }
    let starts = &kit.starter.starts;
    starts.close();
    let started = async {
        if tokio::time::timeout_at(patience, starts.wait()).await.is_err() {
            tracing::warn!("some containers were still being started; the next start of a worker here removes them");
        }
    };
    tokio::join!(kit.pool.stop_all(), started);
    stop_presence.cancel();
    helpers.close();
    helpers.wait().await;
    if let Err(error) = kit.queue.flush().await {
        tracing::debug!(error = %error_chain(&error), "last messages not sent");
    }
    Ok(())
}

fn make_runtime(config: &WorkerConfig, scratch: &Scratch) -> Arc<dyn Runtime> {
    match config.runtime {
        RuntimeKind::Docker => Arc::new(DockerRuntime::new(DockerConfig {
            scratch: scratch.root().to_owned(),
            host: config.docker.host.clone(),
            credentials: config.docker.credentials.clone(),
            scratch_on_engine: config.docker.scratch_on_engine.clone(),
        })),
    }
}

/// Connects, however long it takes; `None` if told to stop meanwhile.
async fn connect(url: &str, name: &str, shutdown: &CancellationToken) -> Result<Option<Queue>, WorkerError> {
    loop {
        let attempt = tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            attempt = Queue::connect(url, name) => attempt,
        };
        match attempt {
            Ok(queue) => return Ok(Some(queue)),
            Err(error @ howdah_queue::QueueError::Address { .. }) => {
                return Err(WorkerError::Queue(error));
            }
            Err(error) => tracing::warn!("{}; trying again", error_chain(&error)),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(CONNECT_PAUSE) => {}
        }
    }
}

/// Stops stages that nobody has needed for a while, or clears their folders, and keeps the cache's size on the page.
async fn reap(kit: Arc<Kit>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(REAP_EVERY) => {}
        }
        if let Some(moment) = Instant::now().checked_sub(IDLE_LIMIT) {
            let stand = |key: &StageKey| kit.standing.stages(key, Instant::now());
            kit.pool.reap(moment, stand).await;
        }
        let bytes = i64::try_from(kit.cached_bytes()).unwrap_or(i64::MAX);
        kit.metrics.cache_bytes.set(bytes);
    }
}
