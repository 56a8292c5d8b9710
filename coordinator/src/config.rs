//! Settings of the coordinator: flags and environment variables of the same names.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use howdah_queue::NatsAccess;
use howdah_store::Limits;
use howdah_telemetry::take_variable;

/// Smallest buffer for sorting. Smaller settings are raised to it.
const LEAST_SORT_BUFFER_BYTES: usize = 1 << 20;
/// Tries of a job that does not get ahead: some two minutes.
const DEFAULT_TRIES: u32 = 10;
/// A day: a store that is down for a night must not end a job.
const DEFAULT_OUTAGE_HOURS: u64 = 24;

/// Memory for what clients send, unless set otherwise.
pub const DEFAULT_REQUEST_MEMORY_BYTES: usize = 512 << 20;

/// Settings of a coordinator. Every flag `--a-b` is also read from `HOWDAH_A_B`.
#[derive(Debug, Clone, Args)]
pub struct CoordinatorConfig {
    /// Address to listen on.
    #[arg(long, env = "HOWDAH_LISTEN", default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// Port for gRPC, /metrics, /healthz and /readyz.
    #[arg(long, env = "HOWDAH_PORT", default_value_t = 30650)]
    pub port: u16,
    /// Address at which other coordinators reach this one [default: the address it listens on].
    ///
    /// Of several coordinators over one store, one leads; the others send their calls to it, and take over when it is gone.
    #[arg(long, env = "HOWDAH_ADVERTISE", value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// NATS server that carries datums to workers: nats://HOST:PORT or tls://HOST:PORT.
    #[arg(
        long,
        env = "HOWDAH_NATS_URL",
        default_value = "nats://127.0.0.1:4222",
        hide_env_values = true
    )]
    pub nats_url: String,
    /// Copies of the datum stream in a NATS cluster [default: 1 for a new stream; an existing one keeps its number].
    #[arg(long, env = "HOWDAH_NATS_REPLICAS", value_name = "N", value_parser = parse_replicas)]
    pub nats_replicas: Option<usize>,
    /// Credentials and certificates for NATS.
    #[command(flatten)]
    pub nats: NatsAccess,
    /// Object store that holds everything: file:///path, s3://bucket/prefix or memory:// (lost at exit).
    #[arg(long, env = "HOWDAH_STORE")]
    pub store: String,
    /// Endpoint of the S3 service, for services other than AWS.
    #[arg(long, env = "HOWDAH_S3_ENDPOINT")]
    pub s3_endpoint: Option<String>,
    /// Region of the S3 service.
    #[arg(long, env = "HOWDAH_S3_REGION")]
    pub s3_region: Option<String>,
    /// Access key of the S3 service.
    #[arg(long, env = "HOWDAH_S3_ACCESS_KEY", hide_env_values = true)]
    pub s3_access_key: Option<String>,
    /// Secret key of the S3 service; a flag shows it to all users of the machine, so use a file or the variable.
    #[arg(long, env = "HOWDAH_S3_SECRET_KEY", hide_env_values = true)]
    pub s3_secret_key: Option<String>,
    /// Session token of temporary S3 credentials; only from `AWS_SESSION_TOKEN`.
    #[arg(skip)]
    pub s3_session_token: Option<String>,
    /// File that holds the secret key of the S3 service.
    #[arg(
        long,
        env = "HOWDAH_S3_SECRET_KEY_FILE",
        value_name = "FILE",
        conflicts_with = "s3_secret_key"
    )]
    pub s3_secret_key_file: Option<PathBuf>,
    /// File with the key under which values of secrets are sealed: 64 hex digits. Every coordinator over one store needs
    /// the same.
    #[arg(long, env = "HOWDAH_SECRET_KEY_FILE", value_name = "FILE")]
    pub secret_key_file: Option<PathBuf>,
    /// Whether `secret_key_file` is made if there is none.
    #[arg(skip)]
    pub make_secret_key: bool,
    /// Memory.
    #[command(flatten)]
    pub memory: MemoryConfig,
    /// Jobs that cannot go on.
    #[command(flatten)]
    pub retries: RetryConfig,
    /// Who may call.
    #[command(flatten)]
    pub access: AccessConfig,
}

