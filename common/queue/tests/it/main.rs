//! The queue against real nats-servers.

mod common;
mod datums;
mod loss;
mod talk;
