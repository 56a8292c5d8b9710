//! NATS as Howdah uses it: subjects, streams, consumers, presence, control.
//!
//! The crate does not rely on NATS to keep anything. A message may be lost, repeated, reordered or redelivered, and the
//! store of the server may vanish. The truth is in object storage; a receiver reads it there. This crate therefore
//! creates streams and consumers again whenever they are missing and raises [`Queue::stream_epoch`]. It decides nothing
//! about jobs.
//!
//! Pieces, lowest first:
//! - [`subjects`]: all names of subjects, streams and consumers;
//! - `error`: [`QueueError`];
//! - `client`: [`Queue`], the connection, cheap to clone, with [`Queue::connect`] and [`Queue::stream_epoch`];
//! - `subscribe`: messages that no stream keeps. The coordinator receives [`Queue::set_events`], [`Queue::presence`]
//!   and [`Queue::logs`] and sends [`Queue::wake_workers`], [`Queue::cancel_job`], [`Queue::restart_datums`] and
//!   [`Queue::publish_prewarm`]. A worker sends [`Queue::publish_set_event`], [`Queue::publish_presence`] and
//!   [`Queue::publish_logs`] and receives [`Queue::wake_ups`] and [`Queue::controls`];
//! - `control`: requests with an answer, [`Queue::resolve_image`] and [`Queue::resolve_requests`];
//! - `streams`: the datum stream, [`Queue::ensure_streams`] and [`Queue::rebuild_streams`];
//! - `purge`: removes waiting sets from the stream;
//! - `consumers`: the coordinator calls [`Queue::ensure_consumer`], [`Queue::delete_consumer`], [`Queue::purge_job`]
//!   and [`Queue::consumer_info`], a worker [`Queue::served_pipelines`];
//! - `publish` (coordinator): [`Queue::publish_set`] and [`Queue::publish_sets`];
//! - `puller` (worker): [`Queue::datums`], a [`DatumPuller`] whose [`DatumPuller::next`] returns a [`Delivery`] to
//!   acknowledge, to keep or to give back; [`Queue::hand_back`].
//!
//! ```text
//!  coordinator --publish_set--> HOWDAH_DATUMS (work queue) --DatumPuller--> worker
//!  coordinator <--set events (core)-- done, failed --------------------------/
//!  coordinator <--presence, logs (core)--------------------------------------/
//!  coordinator --resolve (one answers), cancel, restart, prewarm (all)-----> worker
//! ```
//!
//! What can go wrong: [`QueueError`] names the operation; none of its texts repeats its source. A message of an unknown
//! kind or version is refused by name ([`howdah_protocol::wire::WireError`]).

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

pub use client::{Queue, QueueOptions, without_password};
pub use consumers::{ACK_WAIT, ConsumerStatus};
pub use control::{ResolveRequest, ResolveRequests};
pub use error::QueueError;
pub use publish::PublishOutcome;
pub use puller::{DatumPuller, Delivery, PullError};
pub use subscribe::Subscription;
