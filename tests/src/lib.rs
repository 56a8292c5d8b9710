//! End-to-end tests: the built programs, a real NATS server, a real Docker engine, a real S3 server.
//!
//! Tests use the system through the command line, as users do, and cause faults by killing processes and deleting
//! folders. `make setup` installs the programs that they need; without them a test fails and names the missing one.
//! Tests wait for conditions with a limit, never for a fixed time.
//!
//! - [`tools`]: paths of programs; free ports; waiting for conditions.
//! - [`process`]: child processes that end with the test.
//! - [`cluster`]: a running Howdah, embedded (`howdah up`) or as separate processes.
//! - [`client`]: the command line as a value with output and exit status.
//! - [`other_user`]: the command line, called by another user of the machine.
//! - [`memory_group`]: a limit on the memory of processes.
//! - [`job`]: jobs, commits and files as the command line prints them, as values.
//! - [`rounds`]: a pipeline of slow datums, for tests that kill something while it runs.
//! - [`stage`]: the stage program of the tests, its image, and specs that run it.

#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

pub mod client;
pub mod cluster;
pub mod job;
pub mod memory_group;
pub mod other_user;
pub mod process;
pub mod rounds;
pub mod stage;
pub mod tools;

pub use client::{CommandOutput, TestClient};
pub use cluster::{Cluster, StoreKind, Up};
pub use job::JobSummary;
pub use other_user::OtherUser;
