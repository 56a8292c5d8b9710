//! The command line of Howdah.
//!
//! A command line goes through [`legacy`] (hyphenated commands of 1.x become present ones), the
//! clap grammar in [`args`], and a function in [`commands`], which calls the server through
//! `howdah-api` and prints through [`output`]. [`app`] drives it. No rule of the system lives here:
//! whatever a command does, another client of the same API can do.
//!
//! Imports run downward only:
//!
//! ```text
//! main > app > commands, up > usage > legacy > context > wire > output > args > error > refs, duration, arity, ...
//! ```

mod app;
mod args;
mod arity;
mod commands;
mod context;
mod duration;
mod error;
mod legacy;
mod markdown;
mod naming;
mod output;
mod refs;
mod source;
mod suggest;
mod up;
mod usage;
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    app::main()
}
