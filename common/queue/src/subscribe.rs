//! Messages that no stream keeps: set events, presence, live log lines, control.
//!
//! A message sent while the receiver is not connected is lost. No result depends on such a message: set results and log
//! lines are stored as well, and presence and prewarm orders are sent again periodically.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};

use crate::client::Queue;
use crate::error::{NatsCause, QueueError};
use crate::subjects;
use howdah_protocol::messages::{
    CancelJob, Control, LogBatch, Presence, PrewarmOrder, RestartDatum, SetDone, SetEvent, SetFailed, WakeUp,
};
use howdah_protocol::wire::{self, Wire, WireError};

/// A subscription that decodes its messages. It logs and skips those that it cannot read.
///
/// It survives reconnections; messages sent while the connection is down are lost.
pub struct Subscription<T> {
    inner: Pin<Box<dyn Stream<Item = async_nats::Message> + Send>>,
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
            match (self.read)(&message.payload) {
                Ok(value) => return Poll::Ready(Some(value)),
                Err(error) => {
                    tracing::warn!(subject = %message.subject, %error, "message refused");
                }
            }
        }
    }
}

impl Queue {
    async fn subscribe_to<T>(
        &self,
        subjects: &[&str],
        read: fn(&[u8]) -> Result<T, WireError>,
    ) -> Result<Subscription<T>, QueueError> {
        let mut all = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let one = self.client.subscribe((*subject).to_owned()).await;
            all.push(one.map_err(|error| QueueError::Subscribe {
                subject: (*subject).to_owned(),
                source: NatsCause::of(error),
            })?);
        }
        // Without the flush, the server may get the subscription after a message that the caller sends next, and the
        // caller would miss the answer.
        self.flush().await?;
        Ok(Subscription {
            inner: Box::pin(futures::stream::select_all(all)),
            read,
            kind: PhantomData,
        })
    }

    /// Coordinator: subscribes to the set events of all workers.
    pub async fn set_events(&self) -> Result<Subscription<SetEvent>, QueueError> {
        self.subscribe_to(&[subjects::SET_EVENTS], read_set_event).await
    }

    /// Worker: sends a set event.
    pub async fn publish_set_event(&self, event: &SetEvent) -> Result<(), QueueError> {
        let bytes = match event {
            SetEvent::Done(done) => wire::encode(done),
            SetEvent::Failed(failed) => wire::encode(failed),
        };
        self.send_bytes(subjects::SET_EVENTS.to_owned(), bytes.into()).await
    }

    /// Coordinator: subscribes to the heartbeats of all workers.
    pub async fn presence(&self) -> Result<Subscription<Presence>, QueueError> {
        self.subscribe_to(&[subjects::PRESENCE], wire::decode).await
    }

    /// Worker: sends a heartbeat; does nothing while the connection is down.
    pub async fn publish_presence(&self, presence: &Presence) -> Result<(), QueueError> {
        if !self.is_connected() {
            return Ok(());
        }
        self.send(subjects::PRESENCE.to_owned(), presence).await
    }

    /// Coordinator: subscribes to live log lines of one pipeline or of all.
    pub async fn logs(
        &self,
        pipeline: Option<&howdah_model::names::PipelineKey>,
    ) -> Result<Subscription<LogBatch>, QueueError> {
        let subject = pipeline.map_or_else(|| subjects::ALL_LOGS.to_owned(), subjects::logs);
        self.subscribe_to(&[&subject], wire::decode).await
    }

    /// Worker: sends log lines to followers; does nothing while the connection is down.
    pub async fn publish_logs(&self, batch: &LogBatch) -> Result<(), QueueError> {
        if !self.is_connected() {
            return Ok(());
        }
        self.send(subjects::logs(&batch.pipeline), batch).await
    }

    /// Worker: subscribes to changes of the list of pipelines.
    pub async fn wake_ups(&self) -> Result<Subscription<WakeUp>, QueueError> {
        self.subscribe_to(&[subjects::WAKE_UP], wire::decode).await
    }

    /// Worker: subscribes to control messages.
    pub async fn controls(&self) -> Result<Subscription<Control>, QueueError> {
        let subjects = [subjects::CANCEL, subjects::RESTART, subjects::PREWARM];
        self.subscribe_to(&subjects, read_control).await
    }

    /// Coordinator: tells all workers to stop working on a job.
    ///
    /// Call [`Queue::purge_job`] first, so that no worker gets another set of the job. Send the message again while the
    /// presence of a worker shows the job: the message may be lost.
    pub async fn cancel_job(&self, cancel: &CancelJob) -> Result<(), QueueError> {
        self.send(subjects::CANCEL.to_owned(), cancel).await
    }

    /// Coordinator: tells all workers to run matching datums again.
    pub async fn restart_datums(&self, restart: &RestartDatum) -> Result<(), QueueError> {
        self.send(subjects::RESTART.to_owned(), restart).await
    }

    /// Coordinator: tells all workers to read the list of pipelines again.
    pub async fn wake_workers(&self) -> Result<(), QueueError> {
        self.send(subjects::WAKE_UP.to_owned(), &WakeUp {}).await
    }

    /// Coordinator: sends a prewarm order to all workers.
    pub async fn publish_prewarm(&self, order: &PrewarmOrder) -> Result<(), QueueError> {
        self.send(subjects::PREWARM.to_owned(), order).await
    }
}

fn read_set_event(bytes: &[u8]) -> Result<SetEvent, WireError> {
    if wire::kind_of(bytes).as_deref() == Some(SetFailed::KIND) {
        return wire::decode(bytes).map(SetEvent::Failed);
    }
    wire::decode::<SetDone>(bytes).map(SetEvent::Done)
}

fn read_control(bytes: &[u8]) -> Result<Control, WireError> {
    match wire::kind_of(bytes).as_deref() {
        Some(RestartDatum::KIND) => wire::decode(bytes).map(Control::Restart),
        Some(PrewarmOrder::KIND) => wire::decode(bytes).map(|order| Control::Prewarm(Box::new(order))),
        _ => wire::decode::<CancelJob>(bytes).map(Control::Cancel),
    }
}
