//! The worker's end of the consumer of a pipeline: pull requests, deliveries and their acknowledgement.
//!
//! A [`DatumPuller`] has one subscription for its whole life. Each pull request has its own reply subject below it. A
//! set for an abandoned request (after a reconnection, or without heartbeats) is therefore still received, and the
//! caller gives it back. Otherwise it would be unavailable for [`crate::ACK_WAIT`].
//!
//! The pull batches of the client library are not used: they subscribe again for each pull, and they stop polling after
//! an idle heartbeat.
//!
//! What can go wrong: [`PullError`]. A delivery that is neither acknowledged nor extended is delivered again after
//! [`crate::ACK_WAIT`]. Dropping a delivery sends nothing to the server.

use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::{StatusCode, Subscriber};
use futures::StreamExt;
use howdah_model::names::PipelineKey;
use serde_json::json;
use tokio::time::Instant;

use crate::authenticator::{Expected, Refusal};
use crate::client::Queue;
use crate::delivery::Delivery;
use crate::error::{NatsCause, QueueError};
use howdah_protocol::messages::{ConsumerStalled, SetEvent, SetMessage, SetOutdated};
use howdah_protocol::wire;
use howdah_protocol::wire::WireError;

/// Time after which the server ends a pull request.
const PULL_EXPIRY: Duration = Duration::from_secs(10);
/// Time between two idle heartbeats of the server for a pull request.
const IDLE_HEARTBEAT: Duration = Duration::from_secs(4);
/// Time without a heartbeat after which a request counts as lost: two heartbeats and a margin.
const LOST_AFTER: Duration = Duration::from_secs(9);
/// Delay before the server delivers a set again that this program cannot read: a newer worker may take it.
const UNREADABLE_DELAY: Duration = Duration::from_secs(30);

/// Why a pull ended without a set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The pipeline has no consumer.
    #[error("pipeline {pipeline} has no consumer")]
    NoConsumer {
        /// The pipeline.
        pipeline: PipelineKey,
    },
    /// The request could not be sent.
    #[error("cannot ask for datum sets of pipeline {pipeline}")]
    Request {
        /// The pipeline.
        pipeline: PipelineKey,
        /// What happened.
        #[source]
        source: NatsCause,
    },
    /// The server refused the request.
    #[error("the NATS server refuses to deliver datum sets of pipeline {pipeline}: {status}")]
    Refused {
        /// The pipeline.
        pipeline: PipelineKey,
        /// The status and the text of the server.
        status: String,
    },
    /// The server has waiting sets and does not deliver them: its store was damaged or removed while it runs. Report it
    /// to the coordinator ([`Queue::report_stalled`]), which rebuilds the stream.
    #[error("the NATS server holds datum sets of pipeline {} but cannot deliver them", .0.pipeline)]
    Stalled(ConsumerStalled),
    /// This program cannot read a delivered set. The set is given back.
    #[error("datum set of pipeline {pipeline} cannot be read")]
    Unreadable {
        /// The pipeline.
        pipeline: PipelineKey,
        /// Why.
        #[source]
        source: WireError,
    },
    /// The connection is closed and is not opened again.
    #[error("connection to NATS closed")]
    Closed,
}

/// Takes datum sets of one pipeline, one at a time.
pub struct DatumPuller {
    queue: Queue,
    pipeline: PipelineKey,
    request_subject: String,
    inbox: String,
    /// Answers to all pull requests.
    answers: Subscriber,
    /// Number of pull requests so far; the newest has this number in its reply subject.
    requests: u64,
    /// The newest request, if it has not ended: its number, and when the server last answered it.
    outstanding: Option<(u64, Instant)>,
    /// Number of deliveries of the consumer when a request last ended without a set although sets waited.
    stalled_at: Option<u64>,
}

impl Queue {
    /// Worker: subscribes to the sets of a pipeline. The first pull request is sent by [`DatumPuller::next`].
    pub async fn datums(&self, pipeline: &PipelineKey) -> Result<DatumPuller, QueueError> {
        let inbox = self.client.new_inbox();
        let answers = self
            .client
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(|error| QueueError::Subscribe {
                subject: inbox.clone(),
                source: NatsCause::of(error),
            })?;
        Ok(DatumPuller {
            queue: self.clone(),
            request_subject: format!(
                "$JS.API.CONSUMER.MSG.NEXT.{}.{}",
                self.names.stream(),
                self.names.consumer(pipeline)
            ),
            pipeline: pipeline.clone(),
            inbox,
            answers,
            requests: 0,
            outstanding: None,
            stalled_at: None,
        })
    }
}

