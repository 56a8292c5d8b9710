//! Errors of the queue, and how to recognise answers of the server.

use async_nats::jetstream::ErrorCode;
use howdah_protocol::wire::WireError;

/// An error of the NATS client, as text.
///
/// The errors of the client print all their causes in one text. This type keeps that text and has no source, so that a
/// printed chain has no text twice.
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
/// [`QueueError::Address`], [`QueueError::JetStreamOff`] and [`QueueError::Message`] need a person; a retry may succeed
/// after any other.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The address cannot be parsed.
    #[error("{url:?} is not the address of a NATS server: expected nats://HOST:PORT")]
    Address {
        /// Address, without its password.
        url: String,
        /// Why.
        #[source]
        source: NatsCause,
    },
    /// No server answers at the address.
    #[error("cannot connect to NATS at {url}: is nats-server running there (with -js)?")]
    Connect {
        /// Address, without its password.
        url: String,
        /// Cause.
        #[source]
        source: NatsCause,
    },
    /// The server runs without JetStream.
    #[error("the NATS server has JetStream switched off: start nats-server with -js")]
    JetStreamOff,
    /// The stream could not be created or changed.
    #[error("cannot make the stream {stream}")]
    EnsureStream {
        /// Its name.
        stream: String,
        /// Cause.
        #[source]
        source: NatsCause,
    },
    /// The consumer of a pipeline could not be created, changed, read or removed.
    #[error("cannot {operation} the consumer {consumer}")]
    Consumer {
        /// The operation, as a verb.
        operation: &'static str,
        /// Its name.
        consumer: String,
        /// Cause.
        #[source]
        source: NatsCause,
    },
    /// The list of consumers could not be read.
    #[error("cannot list the consumers of the stream {stream}")]
    ListConsumers {
        /// Stream.
        stream: String,
        /// Cause.
        #[source]
        source: NatsCause,
    },
    /// The server did not accept a message.
    #[error("cannot publish to {subject}")]
    Publish {
        /// Subject.
        subject: String,
        /// Cause.
        #[source]
        source: NatsCause,
    },
    /// Waiting messages could not be removed.
    #[error("cannot remove the messages of {subject}")]
    Purge {
        /// Subject.
        subject: String,
        /// Cause.
        #[source]
        source: NatsCause,
    },
    /// The subscription failed.
    #[error("cannot subscribe to {subject}")]
    Subscribe {
        /// Subject.
        subject: String,
        /// Cause.
        #[source]
        source: NatsCause,
    },
    /// A delivered message could not be acknowledged, kept or given back.
    #[error("cannot {operation} a datum set")]
    Acknowledge {
        /// The operation, as a verb.
        operation: &'static str,
        /// Cause.
        #[source]
        source: NatsCause,
    },
    /// No worker is subscribed.
    #[error("no worker is connected: start one with `howdah-worker` (or `howdah up`)")]
    NoWorkers,
    /// No worker answered in time.
    #[error("no worker answered within {seconds} s")]
    NoAnswer {
        /// Time limit of the request, in seconds.
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

/// Returns whether an answer means that the store directory was removed or damaged while the server runs.
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

/// Returns whether an answer means that the stream does not exist.
pub(crate) fn is_missing(text: &str) -> bool {
    text.contains("not found") || text.contains("10059")
}

/// Returns whether an answer means that the stream or the consumer does not exist.
pub(crate) fn gone(code: ErrorCode) -> bool {
    code == ErrorCode::STREAM_NOT_FOUND || code == ErrorCode::CONSUMER_NOT_FOUND
}
