//! Starting and stopping a worker.
//!
//! [`run`] connects to the outside and builds the parts; [`run_with`] runs a worker made of given parts until
//! `shutdown` is cancelled. Stopping has a fixed order: no new sets, running sets stop and are handed back, stages
//! stop, presence ends. Running sets and starts have a time limit; what does not stop in time is redelivered by the queue
//! or removed by the next start.

use std::sync::Arc;
use std::time::{Duration, Instant};

use howdah_queue::{Queue, QueueOptions};
use howdah_store::Store;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::scratch::Scratch;
use crate::config::{RuntimeKind, WorkerConfig, own_name};
use crate::context::{WorkerContext, WorkerParts};
use crate::error::WorkerError;
use crate::installation;
use crate::intake::intake_state::IntakeState;
use crate::intake::{delivery, heartbeat, log_recovery, pulling};
use crate::metrics::Metrics;
use crate::runtime::Runtime;
use crate::runtime::docker::{DockerConfig, DockerRuntime};
use crate::serve_metrics;
use crate::slots::pool::IDLE_LIMIT;
use howdah_telemetry::error_chain;

/// How often stages of idle slots are checked.
const REAP_EVERY: Duration = Duration::from_secs(5);
/// Time that running sets and starts have to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause between attempts to reach NATS at start.
const CONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Runs a worker until `shutdown` is cancelled, then hands its sets back and removes its stages.
///
/// Waits until NATS answers. A container engine that does not answer is only reported here; every set that needs it
/// tries again.
///
/// # Errors
/// If a setting makes no sense, or scratch folder, store, NATS address or metrics address cannot be used.
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
    let metrics = Arc::new(Metrics::new());
    let Some(queue) = connect(&config, &name, &store, &metrics, &shutdown).await? else {
        return Ok(());
    };
    let parts = WorkerParts {
        name,
        queue,
        store,
        store_is_local: !config.store.url.starts_with("s3:"),
        runtime: Arc::clone(&runtime),
        scratch,
        slots: config.slots,
        cache_bytes: config.cache_bytes,
        output_limits: config.output_limits,
        pipelines: config.pipelines,
        metrics: Arc::clone(&metrics),
    };
    let metrics_page = match config.metrics_addr {
        Some(addr) => Some(serve_metrics::start(addr, metrics, shutdown.clone()).await?),
        None => None,
    };
    run_with(parts, shutdown).await?;
    // Again at the end: a container whose start did not finish in time would otherwise stay until the next start.
    if let Err(error) = runtime.cleanup_orphans().await {
        tracing::debug!(error = %error_chain(&error), "cannot look for containers left behind");
    }
    if let Some(page) = metrics_page {
        let _ = page.await;
    }
    Ok(())
}

/// Runs a worker made of given parts, as [`run`] does.
///
/// # Errors
/// If the scratch folder cannot be used.
pub async fn run_with(parts: WorkerParts, shutdown: CancellationToken) -> Result<(), WorkerError> {
    let (context, pipelines) = WorkerContext::new(parts)?;
    let context = Arc::new(context);
    let intake = Arc::new(IntakeState::new(Arc::clone(&context), pipelines)?);
    let started = Timestamp::now();
    tracing::info!(
        worker = context.name, slots = context.pool.size(), runtime = context.starter.runtime.name(),
        scratch = %context.storage.scratch.root().display(), store = context.storage.store.describe(),
        "worker ready"
    );
    // Before the first pull: the journal's files are reused by new deliveries.
    delivery::recover(&intake).await;
    let sets = TaskTracker::new();
    let loops = TaskTracker::new();
    // Presence and controls continue while sets are handed back, so that the coordinator sees a worker that stops in
    // order, not one that died. The other loops end at once.
    let stop_presence = CancellationToken::new();
    loops.spawn(heartbeat::presence(Arc::clone(&intake), started, stop_presence.clone()));
    loops.spawn(heartbeat::controls(Arc::clone(&intake), stop_presence.clone()));
    loops.spawn(heartbeat::resolves(Arc::clone(&context), shutdown.clone()));
    loops.spawn(reap(Arc::clone(&context), shutdown.clone()));
    // Until the sets have stopped: the log of a set that is handed back may have to wait for the store.
    loops.spawn(log_recovery::store_left_logs(
        Arc::clone(&context),
        stop_presence.clone(),
    ));

    pulling::serve(&intake, &shutdown, &sets).await;

    tracing::info!(worker = context.name, "stopping: handing back unfinished datum sets");
    context.closing.cancel();
    intake.running_sets.stop_all();
    sets.close();
    context.helpers.close();
    let deadline = tokio::time::Instant::now() + STOP_TIMEOUT;
    let all = async { tokio::join!(sets.wait(), context.helpers.wait()) };
    if tokio::time::timeout_at(deadline, all).await.is_err() {
        tracing::warn!("some datum sets did not stop in time; they will be redelivered");
    }
    // After the sets: a set that stops may still hand a half-started stage to this tracker.
    let starts = &context.starter.starts;
    starts.close();
    let started = async {
        if tokio::time::timeout_at(deadline, starts.wait()).await.is_err() {
            tracing::warn!("some containers were still being started; the next start of a worker here removes them");
        }
    };
    tokio::join!(context.pool.stop_all(), started);
    stop_presence.cancel();
    loops.close();
    loops.wait().await;
    if let Err(error) = context.queue.flush().await {
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
            containment: config.docker.stages.containment(config.slots),
        })),
    }
}

/// Connects to NATS, trying until it answers; returns `None` if `shutdown` is cancelled first.
async fn connect(
    config: &WorkerConfig,
    name: &str,
    store: &Store,
    metrics: &Arc<Metrics>,
    shutdown: &CancellationToken,
) -> Result<Option<Queue>, WorkerError> {
    let Some(installation) = installation::wait(store, shutdown).await? else {
        return Ok(None);
    };
    let counter = metrics.messages_ignored.clone();
    let options = QueueOptions {
        access: config.nats.clone(),
        on_refusal: Arc::new(move |refusal| counter.with_label_values(&[refusal.label()]).inc()),
        ..QueueOptions::worker(&config.nats_url, name, installation)
    };
    loop {
        let attempt = tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            attempt = Queue::connect(&options) => attempt,
        };
        match attempt {
            Ok(queue) => return Ok(Some(queue)),
            Err(error) if error.needs_person() => return Err(WorkerError::Queue(error)),
            Err(error) => tracing::warn!("{}; trying again", error_chain(&error)),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(CONNECT_PAUSE) => {}
        }
    }
}

/// Periodically stops idle stages or clears their folders, and updates the metric of the caches' size.
async fn reap(context: Arc<WorkerContext>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(REAP_EVERY) => {}
        }
        // `None` shortly after the machine has booted.
        if let Some(moment) = Instant::now().checked_sub(IDLE_LIMIT) {
            context.pool.reap(moment, |key| context.prewarmer.target(key)).await;
        }
        let bytes = i64::try_from(context.storage.cached_bytes()).unwrap_or(i64::MAX);
        context.metrics.cache_bytes.set(bytes);
    }
}