impl Queue {
    /// Worker: gives back a set that this worker had before it crashed, by its [`Delivery::receipt`].
    ///
    /// Without this, the set would be redelivered only after [`crate::ACK_WAIT`]. The server ignores the receipt of an
    /// acknowledged set. If another worker has the set by now, it is delivered once too often, which is harmless.
    pub async fn hand_back(&self, receipt: &str) -> Result<(), QueueError> {
        let failed = |source| QueueError::Acknowledge {
            operation: "give back",
            source,
        };
        let stream = self.names.stream();
        let is_own = receipt.starts_with("$JS.ACK.") && receipt.split('.').any(|part| part == stream);
        if !is_own || receipt.contains(char::is_whitespace) {
            return Err(failed(NatsCause::of(
                "not the receipt of a datum set of this installation",
            )));
        }
        self.client
            .publish(receipt.to_owned(), "-NAK".into())
            .await
            .map_err(|error| failed(NatsCause::of(error)))
    }
}

impl DatumPuller {
    /// Returns the pipeline.
    pub fn pipeline(&self) -> &PipelineKey {
        &self.pipeline
    }

    /// Returns the next set. Sends a pull request unless one is outstanding.
    ///
    /// Cancel safe: the request remains outstanding, and the next call or [`DatumPuller::arrived`] returns its set.
    pub async fn next(&mut self) -> Result<Delivery, PullError> {
        loop {
            // One request at a time: a second one would deliver a set for which this worker has no slot.
            if self.outstanding.is_none() {
                self.request().await?;
            }
            let deadline = self.outstanding.map_or_else(Instant::now, |(_, at)| at + LOST_AFTER);
            // Cancellation: a future dropped here has taken no message out of the subscription, and a readable set is
            // returned below without another await. No delivered set can get lost between the two.
            match tokio::time::timeout_at(deadline, self.answers.next()).await {
                Err(_) => self.check_consumer().await?,
                Ok(None) => return Err(PullError::Closed),
                Ok(Some(message)) => {
                    if let Some(delivery) = self.receive(message).await? {
                        return Ok(delivery);
                    }
                    if self.outstanding.is_none() {
                        self.check_consumer().await?;
                    }
                }
            }
        }
    }

