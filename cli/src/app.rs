//! From the arguments of the process to its exit status.
//!
//! Rewrites hyphenated commands, parses, starts the runtime, runs one command after the other and prints the error of
//! the first one that fails. Ctrl-C drops the running command, which cancels its requests; `howdah up` handles Ctrl-C
//! itself.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::FromArgMatches;

use crate::args::verbs::Verb;
use crate::args::{self, CommandLine};
use crate::context::Ctx;
use crate::error::CliError;
use crate::legacy::{self, RewriteError};
use crate::output::printer::Printer;
use crate::usage::{self, Verdict};
use crate::{commands, up};

/// Time from Ctrl-C until a command that blocks its thread is ended with the process.
const GRACE: Duration = Duration::from_millis(500);

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = program_name(arguments.next().as_deref());
    let words: Vec<OsString> = arguments.collect();
    // The flag --no-color is not read yet; what is printed before it has no colours.
    let printer = Printer::detect(false);
    match run(&program, &words, printer) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of standard output has ended, as `head` does: no error of this program.
        Err(failure) if failure.error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            report(&program, &failure, printer);
            ExitCode::FAILURE
        }
    }
}

/// An error, and whether all its causes are printed.
struct CommandFailure {
    error: CliError,
    verbose: bool,
}

impl From<CliError> for CommandFailure {
    fn from(error: CliError) -> CommandFailure {
        CommandFailure { error, verbose: false }
    }
}

fn program_name(invoked: Option<&OsStr>) -> String {
    invoked
        .and_then(|path| Path::new(path).file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "howdah".to_owned())
}

fn run(program: &str, words: &[OsString], printer: Printer) -> Result<(), CommandFailure> {
    let rewritten = match legacy::rewrite(program, words) {
        Ok(rewritten) => rewritten,
        Err(RewriteError::Help(text)) => return show(printer, &text),
        Err(RewriteError::Usage { message, usage }) => return Err(CliError::Usage { message, usage }.into()),
        Err(RewriteError::NotProvided { message }) => return Err(CliError::refused(message).into()),
    };
    for words in rewritten.commands {
        run_one(program, words, rewritten.name, printer)?;
    }
    Ok(())
}

fn run_one(
    program: &str,
    mut words: Vec<OsString>,
    hyphenated: Option<&'static str>,
    printer: Printer,
) -> Result<(), CommandFailure> {
    let root = args::command(program);
    if words.first().is_some_and(|word| word == "help") {
        // `help list repo` reads like `list repo --help`.
        words.remove(0);
        words.push("--help".into());
    }
    let words = usage::resolve_switches(&root, words);
    if let Some(text) = usage::noun_help(&root, &words) {
        return show(printer, &text);
    }
    let argv = std::iter::once(OsString::from(program)).chain(words.iter().cloned());
    let parsed = root
        .clone()
        .try_get_matches_from(argv)
        .and_then(|matches| CommandLine::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => match usage::explain(&error, &root, &words) {
            Verdict::Show(text) => return show(printer, &text),
            Verdict::Fail(error) => return Err(error.into()),
        },
    };
    let verbose = cli.global.verbose;
    let printer = Printer::detect(cli.global.no_color);
    if !matches!(cli.verb, Verb::Up(_)) {
        start_logging(verbose);
    }
    let context = Ctx::new(program, printer, cli.global, hyphenated);
    execute(cli.verb, &context).map_err(|error| CommandFailure { error, verbose })
}

fn execute(verb: Verb, context: &Ctx) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::io("cannot start"))?;
    let result = runtime.block_on(async {
        match verb {
            Verb::Up(arguments) => up::run(*arguments, context.printer).await,
            verb => {
                let mut interrupted = std::pin::pin!(interrupted(context.printer));
                // Dropping the command cancels its requests.
                tokio::select! {
                    result = commands::run(verb, context) => result,
                    () = &mut interrupted => Err(CliError::Interrupted),
                }
            }
        }
    });
    // A thread that reads standard input cannot be interrupted; waiting for it would keep the process alive.
    runtime.shutdown_background();
    result
}

/// Waits for Ctrl-C.
///
/// A command that blocks its thread, such as a question on the terminal, cannot be dropped. For this case a
/// second task ends the process after [`GRACE`].
async fn interrupted(printer: Printer) {
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            tokio::time::sleep(GRACE).await;
            // The cursor of the terminal is behind the question: the message needs a line of its own.
            printer.note(format!("\n{}", CliError::Interrupted));
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

fn show(printer: Printer, text: &str) -> Result<(), CommandFailure> {
    printer.text(text).map_err(|error| CliError::from(error).into())
}

/// Prints an error, with `--verbose` all its causes too.
fn report(program: &str, failure: &CommandFailure, printer: Printer) {
    let mut text = match &failure.error {
        CliError::Usage { message, usage } => format!("{message}\n\n{}", usage.trim_end()),
        error => error.line(program),
    };
    if failure.verbose {
        let mut source = std::error::Error::source(&failure.error);
        while let Some(cause) = source {
            text.push_str(&format!("\n  because: {cause}"));
            source = cause.source();
        }
        if let CliError::Server(status) = &failure.error {
            text.push_str(&format!("\n  status: {:?}", status.code()));
        }
    }
    printer.note(text);
}
