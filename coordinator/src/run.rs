//! Starts the parts of a coordinator in their order and stops them together.
//!
//! The parts are the server and the terms as leader. When one fails the other stops, and the coordinator ends with the first
//! error.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use howdah_queue::{Queue, QueueOptions};
use howdah_store::{Store, StoreConfig};
use howdah_telemetry::read_secret_file;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::access::callers::Callers;
use crate::access::gate::Gate;
use crate::access::hosts::Hosts;
use crate::access::tokens::Tokens;
use crate::config::{AccessConfig, CoordinatorConfig};
use crate::connections::descriptors;
use crate::connections::registry::Registry;
use crate::leadership::peer_key::PeerKey;
use crate::leadership::role::role;
use crate::leadership::standby::Standby;
use crate::metadata::LogTail;
use crate::sealing::{Sealer, SecretKey};
use crate::term::Terms;
use crate::tls::{Tls, TlsFiles};
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
    let tls = load_tls(&config.access)?.map(Arc::new);
    let tokens = load_tokens(&config)?;
    let open_files = descriptors::raise_limit();
    let registry = Registry::new(descriptors::connections_for(config.access.max_connections, open_files));
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
    let gate = Gate::new(
        hosts(&config),
        Callers::new(tokens.clone(), config.access.insecure_no_auth),
        PeerKey::of_store(&store).await?,
        config.access.client_silence(),
    );
    let tail = LogTail::read(store.clone()).await?;
    let (roles, role) = role();
    let (broker, accepting) = server::open_file_broker();
    let peers = tls.as_deref().map(Tls::client).transpose()?.map(Arc::new);
    let standby = Standby::new(store.clone(), advertised(&config, address), peers, roles.clone());
    let terms = Terms {
        store,
        queue,
        replicas: config.nats_replicas,
        broker,
        retries: config.retries.into(),
        request_memory_bytes: config.memory.request_memory_bytes,
        roles,
        sealer,
        shutdown: shutdown.clone(),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(terms.run(standby, tail));
    tasks.spawn(server::serve(
        listener,
        registry,
        role.clone(),
        gate,
        tls.clone(),
        accepting,
        shutdown.clone(),
    ));
    if let Some(tokens) = tokens {
        let stopped = shutdown.clone();
        tasks.spawn(async move {
            stopped.run_until_cancelled(tokens.follow()).await;
            Ok(())
        });
    }
    if let Some(tls) = tls {
        let stopped = shutdown.clone();
        tasks.spawn(async move {
            stopped.run_until_cancelled(tls.follow()).await;
            Ok(())
        });
    }
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

/// Reads the tokens, and decides whether the settings are safe enough to listen.
///
/// # Errors
/// When everybody on a network could call without being asked who it is, or the tokens cannot be read.
fn load_tokens(config: &CoordinatorConfig) -> anyhow::Result<Option<Arc<Tokens>>> {
    let listen = config.listen;
    let tokens = config.access.auth_token_file.as_deref().map(Tokens::load).transpose()?;
    let has_tokens = tokens.as_ref().is_some_and(|tokens| !tokens.is_empty());
    if config.access.insecure_no_auth {
        tracing::warn!("access control is off (--insecure-no-auth): everybody who reaches {listen} may do everything");
    } else if !listen.is_loopback() {
        if !has_tokens {
            bail!(
                "without tokens, calls are only taken on loopback, not on {listen}: name a file of tokens with \
                 --auth-token-file, or let everybody do everything with --insecure-no-auth"
            );
        }
        if config.access.tls_cert.is_none() {
            tracing::warn!(
                "connections to {listen} are not encrypted: others on the network may read tokens and data (--tls-cert)"
            );
        }
    }
    Ok(tokens.map(Arc::new))
}

fn load_tls(access: &AccessConfig) -> anyhow::Result<Option<Tls>> {
    let client_ca = access.tls_client_ca.clone();
    match (access.tls_cert.clone(), access.tls_key.clone()) {
        (Some(cert), Some(key)) => Ok(Some(Tls::load(TlsFiles { cert, key, client_ca })?)),
        (None, None) if client_ca.is_none() => Ok(None),
        _ => bail!("--tls-cert and --tls-key belong together, and --tls-client-ca needs both"),
    }
}

/// Returns the names by which clients and other coordinators call this one.
fn hosts(config: &CoordinatorConfig) -> Hosts {
    let listen = match config.listen {
        std::net::IpAddr::V4(address) => address.to_string(),
        std::net::IpAddr::V6(address) => format!("[{address}]"),
    };
    let names = config.access.host_name.iter().chain(&config.advertise).chain([&listen]);
    Hosts::new(names.map(String::as_str))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &str) -> CoordinatorConfig {
        CoordinatorConfig::new(listen.parse().unwrap(), 0, "nats://127.0.0.1:1", "memory://")
    }

    #[test]
    fn a_port_for_a_network_needs_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        assert!(load_tokens(&config("127.0.0.1")).unwrap().is_none());
        assert!(load_tokens(&config("::1")).unwrap().is_none());
        for listen in ["0.0.0.0", "::", "192.0.2.1"] {
            let mut config = config(listen);
            let error = load_tokens(&config).unwrap_err().to_string();
            assert!(
                error.contains("--auth-token-file") && error.contains("--insecure-no-auth"),
                "{error}"
            );
            config.access.auth_token_file = Some(file.clone());
            std::fs::write(&file, "# none\n").unwrap();
            assert!(load_tokens(&config).is_err(), "a file without tokens");
            std::fs::write(&file, "0123456789abcdef ci\n").unwrap();
            assert!(load_tokens(&config).unwrap().is_some());
            config.access.auth_token_file = None;
            config.access.insecure_no_auth = true;
            assert!(load_tokens(&config).unwrap().is_none());
        }
    }

    #[test]
    fn the_address_and_the_given_names_are_names_of_the_server() {
        let mut config = config("::");
        config.advertise = Some("howdah.example:30650".to_owned());
        config.access.host_name = vec!["Other.example".to_owned()];
        let hosts = hosts(&config);
        let connected_to = "192.0.2.1".parse().unwrap();
        for name in ["[::]:30650", "howdah.example:30650", "other.example", "192.0.2.1:1"] {
            assert!(hosts.allow(name, connected_to), "{name}");
        }
        assert!(!hosts.allow("third.example", connected_to));
    }
}
