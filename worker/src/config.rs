//! Configuration of a worker.

use std::net::SocketAddr;
use std::path::PathBuf;

use howdah_model::names::PipelineKey;
use howdah_store::StoreConfig;

use crate::runtime::docker::credentials::Credentials;

/// Settings of a worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Name, unique among the running workers; `None` makes one from host and process.
    pub name: Option<String>,
    /// Addresses of NATS, separated by commas.
    pub nats_url: String,
    /// The object store, the same as the coordinator's.
    pub store: StoreConfig,
    /// Folder for slots and caches; one worker per folder.
    pub scratch: PathBuf,
    /// Datums processed at once.
    pub slots: usize,
    /// Most bytes that the caches of this worker keep on disk.
    pub cache_bytes: u64,
    /// Where to serve `/metrics` and `/healthz`; `None` serves them nowhere.
    pub metrics_addr: Option<SocketAddr>,
    /// Pipelines to serve; empty means all.
    pub pipelines: Vec<PipelineKey>,
    /// What runs the stages.
    pub runtime: RuntimeKind,
    /// How to reach the container engine.
    pub docker: DockerSettings,
}

/// How to reach a container engine.
#[derive(Clone, Debug, Default)]
pub struct DockerSettings {
    /// Its address; `None` means `DOCKER_HOST`, else the usual sockets.
    pub host: Option<String>,
    /// Path of the scratch folder as the engine sees it, when that differs: for a worker that runs
    /// in a container itself.
    pub scratch_on_engine: Option<PathBuf>,
    /// Logins to registries.
    pub credentials: Credentials,
}

impl WorkerConfig {
    /// Makes a configuration with defaults for everything that has one.
    pub fn new(nats_url: impl Into<String>, store: StoreConfig, scratch: PathBuf) -> Self {
        Self {
            name: None,
            nats_url: nats_url.into(),
            store,
            scratch,
            slots: default_slots(),
            cache_bytes: DEFAULT_CACHE_BYTES,
            metrics_addr: None,
            pipelines: Vec::new(),
            runtime: RuntimeKind::Docker,
            docker: DockerSettings::default(),
        }
    }
}

/// Kinds of runtime that a worker can be started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeKind {
    /// A Docker engine, or Podman's compatible socket.
    Docker,
}

impl std::str::FromStr for RuntimeKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "docker" => Ok(Self::Docker),
            other => Err(format!("unknown runtime {other:?}: expected docker")),
        }
    }
}

/// Default size of the disk caches: 10 GiB.
pub const DEFAULT_CACHE_BYTES: u64 = 10 << 30;

/// Returns the default number of slots: one per core.
pub fn default_slots() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Makes a name from host, process id and a random suffix. The suffix distinguishes a restarted container, whose
/// process often gets the same id.
pub(crate) fn own_name() -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    let host: String = host_name()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' })
        .collect();
    format!("{host}-{}-{}", std::process::id(), &random[..6])
}

/// Returns the machine's name.
pub(crate) fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "worker".to_owned())
}
