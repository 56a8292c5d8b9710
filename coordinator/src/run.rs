//! Starts the parts of a coordinator in their order and stops them together.
//!
//! The parts are the command loop, the scheduler and the server. When one fails the others stop, and the coordinator ends
//! with the first error.

use std::net::SocketAddr;
use std::time::SystemTime;

use anyhow::Context;
use howdah_queue::Queue;
use howdah_store::{Store, StoreConfig};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::CoordinatorConfig;
use crate::live::LiveStatus;
use crate::metadata::{self, Core, orphaned_edits};
use crate::{allocator, scheduler, server};
use howdah_telemetry::error_chain;

/// A coordinator that accepts calls.
pub struct Running {
    /// Address that it listens on.
    pub address: SocketAddr,
    tasks: JoinSet<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

/// Opens port, store, queue and log, in that order, and returns when calls are answered.
///
/// Cancelling `shutdown` stops it; [`Running::join`] waits for that.
pub async fn start(config: CoordinatorConfig, shutdown: CancellationToken) -> anyhow::Result<Running> {
    allocator::limit_arenas();
    // The port first: a second coordinator that is started by mistake on this machine fails here, before it opens the log.
    let listener = server::bind(SocketAddr::new(config.listen, config.port)).await?;
    let address = listener.local_addr()?;
    let store = Store::open(&store_config(&config))
        .await
        .with_context(|| format!("cannot open the store {}", config.store))?;
    if !store.capabilities().put_if_absent {
        tracing::warn!(
            store = config.store,
            "this object store has no conditional writes: make sure that only one coordinator uses it"
        );
    }
    let queue = Queue::connect(&config.nats_url, "howdah-coordinator")
        .await
        .with_context(|| {
            format!(
                "cannot reach NATS at {}; is nats-server running? (--nats-url)",
                config.nats_url
            )
        })?;
    queue.ensure_streams().await?;
    // Before the log is read, see `orphaned_edits`.
    let opened = SystemTime::now();
    let (core, command_loop) = metadata::open(store, LiveStatus::default()).await?;

    let mut tasks = JoinSet::new();
    let stopped = shutdown.clone();
    tasks.spawn(async move {
        tokio::select! {
            result = command_loop.run() => Ok(result?),
            // Dropping the loop at any point loses nothing: what was acknowledged is durable.
            () = stopped.cancelled() => Ok(()),
        }
    });
    tasks.spawn(scheduler::run(core.clone(), queue.clone(), shutdown.clone()));
    tokio::spawn(remove_orphaned_edits(core.clone(), opened));
    tasks.spawn(server::serve(listener, core, queue, shutdown.clone()));
    Ok(Running {
        address,
        tasks,
        shutdown,
    })
}

async fn remove_orphaned_edits(core: Core, opened: SystemTime) {
    match orphaned_edits(&core, opened).await {
        Ok(ids) => core.staging().remove(ids),
        Err(error) => tracing::warn!(error = error_chain(&error), "orphaned staged edits could not be listed"),
    }
}

impl Running {
    /// Waits until the coordinator has stopped; the first part that fails stops the others.
    pub async fn join(mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while let Some(result) = self.tasks.join_next().await {
            let result = result.context("a part of the coordinator panicked").and_then(|r| r);
            if outcome.is_ok() {
                outcome = result;
            }
            self.shutdown.cancel();
        }
        outcome
    }
}

fn store_config(config: &CoordinatorConfig) -> StoreConfig {
    let mut store = StoreConfig::new(&config.store);
    store.s3.endpoint.clone_from(&config.s3_endpoint);
    store.s3.region.clone_from(&config.s3_region);
    store.s3.access_key.clone_from(&config.s3_access_key);
    store.s3.secret_key.clone_from(&config.s3_secret_key);
    store.limits = config.memory.limits();
    store
}
