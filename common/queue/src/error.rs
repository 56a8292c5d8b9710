//! What can go wrong with the queue.

use async_nats::jetstream::ErrorCode;
use howdah_protocol::wire::WireError;

/// An error of NATS, as text.
///
/// The client's errors print their whole chain in one text; this keeps that text as the end of
/// our chain, so that nothing is printed twice.
#[derive(Debug)]
pub struct NatsCause(String);

impl NatsCause {
    pub(crate) fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl std::fmt::Display for NatsCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NatsCause {}

/// A failed operation on the queue.
///
/// All but [`QueueError::Address`], [`QueueError::JetStreamOff`] and [`QueueError::Message`] may
/// pass by themselves.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The address is no address.
    #[error("{url:?} is not the address of a NATS server: expected nats://HOST:PORT")]
    Address {
        /// Address, without its password.
        url: String,
        /// What is wrong.
        #[source]
        source: NatsCause,
    },
    /// No server could be reached.
    #[error("cannot connect to NATS at {url}: is nats-server running there (with -js)?")]
    Connect {
        /// Address, without its password.
        url: String,
        /// What happened.
        #[source]
        source: NatsCause,
    },
    /// The server runs without JetStream.
    #[error("the NATS server has JetStream switched off: start nats-server with -js")]
    JetStreamOff,
    /// A stream could not be made or adjusted.
    #[error("cannot make the stream {stream}")]
    EnsureStream {
        /// Its name.
        stream: String,
        /// What happened.
        #[source]
        source: NatsCause,
    },
    /// A pipeline's consumer could not be made, adjusted, looked at or removed.
    #[error("cannot {operation} the consumer {consumer}")]
    Consumer {
        /// What was to be done.
        operation: &'static str,
        /// Its name.
        consumer: String,
        /// What happened.
        #[source]
        source: NatsCause,
    },
    /// The list of pipelines could not be read.
    #[error("cannot list the consumers of the stream {stream}")]
    ListConsumers {
        /// Stream.
        stream: String,
        /// What happened.
        #[source]
        source: NatsCause,
    },
    /// A message was not accepted.
    #[error("cannot publish to {subject}")]
    Publish {
        /// Subject.
        subject: String,
        /// What happened.
        #[source]
        source: NatsCause,
    },
    /// Messages could not be removed.
    #[error("cannot remove the messages of {subject}")]
    Purge {
        /// Subject.
        subject: String,
        /// What happened.
        #[source]
        source: NatsCause,
    },
    /// A subscription could not be made.
    #[error("cannot subscribe to {subject}")]
    Subscribe {
        /// Subject.
        subject: String,
        /// What happened.
        #[source]
        source: NatsCause,
    },
    /// A delivered message could not be acknowledged, kept or handed back.
    #[error("cannot {operation} a datum set")]
    Acknowledge {
        /// What was to be done.
        operation: &'static str,
        /// What happened.
        #[source]
        source: NatsCause,
    },
    /// No worker listens.
    #[error("no worker is connected: start one with `howdah-worker` (or `howdah up`)")]
    NoWorkers,
    /// No worker answered in time.
    #[error("no worker answered within {seconds} s")]
    NoAnswer {
        /// How long was waited.
        seconds: u64,
    },
    /// A message could not be read.
    #[error("message on {subject} refused")]
    Message {
        /// Subject.
        subject: String,
        /// Why.
        #[source]
        source: WireError,
    },
}

/// Recognises what a server answers whose store directory was removed or damaged under it.
pub(crate) fn says_store_is_broken(text: &str) -> bool {
    [
        "no such file or directory",
        "10077",
        "stream store failed",
        "error opening msg block",
    ]
    .iter()
    .any(|sign| text.contains(sign))
}

pub(crate) fn is_missing(text: &str) -> bool {
    text.contains("not found") || text.contains("10059")
}

pub(crate) fn gone(code: ErrorCode) -> bool {
    code == ErrorCode::STREAM_NOT_FOUND || code == ErrorCode::CONSUMER_NOT_FOUND
}
