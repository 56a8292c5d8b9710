//! The runtime over a Docker engine, or over Podman's compatible socket.
//!
//! - [`engine`]: finding and reaching the engine, its errors;
//! - [`mod@image`] and [`mod@reference`]: which image, pulled if need be, pinned;
//! - [`credentials`]: logins to registries;
//! - [`container`]: the stage containers themselves.
//!
//! Nothing is asked of the engine before it is needed, and a connection that broke is made anew:
//! an engine that is started or restarted later is found by the next attempt.

pub mod container;
pub mod credentials;
pub mod engine;
pub mod image;
pub mod reference;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bollard::query_parameters::ListContainersOptionsBuilder;
use howdah_model::entities::ImagePin;
use tokio::sync::Mutex;

use super::{RegistryAuth, Runtime, RuntimeError, Stage, StageRequest, init_program};
use container::{StageSetup, WORKER_LABEL};
use credentials::Credentials;
use engine::Engine;
use reference::Reference;

/// Settings of a [`DockerRuntime`].
#[derive(Clone, Debug)]
pub struct DockerConfig {
    /// The worker's scratch folder, absolute. Containers are found again by it.
    pub scratch: PathBuf,
    /// Address of the engine; `None` means `DOCKER_HOST`, else the usual sockets.
    pub host: Option<String>,
    /// Logins to registries.
    pub credentials: Credentials,
    /// Path of `scratch` as the engine sees it, when that differs: for a worker that runs in a
    /// container itself.
    pub scratch_on_engine: Option<PathBuf>,
}

/// Runs stages in containers of a Docker engine.
#[derive(Debug)]
pub struct DockerRuntime {
    config: DockerConfig,
    /// The engine, once it has been reached. Held while connecting, so that slots that start
    /// together connect once.
    engine: Mutex<Option<Engine>>,
}

impl DockerRuntime {
    /// Makes a runtime; no engine is asked yet.
    pub fn new(config: DockerConfig) -> Self {
        Self {
            config,
            engine: Mutex::new(None),
        }
    }

    /// Reaches the engine and returns its address, for a start-up message.
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

    /// Forgets an engine that went away, so that the next attempt looks for it anew.
    async fn note<T>(&self, result: Result<T, RuntimeError>) -> Result<T, RuntimeError> {
        if matches!(result, Err(RuntimeError::EngineUnavailable { .. })) {
            *self.engine.lock().await = None;
        }
        result
    }

    /// Returns the credentials given with the request, else those configured for the registry.
    async fn auth_for(&self, image: &str, given: Option<RegistryAuth>) -> Option<RegistryAuth> {
        if given.is_some() {
            return given;
        }
        let reference = Reference::parse(image).ok()?;
        let credentials = &self.config.credentials;
        credentials.for_registry(reference.registry()).await
    }

    fn owner(&self) -> String {
        self.config.scratch.to_string_lossy().into_owned()
    }

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
        let setup = StageSetup {
            engine: &engine,
            init: &init,
            owner: &self.owner(),
            to_engine: &|path| self.to_engine(path),
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
        self.note(attempt.await).await
    }

    async fn fetch(&self, image: &ImagePin) -> Result<(), RuntimeError> {
        self.note(self.try_fetch(image).await).await
    }

    async fn start(&self, req: &StageRequest) -> Result<Box<dyn Stage>, RuntimeError> {
        self.note(self.try_start(req).await).await
    }

    async fn cleanup_orphans(&self) -> Result<(), RuntimeError> {
        self.note(self.try_cleanup().await).await
    }

    fn name(&self) -> &'static str {
        "docker"
    }
}
