//! Configuration of a worker.

use std::net::SocketAddr;
use std::path::PathBuf;

use howdah_model::names::PipelineKey;
use howdah_queue::NatsAccess;
use howdah_store::StoreConfig;

use crate::runtime::Network;
use crate::runtime::docker::containment::{Containment, DEFAULT_PIDS};
use crate::runtime::docker::credentials::Credentials;

/// Settings of a worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Name, unique among the running workers; `None` makes one from host and process.
    pub name: Option<String>,
    /// Addresses of NATS, separated by commas.
    pub nats_url: String,
    /// Credentials and certificates for NATS.
    pub nats: NatsAccess,
    /// The object store, the same as the coordinator's.
    pub store: StoreConfig,
    /// Folder for slots and caches; one worker per folder.
    pub scratch: PathBuf,
    /// Datums processed at once.
    pub slots: usize,
    /// Most bytes that the caches of this worker keep on disk.
    pub cache_bytes: u64,
    /// Limits on the output of a datum.
    pub output_limits: OutputLimits,
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
    /// What keeps user code inside its container.
    pub stages: StageSettings,
}

/// What keeps user code inside its container. Every flag `--a-b` is also read from `HOWDAH_A_B`.
#[derive(Clone, Debug, clap::Args)]
pub struct StageSettings {
    /// Network of containers: none, a network of the engine by name, or separate: they reach other machines, not each other
    #[arg(long, env = "HOWDAH_STAGE_NETWORK", value_name = "NAME", default_value = "separate", value_parser = parse_network)]
    pub stage_network: Network,
    /// Runtime of the engine for containers, such as runsc or kata-runtime [default: the engine's]
    #[arg(long, env = "HOWDAH_STAGE_RUNTIME", value_name = "NAME")]
    pub stage_runtime: Option<String>,
    /// Most processes and threads of a container
    #[arg(long, env = "HOWDAH_STAGE_PIDS", value_name = "N", default_value_t = DEFAULT_PIDS, value_parser = clap::value_parser!(u32).range(16..))]
    pub stage_pids: u32,
    /// Memory limit of containers whose pipeline has none: a size, none, or share: the machine's memory divided by the
    /// slots, at least 512MiB
    #[arg(long, env = "HOWDAH_STAGE_MEMORY", value_name = "SIZE", default_value = "share", value_parser = parse_memory)]
    pub stage_memory: StageMemory,
}

/// Memory limit of containers whose pipeline has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageMemory {
    /// The machine's memory divided by the number of slots, at least [`LEAST_SHARE_BYTES`].
    Share,
    /// No limit.
    Unlimited,
    /// This many bytes.
    Bytes(u64),
}

/// Smallest limit that [`StageMemory::Share`] gives.
pub(crate) const LEAST_SHARE_BYTES: u64 = 512 << 20;

impl Default for StageSettings {
    fn default() -> Self {
        Self {
            stage_network: Network::Default,
            stage_runtime: None,
            stage_pids: DEFAULT_PIDS,
            stage_memory: StageMemory::Share,
        }
    }
}

impl StageSettings {
    /// Returns what holds for the stages of a worker with `slots` slots on this machine.
    pub(crate) fn containment(&self, slots: usize) -> Containment {
        let memory_bytes = match self.stage_memory {
            StageMemory::Bytes(bytes) => Some(bytes),
            StageMemory::Unlimited => None,
            StageMemory::Share => match machine_memory() {
                Some(bytes) => Some((bytes / slots.max(1) as u64).max(LEAST_SHARE_BYTES)),
                None => {
                    tracing::warn!("the machine's memory is unknown: containers have no memory limit (--stage-memory)");
                    None
                }
            },
        };
        Containment {
            network: self.stage_network.clone(),
            runtime: self.stage_runtime.clone(),
            pids: self.stage_pids,
            memory_bytes,
        }
    }
}

/// Returns the bytes of memory of this machine.
fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1 << 10)
}

fn parse_network(text: &str) -> Result<Network, String> {
    match text.trim() {
        "" => Err("expected none, separate, or the name of a network".to_owned()),
        "separate" => Ok(Network::Default),
        "none" => Ok(Network::None),
        name => Ok(Network::Named(name.to_owned())),
    }
}

