//! Log output, texts of errors and of what is left out ([`LeftOut`]), the check of settings, and taking secrets out of the
//! environment ([`take_variable`]), for all programs.
//!
//! A setting is a flag `--a-b` or the environment variable `HOWDAH_A_B`. A variable of that form that no program has is
//! a typing mistake: the program stops and names it ([`refuse_unknown_settings`]). Without that check, the mistake
//! would have no visible effect.
//!
//! The crate has no metrics: each program has its own.

mod environment;
mod left_out;

pub use environment::take_variable;
pub use left_out::{LeftOut, kind_of_file};

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Returns an error and its sources on one line, without repeated texts.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Prefix of all environment variables that are settings.
const PREFIX: &str = "HOWDAH_";

/// All settings of all programs. Programs may share one environment file, so each accepts the settings of the others.
/// The tests of each program check that its settings are here.
pub const SETTINGS: &[&str] = &[
    "HOWDAH_ADVERTISE",
    "HOWDAH_AUTH_TOKEN_FILE",
    "HOWDAH_CACHE_BYTES",
    "HOWDAH_CHUNK_CACHE_BYTES",
    "HOWDAH_CLIENT_CERT",
    "HOWDAH_CLIENT_KEY",
    "HOWDAH_CLIENT_SILENCE_SECONDS",
    "HOWDAH_DATA",
    "HOWDAH_DOCKER_CONFIG",
    "HOWDAH_DOCKER_HOST",
    "HOWDAH_HOST_NAME",
    "HOWDAH_INSECURE_NO_AUTH",
    "HOWDAH_INSECURE_PLAIN_NATS",
    "HOWDAH_JOB_OUTAGE_HOURS",
    "HOWDAH_JOB_TRIES",
    "HOWDAH_LISTEN",
    "HOWDAH_LOG",
    "HOWDAH_LOG_FORMAT",
    "HOWDAH_MAX_CONNECTIONS",
    "HOWDAH_MAX_OUTPUT_BYTES",
    "HOWDAH_MAX_OUTPUT_DEPTH",
    "HOWDAH_MAX_OUTPUT_FILES",
    "HOWDAH_METRICS_ADDR",
    "HOWDAH_NATS_CA",
    "HOWDAH_NATS_CREDENTIALS",
    "HOWDAH_NATS_REPLICAS",
    "HOWDAH_NATS_SERVER",
    "HOWDAH_NATS_URL",
    "HOWDAH_NODE_CACHE_BYTES",
    "HOWDAH_PIPELINES",
    "HOWDAH_PORT",
    "HOWDAH_RUNTIME",
    "HOWDAH_REQUEST_MEMORY_BYTES",
    "HOWDAH_S3_ACCESS_KEY",
    "HOWDAH_S3_ENDPOINT",
    "HOWDAH_S3_REGION",
    "HOWDAH_S3_SECRET_KEY",
    "HOWDAH_S3_SECRET_KEY_FILE",
    "HOWDAH_SCRATCH",
    "HOWDAH_SCRATCH_ON_ENGINE",
    "HOWDAH_SECRET_KEY_FILE",
    "HOWDAH_SLOTS",
    "HOWDAH_STAGE_MEMORY",
    "HOWDAH_STAGE_NETWORK",
    "HOWDAH_STAGE_PIDS",
    "HOWDAH_STAGE_RUNTIME",
    "HOWDAH_SORT_BUFFER_BYTES",
    "HOWDAH_STORE",
    "HOWDAH_TLS",
    "HOWDAH_TLS_CERT",
    "HOWDAH_TLS_CLIENT_CA",
    "HOWDAH_TLS_KEY",
    "HOWDAH_WORKER_NAME",
    "HOWDAH_WRITE_BUFFER_BYTES",
];

/// Variables with the prefix that belong to scripts and tests, not to a program.
const NOT_SETTINGS: &[&str] = &["HOWDAH_CACHE", "HOWDAH_DEMO_PORT"];

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// One readable line each, coloured on a terminal.
    #[default]
    Human,
    /// One JSON object each.
    Json,
}

/// Settings of log output, to be flattened into the arguments of a program.
#[derive(Debug, Clone, clap::Args)]
pub struct LogArgs {
    /// Form of the log lines on standard error.
    #[arg(long, env = "HOWDAH_LOG_FORMAT", default_value = "human", value_enum)]
    pub log_format: LogFormat,
    /// What to log: a level (error, warn, info, debug, trace) or `module=level,...`.
    #[arg(long, env = "HOWDAH_LOG", default_value = "info")]
    pub log: String,
}

