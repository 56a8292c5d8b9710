//! Flags and environment of `howdah-worker`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use howdah_model::names::PipelineKey;
use howdah_queue::NatsAccess;
use howdah_store::{S3Config, StoreConfig};
use howdah_worker::runtime::docker::credentials::Credentials;
use howdah_worker::{DockerSettings, OutputLimits, RuntimeKind, StageSettings, WorkerConfig, parse_bytes};

/// Run the commands of Howdah's pipelines on this machine.
///
/// Every flag can also be given as the environment variable shown beside it.
#[derive(Debug, Parser)]
#[command(name = "howdah-worker", version)]
pub(crate) struct Settings {
    /// Address of NATS, nats://HOST:PORT or tls://HOST:PORT; several are separated by commas
    #[arg(
        long,
        env = "HOWDAH_NATS_URL",
        default_value = "nats://127.0.0.1:4222",
        hide_env_values = true
    )]
    nats_url: String,
    #[command(flatten)]
    nats: NatsAccess,
    /// Object store, the same as the coordinator's: file:///PATH or s3://BUCKET/PREFIX
    #[arg(long, env = "HOWDAH_STORE")]
    store: String,
    #[command(flatten)]
    s3: S3Settings,
    /// Folder for slots and caches, on a local disk; one worker per folder
    #[arg(long, env = "HOWDAH_SCRATCH", default_value = "/var/lib/howdah/worker")]
    scratch: PathBuf,
    /// Datums processed at once [default: number of cores]
    #[arg(long, env = "HOWDAH_SLOTS", value_parser = clap::value_parser!(u16).range(1..))]
    slots: Option<u16>,
    /// Most bytes that the caches keep on disk, such as 500MiB or 10GiB
    #[arg(long, env = "HOWDAH_CACHE_BYTES", default_value = "10GiB", value_parser = parse_bytes)]
    cache_bytes: u64,
    #[command(flatten)]
    output_limits: OutputLimits,
    /// Where to serve /metrics and /healthz, such as 0.0.0.0:9464 [default: nowhere]
    #[arg(long, env = "HOWDAH_METRICS_ADDR")]
    metrics_addr: Option<SocketAddr>,
    /// Pipelines to serve, as NAME or PROJECT/NAME, separated by commas [default: all]
    #[arg(long, env = "HOWDAH_PIPELINES", value_delimiter = ',', value_parser = parse_pipeline)]
    pipelines: Vec<PipelineKey>,
    /// What runs the stages
    #[arg(long, env = "HOWDAH_RUNTIME", default_value = "docker")]
    runtime: RuntimeKind,
    /// Address of the container engine [default: DOCKER_HOST, else the usual sockets]
    #[arg(long, env = "HOWDAH_DOCKER_HOST")]
    docker_host: Option<String>,
    /// File with logins to registries, as `docker login` writes it [default: ~/.docker/config.json]
    #[arg(long, env = "HOWDAH_DOCKER_CONFIG")]
    docker_config: Option<PathBuf>,
    /// Path of the scratch folder as the container engine sees it, for a worker in a container
    #[arg(long, env = "HOWDAH_SCRATCH_ON_ENGINE")]
    scratch_on_engine: Option<PathBuf>,
    #[command(flatten)]
    stages: StageSettings,
    /// Name of the worker, unique among the living ones [default: made from host and process]
    #[arg(long, env = "HOWDAH_WORKER_NAME")]
    worker_name: Option<String>,
    #[command(flatten)]
    pub log: howdah_telemetry::LogArgs,
}

/// How to reach an S3-compatible server; missing values come from the usual AWS_* variables.
#[derive(Debug, clap::Args)]
pub(crate) struct S3Settings {
    /// Address of the S3 server, such as http://127.0.0.1:9000 [default: Amazon's]
    #[arg(long, env = "HOWDAH_S3_ENDPOINT")]
    s3_endpoint: Option<String>,
    /// Region of the bucket
    #[arg(long, env = "HOWDAH_S3_REGION")]
    s3_region: Option<String>,
    /// Public half of the S3 credentials
    #[arg(long, env = "HOWDAH_S3_ACCESS_KEY", hide_env_values = true)]
    s3_access_key: Option<String>,
    /// Secret half of the S3 credentials; a flag shows it to all users of the machine, so use a file or the variable
    #[arg(long, env = "HOWDAH_S3_SECRET_KEY", hide_env_values = true)]
    s3_secret_key: Option<String>,
    /// File that holds the secret half of the S3 credentials
    #[arg(
        long,
        env = "HOWDAH_S3_SECRET_KEY_FILE",
        value_name = "FILE",
        conflicts_with = "s3_secret_key"
    )]
    s3_secret_key_file: Option<PathBuf>,
}

