//! What the programs share at their edge: log output and the check of settings.
//!
//! Every program takes a setting as a flag `--a-b` or as the environment variable `HOWDAH_A_B`. A
//! variable of that form that no program knows is a mistake that would otherwise go unnoticed, so it
//! is refused by name.

use anyhow::bail;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Prefix of all environment variables that are settings.
const PREFIX: &str = "HOWDAH_";

/// Variables with the prefix that belong to scripts and tests, not to a program.
const NOT_SETTINGS: &[&str] = &["HOWDAH_CACHE"];

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// One readable line each, coloured on a terminal.
    #[default]
    Human,
    /// One JSON object each.
    Json,
}

/// Settings for log output, to be flattened into a program's arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct LogArgs {
    /// Form of the log lines on standard error.
    #[arg(long, env = "HOWDAH_LOG_FORMAT", default_value = "human", value_enum)]
    pub log_format: LogFormat,
    /// What to log: a level (error, warn, info, debug, trace) or `module=level,...`.
    #[arg(long, env = "HOWDAH_LOG", default_value = "info")]
    pub log: String,
}

/// Sends log lines to standard error from now on.
pub fn init_logging(args: &LogArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log)
        .map_err(|error| anyhow::anyhow!("--log {}: {error}; expected a level such as `info` or `module=level`", args.log))?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Human => registry
            .with(layer.with_target(false).with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())))
            .try_init()?,
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}

/// Fails when the environment holds a `HOWDAH_...` variable that none of the `commands` reads.
///
/// `commands` are the argument definitions of every program that may share one environment file.
pub fn refuse_unknown_settings(commands: &[clap::Command]) -> anyhow::Result<()> {
    let known: Vec<String> = commands
        .iter()
        .flat_map(clap::Command::get_arguments)
        .filter_map(|argument| argument.get_env())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let present = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    if let Some(unknown) = first_unknown(present, &known) {
        let hint = nearest(&unknown, &known).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
        bail!("the environment variable {unknown} is no setting of this program{hint} (--help lists them)");
    }
    Ok(())
}

fn first_unknown(present: impl Iterator<Item = String>, known: &[String]) -> Option<String> {
    present
        .filter(|name| name.starts_with(PREFIX) && !name.starts_with("HOWDAH_TEST_"))
        .find(|name| !known.contains(name) && !NOT_SETTINGS.contains(&name.as_str()))
}

/// Returns the known name that takes the fewest edits, if it is close enough to be a typing mistake.
fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (edit_distance(name, candidate), candidate.as_str()))
        .filter(|(distance, _)| *distance <= 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance by the two-row method (Wagner and Fischer, 1974).
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

    fn known() -> Vec<String> {
        ["HOWDAH_SLOTS", "HOWDAH_STORE"].map(String::from).to_vec()
    }

    #[test]
    fn a_misspelt_setting_is_found_and_the_right_one_is_named() {
        let present = ["PATH", "HOWDAH_SLOTS", "HOWDAH_STROE", "HOWDAH_TEST_BIN_DIR", "HOWDAH_CACHE"].map(String::from);
        let unknown = first_unknown(present.into_iter(), &known()).expect("one is unknown");
        assert_eq!(unknown, "HOWDAH_STROE");
        assert_eq!(nearest(&unknown, &known()), Some("HOWDAH_STORE"));
    }

    #[test]
    fn nothing_is_suggested_for_a_name_that_resembles_none() {
        assert_eq!(nearest("HOWDAH_COMPLETELY_DIFFERENT", &known()), None);
    }
}