/// Longest secret that is read from a file.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Reads a secret, such as a password, from a file. A newline at its end is not part of it.
///
/// # Errors
/// When the file cannot be read, is empty, is longer than 64 KiB or is not text. No error shows what it holds.
pub fn read_secret_file(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read the secret in {shown}"))?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        bail!("{shown} is too long for a secret");
    }
    // Without the cause: it holds the bytes.
    let Ok(text) = String::from_utf8(bytes) else {
        bail!("{shown} does not hold text");
    };
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() {
        bail!("{shown} is empty, and should hold a secret");
    }
    Ok(secret.to_owned())
}

/// Starts log output to standard error.
pub fn init_logging(args: &LogArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log).map_err(|error| {
        anyhow::anyhow!(
            "--log {}: {error}; expected a level such as `info` or `module=level`",
            args.log
        )
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Human => registry
            .with(
                layer
                    .with_target(false)
                    .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())),
            )
            .try_init()?,
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}

/// Returns an error if the environment has a `HOWDAH_...` variable that no program reads.
pub fn refuse_unknown_settings() -> anyhow::Result<()> {
    let present = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    if let Some(unknown) = first_unknown(present) {
        let hint = nearest(&unknown)
            .map(|name| format!("; did you mean {name}?"))
            .unwrap_or_default();
        bail!("the environment variable {unknown} is no setting{hint} (--help lists them)");
    }
    Ok(())
}

/// Returns the settings of a program that are missing in [`SETTINGS`]. For the tests of programs.
pub fn unlisted_settings(command: &clap::Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(clap::Arg::get_env);
    let names = own.map(|name| name.to_string_lossy().into_owned());
    names
        .filter(|name| name.starts_with(PREFIX) && !SETTINGS.contains(&name.as_str()))
        .collect()
}

fn first_unknown(present: impl Iterator<Item = String>) -> Option<String> {
    present
        .filter(|name| name.starts_with(PREFIX) && !name.starts_with("HOWDAH_TEST_"))
        .find(|name| !SETTINGS.contains(&name.as_str()) && !NOT_SETTINGS.contains(&name.as_str()))
}

/// Returns the known name with the smallest edit distance; `None` if it is too large for a typing mistake.
fn nearest(name: &str) -> Option<&'static str> {
    SETTINGS
        .iter()
        .map(|candidate| (edit_distance(name, candidate), *candidate))
        .filter(|(distance, _)| *distance <= 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Returns the Levenshtein distance, with one row of the matrix (Wagner and Fischer, 1974).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substitution = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_without_its_newline_and_never_shown() {
        let folder = std::env::temp_dir().join(format!("howdah-secret-{}", std::process::id()));
        let read = |bytes: &[u8]| {
            std::fs::write(&folder, bytes).unwrap();
            read_secret_file(&folder).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(read(b"pass word\r\n"), Ok("pass word".to_owned()));
        assert!(read(b"\n").unwrap_err().ends_with("is empty, and should hold a secret"));
        assert!(read(b"hunter\xff").unwrap_err().ends_with("does not hold text"));
        assert!(read(&[b'x'; 70_000]).unwrap_err().ends_with("is too long for a secret"));
        std::fs::remove_file(&folder).unwrap();
        assert!(
            read_secret_file(&folder)
                .unwrap_err()
                .to_string()
                .starts_with("cannot read the secret in ")
        );
    }

    #[test]
    fn a_misspelt_setting_gets_a_suggestion() {
        let present = [
            "PATH",
            "HOWDAH_SLOTS",
            "HOWDAH_STROE",
            "HOWDAH_TEST_BIN_DIR",
            "HOWDAH_CACHE",
        ]
        .map(String::from);
        let unknown = first_unknown(present.into_iter()).expect("one is unknown");
        assert_eq!(unknown, "HOWDAH_STROE");
        assert_eq!(nearest(&unknown), Some("HOWDAH_STORE"));
    }

    #[test]
    fn an_unrelated_name_gets_no_suggestion() {
        assert_eq!(nearest("HOWDAH_COMPLETELY_DIFFERENT"), None);
    }
}