    /// Returns a set of an earlier request, without a new request.
    ///
    /// Call it while no slot is free, and give back the sets that it returns. Cancel safe.
    pub async fn arrived(&mut self) -> Result<Delivery, PullError> {
        loop {
            let message = self.answers.next().await.ok_or(PullError::Closed)?;
            match self.receive(message).await {
                Ok(Some(delivery)) => return Ok(delivery),
                Ok(None) | Err(PullError::Refused { .. } | PullError::NoConsumer { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Forgets the outstanding request. Call it after a reconnection, because the server forgets the request too: the
    /// next pull would otherwise wait for [`LOST_AFTER`].
    pub fn reset(&mut self) {
        self.outstanding = None;
    }

    /// Checks the consumer after a request that ended without a set or was lost.
    ///
    /// Servers before 2.10 do not answer a request to a missing consumer. A server whose store was removed while it
    /// runs accepts sets and never delivers them.
    async fn check_consumer(&mut self) -> Result<(), PullError> {
        self.outstanding = None;
        match self.queue.consumer_info(&self.pipeline).await {
            Ok(Some(status)) if status.pending > 0 && status.has_room() => {
                // One such request proves nothing: a set may have been published after it ended. Two in a row without
                // any delivery in between, to any worker, prove it. A rebuild deletes waiting sets of all pipelines, so
                // a false alarm would be expensive.
                let before = self.stalled_at.replace(status.delivered);
                if before == Some(status.delivered) {
                    self.stalled_at = None;
                    return Err(PullError::Stalled(ConsumerStalled {
                        pipeline: self.pipeline.clone(),
                        created: status.created,
                    }));
                }
                Ok(())
            }
            Ok(Some(_)) => {
                self.stalled_at = None;
                Ok(())
            }
            Ok(None) => Err(PullError::NoConsumer {
                pipeline: self.pipeline.clone(),
            }),
            Err(error) => {
                tracing::debug!(pipeline = %self.pipeline, %error, "state of the consumer unknown");
                Ok(())
            }
        }
    }

    /// Sends a pull request for one set.
    async fn request(&mut self) -> Result<(), PullError> {
        self.requests += 1;
        let payload = json!({
            "batch": 1,
            "expires": u64::try_from(PULL_EXPIRY.as_nanos()).unwrap_or(u64::MAX),
            "idle_heartbeat": u64::try_from(IDLE_HEARTBEAT.as_nanos()).unwrap_or(u64::MAX),
        });
        self.queue
            .client
            .publish_with_reply(
                self.request_subject.clone(),
                format!("{}.{}", self.inbox, self.requests),
                payload.to_string().into(),
            )
            .await
            .map_err(|error| PullError::Request {
                pipeline: self.pipeline.clone(),
                source: NatsCause::of(error),
            })?;
        self.outstanding = Some((self.requests, Instant::now()));
        Ok(())
    }

    /// Handles one answer; `None` if it is a heartbeat or an ordinary end of a request.
    async fn receive(&mut self, message: async_nats::Message) -> Result<Option<Delivery>, PullError> {
        match message.status {
            None | Some(StatusCode::OK) => self.deliver(message).await,
            Some(status) => {
                // The end of an abandoned request says nothing about the newest one, which would be sent twice.
                if !self.answers_outstanding(&message) {
                    return Ok(None);
                }
                if status == StatusCode::IDLE_HEARTBEAT {
                    self.outstanding = Some((self.requests, Instant::now()));
                    return Ok(None);
                }
                self.outstanding = None;
                self.end_of_request(status, message.description.as_deref().unwrap_or_default())
            }
        }
    }

    /// Returns an error unless the end of a request is an ordinary one.
    fn end_of_request(&self, status: StatusCode, description: &str) -> Result<Option<Delivery>, PullError> {
        let text = description.to_ascii_lowercase();
        let gone = status == StatusCode::NO_RESPONDERS
            || text.contains("consumer deleted")
            || text.contains("consumer not found");
        if gone {
            return Err(PullError::NoConsumer {
                pipeline: self.pipeline.clone(),
            });
        }
        let ordinary = status == StatusCode::TIMEOUT
            || status == StatusCode::NOT_FOUND
            || ["leadership change", "server shutdown", "maxackpending"]
                .iter()
                .any(|sign| text.contains(sign));
        if ordinary {
            return Ok(None);
        }
        Err(PullError::Refused {
            pipeline: self.pipeline.clone(),
            status: format!("{status} {description}"),
        })
    }

    async fn deliver(&mut self, message: async_nats::Message) -> Result<Option<Delivery>, PullError> {
        // A delivery has the subject of its publication, not the reply subject: it does not tell which request it
        // answers. A set of an abandoned request therefore ends the outstanding one too. At worst one more request is
        // sent, and `arrived` returns the surplus set.
        self.outstanding = None;
        self.stalled_at = None;
        let checked = self.queue.authenticator.check(Expected::Coordinator, &message);
        let bytes = message.payload.clone();
        let delivery = async_nats::jetstream::Message {
            message,
            context: self.queue.js.clone(),
        };
        if let Err(refusal) = checked {
            self.ignore(&delivery, refusal).await;
            return Ok(None);
        }
        let delivered = delivery.info().map_or(1, |info| info.delivered);
        match wire::decode::<SetMessage>(&bytes) {
            Ok(set) => Ok(Some(Delivery {
                set,
                delivered: u64::try_from(delivered).unwrap_or(1),
                message: delivery,
            })),
            Err(source) => {
                let authenticator = &self.queue.authenticator;
                authenticator.refused(Refusal::Unreadable, &delivery.subject);
                // Without the delay, the server would deliver the set to this worker again at once, for ever.
                if let Err(error) = delivery.ack_with(AckKind::Nak(Some(UNREADABLE_DELAY))).await {
                    tracing::warn!(%error, "unreadable datum set not given back");
                }
                Err(PullError::Unreadable {
                    pipeline: self.pipeline.clone(),
                    source,
                })
            }
        }
    }

    /// Removes a message from the stream that is not run. Tells the leader if an earlier one published it.
    async fn ignore(&self, delivery: &async_nats::jetstream::Message, refusal: Refusal) {
        self.queue.authenticator.refused(refusal, &delivery.subject);
        if let Err(error) = delivery.ack_with(AckKind::Term).await {
            tracing::warn!(%error, "ignored message not removed from the stream");
        }
        if refusal != Refusal::OldEpoch {
            return;
        }
        let Ok(set) = wire::decode::<SetMessage>(&delivery.payload) else {
            return;
        };
        let outdated = SetEvent::Outdated(SetOutdated {
            pipeline: set.pipeline,
            job: set.job,
            plan: set.plan,
            set: set.set,
        });
        // If it is lost, the leader finds out that the queue is empty.
        if let Err(error) = self.queue.publish_set_event(&outdated).await {
            tracing::debug!(%error, "event of an outdated set not sent");
        }
    }

    fn answers_outstanding(&self, message: &async_nats::Message) -> bool {
        let number = message.subject.rsplit('.').next();
        matches!(
            (self.outstanding, number.and_then(|n| n.parse::<u64>().ok())),
            (Some((outstanding, _)), Some(number)) if outstanding == number
        )
    }
}
