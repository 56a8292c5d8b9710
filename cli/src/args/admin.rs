//! Arguments of commands on transactions, the server, contexts and this program.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::shared::RawArgs;

/// Commands without arguments.
#[derive(Debug, Args)]
pub(crate) struct Nothing {}

/// Commands on a transaction, by default on the active one.
#[derive(Debug, Args)]
pub(crate) struct MaybeTransaction {
    /// Id of the transaction [default: the active one]
    #[arg(value_name = "ID")]
    pub id: Option<String>,
}

/// `inspect transaction`, `list transaction`.
#[derive(Debug, Args)]
pub(crate) struct InspectTransaction {
    /// Id of the transaction [default: the active one]
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    #[command(flatten)]
    pub raw: RawArgs,
}

/// `list transaction`.
#[derive(Debug, Args)]
pub(crate) struct ListTransaction {
    #[command(flatten)]
    pub raw: RawArgs,
    /// Print times in full (RFC 3339, UTC), not as ages
    #[arg(long)]
    pub full_timestamps: bool,
}

/// `resume transaction`.
#[derive(Debug, Args)]
pub(crate) struct TransactionId {
    /// Id of the transaction
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `version`.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Print the version of this program, without asking the server
    #[arg(long)]
    pub client_only: bool,
    /// How long the server may take to answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = crate::duration::parse)]
    pub timeout: Duration,
    /// Fail if the server implements another version of the API than this program
    #[arg(long)]
    pub compare: bool,
    #[command(flatten)]
    pub raw: RawArgs,
}

/// `connect`.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// Address: host, host:port, grpc://host:port, grpcs://host:port, unix:path
    pub address: String,
    /// Name of the context [default: the address]
    #[arg(long, value_name = "NAME")]
    pub alias: Option<String>,
    /// File whose first line is the token to send: that of the server's `--auth-token-file`, or `token` in the data folder
    /// of `howdah up`
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// File with the certificates that the server's must be signed by [default: those that the system trusts]
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

/// `fsck`.
#[derive(Debug, Args)]
pub(crate) struct Fsck {
    /// Read everything and repair what can be repaired: damaged objects are taken away, and pipelines whose newest output
    /// needs them process all their datums again
    #[arg(short, long)]
    pub fix: bool,
    /// Read everything that is stored, and show which files, commits and pipelines need a damaged object
    #[arg(long)]
    pub deep: bool,
    /// Look for files of datums that do not exist any more, in this commit
    #[arg(long, value_name = "REPO@COMMIT")]
    pub zombie: Option<String>,
    /// Look for files of datums that do not exist any more, in the heads of all pipelines
    #[arg(long)]
    pub zombie_all: bool,
    #[command(flatten)]
    pub project: super::shared::ProjectArg,
}

/// `up`.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Folder for all data [default: ~/.local/share/howdah]
    #[arg(long, value_name = "FOLDER", env = "HOWDAH_DATA")]
    pub data: Option<PathBuf>,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", env = "HOWDAH_LISTEN", default_value = "127.0.0.1")]
    pub listen: std::net::IpAddr,
    /// Port to listen on
    #[arg(long, value_name = "PORT", env = "HOWDAH_PORT", default_value_t = 30650)]
    pub port: u16,
    /// Datum sets to process at once [default: one per processor]
    #[arg(long, value_name = "N", env = "HOWDAH_SLOTS")]
    pub slots: Option<u32>,
    /// The nats-server program [default: the one in PATH]
    #[arg(long, value_name = "PATH", env = "HOWDAH_NATS_SERVER")]
    pub nats_server: Option<PathBuf>,
    /// Encrypt connections, with a certificate that is made in the folder `tls` of the data folder
    #[arg(long, env = "HOWDAH_TLS", conflicts_with = "tls_cert")]
    pub tls: bool,
    /// Start no worker: pipelines wait until one connects
    #[arg(long)]
    pub no_worker: bool,
    #[command(flatten)]
    pub stages: howdah_worker::StageSettings,
    #[command(flatten)]
    pub memory: howdah_coordinator::MemoryConfig,
    #[command(flatten)]
    pub retries: howdah_coordinator::RetryConfig,
    #[command(flatten)]
    pub access: howdah_coordinator::AccessConfig,
    #[command(flatten)]
    pub output_limits: howdah_worker::OutputLimits,
    #[command(flatten)]
    pub log: howdah_telemetry::LogArgs,
}

/// All words behind a command that is not provided here.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Anything {
    /// Ignored
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub rest: Vec<OsString>,
}

/// `config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Print a setting
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Get(ConfigGet),
    /// Change a setting
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Set(ConfigSet),
    /// Change parts of a context
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Update(ConfigUpdate),
    /// List contexts
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    List(ConfigList),
    /// Delete a context
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Delete(ConfigDelete),
    /// Import a Kubernetes context (not provided)
    #[command(hide = true)]
    ImportKube(Anything),
}

/// `config get`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigGet {
    /// Print the name of the active context
    ActiveContext(Nothing),
    /// Print a context as JSON
    Context(ContextName),
    /// Print whether usage metrics are allowed
    Metrics(Nothing),
    /// Print the active enterprise context
    #[command(hide = true)]
    ActiveEnterpriseContext(Nothing),
}

/// `config set`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigSet {
    /// Make a context active
    ActiveContext(ContextName),
    /// Make a context from JSON on standard input
    Context(SetContext),
    /// Allow or forbid usage metrics (none are sent)
    Metrics(SetMetrics),
    /// Not provided
    #[command(hide = true)]
    ActiveEnterpriseContext(Anything),
}

/// `config update`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigUpdate {
    /// Change parts of a context
    Context(UpdateContext),
}

/// `config list`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigList {
    /// List contexts; * marks the active one
    #[command(alias = "contexts")]
    Context(Nothing),
}

/// `config delete`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigDelete {
    /// Delete a context that is not active
    Context(ContextName),
}

/// The name of a context.
#[derive(Debug, Args)]
pub(crate) struct ContextName {
    /// Name of the context
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// `config set context`.
#[derive(Debug, Args)]
pub(crate) struct SetContext {
    /// Name of the context
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Replace a context of that name
    #[arg(long)]
    pub overwrite: bool,
}

/// `config set metrics`.
#[derive(Debug, Args)]
pub(crate) struct SetMetrics {
    /// true or false
    #[arg(value_name = "BOOL", action = clap::ArgAction::Set)]
    pub metrics: bool,
}

/// `config update context`.
#[derive(Debug, Args)]
pub(crate) struct UpdateContext {
    /// Name of the context [default: the active one]
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Address of the server
    #[arg(long, value_name = "ADDRESS")]
    pub pachd_address: Option<String>,
    /// Project that commands work in
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
    /// Trusted certificates, base64 of PEM
    #[arg(long, value_name = "BASE64")]
    pub server_cas: Option<String>,
    /// Kubernetes namespace
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Kubernetes cluster
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// Kubernetes user
    #[arg(long, value_name = "NAME")]
    pub auth_info: Option<String>,
    /// Forget which deployment the context belongs to
    #[arg(long)]
    pub remove_cluster_deployment_id: bool,
}
