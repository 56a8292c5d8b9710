//! The coordinator: takes commands, keeps the metadata log, plans jobs, merges their outputs.
//!
//! It owns all metadata and never touches the bytes of a job's files: it plans and merges tree entries.
//!
//! - [`metadata`]: the command loop, the published state and staged edits.
//! - [`services`]: the gRPC API.
//! - [`scheduler`]: background work. Looks at the state, does what is missing, may be repeated.
//! - [`job`]: one job from its plan to its output commit.
//! - [`live`]: the live picture of workers and jobs.
//! - [`run`], [`server`], [`metrics`], [`config`], [`allocator`]: the edges.

pub mod allocator;
pub mod config;
pub mod job;
pub mod live;
pub mod metadata;
pub mod metrics;
pub mod run;
pub mod scheduler;
pub mod server;
pub mod services;

pub use config::{CoordinatorConfig, MemoryConfig};
pub use run::{Running, start};
