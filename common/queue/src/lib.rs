//! NATS as Howdah uses it: subjects, streams, consumers, message types, presence.
//!
//! Nothing is trusted to NATS. A message may be lost, duplicated, reordered or redelivered, and the
//! server's whole store may vanish; what matters lives in object storage and whoever reads a message
//! looks there for the truth. This crate therefore makes streams and consumers again whenever they
//! are missing and says so through [`Queue::stream_epoch`]; it decides nothing about jobs.
//!
//! Pieces:
//! - [`subjects`]: the only place that knows names of subjects, streams and consumers.
//! - [`Queue`]: the connection. Cheap to clone.
//!   * both sides: [`Queue::connect`], [`Queue::stream_epoch`] (changes after a reconnection and after
//!     streams had to be made again: look at the state, publish again what is missing);
//!   * coordinator: [`Queue::ensure_streams`], [`Queue::ensure_consumer`], [`Queue::delete_consumer`],
//!     [`Queue::publish_set`], [`Queue::purge_job`], [`Queue::consumer_info`], [`Queue::set_events`],
//!     [`Queue::presence`], [`Queue::logs`], [`Queue::resolve_image`], [`Queue::cancel_job`],
//!     [`Queue::restart_datums`], [`Queue::publish_prewarm`];
//!   * worker: [`Queue::served_pipelines`], [`Queue::wake_ups`], [`Queue::datums`] (a
//!     [`DatumPuller`]; [`DatumPuller::next`] gives [`Delivery`]s to ack, keep or hand back), [`Queue::hand_back`],
//!     [`Queue::publish_set_event`], [`Queue::publish_presence`], [`Queue::publish_logs`], [`Queue::controls`].
//!
//! ```text
//!  coordinator --publish_set--> HOWDAH_DATUMS (work queue) --DatumPuller--> worker
//!  coordinator <--notices (core)-- set done / set trouble -------------------/
//!  coordinator <--presence, logs (core)--------------------------------------/
//!  coordinator --resolve (one answers), cancel, restart, standing (all hear)-> worker
//! ```
//!
//! What can go wrong: [`QueueError`] names the operation; none of its texts repeats its source.
//! Messages of an unknown kind or version are refused by name ([`howdah_protocol::wire::WireError`]).

mod client;
mod consumers;
mod control;
mod error;
mod publish;
mod puller;
mod purge;
mod streams;
pub mod subjects;
mod subscribe;
#[cfg(feature = "testing")]
pub mod testing;

pub use client::{Queue, QueueOptions};
pub use consumers::{ACK_WAIT, ConsumerStatus};
pub use control::{ResolveRequest, ResolveRequests};
pub use error::QueueError;
pub use publish::Published;
pub use puller::{DatumPuller, Delivery, PullError};
pub use subscribe::Subscription;
