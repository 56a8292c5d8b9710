//! The worker: takes datum sets from the queue, runs the user's command on each datum in a stage container, and stores
//! the results in the object store.
//!
//! The worker decides nothing about jobs: a job's plan says what to run, and a result object says what is done. It may
//! be killed at any instruction. The queue then redelivers its sets, and a result is created only once.
//!
//! ```text
//!  queue --> intake::pulling --> intake::delivery --> execute::set_runner --> execute::datum
//!               |    one pull       |   one set           |   slots that         |  per try:
//!               |    request per    |   at a time per     |   share the set      |  inputs -> command -> output
//!               |    pipeline       |   slot              |                      |  (pfs)     (runtime)  (pfs)
//!               v                   v                     v                      v
//!            slots::pool      result -> event       slots::slot_guard      cache (files, chunks), store
//!                                    -> ack
//! ```
//!
//! [`run`] starts a worker from a [`WorkerConfig`]; [`run_with`] from given [`WorkerParts`].
//!
//! # Map
//!
//! Imports run downward only, in the order of this table; each folder's head names its files.
//!
//! | module | what it holds | what it does not do |
//! | --- | --- | --- |
//! | `service`, `serve_metrics` | start and stop; the metrics page | look at single datums |
//! | `intake` | pulling, delivery and acknowledgement, running sets, presence and orders | run datums |
//! | `execute` | datums of a set in slots: tries, logs, results | answer the queue |
//! | `context` | what all tasks share | any work of its own |
//! | `slots` | the stage containers that slots keep or prewarm | know which datums run |
//! | `pfs` | `/pfs` of a container: inputs before a command, output after it | run commands |
//! | `cache` | scratch folder, disk caches, the store behind them | know datums |
//! | `set_handle` | signals that stop a running set or restart its datums | wait for the work to end |
//! | `blocking`, `config`, `error` | blocking work from async code; settings; errors | |
//! | [`runtime`] | where commands run: Docker, `stage-init` | know datums, tries or the store |
//! | [`metrics`], `thread_role` | counters; which threads may block | |
//! | `crash_mark` | which datum set ended the process by its own fault | count |
//! | `beneath` | files and folders below an open folder, without following links | know what they are for |
//!
//! # Host limits
//!
//! A slot needs a container, some threads of the engine and a few hundred file handles on this machine; per datum the
//! worker itself makes about a dozen system calls. With hundreds of slots, raise limits that distributions keep low:
//! open files (`ulimit -n`, at least 64 per slot), inotify and process limits (`kernel.pid_max`,
//! `user.max_user_namespaces`), and the engine's own `--default-ulimit`. The scratch folder should be on one local file
//! system, because hard links from the cache into inputs do not cross file systems. The worker should run as root:
//! otherwise it cannot read or remove files that commands leave behind with modes that exclude other users.

mod beneath;
mod blocking;
mod cache;
mod config;
mod context;
mod crash_mark;
mod error;
mod execute;
mod installation;
mod intake;
pub mod metrics;
mod pfs;
pub mod runtime;
mod serve_metrics;
mod service;
mod set_handle;
mod slots;
mod thread_role;

pub use cache::scratch::Scratch;
pub use config::{
    DEFAULT_CACHE_BYTES, DockerSettings, OutputLimits, RuntimeKind, StageMemory, StageSettings, WorkerConfig,
    default_slots, parse_bytes,
};
pub use context::WorkerParts;
pub use error::{InfraError, WorkerError};
pub use installation::wait as wait_for_installation;
pub use service::{run, run_with};
