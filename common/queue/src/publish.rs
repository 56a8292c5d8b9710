//! Publishing datum sets.

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;

use crate::client::Queue;
use crate::error::{NatsCause, QueueError, says_store_is_broken};
use crate::subjects;
use howdah_protocol::messages::{INLINE_LIMIT_BYTES, SetMessage};
use howdah_protocol::wire;

/// Publications that wait for their acknowledgement at a time.
const PUBLISH_WINDOW: usize = 256;
/// Room left for subject and headers below the server's limit.
const HEADER_ROOM_BYTES: usize = 4 * 1024;

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The server has it.
    Stored,
    /// The server already had a message of that id.
    Duplicate,
}

impl Queue {
    /// Publishes one set and waits until the server has it.
    pub async fn publish_set(&self, set: &SetMessage) -> Result<Published, QueueError> {
        let done = self.publish_sets(std::slice::from_ref(set)).await?;
        Ok(done.first().copied().unwrap_or(Published::Stored))
    }

    /// Publishes sets in order and waits until the server has all of them.
    ///
    /// Makes the stream again if it is missing, or if the server can no longer write to it.
    /// On an error some may have been stored; publishing all of them again does no harm.
    pub async fn publish_sets(&self, sets: &[SetMessage]) -> Result<Vec<Published>, QueueError> {
        let mut results = Vec::with_capacity(sets.len());
        for window in sets.chunks(PUBLISH_WINDOW) {
            let done = match self.publish_window(window).await {
                Ok(done) => done,
                Err(Refusal::NoStream(_)) => {
                    self.ensure_streams().await?;
                    self.publish_window(window).await.map_err(Refusal::error)?
                }
                Err(Refusal::Broken(error)) => {
                    tracing::warn!(error = %error, "the queue refuses datum sets");
                    self.rebuild_streams().await?;
                    self.publish_window(window).await.map_err(Refusal::error)?
                }
                Err(Refusal::Passing(error)) => return Err(error),
            };
            results.extend(done);
        }
        Ok(results)
    }

    async fn publish_window(&self, sets: &[SetMessage]) -> Result<Vec<Published>, Refusal> {
        let mut waiting = Vec::with_capacity(sets.len());
        for set in sets {
            let subject = subjects::datums(&set.pipeline, &set.job);
            let message = PublishMessage::build()
                .message_id(set.message_id())
                .payload(self.encode_set(set).into());
            let ack = self.js.send_publish(subject.clone(), message).await;
            waiting.push((subject.clone(), ack.map_err(|e| refusal(&subject, &e))?));
        }
        let mut done = Vec::with_capacity(sets.len());
        for (subject, ack) in waiting {
            let ack = ack.await.map_err(|error| refusal(&subject, &error))?;
            done.push(if ack.duplicate {
                Published::Duplicate
            } else {
                Published::Stored
            });
        }
        Ok(done)
    }

    /// Writes a set message, leaving the set itself out where it would be too big.
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

/// Why a publication was refused, by what to do about it.
enum Refusal {
    /// Nobody listens on the subject: make the stream.
    NoStream(QueueError),
    /// The server has the stream but cannot write to it: throw it away and make it anew.
    Broken(QueueError),
    /// Try again later.
    Passing(QueueError),
}

impl Refusal {
    fn error(self) -> QueueError {
        match self {
            Self::NoStream(error) | Self::Broken(error) | Self::Passing(error) => error,
        }
    }
}

fn refusal(subject: &str, error: &async_nats::jetstream::context::PublishError) -> Refusal {
    let wrapped = QueueError::Publish {
        subject: subject.to_owned(),
        source: NatsCause::of(error),
    };
    match error.kind() {
        PublishErrorKind::StreamNotFound => Refusal::NoStream(wrapped),
        PublishErrorKind::Other if says_store_is_broken(&error.to_string()) => Refusal::Broken(wrapped),
        _ => Refusal::Passing(wrapped),
    }
}
