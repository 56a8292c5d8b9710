//! Tests of a worker with a scripted runtime, a real nats-server and a store in memory.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod concurrent_sets;
mod datums;
mod fixture;
mod life;
mod logs;
mod lost_stages;
mod outages;
mod output_limits;
mod outputs;
mod prewarm;
