//! Requests that one worker answers: today only to resolve an image reference.

use std::time::Duration;

use futures::StreamExt;

use crate::authenticator::{Expected, Refusal};
use crate::client::{CoordinatorQueue, Queue};
use crate::error::{NatsCause, QueueError};
use crate::subjects::WORKER_GROUP;
use howdah_protocol::messages::{ResolveImage, ResolvedImage};
use howdah_protocol::wire;

impl CoordinatorQueue {
    /// Asks one worker to resolve an image reference, and waits for the answer for at most `timeout`.
    ///
    /// A pull may take minutes. After [`QueueError::NoAnswer`] the pull continues, so another request is cheap.
    pub async fn resolve_image(&self, request: &ResolveImage, timeout: Duration) -> Result<ResolvedImage, QueueError> {
        let subject = self.names.resolve();
        let payload = wire::encode(request);
        let headers = self.authenticator.headers(self.sender(), &subject, &payload);
        let asked = async_nats::Request::new()
            .timeout(Some(timeout))
            .headers(headers)
            .payload(payload.into());
        let answer = self
            .client
            .send_request(subject.clone(), asked)
            .await
            .map_err(|error| match error.kind() {
                async_nats::RequestErrorKind::NoResponders => QueueError::NoWorkers,
                async_nats::RequestErrorKind::TimedOut => no_answer(timeout),
                _ => QueueError::Publish {
                    subject: subject.clone(),
                    source: NatsCause::of(error),
                },
            })?;
        if let Err(refusal) = self.authenticator.check(Expected::Worker, &answer) {
            self.authenticator.refused(refusal, &subject);
            return Err(no_answer(timeout));
        }
        wire::decode(&answer.payload).map_err(|source| QueueError::Message { subject, source })
    }
}

fn no_answer(timeout: Duration) -> QueueError {
    QueueError::NoAnswer {
        seconds: timeout.as_secs(),
    }
}

impl Queue {
    /// Worker: subscribes to requests to resolve an image. The server sends each request to one worker.
    pub async fn resolve_requests(&self) -> Result<ResolveRequests, QueueError> {
        let inner = self
            .client
            .queue_subscribe(self.names.resolve(), WORKER_GROUP.to_owned())
            .await
            .map_err(|error| QueueError::Subscribe {
                subject: self.names.resolve(),
                source: NatsCause::of(error),
            })?;
        self.flush().await?;
        Ok(ResolveRequests {
            inner,
            queue: self.clone(),
        })
    }
}

/// A subscription to requests to resolve an image.
pub struct ResolveRequests {
    inner: async_nats::Subscriber,
    queue: Queue,
}

impl ResolveRequests {
    /// Returns the next request; `None` once the connection is closed and is not opened again.
    pub async fn next(&mut self) -> Option<ResolveRequest> {
        loop {
            let message = self.inner.next().await?;
            let Some(reply) = message.reply.clone() else {
                continue;
            };
            let authenticator = &self.queue.authenticator;
            if let Err(refusal) = authenticator.check(Expected::Coordinator, &message) {
                authenticator.refused(refusal, &message.subject);
                continue;
            }
            match wire::decode::<ResolveImage>(&message.payload) {
                Ok(request) => {
                    return Some(ResolveRequest {
                        request,
                        reply: reply.to_string(),
                        queue: self.queue.clone(),
                    });
                }
                Err(error) => {
                    authenticator.refused(Refusal::Unreadable, &message.subject);
                    // Without an answer the coordinator would wait for its whole time limit.
                    let refused = ResolvedImage::Refused {
                        message: format!("the worker could not read the request: {error}"),
                        needs_attention: true,
                    };
                    if let Err(error) = self.queue.send_as_worker(reply.to_string(), &refused).await {
                        tracing::warn!(%error, "refusal not sent");
                    }
                }
            }
        }
    }
}

/// One request to resolve an image. Answer it with [`ResolveRequest::answer`].
pub struct ResolveRequest {
    /// The request.
    pub request: ResolveImage,
    reply: String,
    queue: Queue,
}

impl ResolveRequest {
    /// Sends the answer.
    pub async fn answer(self, answer: &ResolvedImage) -> Result<(), QueueError> {
        self.queue.send_as_worker(self.reply, answer).await
    }
}