/// When a job that cannot go on is ended. Every flag `--a-b` is also read from `HOWDAH_A_B`.
#[derive(Debug, Clone, Copy, Args)]
pub struct RetryConfig {
    /// How often a job, or one of its datum sets, is tried without getting ahead before the job fails.
    #[arg(long, env = "HOWDAH_JOB_TRIES", value_name = "NUMBER", default_value_t = DEFAULT_TRIES,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub job_tries: u32,
    /// How long a job waits for the store, NATS or a container engine to work again before it fails.
    #[arg(long, env = "HOWDAH_JOB_OUTAGE_HOURS", value_name = "HOURS", default_value_t = DEFAULT_OUTAGE_HOURS)]
    pub job_outage_hours: u64,
}

impl RetryConfig {
    /// Returns how long a job waits for the end of an outage.
    pub fn outage(self) -> Duration {
        Duration::from_secs(self.job_outage_hours.saturating_mul(3600))
    }
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            job_tries: DEFAULT_TRIES,
            job_outage_hours: DEFAULT_OUTAGE_HOURS,
        }
    }
}

/// Who may call, and how many at a time. Every flag `--a-b` is also read from `HOWDAH_A_B`.
#[derive(Debug, Clone, Args)]
pub struct AccessConfig {
    /// File with the tokens of callers: in each line a token and the name of its owner. It is read again when it changes.
    ///
    /// The user that the server runs as, and root, need no token on the same machine.
    #[arg(long, env = "HOWDAH_AUTH_TOKEN_FILE", value_name = "FILE")]
    pub auth_token_file: Option<PathBuf>,
    /// Certificate of this server in PEM, then those that sign it. With it, connections are encrypted.
    #[arg(long, env = "HOWDAH_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Key of the certificate in PEM. Both are read again when they change.
    #[arg(long, env = "HOWDAH_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Certificates in PEM that sign those of clients. With it, clients without such a certificate cannot connect.
    #[arg(long, env = "HOWDAH_TLS_CLIENT_CA", value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
    /// Let everybody who reaches the port do everything.
    #[arg(long, env = "HOWDAH_INSECURE_NO_AUTH")]
    pub insecure_no_auth: bool,
    /// Name by which clients call this server, beside `localhost` and its address; may be given several times.
    #[arg(long, env = "HOWDAH_HOST_NAME", value_name = "NAME", value_delimiter = ',')]
    pub host_name: Vec<String>,
    /// Most connections at a time, and at most half of the files that the process may open.
    #[arg(long, env = "HOWDAH_MAX_CONNECTIONS", value_name = "N", default_value_t = AccessConfig::MAX_CONNECTIONS)]
    pub max_connections: usize,
    /// Longest silence of a client in the middle of a call, such as a put.
    #[arg(long, env = "HOWDAH_CLIENT_SILENCE_SECONDS", value_name = "SECONDS", default_value_t = AccessConfig::CLIENT_SILENCE_SECONDS)]
    pub client_silence_seconds: u64,
}

impl AccessConfig {
    const MAX_CONNECTIONS: usize = 4096;
    const CLIENT_SILENCE_SECONDS: u64 = 600;

    /// Returns the longest silence of a client in the middle of a call.
    pub fn client_silence(&self) -> Duration {
        Duration::from_secs(self.client_silence_seconds.max(1))
    }
}

impl Default for AccessConfig {
    fn default() -> Self {
        Self {
            auth_token_file: None,
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            insecure_no_auth: false,
            host_name: Vec::new(),
            max_connections: Self::MAX_CONNECTIONS,
            client_silence_seconds: Self::CLIENT_SILENCE_SECONDS,
        }
    }
}

