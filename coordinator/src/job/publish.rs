//! Messages of datum sets: built, and handed to the queue.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use howdah_protocol::messages::{INLINE_LIMIT_BYTES, SetMessage};
use howdah_protocol::objects::{DatumSet, PlanId, set_key};
use howdah_protocol::wire;
use howdah_queue::QueueError;
use howdah_store::StoreError;
use jiff::Timestamp;

use super::context::JobContext;
use super::error::DriveError;
use super::view::JobView;

/// Publishes sets of one job. Shared by the planner, which publishes new sets, and the collector, which repeats lost ones.
pub struct SetPublisher<'a> {
    context: &'a JobContext,
    view: &'a JobView,
    plan: PlanId,
    /// A part of the message id: the server drops a second message of the same id.
    attempt: AtomicU32,
    /// Sets below this number have been handed to the queue.
    published: AtomicU32,
    /// The only set of a single-object plan, which has no object of its own.
    only: OnceLock<Arc<DatumSet>>,
}

impl<'a> SetPublisher<'a> {
    /// Makes a publisher of the sets of one plan. Its messages have other ids than those of an earlier driver.
    pub fn new(context: &'a JobContext, view: &'a JobView, plan: PlanId) -> Self {
        // From the clock, so that it is another number for each driver. With equal numbers, the server would drop the
        // messages of a driver that starts soon after another one as duplicates, even if the earlier ones are lost.
        let attempt = u32::try_from(Timestamp::now().as_millisecond() & 0x7fff_ffff).unwrap_or(0);
        SetPublisher {
            context,
            view,
            plan,
            attempt: AtomicU32::new(attempt),
            published: AtomicU32::new(0),
            only: OnceLock::new(),
        }
    }

    /// Returns the plan whose sets are published.
    pub fn plan(&self) -> PlanId {
        self.plan
    }

    /// Keeps the only set of a single-object plan.
    pub fn keep(&self, set: DatumSet) {
        // A second call changes nothing, and a driver has one plan.
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
        let key = set_key(&self.view.job.pipeline, &self.view.job.id, self.plan, set);
        let stored = self.context.core.store().get_opt(&key).await?;
        Ok(match stored {
            Some(stored) => Some((Arc::new(wire::decode(&stored)?), stored.len())),
            None => None,
        })
    }

    /// Returns the number of sets that this driver has handed to the queue, or tried to.
    ///
    /// While the plan is not final, a result of a set beyond that number is one of an earlier driver's plan.
    pub fn published(&self) -> u32 {
        self.published.load(Ordering::Relaxed)
    }

    /// Makes sure that streams and consumer exist.
    pub async fn prepare(&self) -> Result<(), QueueError> {
        let parallelism = self.view.version.spec.parallelism;
        self.context.queue.prepare(&self.view.job.pipeline, parallelism).await
    }

    /// Gives the messages that are made from now on other ids, so that sets that were published before are taken again.
    pub fn next_attempt(&self) {
        self.attempt.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the message of a set that is stored. A small set is in the message itself.
    pub fn message(&self, set: DatumSet, stored_bytes: usize) -> SetMessage {
        let job = &self.view.job;
        SetMessage {
            pipeline: job.pipeline.clone(),
            version: self.view.version.version,
            job: job.id,
            plan: self.plan,
            set: set.set,
            attempt: self.attempt.load(Ordering::Relaxed),
            inline: (stored_bytes < INLINE_LIMIT_BYTES).then_some(set),
        }
    }

    /// Returns the message of a set that is read back from the store.
    pub async fn stored_message(&self, set: u32) -> Result<SetMessage, DriveError> {
        let key = set_key(&self.view.job.pipeline, &self.view.job.id, self.plan, set);
        let (found, bytes) = self.sized_set(set).await?.ok_or(StoreError::Missing { key })?;
        Ok(self.message(Arc::unwrap_or_clone(found), bytes))
    }

    /// Hands sets to the queue and wakes workers.
    pub async fn publish(&self, messages: &[SetMessage]) -> Result<(), QueueError> {
        // Before they are published: a fast worker's result must not be taken for one beyond what was published.
        if let Some(last) = messages.iter().map(|message| message.set).max() {
            self.published.fetch_max(last + 1, Ordering::Relaxed);
        }
        self.context.queue.publish(messages).await
    }
}