fn parse_memory(text: &str) -> Result<StageMemory, String> {
    match text.trim() {
        "share" => Ok(StageMemory::Share),
        "none" => Ok(StageMemory::Unlimited),
        size => parse_bytes(size).map(StageMemory::Bytes),
    }
}

/// Reads a size: bytes, or a number with a unit.
///
/// # Errors
/// With a text that says what is expected.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let expected = || format!("{text:?} is not a size: expected bytes, or a number with KiB, MiB, GiB or TiB");
    let number: u64 = number.parse().map_err(|_| expected())?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(expected()),
    };
    number.checked_mul(factor).ok_or_else(expected)
}

impl WorkerConfig {
    /// Makes a configuration with defaults for everything that has one.
    pub fn new(nats_url: impl Into<String>, store: StoreConfig, scratch: PathBuf) -> Self {
        Self {
            name: None,
            nats_url: nats_url.into(),
            nats: NatsAccess::default(),
            store,
            scratch,
            slots: default_slots(),
            cache_bytes: DEFAULT_CACHE_BYTES,
            output_limits: OutputLimits::default(),
            metrics_addr: None,
            pipelines: Vec::new(),
            runtime: RuntimeKind::Docker,
            docker: DockerSettings::default(),
        }
    }
}

/// Limits on the output of one datum, to be flattened into the arguments of a program. Every flag `--a-b` is also read
/// from `HOWDAH_A_B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct OutputLimits {
    /// Most bytes that a datum may write into /pfs/out, such as 500GiB. A hole in a sparse file counts as its length
    #[arg(
        long = "max-output-bytes",
        env = "HOWDAH_MAX_OUTPUT_BYTES",
        value_name = "BYTES",
        default_value = "512GiB",
        value_parser = parse_bytes
    )]
    pub bytes: u64,
    /// Most files, folders and links that a datum may leave in /pfs/out
    #[arg(
        long = "max-output-files",
        env = "HOWDAH_MAX_OUTPUT_FILES",
        value_name = "N",
        default_value_t = DEFAULT_OUTPUT_FILES
    )]
    pub files: u64,
    /// Most levels of folders below /pfs/out
    #[arg(
        long = "max-output-depth",
        env = "HOWDAH_MAX_OUTPUT_DEPTH",
        value_name = "N",
        default_value_t = DEFAULT_OUTPUT_DEPTH
    )]
    pub depth: usize,
}

impl Default for OutputLimits {
    fn default() -> Self {
        Self {
            bytes: 512 << 30,
            files: DEFAULT_OUTPUT_FILES,
            depth: DEFAULT_OUTPUT_DEPTH,
        }
    }
}

const DEFAULT_OUTPUT_FILES: u64 = 2_000_000;
const DEFAULT_OUTPUT_DEPTH: usize = 512;

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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        limits: OutputLimits,
    }

    #[test]
    fn the_defaults_of_the_flags_are_those_of_the_type() {
        let limits = Program::try_parse_from(["program"]).unwrap().limits;
        assert_eq!(limits, OutputLimits::default());
    }

    #[test]
    fn containers_without_a_limit_share_the_memory_of_the_machine() {
        let machine = machine_memory().unwrap();
        let settings = StageSettings::default();
        assert_eq!(settings.containment(1).memory_bytes, Some(machine));
        assert_eq!(settings.containment(usize::MAX).memory_bytes, Some(LEAST_SHARE_BYTES));
        for (given, expected) in [("none", None), ("3GiB", Some(3 << 30))] {
            let settings = StageSettings {
                stage_memory: parse_memory(given).unwrap(),
                ..StageSettings::default()
            };
            assert_eq!(settings.containment(4).memory_bytes, expected);
        }
        parse_memory("much").unwrap_err();
    }

    #[test]
    fn networks_have_three_forms() {
        assert_eq!(parse_network("separate"), Ok(Network::Default));
        assert_eq!(parse_network("none"), Ok(Network::None));
        assert_eq!(parse_network("host"), Ok(Network::Named("host".to_owned())));
        parse_network(" ").unwrap_err();
    }
}