/// Takes the S3 keys that the settings hold out of the environment. The variables `AWS_...` stay: the credential helpers
/// of container registries, which are programs of their own, read them.
///
/// # Safety
/// As for [`howdah_telemetry::take_variable`]: at the start of `main`, before there is a second thread.
pub(crate) unsafe fn take_keys() {
    for name in ["HOWDAH_S3_ACCESS_KEY", "HOWDAH_S3_SECRET_KEY"] {
        // SAFETY: passed on to the caller.
        unsafe { howdah_telemetry::take_variable(name) };
    }
}

impl Settings {
    /// Converts the settings into the library's configuration.
    ///
    /// # Errors
    /// When a file that holds a secret cannot be read.
    pub(crate) fn into_config(self) -> anyhow::Result<WorkerConfig> {
        let secret_key = match &self.s3.s3_secret_key_file {
            Some(path) => Some(howdah_telemetry::read_secret_file(path)?),
            None => self.s3.s3_secret_key,
        };
        let mut store = StoreConfig::new(self.store);
        store.s3 = S3Config {
            endpoint: self.s3.s3_endpoint,
            region: self.s3.s3_region,
            access_key: self.s3.s3_access_key,
            secret_key,
            ..S3Config::default()
        };
        let mut config = WorkerConfig::new(self.nats_url, store, self.scratch);
        config.nats = self.nats;
        config.name = self.worker_name;
        if let Some(slots) = self.slots {
            config.slots = slots.into();
        }
        config.cache_bytes = self.cache_bytes;
        config.output_limits = self.output_limits;
        config.metrics_addr = self.metrics_addr;
        config.pipelines = self.pipelines;
        config.runtime = self.runtime;
        config.docker = DockerSettings {
            host: self.docker_host,
            scratch_on_engine: self.scratch_on_engine,
            credentials: Credentials {
                config_file: self.docker_config.or_else(own_docker_config),
                ..Credentials::default()
            },
            stages: self.stages,
        };
        Ok(config)
    }
}

/// Returns the path of the file that `docker login` writes.
fn own_docker_config() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker")))?;
    Some(folder.join("config.json"))
}

fn parse_pipeline(text: &str) -> Result<PipelineKey, String> {
    let text = text.trim();
    let full = if text.contains('/') {
        text.to_owned()
    } else {
        format!("default/{text}")
    };
    full.parse().map_err(|error| format!("{error}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_are_well_formed() {
        Settings::command().debug_assert();
    }

    #[test]
    fn every_setting_is_known_to_all_programs() {
        assert_eq!(howdah_telemetry::unlisted_settings(&Settings::command()), [""; 0]);
    }

    #[test]
    fn help_hides_the_values_of_secrets() {
        for argument in Settings::command().get_arguments() {
            let name = argument.get_id().as_str();
            let is_secret = matches!(name, "nats_url" | "s3_access_key" | "s3_secret_key");
            assert!(!is_secret || argument.is_hide_env_values_set(), "{name}");
        }
    }

    #[test]
    fn flags_become_a_configuration() {
        let settings = Settings::try_parse_from([
            "howdah-worker",
            "--store",
            "s3://bucket/x",
            "--s3-endpoint",
            "http://localhost:9000",
            "--slots",
            "3",
            "--cache-bytes",
            "2GiB",
            "--max-output-bytes",
            "3TiB",
            "--pipelines",
            "model,research/edges",
        ])
        .unwrap();
        let config = settings.into_config().unwrap();
        assert_eq!(config.slots, 3);
        assert_eq!(config.cache_bytes, 2 << 30);
        assert_eq!(config.output_limits.bytes, 3 << 40);
        assert_eq!(config.store.s3.endpoint.as_deref(), Some("http://localhost:9000"));
        let names: Vec<String> = config.pipelines.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["default/model", "research/edges"]);
        for bad in [
            "--slots=0",
            "--cache-bytes=many",
            "--max-output-files=-1",
            "--stage-memory=much",
            "--stage-pids=1",
            "--runtime=magic",
            "--pipelines=a b",
        ] {
            let given = ["howdah-worker", "--store", "memory://", bad];
            assert!(Settings::try_parse_from(given).is_err(), "{bad}");
        }
    }
}
