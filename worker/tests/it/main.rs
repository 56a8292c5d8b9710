//! A worker with a scripted runtime, a real nats-server and a store in memory.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod concurrent_sets;
mod datums;
mod fixture;
mod life;
mod outputs;
mod prewarm;
