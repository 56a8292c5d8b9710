//! The first process of a stage container.
//!
//! A worker starts a container once and then runs many commands in it. This crate is the small
//! static program that makes each run cheap. It connects to the worker's Unix socket, receives
//! [commands](frame::RunCommand), starts them, streams their output and reports how they ended. It
//! guarantees:
//!
//! - the command has a process group of its own, and no process of it survives the run: neither
//!   the group nor a process that left the group (orphans become children of this program, which
//!   is process 1 or a subreaper);
//! - a time limit or a kill request ends the command with SIGKILL;
//! - when the worker closes the connection, the command is killed and this program ends, and with
//!   it the container;
//! - a command that asks for it finds the [temporary folders](temporary) as the image has them.
//!
//! As a command of its own, the program also [replaces links](links) of the output by copies of
//! their targets.
//!
//! - [`frame`]: the protocol on the socket, which the worker uses too;
//! - [`server`]: the poll loop; the program has one thread;
//! - [`run`]: one command from start to end; [`users`], [`owner`] and [`explain`] are its helpers
//!   for users, file owners and error texts;
//! - [`sys`] and [`folders`]: system calls that the standard library does not offer;
//! - [`links`]: the replacement of links;
//! - [`temporary`]: emptying the folders for temporary files between datums;
//! - [`protect`]: protection of this program from the commands.
//!
//! The crate depends on the standard library only. It knows nothing about datums.
//!
//! ```text
//!  worker                        stage-init                     command
//!    |<----------- Hello ------------|
//!    |------------ Run ------------->|---- fork, exec ------------->|
//!    |<------- Stdout, Stderr -------|<---- pipes ------------------|
//!    |------------ Kill ------------>|---- SIGKILL to the group --->|  (maybe)
//!    |<----------- Exit -------------|<---- SIGCHLD ----------------|
//!    |------------ Run ------------->|      ...
//! ```

pub mod explain;
pub mod folders;
pub mod frame;
pub mod links;
pub mod owner;
pub mod protect;
pub mod run;
pub mod server;
pub mod sys;
pub mod temporary;
pub mod users;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code for wrong arguments.
pub const EXIT_USAGE: u8 = 64;
/// Exit code when the connection to the worker's socket fails.
pub const EXIT_NO_WORKER: u8 = 69;
/// Exit code after an error on the connection or with the processes of a command.
pub const EXIT_BROKEN: u8 = 70;

/// Exit code of [`COPY_LINKS`] when a link cannot be replaced; the reason is on standard error.
pub const EXIT_LINK: u8 = 1;
/// Argument that makes the program [replace the links](links) listed on its standard input. On standard output it says
/// [what has no content](links::WithoutContent).
pub const COPY_LINKS: &str = "--copy-links";

/// Runs the program. Its arguments are the path of the worker's socket and the [temporary folders](temporary), which are
/// emptied: this program has none of its own, because outside of a container they would be those of the machine. Or its
/// only argument is [`COPY_LINKS`].
#[expect(clippy::print_stderr, reason = "standard error is where this program reports")]
pub fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let Some(path) = args.next() else {
        eprintln!("stage-init: expected the path of the worker's socket, and the folders for temporary files");
        return ExitCode::from(EXIT_USAGE);
    };
    if path == COPY_LINKS {
        return match links::replace(std::io::stdin()) {
            Ok(without) if std::io::stdout().write_all(&without.encode()).is_ok() => ExitCode::SUCCESS,
            Ok(_) => ExitCode::from(EXIT_LINK),
            Err(text) => {
                eprint!("{text}");
                ExitCode::from(EXIT_LINK)
            }
        };
    }
    // Before the connection: from its first byte on nothing else may read or write this program's memory.
    if let Err(e) = protect::protect() {
        eprintln!("stage-init: cannot protect itself from the commands of the stage: {e}");
        return ExitCode::from(EXIT_BROKEN);
    }
    // Before the connection, too: afterwards commands run.
    let temporary = temporary::TemporaryFolders::list(args.map(PathBuf::from));
    let socket = match UnixStream::connect(&path) {
        Ok(socket) => socket,
        Err(e) => {
            eprintln!("stage-init: cannot reach the worker at {}: {e}", path.to_string_lossy());
            return ExitCode::from(EXIT_NO_WORKER);
        }
    };
    match server::serve(socket, temporary) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("stage-init: {e}");
            ExitCode::from(EXIT_BROKEN)
        }
    }
}
