//! The coordinator: takes commands, keeps the metadata log, plans jobs, merges their outputs.
//!
//! It owns all metadata and never touches the bytes of a job's files: it plans and merges tree entries.
//!
//! - [`core`]: the command loop and the published state.
//! - [`services`]: the gRPC API.
//! - [`scheduler`]: background work. Looks at the state, does what is missing, may be repeated.
//! - [`plan`]: from input trees to datums and datum sets.
//! - [`merge`]: from set results to the output commit.
//! - [`board`]: the live picture of workers and jobs.
//! - [`staging`]: what was written to open commits and waits to be applied.
//! - [`server`], [`metrics`], [`config`], [`memory`]: the edges.

pub mod board;
pub mod config;
pub mod core;
mod fresh_id;
pub mod memory;
pub mod merge;
pub mod metrics;
pub mod plan;
pub mod provenance;
pub mod run;
pub mod scheduler;
pub mod server;
pub mod services;
pub mod staging;

pub use config::{CoordinatorConfig, MemoryConfig};
pub use run::{Running, start};
