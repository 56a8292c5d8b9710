//! The connection.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::watch;

use crate::error::{NatsCause, QueueError};
use crate::subjects;
use howdah_protocol::wire::{self, Wire};

/// Longest time that a publication may wait for its place in the connection's buffer.
const PUBLISH_PATIENCE: Duration = Duration::from_secs(5);
/// Time that JetStream has to answer.
const REQUEST_PATIENCE: Duration = Duration::from_secs(10);

/// How to connect.
#[derive(Clone, Debug)]
pub struct QueueOptions {
    /// Addresses, separated by commas: `nats://[USER:PASSWORD@]HOST:PORT`.
    pub url: String,
    /// Name of the connection, shown by the server's monitoring.
    pub name: String,
    /// Copies that a NATS cluster keeps of the datum stream.
    pub replicas: usize,
}

/// A connection to NATS. Clones share it.
#[derive(Clone)]
pub struct Queue {
    pub(crate) client: async_nats::Client,
    pub(crate) js: jetstream::Context,
    pub(crate) replicas: usize,
    /// Written by the connection's event callback, and whenever anybody had to make a stream; read by everybody who must then look at the state again.
    pub(crate) stream_epoch: Arc<watch::Sender<u64>>,
}

impl Queue {
    /// Connects, or says within a few seconds why that is not possible.
    ///
    /// A connection that was made once is made again for ever when it is lost.
    pub async fn connect(url: &str, name: &str) -> Result<Self, QueueError> {
        Self::connect_with(&QueueOptions {
            url: url.to_owned(),
            name: name.to_owned(),
            replicas: 1,
        })
        .await
    }

    /// Connects with all options given.
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
        let raise = Arc::clone(&stream_epoch);
        let client = async_nats::ConnectOptions::new()
            .name(&options.name)
            .connection_timeout(Duration::from_secs(5))
            .max_reconnects(None)
            .reconnect_delay_callback(|attempts| Duration::from_millis(50 * attempts.min(20) as u64))
            .event_callback(move |event| {
                let raise = Arc::clone(&raise);
                async move {
                    match event {
                        async_nats::Event::Connected => raise.send_modify(|n| *n += 1),
                        async_nats::Event::Disconnected => {
                            tracing::warn!("connection to NATS lost, trying to get it back");
                        }
                        async_nats::Event::SlowConsumer(_) => {
                            tracing::warn!("messages from NATS dropped: this process is too slow");
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
        let raise = Arc::clone(&stream_epoch);
        // Ends when the last clone of the connection is gone, which closes the subscription.
        tokio::spawn(async move {
            while rebuilt.next().await.is_some() {
                raise.send_modify(|n| *n += 1);
            }
        });
        let js = jetstream::ContextBuilder::new()
            .timeout(REQUEST_PATIENCE)
            .ack_timeout(REQUEST_PATIENCE)
            .build(client.clone());
        Ok(Self {
            client,
            js,
            replicas: options.replicas.max(1),
            stream_epoch,
        })
    }

    /// Returns a number that rises after every (re)connection and whenever streams were made again.
    ///
    /// A rise means: anything published earlier may be gone. The coordinator then ensures streams
    /// and consumers and publishes outstanding sets again; a worker lists pipelines again.
    pub fn stream_epoch(&self) -> watch::Receiver<u64> {
        self.stream_epoch.subscribe()
    }

    /// Says whether the connection stands at this moment.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Waits until everything published so far has been handed to the server.
    pub async fn flush(&self) -> Result<(), QueueError> {
        match tokio::time::timeout(PUBLISH_PATIENCE, self.client.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(publish_error("the server", error)),
            Err(_) => Err(publish_error("the server", "timed out")),
        }
    }

    /// Publishes a core message, waiting a moment while the connection is down.
    pub(crate) async fn send<T: Wire>(&self, subject: String, value: &T) -> Result<(), QueueError> {
        self.send_bytes(subject, wire::encode(value).into()).await
    }

    pub(crate) async fn send_bytes(&self, subject: String, bytes: Bytes) -> Result<(), QueueError> {
        let publication = self.client.publish(subject.clone(), bytes);
        match tokio::time::timeout(PUBLISH_PATIENCE, publication).await {
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

/// Returns addresses as they may be shown.
pub(crate) fn without_password(url: &str) -> String {
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
