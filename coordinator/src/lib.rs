//! The coordinator: takes commands, keeps the metadata log, plans jobs, merges their outputs.
//!
//! It owns all metadata. It never reads or writes the bytes of a job's files: it plans and merges tree entries.
//!
//! ```text
//!  run, term               start, stop; a term as leader
//!  server, pages           one port for gRPC, metrics, health
//!  access                  who may call
//!  services                the gRPC API
//!  scheduler               background work: which job runs when, images, workers
//!  job                     one job, from its plan to its output commit
//!  leadership              leader and standby, the lease of a leader
//!  metadata                the command loop, the published state, staged edits
//!  live                    live facts about workers and jobs, in memory only
//!  connections             the connections of the port
//!  memory_budget           memory that calls share
//!  sealing                 encryption of secrets
//!  metrics, config, allocator, caller, tls, file_watch, panics, installation
//! ```
//!
//! A module uses only modules below it (and `services` not the scheduler); within a folder, files do not depend on each
//! other in a circle. All metadata changes go through [`metadata::Core`]; background work looks at the state that it
//! publishes.

pub mod access;
pub mod allocator;
pub mod caller;
pub mod config;
pub mod connections;
mod file_watch;
mod fresh_id;
mod installation;
pub mod job;
pub mod leadership;
pub mod live;
pub mod memory_budget;
pub mod metadata;
pub mod metrics;
mod pages;
mod panics;
pub mod run;
pub mod scheduler;
pub mod sealing;
pub mod server;
pub mod services;
mod term;
pub mod tls;

pub use config::{AccessConfig, CoordinatorConfig, MemoryConfig, RetryConfig};
pub use run::{Running, start};
