//! The first process of a stage container.
//!
//! A worker starts a container once and then runs many commands in it. This crate is the small
//! static program that makes this cheap: it connects to the worker's Unix socket, takes [run
//! requests](frame::Run), starts the command, streams its output and says how it ended. Around
//! every run it guarantees:
//!
//! - the command is a process group of its own, and nothing of it survives the run: not the
//!   group, and not what left the group (orphans come to us, we are process 1 or a subreaper);
//! - a time limit or a kill request ends it with SIGKILL;
//! - when the worker goes away, the run dies and so does this program, and with it the container.
//!
//! As a command of its own, it also [replaces links](links) of the output by what they lead to.
//!
//! Only [`frame`] is of interest to others: it is the language of the socket, which the worker
//! speaks too. The rest uses the standard library and a dozen C functions ([`sys`]), has one
//! thread and one `poll` loop ([`server`]), and knows nothing of datums.
//!
//! ```text
//!  worker                        stage-init                     command
//!    |<----------- Hello ------------|
//!    |------------ Run ------------->|---- fork, exec ------------->|
//!    |<------- Stdout, Stderr -------|<---- pipes ------------------|
//!    |------------ Kill ------------>|---- SIGKILL to the group --->|  (maybe)
//!    |<----------- Exit -------------|<---- SIGCHLD ----------------'
//!    |------------ Run ------------->|      ...
//! ```

pub mod explain;
pub mod frame;
pub mod links;
pub mod owner;
pub mod run;
pub mod server;
pub mod sys;
pub mod users;

use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// Exit code when the program was called wrongly.
pub const EXIT_USAGE: u8 = 64;
/// Exit code when the worker's socket cannot be reached.
pub const EXIT_NO_WORKER: u8 = 69;
/// Exit code when the conversation broke down.
pub const EXIT_BROKEN: u8 = 70;

/// Exit code of [`COPY_LINKS`] when a link could not be replaced; standard error says why.
pub const EXIT_LINK: u8 = 1;
/// The argument that makes the program [replace links](links) named on its standard input.
pub const COPY_LINKS: &str = "--copy-links";

/// Runs the program: one argument, the path of the worker's socket or [`COPY_LINKS`].
pub fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let (Some(path), None) = (args.next(), args.next()) else {
        eprintln!("stage-init: expected one argument, the path of the worker's socket");
        return ExitCode::from(EXIT_USAGE);
    };
    if path == COPY_LINKS {
        return match links::replace(std::io::stdin()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(text) => {
                eprint!("{text}");
                ExitCode::from(EXIT_LINK)
            }
        };
    }
    let socket = match UnixStream::connect(&path) {
        Ok(socket) => socket,
        Err(e) => {
            eprintln!("stage-init: cannot reach the worker at {}: {e}", path.to_string_lossy());
            return ExitCode::from(EXIT_NO_WORKER);
        }
    };
    match server::serve(socket) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("stage-init: {e}");
            ExitCode::from(EXIT_BROKEN)
        }
    }
}
