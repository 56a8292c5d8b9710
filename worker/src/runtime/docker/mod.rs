//! Runs stages as containers of a Docker engine, or of Podman's compatible socket.
//!
//! - [`engine`]: the connection to the engine, and its errors;
//! - [`mod@image`] and [`mod@reference`]: resolves, pulls and pins images;
//! - [`credentials`]: logins to registries;
//! - [`definition`] and [`container`]: the stage containers; [`containment`]: what keeps user code inside them.
//!
//! The connection is opened with the first request. After an error of the connection the next
//! request opens a new one, so an engine that starts or restarts later is found. All errors are
//! [`RuntimeError`]s.

pub mod container;
pub mod containment;
pub mod credentials;
pub mod definition;
pub mod engine;
pub mod image;
pub mod reference;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bollard::query_parameters::ListContainersOptionsBuilder;
use howdah_model::entities::ImagePin;
use tokio::sync::Mutex;

use super::{Network, RegistryAuth, Runtime, RuntimeError, Stage, StageRequest, init_program};
use containment::{Containment, StageNetwork};
use credentials::Credentials;
use definition::{StageSetup, WORKER_LABEL};
use engine::Engine;
use reference::ImageReference;

/// Settings of a [`DockerRuntime`].
#[derive(Clone, Debug)]
pub struct DockerConfig {
    /// The worker's scratch folder, absolute. It is also the label by which a later worker finds
    /// containers left behind.
    pub scratch: PathBuf,
    /// Address of the engine; `None` means `DOCKER_HOST`, else the usual sockets.
    pub host: Option<String>,
    /// Logins to registries.
    pub credentials: Credentials,
    /// Path of `scratch` on the engine's machine, if it differs: for a worker that runs in a
    /// container itself.
    pub scratch_on_engine: Option<PathBuf>,
    /// What keeps user code inside its container.
    pub containment: Containment,
}

/// Runs stages in containers of a Docker engine.
#[derive(Debug)]
pub struct DockerRuntime {
    config: DockerConfig,
    /// The open connection. The lock is held while connecting, so that concurrent requests open one
    /// connection.
    engine: Mutex<Option<Engine>>,
    network: StageNetwork,
}

impl DockerRuntime {
    /// Makes a runtime without connecting to the engine.
    pub fn new(config: DockerConfig) -> Self {
        Self {
            config,
            engine: Mutex::new(None),
            network: StageNetwork::default(),
        }
    }

    /// Connects to the engine and returns its address, for a start-up message.
    pub async fn check(&self) -> Result<String, RuntimeError> {
        Ok(self.engine().await?.address)
    }

    async fn engine(&self) -> Result<Engine, RuntimeError> {
        let mut slot = self.engine.lock().await;
        if let Some(engine) = &*slot {
            return Ok(engine.clone());
        }
        let engine = engine::connect(self.config.host.as_deref()).await?;
        *slot = Some(engine.clone());
        Ok(engine)
    }

    /// Drops the connection after a connection error, so that the next request opens a new one.
    async fn note_result<T>(&self, result: Result<T, RuntimeError>) -> Result<T, RuntimeError> {
        if matches!(result, Err(RuntimeError::EngineUnavailable { .. })) {
            *self.engine.lock().await = None;
        }
        result
    }

    /// Returns the credentials of the request, or else those configured for the registry.
    async fn auth_for(&self, image: &str, given: Option<RegistryAuth>) -> Option<RegistryAuth> {
        if given.is_some() {
            return given;
        }
        let reference = ImageReference::parse(image).ok()?;
        let credentials = &self.config.credentials;
        credentials.for_registry(reference.registry()).await
    }

    fn owner(&self) -> String {
        self.config.scratch.to_string_lossy().into_owned()
    }

    /// Converts a path of this worker into the path on the engine's machine.
    fn to_engine(&self, path: &Path) -> PathBuf {
        match (&self.config.scratch_on_engine, path.strip_prefix(&self.config.scratch)) {
            (Some(there), Ok(rest)) => there.join(rest),
            _ => path.to_owned(),
        }
    }

    async fn try_fetch(&self, pin: &ImagePin) -> Result<(), RuntimeError> {
        let engine = self.engine().await?;
        let auth = self.auth_for(&pin.reference, None).await;
        image::pinned(&engine, pin, auth.as_ref()).await?;
        Ok(())
    }

    async fn try_start(&self, req: &StageRequest) -> Result<Box<dyn Stage>, RuntimeError> {
        let engine = self.engine().await?;
        let auth = self.auth_for(&req.image.reference, None).await;
        let image = image::pinned(&engine, &req.image, auth.as_ref()).await?;
        let bin = self.config.scratch.join("bin");
        let init = init_program::install(&bin).map_err(|source| RuntimeError::Io {
            context: format!("cannot write stage-init into {}", bin.display()),
            source,
        })?;
        // The pipeline's wish first, then the worker's setting.
        let network = match &req.network {
            Network::Default => &self.config.containment.network,
            wanted => wanted,
        };
        let network = self.network.name(&engine, network).await?;
        let setup = StageSetup {
            engine: &engine,
            init: &init,
            owner: &self.owner(),
            to_engine: &|path| self.to_engine(path),
            containment: &self.config.containment,
            network,
        };
        let stage = container::start(&setup, req, image).await?;
        Ok(Box::new(stage))
    }

    async fn try_cleanup(&self) -> Result<(), RuntimeError> {
        let engine = self.engine().await?;
        let label = format!("{WORKER_LABEL}={}", self.owner());
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let found = engine
            .api
            .list_containers(Some(options))
            .await
            .map_err(|e| engine::failed("list containers", &e))?;
        let ids: Vec<String> = found.into_iter().filter_map(|c| c.id).collect();
        if !ids.is_empty() {
            tracing::info!(count = ids.len(), "removing containers of an earlier worker");
        }
        let removals = ids.iter().map(|id| container::remove(&engine.api, id));
        futures::future::join_all(removals).await;
        Ok(())
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    async fn resolve(&self, image: &str, auth: Option<RegistryAuth>) -> Result<ImagePin, RuntimeError> {
        let attempt = async {
            let engine = self.engine().await?;
            let auth = self.auth_for(image, auth).await;
            image::resolve(&engine, image, auth.as_ref()).await
        };
        self.note_result(attempt.await).await
    }

    async fn fetch(&self, image: &ImagePin) -> Result<(), RuntimeError> {
        self.note_result(self.try_fetch(image).await).await
    }

    async fn start(&self, req: &StageRequest) -> Result<Box<dyn Stage>, RuntimeError> {
        self.note_result(self.try_start(req).await).await
    }

    async fn cleanup_orphans(&self) -> Result<(), RuntimeError> {
        self.note_result(self.try_cleanup().await).await
    }

    fn name(&self) -> &'static str {
        "docker"
    }
}
