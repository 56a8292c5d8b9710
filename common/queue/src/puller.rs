//! A worker's end of a pipeline's consumer.
//!
//! One subscription lives as long as the puller; each pull request names its own reply subject
//! below it. A set that arrives for a request which was given up (reconnection, missed heartbeats)
//! is therefore still seen, and handed back by the caller instead of being lost for
//! [`crate::ACK_WAIT`].
//!
//! The client library's own batches are not used: they subscribe anew for every pull, and stop
//! polling after an idle heartbeat.

use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::{StatusCode, Subscriber};
use futures::StreamExt;
use howdah_model::names::PipelineKey;
use serde_json::json;
use tokio::time::Instant;

use crate::client::Queue;
use crate::error::{NatsCause, QueueError};
use crate::subjects;
use howdah_protocol::messages::SetMessage;
use howdah_protocol::wire;
use howdah_protocol::wire::WireError;

/// How long a pull request stays with the server.
const PULL_EXPIRY: Duration = Duration::from_secs(10);
/// How often the server says that a request still stands.
const HEARTBEAT: Duration = Duration::from_secs(4);
/// Silence after which a request counts as lost.
const SILENCE: Duration = Duration::from_secs(9);
/// Time after which a set that we cannot read is offered again, perhaps to a newer worker.
const REFUSED_DELAY: Duration = Duration::from_secs(30);

/// Why no set was delivered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The pipeline has no consumer (any more).
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
    #[error("the NATS server refuses to hand out datum sets of pipeline {pipeline}: {status}")]
    Refused {
        /// The pipeline.
        pipeline: PipelineKey,
        /// The server's words.
        status: String,
    },
    /// The server holds sets and does not hand them out: its store was damaged or removed under
    /// it. [`Queue::rebuild_streams`] helps.
    #[error("the NATS server holds datum sets of pipeline {pipeline} but cannot hand them out")]
    Stalled {
        /// The pipeline.
        pipeline: PipelineKey,
    },
    /// A set arrived that this program cannot read. It was handed back.
    #[error("datum set of pipeline {pipeline} cannot be read")]
    Unreadable {
        /// The pipeline.
        pipeline: PipelineKey,
        /// Why.
        #[source]
        source: WireError,
    },
    /// The connection was closed for good.
    #[error("connection to NATS closed")]
    Closed,
}

/// Takes datum sets of one pipeline, one at a time.
pub struct DatumPuller {
    queue: Queue,
    pipeline: PipelineKey,
    request_subject: String,
    inbox: String,
    arrivals: Subscriber,
    requests: u64,
    /// The request that stands, and when it was last heard of.
    standing: Option<(u64, Instant)>,
    /// Number of deliveries at the last fruitless end of a request while sets were waiting.
    suspicion: Option<u64>,
}

impl Queue {
    /// Worker: begins to take sets of a pipeline. Nothing is asked for before
    /// [`DatumPuller::next`].
    pub async fn datums(&self, pipeline: &PipelineKey) -> Result<DatumPuller, QueueError> {
        let inbox = self.client.new_inbox();
        let arrivals = self
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
                subjects::DATUM_STREAM,
                subjects::consumer(pipeline)
            ),
            pipeline: pipeline.clone(),
            inbox,
            arrivals,
            requests: 0,
            standing: None,
            suspicion: None,
        })
    }
}

