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
//! - `pulling`, `set`, `crew`, `datum`, `set_output`: the way of a set, from the message to the acknowledgement;
//!   `slot_thread`: the thread on which a slot goes it; `receipts`: what a killed worker had.
//! - `slots`, `standing`: the containers that slots keep, and those that are started before there is work.
//! - `workspace`, `reset`, `inputs`, `links`, `output`, `gather`: `/pfs` before and after a command.
//! - `scratch`, `disk_lru`, `file_cache`, `chunks`: the local disk.
//! - `announce`, `logs`, [`metrics`]: what the world hears.
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

mod announce;
mod chunks;
mod config;
mod crew;
mod datum;
mod disk_lru;
mod environment;
mod error;
mod file_cache;
mod gather;
mod inputs;
mod kit;
mod links;
mod logs;
pub mod metrics;
mod output;
mod pulling;
mod reasons;
mod receipts;
mod reset;
pub mod runtime;
mod scratch;
mod serve_metrics;
mod service;
mod set;
mod set_output;
mod slot_thread;
mod slots;
mod standing;
#[cfg(test)]
mod testing;
mod tickets;
mod workspace;

pub use config::{DEFAULT_CACHE_BYTES, DockerSettings, RuntimeKind, WorkerConfig, default_slots};
pub use error::{Trouble, WorkerError};
pub use kit::Parts;
pub use scratch::Scratch;
pub use service::{run, run_with};
