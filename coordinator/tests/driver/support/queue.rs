//! A queue double, whose messages the test takes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use howdah_coordinator::job::SetQueue;
use howdah_model::{JobKey, PipelineKey};
use howdah_protocol::messages::SetMessage;
use howdah_protocol::objects::PlanId;
use howdah_queue::{ConsumerStatus, QueueError};
use tokio::sync::{Notify, watch};

use super::soon;

/// How long it takes to remove the sets of a job. A driver that still lives finds within this time that its sets are
/// gone, and publishes them again.
const PURGE_TIME: Duration = Duration::from_secs(120);

/// What the coordinator has asked the queue to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QueueRequest {
    /// To take a set of a job.
    Publish(JobKey, u32),
    /// To remove the sets of a job.
    Purge(JobKey),
    /// To send workers the order to drop a job.
    Cancel(JobKey),
    /// To send workers the order to drop one plan of a job.
    CancelPlan(JobKey, PlanId),
    /// To remove the consumer of a pipeline.
    RemoveConsumer(PipelineKey),
}

/// A queue that hands messages to the test, in order. A message that the test takes is no longer in the queue: a test
/// that drops it has lost it.
#[derive(Default)]
pub(crate) struct QueueDouble {
    waiting: Mutex<VecDeque<SetMessage>>,
    published: Notify,
    fails: AtomicBool,
    panics: AtomicBool,
    epoch: watch::Sender<u64>,
    requests: watch::Sender<Vec<QueueRequest>>,
}

impl QueueDouble {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<SetMessage>> {
        self.waiting.lock().unwrap()
    }

    /// Waits for the next message.
    pub(crate) async fn take(&self) -> SetMessage {
        loop {
            let next = self.waiting().pop_front();
            match next {
                Some(message) => return message,
                None => self.published.notified().await,
            }
        }
    }

    /// Makes every operation fail from now on, or work again.
    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    /// Makes preparations of the queue panic from now on, or work again.
    pub(crate) fn panic(&self, panics: bool) {
        self.panics.store(panics, Ordering::SeqCst);
    }

    /// Loses every message, as a NATS server does whose store is deleted, and raises the stream epoch.
    pub(crate) fn lose_everything(&self) {
        self.waiting().clear();
        self.epoch.send_modify(|epoch| *epoch += 1);
    }

    /// Returns all requests that have not failed, oldest first.
    pub(crate) fn requests(&self) -> Vec<QueueRequest> {
        self.requests.borrow().clone()
    }

    /// Waits until this has been asked of the queue.
    pub(crate) async fn asked(&self, request: &QueueRequest) {
        let mut requests = self.requests.subscribe();
        soon(requests.wait_for(|requests| requests.contains(request)))
            .await
            .unwrap();
    }

    /// Records a request, or fails it.
    fn accept(&self, request: QueueRequest) -> Result<(), QueueError> {
        self.check()?;
        self.requests.send_modify(|requests| requests.push(request));
        Ok(())
    }

    fn check(&self) -> Result<(), QueueError> {
        match self.fails.load(Ordering::SeqCst) {
            true => Err(QueueError::NoWorkers),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl SetQueue for QueueDouble {
    async fn prepare(&self, _: &PipelineKey, _: u64) -> Result<(), QueueError> {
        assert!(!self.panics.load(Ordering::SeqCst), "the queue double panics");
        self.check()
    }

    async fn publish(&self, sets: &[SetMessage]) -> Result<(), QueueError> {
        for set in sets {
            self.accept(QueueRequest::Publish(set.pipeline.job(set.job), set.set))?;
            self.waiting().push_back(set.clone());
        }
        self.published.notify_one();
        Ok(())
    }

    async fn depth(&self, _: &PipelineKey) -> Result<Option<ConsumerStatus>, QueueError> {
        self.check()?;
        Ok(Some(ConsumerStatus {
            pending: self.waiting().len() as u64,
            ..ConsumerStatus::default()
        }))
    }

    fn stream_epoch(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    async fn purge(&self, job: &JobKey) -> Result<(), QueueError> {
        self.accept(QueueRequest::Purge(job.clone()))?;
        self.waiting().retain(|set| set.pipeline.job(set.job) != *job);
        tokio::time::sleep(PURGE_TIME).await;
        Ok(())
    }

    async fn cancel(&self, job: &JobKey, plan: Option<PlanId>) -> Result<(), QueueError> {
        self.accept(match plan {
            None => QueueRequest::Cancel(job.clone()),
            Some(plan) => QueueRequest::CancelPlan(job.clone(), plan),
        })
    }

    async fn remove_consumer(&self, pipeline: &PipelineKey) -> Result<(), QueueError> {
        self.accept(QueueRequest::RemoveConsumer(pipeline.clone()))?;
        self.waiting().retain(|set| set.pipeline != *pipeline);
        Ok(())
    }
}
