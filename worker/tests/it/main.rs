//! A worker with a scripted runtime, a real nats-server and a store in memory.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod at_once;
mod datums;
mod life;
mod outputs;
mod standing;
mod world;
