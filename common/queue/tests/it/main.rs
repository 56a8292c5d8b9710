//! The queue against real nats-servers.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod common;
mod datums;
mod installations;
mod loss;
mod messages;
mod tls;
