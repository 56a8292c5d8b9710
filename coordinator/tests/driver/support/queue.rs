//! A queue double, whose messages the test takes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use howdah_coordinator::job::SetQueue;
use howdah_model::{JobKey, PipelineKey};
use howdah_protocol::messages::SetMessage;
use howdah_queue::{ConsumerStatus, QueueError};
use tokio::sync::{mpsc, watch};

/// A queue that hands messages to the test, in order. A message that the test takes is no longer in the queue: a test
/// that drops it has lost it.
pub struct QueueDouble {
    messages: mpsc::UnboundedSender<SetMessage>,
    taken: tokio::sync::Mutex<mpsc::UnboundedReceiver<SetMessage>>,
    waiting: AtomicU64,
    fails: AtomicBool,
    epoch: watch::Sender<u64>,
}

impl QueueDouble {
    pub(super) fn new() -> Self {
        let (messages, taken) = mpsc::unbounded_channel();
        Self {
            messages,
            taken: tokio::sync::Mutex::new(taken),
            waiting: AtomicU64::new(0),
            fails: AtomicBool::new(false),
            epoch: watch::channel(0).0,
        }
    }

    /// Waits for the next message.
    pub async fn take(&self) -> SetMessage {
        let message = self.taken.lock().await.recv().await.unwrap();
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        message
    }

    /// Makes every operation fail from now on, or work again.
    pub fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    /// Loses every message, as a NATS server does whose store is deleted, and raises the stream epoch.
    pub async fn lose_everything(&self) {
        let mut taken = self.taken.lock().await;
        while taken.try_recv().is_ok() {}
        self.waiting.store(0, Ordering::SeqCst);
        self.epoch.send_modify(|epoch| *epoch += 1);
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
        self.check()
    }

    async fn publish(&self, sets: &[SetMessage]) -> Result<(), QueueError> {
        self.check()?;
        for set in sets {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.messages.send(set.clone()).unwrap();
        }
        Ok(())
    }

    async fn depth(&self, _: &PipelineKey) -> Result<Option<ConsumerStatus>, QueueError> {
        self.check()?;
        Ok(Some(ConsumerStatus {
            pending: self.waiting.load(Ordering::SeqCst),
            ..ConsumerStatus::default()
        }))
    }

    fn stream_epoch(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    async fn purge(&self, _: &JobKey) -> Result<(), QueueError> {
        self.check()
    }

    async fn cancel(&self, _: &JobKey) -> Result<(), QueueError> {
        self.check()
    }

    async fn remove_consumer(&self, _: &PipelineKey) -> Result<(), QueueError> {
        self.check()
    }
}
