//! From the process's arguments to its exit status.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::FromArgMatches;

use crate::args::verbs::Verb;
use crate::args::{self, Cli};
use crate::context::Ctx;
use crate::error::CliError;
use crate::legacy::{self, Refusal};
use crate::output::printer::Printer;
use crate::usage::{self, Verdict};
use crate::{commands, up};

/// How long a command may take to notice Ctrl-C.
const GRACE: Duration = Duration::from_millis(500);

/// Runs the program.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = program_name(arguments.next());
    let words: Vec<OsString> = arguments.collect();
    match run(&program, words) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough and is gone: nothing to complain about.
        Err(failure) if failure.error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            report(&program, &failure);
            ExitCode::FAILURE
        }
    }
}

/// An error, and how much is to be told about it.
struct Failure {
    error: CliError,
    verbose: bool,
}

impl From<CliError> for Failure {
    fn from(error: CliError) -> Failure {
        Failure { error, verbose: false }
    }
}

fn program_name(invoked: Option<OsString>) -> String {
    invoked
        .as_deref()
        .and_then(|path| Path::new(path).file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "howdah".to_owned())
}

fn run(program: &str, words: Vec<OsString>) -> Result<(), Failure> {
    let rewritten = match legacy::rewrite(program, &words) {
        Ok(rewritten) => rewritten,
        Err(Refusal::Help(text)) => return show(&text).map_err(Failure::from),
        Err(Refusal::Usage { message, usage }) => return Err(CliError::Usage { message, usage }.into()),
        Err(Refusal::Gone { message }) => return Err(CliError::refused(message).into()),
    };
    for words in rewritten.commands {
        run_one(program, words, rewritten.name)?;
    }
    Ok(())
}

fn run_one(program: &str, mut words: Vec<OsString>, hyphenated: Option<&'static str>) -> Result<(), Failure> {
    let root = args::command(program);
    if words.first().is_some_and(|word| word == "help") {
        // `help list repo` reads like `list repo --help`.
        words.remove(0);
        words.push("--help".into());
    }
    let words = usage::resolve_switches(&root, words);
    if let Some(text) = usage::noun_help(&root, &words) {
        return show(&text).map_err(Failure::from);
    }
    let argv = std::iter::once(OsString::from(program)).chain(words.iter().cloned());
    let parsed = root
        .clone()
        .try_get_matches_from(argv)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => match usage::explain(&error, &root, &words) {
            Verdict::Show(text) => return show(&text).map_err(Failure::from),
            Verdict::Fail(error) => return Err(error.into()),
        },
    };
    let verbose = cli.global.verbose;
    let printer = Printer::detect(cli.global.no_color);
    if !matches!(cli.verb, Verb::Up(_)) {
        start_logging(verbose);
    }
    let context = Ctx::new(program, printer, cli.global, hyphenated);
    execute(cli.verb, context).map_err(|error| Failure { error, verbose })
}

fn execute(verb: Verb, context: Ctx) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::io("cannot start"))?;
    let result = runtime.block_on(async {
        match verb {
            Verb::Up(arguments) => up::run(arguments).await,
            verb => {
                let mut interrupted = std::pin::pin!(interrupted());
                // Dropping the command cancels its requests.
                tokio::select! {
                    result = commands::run(verb, &context) => result,
                    () = &mut interrupted => Err(CliError::Interrupted),
                }
            }
        }
    });
    // A thread that reads standard input cannot be interrupted, and must not keep us.
    runtime.shutdown_background();
    result
}

/// Waits for Ctrl-C.
///
/// A command that blocks its thread, as a question on the terminal does, cannot be dropped: for it
/// a second task ends the process a moment later.
async fn interrupted() {
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            tokio::time::sleep(GRACE).await;
            // The terminal is still on the line of whatever was waited for.
            let _ = writeln!(io::stderr(), "\n{}", CliError::Interrupted);
            std::process::exit(1);
        }
    });
    if tokio::signal::ctrl_c().await.is_err() {
        // Without a handler the signal ends the process by itself.
        std::future::pending::<()>().await;
    }
}

fn start_logging(verbose: bool) {
    if !verbose {
        return;
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,howdah=debug,howdah_api=debug"));
    // A second command of the same command line finds the subscriber in place.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .try_init();
}

fn show(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn report(program: &str, failure: &Failure) {
    let mut text = match &failure.error {
        CliError::Usage { message, usage } => format!("{message}\n\n{}\n", usage.trim_end()),
        error => format!("{}\n", error.line(program)),
    };
    if failure.verbose {
        let mut source = std::error::Error::source(&failure.error);
        while let Some(cause) = source {
            text.push_str(&format!("  because: {cause}\n"));
            source = cause.source();
        }
        if let CliError::Server(status) = &failure.error {
            text.push_str(&format!("  status: {:?}\n", status.code()));
        }
    }
    // Nobody can be told that standard error is gone.
    let _ = io::stderr().write_all(text.as_bytes());
}
