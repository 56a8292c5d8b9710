//! What keeps user code inside its container: capabilities, limits, network, runtime.
//!
//! `stage-init` runs as root and changes to the user of each command, so a container keeps the capabilities that this
//! and ordinary images need. It gets no new ones: programs with the set-uid bit have no effect.

use std::collections::HashMap;

use bollard::models::NetworkCreateRequest;
use tokio::sync::OnceCell;

use super::super::{Network, RuntimeError};
use super::engine::{self, Engine};

/// Capabilities of the engine's usual set that no stage needs: making devices, raw packets, capabilities in files,
/// another root folder, and writing the audit log.
pub(super) const DROPPED_CAPABILITIES: [&str; 5] = ["MKNOD", "NET_RAW", "SETFCAP", "SYS_CHROOT", "AUDIT_WRITE"];
/// Most processes and threads of a container.
pub const DEFAULT_PIDS: u32 = 4_096;
/// Network of stages: containers reach other machines, and not each other.
const NETWORK: &str = "howdah-stages";
/// Answer of the engine if something of that name exists.
const CONFLICT: u16 = 409;
const NOT_FOUND: u16 = 404;

/// Settings that hold for all stages of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Containment {
    /// Network of stages; `Network::Default` is one of their own, in which they do not reach each other.
    pub network: Network,
    /// Runtime of the engine, such as `runsc` or `kata-runtime`; `None` means the engine's default.
    pub runtime: Option<String>,
    /// Most processes and threads of a container.
    pub pids: u32,
    /// Memory limit of pipelines without one, in bytes; `None` means no limit.
    pub memory_bytes: Option<u64>,
}

impl Default for Containment {
    fn default() -> Self {
        Self {
            network: Network::Default,
            runtime: None,
            pids: DEFAULT_PIDS,
            memory_bytes: None,
        }
    }
}

/// Finds or makes the network of stages, once.
#[derive(Debug, Default)]
pub(super) struct StageNetwork(OnceCell<Option<String>>);

impl StageNetwork {
    /// Returns the name of the network that a container with `wanted` joins; `None` means the engine's default.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub(super) async fn name(&self, engine: &Engine, wanted: &Network) -> Result<Option<String>, RuntimeError> {
        match wanted {
            Network::None => Ok(Some("none".to_owned())),
            Network::Named(name) => Ok(Some(name.clone())),
            Network::Default => self.0.get_or_try_init(|| ensure(engine)).await.cloned(),
        }
    }
}

async fn ensure(engine: &Engine) -> Result<Option<String>, RuntimeError> {
    match engine.api.inspect_network(NETWORK, None).await {
        Ok(_) => return Ok(Some(NETWORK.to_owned())),
        Err(error) if engine::status(&error) == Some(NOT_FOUND) => {}
        Err(error) => return Err(engine::failed("look at the network of stages", &error)),
    }
    let request = NetworkCreateRequest {
        name: NETWORK.to_owned(),
        driver: Some("bridge".to_owned()),
        options: Some(HashMap::from([(
            "com.docker.network.bridge.enable_icc".to_owned(),
            "false".to_owned(),
        )])),
        ..NetworkCreateRequest::default()
    };
    match engine.api.create_network(request).await {
        Ok(_) => Ok(Some(NETWORK.to_owned())),
        // Another worker of this engine was faster.
        Err(error) if engine::status(&error) == Some(CONFLICT) => Ok(Some(NETWORK.to_owned())),
        Err(error) if engine::status(&error).is_some() => {
            // An engine without this kind of network. Work is more important than this separation; --stage-network names
            // another network.
            tracing::warn!(
                error = engine::message(&error),
                "no network for stages can be made: they use the engine's default, where containers reach each other"
            );
            Ok(None)
        }
        Err(error) => Err(engine::failed("make a network for stages", &error)),
    }
}
