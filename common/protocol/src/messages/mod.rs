//! Messages that coordinator and workers exchange over the queue.
//!
//! - [`SetMessage`]: one datum set, to the worker that takes it.
//! - [`SetEvent`]: from a worker, a set is done ([`SetDone`]), could not be done ([`SetFailed`]) or is one of an earlier
//!   leader ([`SetOutdated`]).
//! - [`ConsumerStalled`]: from a worker, the server does not deliver the sets of a pipeline.
//! - [`Presence`]: the heartbeat of a worker, with the state of its slots ([`SlotStatus`]).
//! - [`LogBatch`]: live log lines, for followers.
//! - [`Control`]: to all workers, cancel a job, restart datums, prewarm stages; and [`WakeUp`].
//! - [`ResolveImage`] and its answer [`ResolvedImage`]: to one worker, resolve an image reference.
//!
//! Any message may be lost, repeated or reordered: a receiver looks into the store before it relies on one.

mod control;
mod event;
mod image;
mod logs;
mod presence;
mod set;

pub use control::{
    CancelJob, Control, PREWARM_INTERVAL, PREWARM_LEASE, PrewarmOrder, PrewarmStages, RestartDatum, WakeUp,
};
pub use event::{ConsumerStalled, SetDone, SetEvent, SetFailed, SetFailure, SetOutdated};
pub use image::{PullCredentials, ResolveImage, ResolvedImage};
pub use logs::LogBatch;
pub use presence::{PRESENCE_INTERVAL, Presence, SlotStatus};
pub use set::{INLINE_LIMIT_BYTES, SetMessage};
