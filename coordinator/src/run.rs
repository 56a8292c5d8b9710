//! Starts the parts of a coordinator in their order and stops them together.
//!
//! The parts are the server and the terms as leader. When one fails the other stops, and the coordinator ends with the first
//! error.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use howdah_queue::{Queue, QueueOptions};
use howdah_store::{Store, StoreConfig};
use howdah_telemetry::read_secret_file;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::CoordinatorConfig;
use crate::leadership::role::role;
use crate::leadership::standby::Standby;
use crate::metadata::LogTail;
use crate::sealing::{Sealer, SecretKey};
use crate::term::Terms;
use crate::{allocator, installation, metrics, server};

/// A coordinator that accepts calls.
pub struct Running {
    /// Address that it listens on.
    pub address: SocketAddr,
    tasks: JoinSet<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

/// Opens port, store, queue and log, in that order, and returns when calls are answered: here, or by the coordinator that
/// leads.
///
/// Cancelling `shutdown` stops it; [`Running::join`] waits for that.
///
/// # Errors
/// When one of them cannot be opened, or the log is damaged.
pub async fn start(config: CoordinatorConfig, shutdown: CancellationToken) -> anyhow::Result<Running> {
    allocator::limit_arenas();
    // The port first: a second coordinator that is started by mistake on this machine fails here, before it opens the log.
    let listener = server::bind(SocketAddr::new(config.listen, config.port)).await?;
    let address = listener.local_addr()?;
    let sealer = sealer(&config)?;
    let store = Store::open(&store_config(&config)?)
        .await
        .with_context(|| format!("cannot open the store {}", config.store))?;
    if !store.capabilities().put_if_absent {
        tracing::warn!(
            store = config.store,
            "this object store has no conditional writes: make sure that only one coordinator uses it"
        );
    }
    let queue = connect(&config, &store).await?;
    let tail = LogTail::read(store.clone()).await?;
    let (roles, role) = role();
    let (broker, accepting) = server::open_file_broker();
    let standby = Standby::new(store.clone(), advertised(&config, address), roles.clone());
    let terms = Terms {
        store,
        queue,
        replicas: config.nats_replicas,
        broker,
        retries: config.retries.into(),
        roles,
        sealer,
        shutdown: shutdown.clone(),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(terms.run(standby, tail));
    tasks.spawn(server::serve(listener, role.clone(), accepting, shutdown.clone()));
    let mut running = Running {
        address,
        tasks,
        shutdown,
    };
    tokio::select! {
        () = role.has_leader() => Ok(running),
        // A part that ends before is a failed start.
        Some(ended) = running.tasks.join_next() => {
            running.shutdown.cancel();
            ended.context("a part of the coordinator panicked")??;
            running.join().await?;
            anyhow::bail!("the coordinator was stopped while it started")
        }
    }
}

/// Connects to NATS with the identity of the store.
async fn connect(config: &CoordinatorConfig, store: &Store) -> anyhow::Result<Queue> {
    let options = QueueOptions {
        access: config.nats.clone(),
        on_refusal: Arc::new(|refusal| metrics::MESSAGES_IGNORED.with_label_values(&[refusal.label()]).inc()),
        ..QueueOptions::coordinator(&config.nats_url, installation::ensure(store).await?)
    };
    Queue::connect(&options).await.context("cannot use NATS (--nats-url)")
}

/// Returns the address that other coordinators reach this one at.
fn advertised(config: &CoordinatorConfig, address: SocketAddr) -> String {
    config.advertise.clone().unwrap_or_else(|| address.to_string())
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

/// Returns what seals secrets, with the key of the settings if they name one.
fn sealer(config: &CoordinatorConfig) -> anyhow::Result<Sealer> {
    let Some(path) = &config.secret_key_file else {
        return Ok(Sealer::default());
    };
    let key = if config.make_secret_key {
        SecretKey::read_or_make(path)?
    } else {
        SecretKey::read(path)?
    };
    Ok(Sealer::with_key(key))
}

fn store_config(config: &CoordinatorConfig) -> anyhow::Result<StoreConfig> {
    let mut store = StoreConfig::new(&config.store);
    store.s3.endpoint.clone_from(&config.s3_endpoint);
    store.s3.region.clone_from(&config.s3_region);
    store.s3.access_key.clone_from(&config.s3_access_key);
    store.s3.secret_key = match &config.s3_secret_key_file {
        Some(path) => Some(read_secret_file(path)?),
        None => config.s3_secret_key.clone(),
    };
    store.s3.session_token.clone_from(&config.s3_session_token);
    store.limits = config.memory.limits();
    Ok(store)
}
