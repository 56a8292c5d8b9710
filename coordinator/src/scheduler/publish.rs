//! Handing datum sets to the queue.

use std::sync::atomic::{AtomicU32, Ordering};

use howdah_queue::QueueError;
use howdah_queue::job::{DatumSet, plan_key, set_key};
use howdah_queue::messages::{INLINE_LIMIT_BYTES, SetMessage};
use howdah_queue::wire;
use jiff::Timestamp;

use super::Context;
use super::drive::{DriveError, View};

/// Publishes sets of one job.
pub struct Publisher<'a> {
    context: &'a Context,
    view: &'a View,
    attempt: AtomicU32,
    /// Sets below this number have been handed over.
    published: AtomicU32,
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
        }
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
        let stored = self.context.core.store().get(&key).await?;
        Ok(self.message(wire::decode(&stored)?, stored.len()))
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