/// How much memory the coordinator may use for its store and for its calls. Every flag `--a-b` is also read from `HOWDAH_A_B`.
#[derive(Debug, Clone, Copy, Args)]
pub struct MemoryConfig {
    /// Bytes of file data to keep in memory.
    #[arg(long, env = "HOWDAH_CHUNK_CACHE_BYTES", value_name = "BYTES", default_value_t = Limits::default().chunk_cache_bytes)]
    pub chunk_cache_bytes: usize,
    /// Bytes of file listings and other indexes to keep in memory.
    #[arg(long, env = "HOWDAH_NODE_CACHE_BYTES", value_name = "BYTES", default_value_t = Limits::default().node_cache_bytes)]
    pub node_cache_bytes: usize,
    /// Bytes of file data that may be on their way into the store, over all clients; at least 16 MiB.
    #[arg(long, env = "HOWDAH_WRITE_BUFFER_BYTES", value_name = "BYTES", default_value_t = Limits::default().write_buffer_bytes)]
    pub write_buffer_bytes: usize,
    /// Bytes of memory in which the names of one put are sorted, and each of three indexes of a job; more goes to
    /// temporary files; at least 1 MiB.
    #[arg(long, env = "HOWDAH_SORT_BUFFER_BYTES", value_name = "BYTES", default_value_t = Limits::default().sort_buffer_bytes)]
    pub sort_buffer_bytes: usize,
    /// Bytes of memory for what clients send, over all clients. A large put counts as 48 MiB; calls that do not fit wait,
    /// and fail after 30 seconds.
    #[arg(long, env = "HOWDAH_REQUEST_MEMORY_BYTES", value_name = "BYTES", default_value_t = DEFAULT_REQUEST_MEMORY_BYTES)]
    pub request_memory_bytes: usize,
}

impl MemoryConfig {
    /// Returns the bounds for a store.
    pub fn limits(self) -> Limits {
        Limits {
            chunk_cache_bytes: self.chunk_cache_bytes,
            node_cache_bytes: self.node_cache_bytes,
            write_buffer_bytes: self.write_buffer_bytes,
            // With less, a large put would need more temporary files than a process may have open.
            sort_buffer_bytes: self.sort_buffer_bytes.max(LEAST_SORT_BUFFER_BYTES),
            ..Limits::default()
        }
    }
}

impl Default for MemoryConfig {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            chunk_cache_bytes: limits.chunk_cache_bytes,
            node_cache_bytes: limits.node_cache_bytes,
            write_buffer_bytes: limits.write_buffer_bytes,
            sort_buffer_bytes: limits.sort_buffer_bytes,
            request_memory_bytes: DEFAULT_REQUEST_MEMORY_BYTES,
        }
    }
}

fn parse_replicas(text: &str) -> Result<usize, String> {
    let number = text.trim().parse().ok();
    let allowed = number.filter(|number| (1..=5).contains(number));
    allowed.ok_or_else(|| "expected a number from 1 to 5".to_owned())
}

impl CoordinatorConfig {
    /// Takes the keys of the S3 service out of the environment: `HOWDAH_S3_...`, which these settings hold already, and
    /// `AWS_...`, which count if the settings have no keys. Nothing that later runs in this process, and no child of it,
    /// finds them in the environment.
    ///
    /// # Safety
    /// As for [`take_variable`]: at the start of `main`, before there is a second thread.
    pub unsafe fn take_keys(&mut self) {
        // SAFETY: passed on to the caller.
        let take = |name| unsafe { take_variable(name) };
        let [access_key, secret_key, session_token] =
            ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"].map(take);
        let _ = ["HOWDAH_S3_ACCESS_KEY", "HOWDAH_S3_SECRET_KEY"].map(take);
        if self.s3_access_key.is_none() && self.s3_secret_key.is_none() && access_key.is_some() && secret_key.is_some()
        {
            self.s3_access_key = access_key;
            self.s3_secret_key = secret_key;
            self.s3_session_token = session_token;
        }
    }

    /// Returns the settings for a coordinator over a store that needs no credentials.
    pub fn new(listen: IpAddr, port: u16, nats_url: &str, store: &str) -> Self {
        Self {
            listen,
            port,
            advertise: None,
            nats_url: nats_url.to_owned(),
            nats_replicas: None,
            nats: NatsAccess::default(),
            store: store.to_owned(),
            s3_endpoint: None,
            s3_region: None,
            s3_access_key: None,
            s3_secret_key: None,
            s3_session_token: None,
            s3_secret_key_file: None,
            secret_key_file: None,
            make_secret_key: false,
            memory: MemoryConfig::default(),
            retries: RetryConfig::default(),
            access: AccessConfig::default(),
        }
    }
}
