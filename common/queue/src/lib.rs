//! NATS as Howdah uses it: subjects, streams, consumers, presence, control.
//!
//! The crate does not rely on NATS to keep anything. A message may be lost, repeated, reordered or redelivered, and the
//! store of the server may vanish. The truth is in object storage; a receiver reads it there. This crate therefore
//! creates streams and consumers again whenever they are missing and raises [`Queue::stream_epoch`]. It decides nothing
//! about jobs.
//!
//! What a worker may do is in [`Queue`]. What only the coordinator that leads may do is in [`CoordinatorQueue`]
//! ([`Queue::lead`]): publish sets and orders, and make, change and delete streams and consumers.
//!
//! Pieces, lowest first:
//! - [`subjects`]: all names of subjects, streams and consumers;
//! - `error`: [`QueueError`];
//! - `authenticator`: the headers by which a message of this installation is known; others are counted ([`Refusal`]);
//! - `access`: credentials and certificates for NATS ([`NatsAccess`]);
//! - `client`: the connection, cheap to clone, with [`Queue::connect`] and [`Queue::stream_epoch`];
//! - `api`: requests to JetStream;
//! - `subscribe`: messages that no stream keeps. The coordinator receives [`CoordinatorQueue::set_events`],
//!   [`CoordinatorQueue::presence`] and [`CoordinatorQueue::logs`] and sends [`CoordinatorQueue::wake_workers`],
//!   [`CoordinatorQueue::cancel_job`], [`CoordinatorQueue::restart_datums`] and [`CoordinatorQueue::publish_prewarm`]. A
//!   worker sends [`Queue::publish_set_event`], [`Queue::publish_presence`] and [`Queue::publish_logs`] and receives
//!   [`Queue::wake_ups`] and [`Queue::controls`];
//! - `control`: requests with an answer, [`CoordinatorQueue::resolve_image`] and [`Queue::resolve_requests`];
//! - `streams`: the datum stream, [`CoordinatorQueue::ensure_streams`] and [`CoordinatorQueue::rebuild_if_stalled`];
//! - [`server_config`]: users and permissions of a NATS server;
//! - `purge`: removes waiting sets from the stream;
//! - `consumers`: the coordinator calls [`CoordinatorQueue::ensure_consumer`], [`CoordinatorQueue::delete_consumer`],
//!   [`CoordinatorQueue::purge_job`] and [`Queue::consumer_info`], a worker [`Queue::served_pipelines`];
//! - `publish`: [`CoordinatorQueue::publish_set`] and [`CoordinatorQueue::publish_sets`];
//! - `puller` and `delivery`: [`Queue::datums`], a [`DatumPuller`] whose [`DatumPuller::next`] returns a [`Delivery`] to acknowledge, to
//!   keep or to give back; [`Queue::hand_back`].
//!
//! ```text
//!  coordinator --publish_set--> HOWDAH_DATUMS_<id> (work queue) --DatumPuller--> worker
//!  coordinator <--set events (core)-- done, failed, outdated ----------------/
//!  coordinator <--presence, logs, stalled (core)-----------------------------/
//!  coordinator --resolve (one answers), cancel, restart, prewarm (all)-----> worker
//! ```
//!
//! What can go wrong: [`QueueError`] names the operation; none of its texts repeats its source. A message of an unknown
//! kind or version is refused by name ([`howdah_protocol::wire::WireError`]).

mod access;
mod api;
mod authenticator;
mod client;
mod consumers;
mod control;
mod delivery;
mod error;
mod publish;
mod puller;
mod purge;
pub mod server_config;
mod streams;
pub mod subjects;
mod subscribe;
#[cfg(feature = "testing")]
pub mod testing;

pub use access::NatsAccess;
pub use authenticator::{OnRefusal, Refusal};
pub use client::{COORDINATOR_INBOX, CoordinatorQueue, Queue, QueueOptions, WORKER_INBOX};
pub use consumers::{ACK_WAIT, ConsumerStatus};
pub use control::{ResolveRequest, ResolveRequests};
pub use delivery::Delivery;
pub use error::QueueError;
pub use publish::PublishOutcome;
pub use puller::{DatumPuller, PullError};
pub use subscribe::Subscription;