impl Queue {
    /// Worker: hands a set back that an earlier life of this worker had, by its [`Delivery::receipt`].
    ///
    /// Harmless when the set has long been acknowledged; it is given out once too often at worst.
    pub async fn hand_back(&self, receipt: &str) -> Result<(), QueueError> {
        let failed = |source| QueueError::Acknowledge {
            operation: "hand back",
            source,
        };
        if !receipt.starts_with("$JS.ACK.") || receipt.contains(char::is_whitespace) {
            return Err(failed(NatsCause::of("not the receipt of a datum set")));
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

    /// Waits for the next set, asking for one unless a request stands already.
    ///
    /// May be dropped at any time: the request then stands on, and what it brings is returned by
    /// the next call or by [`DatumPuller::arrived`].
    pub async fn next(&mut self) -> Result<Delivery, PullError> {
        loop {
            if self.standing.is_none() {
                self.ask().await?;
            }
            let deadline = self.standing.map_or_else(Instant::now, |(_, at)| at + SILENCE);
            match tokio::time::timeout_at(deadline, self.arrivals.next()).await {
                Err(_) => self.look().await?,
                Ok(None) => return Err(PullError::Closed),
                Ok(Some(message)) => {
                    if let Some(delivery) = self.receive(message).await? {
                        return Ok(delivery);
                    }
                    if self.standing.is_none() {
                        self.look().await?;
                    }
                }
            }
        }
    }

    /// Waits for a set that an earlier request brings, without asking for one.
    ///
    /// For the time in which there is no room: hand back what this returns.
    pub async fn arrived(&mut self) -> Result<Delivery, PullError> {
        loop {
            let message = self.arrivals.next().await.ok_or(PullError::Closed)?;
            match self.receive(message).await {
                Ok(Some(delivery)) => return Ok(delivery),
                Ok(None) | Err(PullError::Refused { .. } | PullError::NoConsumer { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Forgets the standing request, as after a reconnection: the server has forgotten it too.
    pub fn reset(&mut self) {
        self.standing = None;
    }

    /// A request ended without a set, or nothing was heard of it: looks what is the matter.
    ///
    /// Servers before 2.10 are silent when a consumer is missing. Servers whose store was removed
    /// under them accept sets and can never hand them out.
    async fn look(&mut self) -> Result<(), PullError> {
        self.standing = None;
        match self.queue.consumer_info(&self.pipeline).await {
            Ok(Some(status)) if status.pending > 0 && status.has_room() => {
                let before = self.suspicion.replace(status.delivered);
                if before == Some(status.delivered) {
                    self.suspicion = None;
                    return Err(PullError::Stalled {
                        pipeline: self.pipeline.clone(),
                    });
                }
                Ok(())
            }
            Ok(Some(_)) => {
                self.suspicion = None;
                Ok(())
            }
            Ok(None) => Err(PullError::NoConsumer {
                pipeline: self.pipeline.clone(),
            }),
            Err(error) => {
                tracing::debug!(pipeline = %self.pipeline, %error, "consumer not seen");
                Ok(())
            }
        }
    }

    async fn ask(&mut self) -> Result<(), PullError> {
        self.requests += 1;
        let payload = json!({
            "batch": 1,
            "expires": u64::try_from(PULL_EXPIRY.as_nanos()).unwrap_or(u64::MAX),
            "idle_heartbeat": u64::try_from(HEARTBEAT.as_nanos()).unwrap_or(u64::MAX),
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
        self.standing = Some((self.requests, Instant::now()));
        Ok(())
    }

    /// Makes sense of one message; `None` if it was only a sign of life or the end of a request.
    async fn receive(&mut self, message: async_nats::Message) -> Result<Option<Delivery>, PullError> {
        match message.status {
            None | Some(StatusCode::OK) => self.deliver(message).await.map(Some),
            Some(status) => {
                if !self.is_standing(&message) {
                    return Ok(None);
                }
                if status == StatusCode::IDLE_HEARTBEAT {
                    self.standing = Some((self.requests, Instant::now()));
                    return Ok(None);
                }
                self.standing = None;
                self.ended(status, message.description.unwrap_or_default())
            }
        }
    }

    /// Tells the ordinary ends of a request from those that the caller must know of.
    fn ended(&self, status: StatusCode, description: String) -> Result<Option<Delivery>, PullError> {
        let said = description.to_ascii_lowercase();
        let gone = status == StatusCode::NO_RESPONDERS
            || said.contains("consumer deleted")
            || said.contains("consumer not found");
        if gone {
            return Err(PullError::NoConsumer {
                pipeline: self.pipeline.clone(),
            });
        }
        let ordinary = status == StatusCode::TIMEOUT
            || status == StatusCode::NOT_FOUND
            || ["leadership change", "server shutdown", "maxackpending"]
                .iter()
                .any(|sign| said.contains(sign));
        if ordinary {
            return Ok(None);
        }
        Err(PullError::Refused {
            pipeline: self.pipeline.clone(),
            status: format!("{status} {description}"),
        })
    }

    async fn deliver(&mut self, message: async_nats::Message) -> Result<Delivery, PullError> {
        // The message carries the subject it was published on; which request it answers is not
        // told. One request stands at a time and asks for one message.
        self.standing = None;
        self.suspicion = None;
        let bytes = message.payload.clone();
        let delivery = async_nats::jetstream::Message {
            message,
            context: self.queue.js.clone(),
        };
        let delivered = delivery.info().map_or(1, |info| info.delivered);
        match wire::decode::<SetMessage>(&bytes) {
            Ok(set) => Ok(Delivery {
                set,
                delivered: u64::try_from(delivered).unwrap_or(1),
                message: delivery,
            }),
            Err(source) => {
                if let Err(error) = delivery.ack_with(AckKind::Nak(Some(REFUSED_DELAY))).await {
                    tracing::warn!(%error, "unreadable datum set not handed back");
                }
                Err(PullError::Unreadable {
                    pipeline: self.pipeline.clone(),
                    source,
                })
            }
        }
    }

    fn is_standing(&self, message: &async_nats::Message) -> bool {
        let number = message.subject.rsplit('.').next();
        matches!(
            (self.standing, number.and_then(|n| n.parse::<u64>().ok())),
            (Some((standing, _)), Some(number)) if standing == number
        )
    }
}

/// A datum set that this worker has until it is acknowledged, handed back, or silent for too long.
pub struct Delivery {
    /// The work.
    pub set: SetMessage,
    /// How often the server has handed it out, this time included.
    pub delivered: u64,
    message: async_nats::jetstream::Message,
}

impl Delivery {
    /// Tells the server that the set is done (or no longer wanted).
    pub async fn ack(&self) -> Result<(), QueueError> {
        self.answer("acknowledge", AckKind::Ack).await
    }

    /// Tells the server that work goes on. To be repeated well within [`crate::ACK_WAIT`].
    pub async fn in_progress(&self) -> Result<(), QueueError> {
        self.answer("keep", AckKind::Progress).await
    }

    /// Returns what [`Queue::hand_back`] needs to do so in another life.
    pub fn receipt(&self) -> &str {
        self.message.reply.as_deref().unwrap_or_default()
    }

    /// Hands the set back, to be given out again at once or after a delay.
    pub async fn nak(&self, delay: Option<Duration>) -> Result<(), QueueError> {
        self.answer("hand back", AckKind::Nak(delay)).await
    }

    async fn answer(&self, operation: &'static str, kind: AckKind) -> Result<(), QueueError> {
        let sent = tokio::time::timeout(Duration::from_secs(5), self.message.ack_with(kind));
        let failed = |cause| QueueError::Acknowledge {
            operation,
            source: cause,
        };
        match sent.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(NatsCause::of(error))),
            Err(_) => Err(failed(NatsCause::of("timed out"))),
        }
    }
}
