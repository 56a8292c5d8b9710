//! A delivered datum set, and its acknowledgement.

use std::time::Duration;

use async_nats::jetstream::AckKind;

use crate::error::{NatsCause, QueueError};
use howdah_protocol::messages::SetMessage;

/// A datum set that is delivered to this worker, until the worker acknowledges it, gives it back, or does not keep it
/// for [`crate::ACK_WAIT`].
pub struct Delivery {
    /// The message with the set.
    pub set: SetMessage,
    /// Number of deliveries of the set so far, this one included.
    pub delivered: u64,
    pub(crate) message: async_nats::jetstream::Message,
}

impl Delivery {
    /// Tells the server that the set is done, or that its job has ended.
    ///
    /// The result must be in the store before: an acknowledged set is never delivered again.
    pub async fn ack(&self) -> Result<(), QueueError> {
        self.answer("acknowledge", AckKind::Ack).await
    }

    /// Tells the server that this worker still runs the set. Repeat it within [`crate::ACK_WAIT`].
    pub async fn in_progress(&self) -> Result<(), QueueError> {
        self.answer("keep", AckKind::Progress).await
    }

    /// Returns the receipt of the delivery, for [`crate::Queue::hand_back`] after a crash.
    pub fn receipt(&self) -> &str {
        self.message.reply.as_deref().unwrap_or_default()
    }

    /// Gives the set back. The server delivers it again at once or after the delay.
    pub async fn nak(&self, delay: Option<Duration>) -> Result<(), QueueError> {
        self.answer("give back", AckKind::Nak(delay)).await
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
