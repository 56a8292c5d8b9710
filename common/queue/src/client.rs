//! The connection to NATS, its stream epoch, and plain publications.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::watch;

use crate::error::{NatsCause, QueueError};
use crate::subjects;
use howdah_protocol::wire::{self, Wire};

/// Longest time that a publication may wait for room in the buffer of the connection.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time that a JetStream request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Options of a connection.
#[derive(Clone, Debug)]
pub struct QueueOptions {
    /// Addresses, separated by commas: `nats://[USER:PASSWORD@]HOST:PORT`.
    pub url: String,
    /// Name of the connection; the monitoring of the server shows it.
    pub name: String,
    /// Number of copies of the datum stream in a NATS cluster.
    pub replicas: usize,
}

/// A connection to NATS. Clones share the connection.
#[derive(Clone)]
pub struct Queue {
    pub(crate) client: async_nats::Client,
    pub(crate) js: jetstream::Context,
    pub(crate) replicas: usize,
    /// Raised by the event callback on every connection, by [`Queue::ensure_streams`] when it creates the stream, and
    /// by the task that receives [`subjects::REBUILT`]. Read through [`Queue::stream_epoch`]. A `watch`, because a
    /// reader needs only the newest value.
    pub(crate) stream_epoch: Arc<watch::Sender<u64>>,
}

impl Queue {
    /// Connects with one copy of the stream.
    ///
    /// A lost connection is established again without a limit of attempts.
    ///
    /// # Errors
    /// When the address is wrong, or no server answers within five seconds.
    pub async fn connect(url: &str, name: &str) -> Result<Self, QueueError> {
        Self::connect_with(&QueueOptions {
            url: url.to_owned(),
            name: name.to_owned(),
            replicas: 1,
        })
        .await
    }

    /// Connects with the given options. See [`Queue::connect`].
    pub async fn connect_with(options: &QueueOptions) -> Result<Self, QueueError> {
        let addresses = options
            .url
            .split(',')
            .map(|one| one.trim().parse::<async_nats::ServerAddr>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| QueueError::Address {
                url: without_password(&options.url),
                source: NatsCause::of(error),
            })?;
        let stream_epoch = Arc::new(watch::Sender::new(0_u64));
        let on_connect = Arc::clone(&stream_epoch);
        let client = async_nats::ConnectOptions::new()
            .name(&options.name)
            .connection_timeout(Duration::from_secs(5))
            .max_reconnects(None)
            .reconnect_delay_callback(|attempts| Duration::from_millis(50 * attempts.min(20) as u64))
            .event_callback(move |event| {
                let on_connect = Arc::clone(&on_connect);
                async move {
                    match event {
                        async_nats::Event::Connected => on_connect.send_modify(|n| *n += 1),
                        async_nats::Event::Disconnected => {
                            tracing::warn!("connection to NATS lost, reconnecting");
                        }
                        async_nats::Event::SlowConsumer(_) => {
                            tracing::warn!("messages from NATS dropped: this process reads them too slowly");
                        }
                        other => tracing::debug!(event = %other, "nats event"),
                    }
                }
            })
            .connect(addresses)
            .await
            .map_err(|error| QueueError::Connect {
                url: without_password(&options.url),
                source: NatsCause::of(error),
            })?;
        let rebuilt = client.subscribe(subjects::REBUILT).await;
        let mut rebuilt = rebuilt.map_err(|error| QueueError::Subscribe {
            subject: subjects::REBUILT.to_owned(),
            source: NatsCause::of(error),
        })?;
        let on_rebuilt = Arc::clone(&stream_epoch);
        // The task holds no clone of the connection: the subscription, and with it the task, ends with the last clone.
        tokio::spawn(async move {
            while rebuilt.next().await.is_some() {
                on_rebuilt.send_modify(|n| *n += 1);
            }
        });
        let js = jetstream::ContextBuilder::new()
            .timeout(REQUEST_TIMEOUT)
            .ack_timeout(REQUEST_TIMEOUT)
            .build(client.clone());
        Ok(Self {
            client,
            js,
            replicas: options.replicas.max(1),
            stream_epoch,
        })
    }

    /// Returns the stream epoch: a number that rises after every connection and whenever any process creates the
    /// stream.
    ///
    /// After a rise, anything published earlier may be gone. The coordinator ensures streams and consumers and
    /// publishes outstanding sets again; a worker reads the list of pipelines again.
    pub fn stream_epoch(&self) -> watch::Receiver<u64> {
        self.stream_epoch.subscribe()
    }

    /// Returns whether the connection is up at this moment.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Waits until everything published so far has been sent to the server.
    pub async fn flush(&self) -> Result<(), QueueError> {
        match tokio::time::timeout(PUBLISH_TIMEOUT, self.client.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(publish_error("the server", error)),
            Err(_) => Err(publish_error("the server", "timed out")),
        }
    }

    /// Publishes a message to present subscribers. Waits for at most [`PUBLISH_TIMEOUT`] while the connection is down.
    pub(crate) async fn send<T: Wire>(&self, subject: String, value: &T) -> Result<(), QueueError> {
        self.send_bytes(subject, wire::encode(value).into()).await
    }

    pub(crate) async fn send_bytes(&self, subject: String, bytes: Bytes) -> Result<(), QueueError> {
        let publication = self.client.publish(subject.clone(), bytes);
        match tokio::time::timeout(PUBLISH_TIMEOUT, publication).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(publish_error(&subject, error)),
            Err(_) => Err(publish_error(&subject, "timed out")),
        }
    }
}

fn publish_error(subject: &str, error: impl std::fmt::Display) -> QueueError {
    QueueError::Publish {
        subject: subject.to_owned(),
        source: NatsCause::of(error),
    }
}

/// Returns addresses without user name and password.
#[must_use]
pub fn without_password(url: &str) -> String {
    let shown = |one: &str| match (one.find("://"), one.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}://{}", &one[..scheme], &one[at + 1..])
        }
        (None, Some(at)) => one[at + 1..].to_owned(),
        _ => one.to_owned(),
    };
    url.split(',').map(shown).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn passwords_are_never_shown() {
        assert_eq!(
            without_password("nats://joe:secret@a:4222,b:4222,joe:x@c:1"),
            "nats://a:4222,b:4222,c:1"
        );
    }
}
