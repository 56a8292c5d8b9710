//! Errors of the queue.

use std::path::PathBuf;

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
/// A retry may succeed, unless [`QueueError::needs_person`].
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
    /// The connection would leave this machine without TLS.
    #[error(
        "connections to NATS at {host} would not be encrypted: use tls://, or name the authority of its certificate with \
         --nats-ca; --insecure-plain-nats allows it all the same"
    )]
    Plain {
        /// Host of the server.
        host: String,
    },
    /// A file with credentials or certificates cannot be used.
    #[error("cannot use {} for NATS", file.display())]
    Access {
        /// The file.
        file: PathBuf,
        /// Cause.
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

impl QueueError {
    /// Returns whether a retry fails too until a person acts.
    pub fn needs_person(&self) -> bool {
        matches!(
            self,
            Self::Address { .. } | Self::Plain { .. } | Self::Access { .. } | Self::JetStreamOff | Self::Message { .. }
        )
    }
}
