//! Handing datum sets to the queue.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use howdah_protocol::messages::{INLINE_LIMIT_BYTES, SetMessage};
use howdah_protocol::objects::{DatumSet, plan_key, set_key};
use howdah_protocol::wire;
use howdah_queue::QueueError;
use howdah_store::StoreError;
use jiff::Timestamp;

use super::drive::{DriveError, View};
use crate::scheduler::Context;

/// Publishes sets of one job.
pub struct Publisher<'a> {
    context: &'a Context,
    view: &'a View,
    attempt: AtomicU32,
    /// Sets below this number have been handed over.
    published: AtomicU32,
    /// The only set of a plan that is one object, which has no object of its own.
    only: OnceLock<Arc<DatumSet>>,
}

impl<'a> Publisher<'a> {
    /// Makes a publisher whose messages the server does not take for duplicates of another driver's.
    pub fn new(context: &'a Context, view: &'a View) -> Self {
        let attempt = u32::try_from(Timestamp::now().as_millisecond() & 0x7fff_ffff).unwrap_or(0);
        Publisher {
            context,
            view,
            attempt: AtomicU32::new(attempt),
            published: AtomicU32::new(0),
            only: OnceLock::new(),
        }
    }

    /// Remembers the only set of a plan that is one object.
    pub fn keep(&self, set: DatumSet) {
        // A driver has one plan: there is no other set to be remembered.
        let _ = self.only.set(Arc::new(set));
    }

    /// Returns a set of the plan; `None` if it is not stored.
    pub async fn set(&self, set: u32) -> Result<Option<Arc<DatumSet>>, DriveError> {
        Ok(self.sized_set(set).await?.map(|(set, _)| set))
    }

    /// Returns a set of the plan with its size in bytes.
    async fn sized_set(&self, set: u32) -> Result<Option<(Arc<DatumSet>, usize)>, DriveError> {
        if let Some(only) = self.only.get().filter(|only| only.set == set) {
            return Ok(Some((Arc::clone(only), wire::encode(&**only).len())));
        }
        let key = set_key(&self.view.job.pipeline, &self.view.job.id, set);
        let stored = self.context.core.store().get_opt(&key).await?;
        Ok(match stored {
            Some(stored) => Some((Arc::new(wire::decode(&stored)?), stored.len())),
            None => None,
        })
    }

    /// Returns the number of sets that this driver has handed over, or tried to. What is heard of others, while
    /// the plan is not final, is about those of an earlier driver, which may have been different ones.
    pub fn published(&self) -> u32 {
        self.published.load(Ordering::Relaxed)
    }

    /// Makes sure that streams and consumer exist.
    pub async fn prepare(&self) -> Result<(), QueueError> {
        let queue = &self.context.queue;
        queue.ensure_streams().await?;
        let parallelism = self.view.version.spec.parallelism;
        queue.ensure_consumer(&self.view.job.pipeline, parallelism).await?;
        Ok(())
    }

    /// From here on, sets that were published before are published anew.
    pub fn next_attempt(&self) {
        self.attempt.fetch_add(1, Ordering::Relaxed);
    }

    /// Describes a set that is stored; it travels along when it is small.
    pub fn message(&self, set: DatumSet, stored_bytes: usize) -> SetMessage {
        let job = &self.view.job;
        SetMessage {
            pipeline: job.pipeline.clone(),
            version: self.view.version.version,
            job: job.id,
            set: set.set,
            attempt: self.attempt.load(Ordering::Relaxed),
            plan_key: plan_key(&job.pipeline, &job.id),
            set_key: set_key(&job.pipeline, &job.id, set.set),
            inline: (stored_bytes < INLINE_LIMIT_BYTES).then_some(set),
        }
    }

    /// Describes a set that is read back from the store.
    pub async fn stored_message(&self, set: u32) -> Result<SetMessage, DriveError> {
        let key = set_key(&self.view.job.pipeline, &self.view.job.id, set);
        let (found, bytes) = self.sized_set(set).await?.ok_or(StoreError::Missing { key })?;
        Ok(self.message(Arc::unwrap_or_clone(found), bytes))
    }

    /// Hands sets over and tells workers.
    pub async fn publish(&self, messages: &[SetMessage]) -> Result<(), QueueError> {
        if let Some(last) = messages.iter().map(|message| message.set).max() {
            self.published.fetch_max(last + 1, Ordering::Relaxed);
        }
        let queue = &self.context.queue;
        queue.publish_sets(messages).await?;
        queue.wake_workers().await
    }
}
