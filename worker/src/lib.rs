//! The worker: takes datum sets from the queue, runs the user's command on each datum in a stage
//! container, and leaves results in the object store.
//!
//! It decides nothing about jobs: what to run stands in the job's plan, and what has been done is
//! what has a result object. It may be killed at any instruction; somebody else then gets the set,
//! and a result that is written twice is written once.
//!
//! ```text
//!  pulling ──set──> slot ──> set::handle ──> per datum: inputs → run → output ──> result
//!     ^                |      crew: slots       |          |        |
//!  one request per     warm   that share it     workspace  runtime  set_output: writers
//!  pipeline while      stage  tickets: cancel,  file_cache          for the whole set
//!  a slot is free             restart           chunks
//! ```
//!
//! - [`run`] starts a worker from a [`WorkerConfig`]; [`run_with`] from given [`Parts`].
//! - [`runtime`]: where commands run. The rest of the crate knows containers only through it.
//! - `intake`: sets from the queue: pulling, delivery and acknowledgement, presence.
//! - `execute`: datums of a set in slots.
//! - `pfs`: `/pfs` before and after a command.
//! - `slots`: the containers that slots keep, and those that are started before there is work.
//! - `cache`: the local disk.
//!
//! # Host limits
//!
//! A slot needs a container, some threads of the engine and a few hundred file handles on this
//! machine; per datum the worker itself makes about a dozen system calls. With hundreds of slots
//! raise what distributions keep low: open files (`ulimit -n`, at least 64 per slot), inotify and
//! process limits (`kernel.pid_max`, `user.max_user_namespaces`), and the engine's own
//! `--default-ulimit`. The scratch folder should be on one local file system: hard links from the
//! cache into inputs do not cross file systems. The worker should run as root, or files that
//! commands leave behind with modes that exclude others cannot be read or removed by it.

mod cache;
mod config;
mod context;
mod error;
mod execute;
mod intake;
pub mod metrics;
mod pfs;
pub mod runtime;
mod serve_metrics;
mod service;
mod slots;
#[cfg(test)]
mod testing;

pub use cache::scratch::Scratch;
pub use config::{DEFAULT_CACHE_BYTES, DockerSettings, RuntimeKind, WorkerConfig, default_slots};
pub use context::Parts;
pub use error::{Trouble, WorkerError};
pub use service::{run, run_with};
