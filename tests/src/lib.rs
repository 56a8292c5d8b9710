//! End-to-end tests: the built programs, a real NATS server, a real Docker engine, a real S3 server.
//!
//! Tests drive the system as a user does, through the command line, and break it as the world does, by
//! killing processes and deleting folders. What they need is provided by `make setup`; a test that lacks
//! something fails and says so.
//!
//! - [`tools`]: where programs are found; free ports; waiting for conditions.
//! - [`process`]: child processes that die with the test.
//! - [`cluster`]: a running Howdah, embedded (`howdah up`) or as separate processes.
//! - [`client`]: the command line as a value with output and exit status.
//! - [`memory_group`]: a limit on the memory of processes.
//! - [`job`]: what it says about jobs, commits and files, as values.
//! - [`stage`]: the stage program of the tests, its image, and specs that run it.

pub mod client;
pub mod cluster;
pub mod job;
pub mod memory_group;
pub mod process;
pub mod stage;
pub mod tools;

pub use client::{Client, Output};
pub use cluster::{Cluster, StoreKind, Up};
pub use job::Job;
