//! Messages that no stream keeps: set events, presence, live log lines, control.
//!
//! A message sent while the receiver is not connected is lost. No result depends on such a message: set results and log
//! lines are stored as well, and presence and prewarm orders are sent again periodically.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};

use crate::authenticator::{Authenticator, Expected, Refusal};
use crate::client::{CoordinatorQueue, Queue};
use crate::error::{NatsCause, QueueError};
use howdah_protocol::messages::{
    CancelJob, ConsumerStalled, Control, LogBatch, Presence, PrewarmOrder, RestartDatum, SetDone, SetEvent, SetFailed,
    SetOutdated, WakeUp,
};
use howdah_protocol::wire::{self, Wire, WireError};

/// A subscription that decodes its messages. It counts, logs and skips those that are not of a coordinator or worker of
/// this installation, or that it cannot read.
///
/// It survives reconnections; messages sent while the connection is down are lost.
pub struct Subscription<T> {
    inner: Pin<Box<dyn Stream<Item = async_nats::Message> + Send>>,
    authenticator: Arc<Authenticator>,
    expected: Expected,
    read: fn(&[u8]) -> Result<T, WireError>,
    kind: PhantomData<fn() -> T>,
}

impl<T> Subscription<T> {
    /// Returns the next message; `None` once the connection is closed and is not opened again.
    pub async fn next(&mut self) -> Option<T> {
        StreamExt::next(self).await
    }
}

impl<T> Stream for Subscription<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        loop {
            let Some(message) = std::task::ready!(self.inner.as_mut().poll_next(cx)) else {
                return Poll::Ready(None);
            };
            if let Err(refusal) = self.authenticator.check(self.expected, &message) {
                self.authenticator.refused(refusal, &message.subject);
                continue;
            }
            match (self.read)(&message.payload) {
                Ok(value) => return Poll::Ready(Some(value)),
                Err(error) => {
                    tracing::debug!(subject = %message.subject, %error, "message refused");
                    self.authenticator.refused(Refusal::Unreadable, &message.subject);
                }
            }
        }
    }
}

impl Queue {
    async fn subscribe_to<T>(
        &self,
        subjects: Vec<String>,
        expected: Expected,
        read: fn(&[u8]) -> Result<T, WireError>,
    ) -> Result<Subscription<T>, QueueError> {
        let mut all = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let one = self.client.subscribe(subject.clone()).await;
            all.push(one.map_err(|error| QueueError::Subscribe {
                subject,
                source: NatsCause::of(error),
            })?);
        }
        // Without the flush, the server may get the subscription after a message that the caller sends next, and the
        // caller would miss the answer.
        self.flush().await?;
        Ok(Subscription {
            inner: Box::pin(futures::stream::select_all(all)),
            authenticator: Arc::clone(&self.authenticator),
            expected,
            read,
            kind: PhantomData,
        })
    }

    /// Sends a set event.
    pub async fn publish_set_event(&self, event: &SetEvent) -> Result<(), QueueError> {
        let subject = self.names.set_events();
        match event {
            SetEvent::Done(done) => self.send_as_worker(subject, done).await,
            SetEvent::Failed(failed) => self.send_as_worker(subject, failed).await,
            SetEvent::Outdated(outdated) => self.send_as_worker(subject, outdated).await,
        }
    }

    /// Sends a heartbeat; does nothing while the connection is down.
    pub async fn publish_presence(&self, presence: &Presence) -> Result<(), QueueError> {
        if !self.is_connected() {
            return Ok(());
        }
        self.send_as_worker(self.names.presence(), presence).await
    }

    /// Sends log lines to followers; does nothing while the connection is down.
    pub async fn publish_logs(&self, batch: &LogBatch) -> Result<(), QueueError> {
        if !self.is_connected() {
            return Ok(());
        }
        self.send_as_worker(self.names.logs(&batch.pipeline), batch).await
    }

    /// Tells the coordinator that the server does not deliver the sets of a pipeline.
    pub async fn report_stalled(&self, report: &ConsumerStalled) -> Result<(), QueueError> {
        self.send_as_worker(self.names.stalled(), report).await
    }

    /// Subscribes to changes of the list of pipelines.
    pub async fn wake_ups(&self) -> Result<Subscription<WakeUp>, QueueError> {
        self.subscribe_to(vec![self.names.wake_up()], Expected::Coordinator, wire::decode)
            .await
    }

    /// Subscribes to control messages.
    pub async fn controls(&self) -> Result<Subscription<Control>, QueueError> {
        let names = &self.names;
        let subjects = vec![names.cancel(), names.restart(), names.prewarm()];
        self.subscribe_to(subjects, Expected::Coordinator, read_control).await
    }
}

