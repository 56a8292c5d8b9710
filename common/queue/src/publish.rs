//! Publication of datum sets.
//!
//! A publication is done when the server has acknowledged it. Publishing the same set again is harmless: the message id
//! makes it a duplicate, and a worker that gets a set twice finds the stored result.

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;

use crate::api::is_broken_store;
use crate::client::CoordinatorQueue;
use crate::error::{NatsCause, QueueError};
use howdah_protocol::messages::{INLINE_LIMIT_BYTES, SetMessage};
use howdah_protocol::wire;

/// Most publications that wait for an acknowledgement at a time.
const PUBLISH_WINDOW: usize = 256;
/// Bytes reserved for subject and headers within the largest message that the server accepts.
const HEADER_ROOM_BYTES: usize = 4 * 1024;

/// How the server answered a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The server has stored the message.
    Stored,
    /// The server already had a message with that id and dropped this one.
    Duplicate,
}

impl CoordinatorQueue {
    /// Publishes one set and waits until the server has stored it.
    pub async fn publish_set(&self, set: &SetMessage) -> Result<PublishOutcome, QueueError> {
        let done = self.publish_sets(std::slice::from_ref(set)).await?;
        Ok(done.first().copied().unwrap_or(PublishOutcome::Stored))
    }

    /// Publishes sets in order and waits until the server has stored all of them.
    ///
    /// Creates the stream again if it is missing, or if the server can no longer write to it.
    ///
    /// # Errors
    /// Some of the sets may have been stored then. Publish all of them again.
    pub async fn publish_sets(&self, sets: &[SetMessage]) -> Result<Vec<PublishOutcome>, QueueError> {
        let mut results = Vec::with_capacity(sets.len());
        for window in sets.chunks(PUBLISH_WINDOW) {
            // After a repair the whole window is published again. Parts of it that were stored before are duplicates by
            // their message id, or are gone with the old stream.
            let done = match self.publish_window(window).await {
                Ok(done) => done,
                Err(PublishFailure::NoStream(_)) => {
                    self.ensure_streams().await?;
                    self.publish_window(window).await.map_err(PublishFailure::into_error)?
                }
                Err(PublishFailure::Broken(error)) => {
                    tracing::warn!(error = %error, "the server refuses datum sets");
                    self.rebuild_streams().await?;
                    self.publish_window(window).await.map_err(PublishFailure::into_error)?
                }
                Err(PublishFailure::Transient(error)) => return Err(error),
            };
            results.extend(done);
        }
        Ok(results)
    }

    async fn publish_window(&self, sets: &[SetMessage]) -> Result<Vec<PublishOutcome>, PublishFailure> {
        let mut waiting = Vec::with_capacity(sets.len());
        for set in sets {
            let subject = self.names.datums(&set.pipeline, &set.job);
            let payload = self.encode_set(set);
            let message = PublishMessage::build()
                .headers(self.authenticator.headers(self.sender(), &subject, &payload))
                .message_id(set.message_id())
                .payload(payload.into());
            let ack = self.js.send_publish(subject.clone(), message).await;
            waiting.push((subject.clone(), ack.map_err(|e| failure(&subject, &e))?));
        }
        let mut done = Vec::with_capacity(sets.len());
        for (subject, ack) in waiting {
            let ack = ack.await.map_err(|error| failure(&subject, &error))?;
            done.push(if ack.duplicate {
                PublishOutcome::Duplicate
            } else {
                PublishOutcome::Stored
            });
        }
        Ok(done)
    }

    /// Encodes a set message, without the datum set inside if that would make it too big.
    fn encode_set(&self, set: &SetMessage) -> Vec<u8> {
        let bytes = wire::encode(set);
        let room = self.client.max_payload().saturating_sub(HEADER_ROOM_BYTES);
        let limit = INLINE_LIMIT_BYTES.min(room.max(HEADER_ROOM_BYTES));
        if set.inline.is_none() || bytes.len() <= limit {
            return bytes;
        }
        wire::encode(&SetMessage {
            inline: None,
            ..set.clone()
        })
    }
}

/// A failed publication, by what to do about it.
enum PublishFailure {
    /// No stream has the subject: create the stream.
    NoStream(QueueError),
    /// The server has the stream but cannot write to it: delete the stream and create it again.
    Broken(QueueError),
    /// Anything else: the caller tries again later.
    Transient(QueueError),
}

impl PublishFailure {
    fn into_error(self) -> QueueError {
        match self {
            Self::NoStream(error) | Self::Broken(error) | Self::Transient(error) => error,
        }
    }
}

fn failure(subject: &str, error: &PublishError) -> PublishFailure {
    let wrapped = QueueError::Publish {
        subject: subject.to_owned(),
        source: NatsCause::of(error),
    };
    let answer = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    match error.kind() {
        PublishErrorKind::StreamNotFound => PublishFailure::NoStream(wrapped),
        _ if answer.is_some_and(says_broken_store) => PublishFailure::Broken(wrapped),
        _ => PublishFailure::Transient(wrapped),
    }
}

fn says_broken_store(answer: &async_nats::jetstream::Error) -> bool {
    is_broken_store(answer.error_code())
}
