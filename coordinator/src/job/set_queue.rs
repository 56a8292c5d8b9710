//! What a job driver needs of the queue.

use async_trait::async_trait;
use howdah_model::PipelineKey;
use howdah_protocol::messages::SetMessage;
use howdah_queue::{ConsumerStatus, Queue, QueueError};
use tokio::sync::watch;

/// The queue of datum sets, as a job driver sees it.
///
/// It may lose messages, deliver them more than once and in any order: drivers rely on the results in the store.
#[async_trait]
pub trait SetQueue: Send + Sync {
    /// Makes sure that the streams and the pipeline's consumer exist.
    async fn prepare(&self, pipeline: &PipelineKey, parallelism: u64) -> Result<(), QueueError>;

    /// Publishes sets, and wakes workers once the queue has them.
    ///
    /// # Errors
    /// When the queue cannot be reached. Some of the sets may be published. All of them can be published again: of a
    /// set that runs twice, one result counts.
    async fn publish(&self, sets: &[SetMessage]) -> Result<(), QueueError>;

    /// Returns how many sets the queue holds for the pipeline; `None` without a consumer.
    async fn depth(&self, pipeline: &PipelineKey) -> Result<Option<ConsumerStatus>, QueueError>;

    /// Returns a number that rises whenever messages that were published before may be lost.
    fn stream_epoch(&self) -> watch::Receiver<u64>;
}

#[async_trait]
impl SetQueue for Queue {
    async fn prepare(&self, pipeline: &PipelineKey, parallelism: u64) -> Result<(), QueueError> {
        self.ensure_streams().await?;
        self.ensure_consumer(pipeline, parallelism).await?;
        Ok(())
    }

    async fn publish(&self, sets: &[SetMessage]) -> Result<(), QueueError> {
        self.publish_sets(sets).await?;
        self.wake_workers().await
    }

    async fn depth(&self, pipeline: &PipelineKey) -> Result<Option<ConsumerStatus>, QueueError> {
        self.consumer_info(pipeline).await
    }

    fn stream_epoch(&self) -> watch::Receiver<u64> {
        Queue::stream_epoch(self)
    }
}