impl CoordinatorQueue {
    /// Subscribes to the set events of all workers.
    pub async fn set_events(&self) -> Result<Subscription<SetEvent>, QueueError> {
        self.subscribe_to(vec![self.names.set_events()], Expected::Worker, read_set_event)
            .await
    }

    /// Subscribes to the heartbeats of all workers.
    pub async fn presence(&self) -> Result<Subscription<Presence>, QueueError> {
        self.subscribe_to(vec![self.names.presence()], Expected::Worker, wire::decode)
            .await
    }

    /// Subscribes to reports that the server does not deliver sets.
    pub async fn stalled_reports(&self) -> Result<Subscription<ConsumerStalled>, QueueError> {
        self.subscribe_to(vec![self.names.stalled()], Expected::Worker, wire::decode)
            .await
    }

    /// Subscribes to live log lines of one pipeline or of all.
    pub async fn logs(
        &self,
        pipeline: Option<&howdah_model::names::PipelineKey>,
    ) -> Result<Subscription<LogBatch>, QueueError> {
        let subject = pipeline.map_or_else(|| self.names.all_logs(), |pipeline| self.names.logs(pipeline));
        self.subscribe_to(vec![subject], Expected::Worker, wire::decode).await
    }

    /// Tells all workers to stop working on a job.
    ///
    /// Call [`CoordinatorQueue::purge_job`] first, so that no worker gets another set of the job. Send the message again
    /// while the presence of a worker shows the job: the message may be lost.
    pub async fn cancel_job(&self, cancel: &CancelJob) -> Result<(), QueueError> {
        self.publish(self.names.cancel(), cancel).await
    }

    /// Tells all workers to run matching datums again.
    pub async fn restart_datums(&self, restart: &RestartDatum) -> Result<(), QueueError> {
        self.publish(self.names.restart(), restart).await
    }

    /// Tells all workers to read the list of pipelines again.
    pub async fn wake_workers(&self) -> Result<(), QueueError> {
        self.publish(self.names.wake_up(), &WakeUp {}).await
    }

    /// Sends a prewarm order to all workers.
    pub async fn publish_prewarm(&self, order: &PrewarmOrder) -> Result<(), QueueError> {
        self.publish(self.names.prewarm(), order).await
    }
}

fn read_set_event(bytes: &[u8]) -> Result<SetEvent, WireError> {
    match wire::kind_of(bytes).as_deref() {
        Some(SetFailed::KIND) => wire::decode(bytes).map(SetEvent::Failed),
        Some(SetOutdated::KIND) => wire::decode(bytes).map(SetEvent::Outdated),
        _ => wire::decode::<SetDone>(bytes).map(SetEvent::Done),
    }
}

fn read_control(bytes: &[u8]) -> Result<Control, WireError> {
    match wire::kind_of(bytes).as_deref() {
        Some(RestartDatum::KIND) => wire::decode(bytes).map(Control::Restart),
        Some(PrewarmOrder::KIND) => wire::decode(bytes).map(|order| Control::Prewarm(Box::new(order))),
        _ => wire::decode::<CancelJob>(bytes).map(Control::Cancel),
    }
}
