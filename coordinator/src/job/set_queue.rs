//! What the drivers and the runners of jobs need of the queue.

use async_trait::async_trait;
use howdah_model::{JobKey, PipelineKey};
use howdah_protocol::messages::{CancelJob, SetMessage};
use howdah_protocol::objects::PlanId;
use howdah_queue::{ConsumerStatus, CoordinatorQueue, QueueError};
use tokio::sync::watch;

use crate::leadership::lease::Lease;

/// The queue of datum sets, as drivers and runners of jobs see it.
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

    /// Removes the sets of a job that wait. Those that workers have stay with them.
    async fn purge(&self, job: &JobKey) -> Result<(), QueueError>;

    /// Orders all workers to drop what they have of a job, or of one plan of it.
    async fn cancel(&self, job: &JobKey, plan: Option<PlanId>) -> Result<(), QueueError>;

    /// Removes the consumer of a pipeline and its sets that wait. Succeeds if there are none.
    async fn remove_consumer(&self, pipeline: &PipelineKey) -> Result<(), QueueError>;
}

/// The queue of a coordinator that leads. Before it changes or sends anything it waits until the lease is valid, so that a
/// coordinator that was frozen, and has a successor, does nothing.
#[derive(Clone)]
pub struct LeaderQueue {
    queue: CoordinatorQueue,
    lease: Lease,
}

impl LeaderQueue {
    /// Makes the queue of a leader.
    pub fn new(queue: CoordinatorQueue, lease: Lease) -> Self {
        Self { queue, lease }
    }

    /// Returns the connection, once the lease is valid.
    async fn leading(&self) -> &CoordinatorQueue {
        self.lease.hold().await;
        &self.queue
    }
}

#[async_trait]
impl SetQueue for LeaderQueue {
    async fn prepare(&self, pipeline: &PipelineKey, parallelism: u64) -> Result<(), QueueError> {
        let queue = self.leading().await;
        queue.ensure_streams().await?;
        queue.ensure_consumer(pipeline, parallelism).await?;
        Ok(())
    }

    async fn publish(&self, sets: &[SetMessage]) -> Result<(), QueueError> {
        let queue = self.leading().await;
        queue.publish_sets(sets).await?;
        queue.wake_workers().await
    }

    async fn depth(&self, pipeline: &PipelineKey) -> Result<Option<ConsumerStatus>, QueueError> {
        self.queue.consumer_info(pipeline).await
    }

    fn stream_epoch(&self) -> watch::Receiver<u64> {
        self.queue.stream_epoch()
    }

    async fn purge(&self, job: &JobKey) -> Result<(), QueueError> {
        self.leading().await.purge_job(&job.pipeline, &job.id).await
    }

    async fn cancel(&self, job: &JobKey, plan: Option<PlanId>) -> Result<(), QueueError> {
        let cancel = CancelJob {
            pipeline: job.pipeline.clone(),
            job: job.id,
            plan,
        };
        self.leading().await.cancel_job(&cancel).await
    }

    async fn remove_consumer(&self, pipeline: &PipelineKey) -> Result<(), QueueError> {
        self.leading().await.delete_consumer(pipeline).await
    }
}
