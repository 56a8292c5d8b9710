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
//! | module | what it holds | where it stops |
//! | --- | --- | --- |
//! | `service`, `serve_metrics` | start and stop; the metrics page | knows no datum |
//! | `intake` | pulling, delivery and acknowledgement, running sets, presence and orders | does not run datums |
//! | `execute` | datums of a set in slots: tries, logs, results | does not answer the queue |
//! | `context` | what all tasks share | no behaviour of its own |
//! | `slots` | the stage containers that slots keep or prewarm | does not know which datums run |
//! | `pfs` | `/pfs` of a container: inputs before a command, output after it | does not run commands |
//! | `cache` | scratch folder, disk caches, the store behind them | knows no datum |
//! | `set_handle` | stop and restart of a running set | only carries signals |
//! | `blocking`, `config`, `error` | blocking work from async code; settings; errors | |
//! | [`runtime`] | where commands run: Docker, `stage-init` | knows no datum, try or store |
//! | [`metrics`], `thread_role` | counters; which threads may block | |
//!
//! # Host limits
//!
//! A slot needs a container, some threads of the engine and a few hundred file handles on this machine; per datum the
//! worker itself makes about a dozen system calls. With hundreds of slots, raise limits that distributions keep low:
//! open files (`ulimit -n`, at least 64 per slot), inotify and process limits (`kernel.pid_max`,
//! `user.max_user_namespaces`), and the engine's own `--default-ulimit`. The scratch folder should be on one local file
//! system, because hard links from the cache into inputs do not cross file systems. The worker should run as root:
//! otherwise it cannot read or remove files that commands leave behind with modes that exclude other users.

mod blocking;
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
mod set_handle;
mod slots;
mod thread_role;

pub use cache::scratch::Scratch;
pub use config::{DEFAULT_CACHE_BYTES, DockerSettings, RuntimeKind, WorkerConfig, default_slots};
pub use context::WorkerParts;
pub use error::{InfraError, WorkerError};
pub use service::{run, run_with};
