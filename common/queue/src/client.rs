//! The connection to NATS, its stream epoch, and plain publications.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use bytes::Bytes;
use futures::StreamExt;
use howdah_protocol::installation::Installation;
use howdah_protocol::wire::{self, Wire};
use tokio::sync::watch;

use crate::access::NatsAccess;
use crate::authenticator::{Authenticator, Expected, OnRefusal, Sender};
use crate::error::{NatsCause, QueueError};
use crate::subjects::Names;

/// Longest time that a publication may wait for room in the buffer of the connection.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time that a JetStream request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Beginning of the subjects on which coordinators get answers.
pub const COORDINATOR_INBOX: &str = "_INBOX.coordinator";
/// Beginning of the subjects on which workers get answers and sets.
pub const WORKER_INBOX: &str = "_INBOX.worker";

/// Options of a connection.
#[derive(Clone)]
pub struct QueueOptions {
    /// Addresses, separated by commas: `nats://HOST:PORT` or `tls://HOST:PORT`, also with `USER:PASSWORD@`.
    pub url: String,
    /// Name of the connection; the monitoring of the server shows it.
    pub name: String,
    /// The installation that it belongs to.
    pub installation: Installation,
    /// Credentials and certificates.
    pub access: NatsAccess,
    /// Beginning of the subjects on which it gets answers.
    pub inbox: &'static str,
    /// Called for each message that is ignored.
    pub on_refusal: OnRefusal,
}

impl QueueOptions {
    /// Returns the options of a coordinator.
    pub fn coordinator(url: &str, installation: Installation) -> Self {
        Self {
            url: url.to_owned(),
            name: "howdah-coordinator".to_owned(),
            installation,
            access: NatsAccess::default(),
            inbox: COORDINATOR_INBOX,
            on_refusal: Arc::new(|_| ()),
        }
    }

    /// Returns the options of a worker.
    pub fn worker(url: &str, name: &str, installation: Installation) -> Self {
        Self {
            name: name.to_owned(),
            inbox: WORKER_INBOX,
            ..Self::coordinator(url, installation)
        }
    }
}

/// A connection to NATS, with what a worker may do. Clones share the connection.
///
/// Only a [`CoordinatorQueue`] makes, changes and deletes streams and consumers.
#[derive(Clone)]
pub struct Queue {
    pub(crate) client: async_nats::Client,
    pub(crate) js: jetstream::Context,
    pub(crate) names: Arc<Names>,
    pub(crate) authenticator: Arc<Authenticator>,
    /// Raised by the event callback on every connection, by [`CoordinatorQueue::ensure_streams`] when it creates the
    /// stream, and by the task that receives [`Names::rebuilt`]. Read through [`Queue::stream_epoch`]. A `watch`, because
    /// a reader needs only the newest value.
    pub(crate) stream_epoch: Arc<watch::Sender<u64>>,
}

/// A connection to NATS, with what the coordinator that leads may do. Its messages carry the epoch of the leader.
#[derive(Clone)]
pub struct CoordinatorQueue {
    queue: Queue,
    epoch: u64,
    /// Number of copies of the datum stream; `None` keeps those of an existing stream.
    pub(crate) replicas: Option<usize>,
}

impl Deref for CoordinatorQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        &self.queue
    }
}

impl Queue {
    /// Connects.
    ///
    /// A lost connection is established again without a limit of attempts.
    ///
    /// # Errors
    /// When the address is wrong, a file of [`QueueOptions::access`] cannot be used, a connection without TLS would leave
    /// this machine, or no server answers within five seconds.
    pub async fn connect(options: &QueueOptions) -> Result<Self, QueueError> {
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
        let client = options
            .access
            .apply(&addresses, connect_options(options, &stream_epoch))?
            .connect(addresses)
            .await
            .map_err(|error| QueueError::Connect {
                url: without_password(&options.url),
                source: NatsCause::of(error),
            })?;
        let js = jetstream::ContextBuilder::new()
            .timeout(REQUEST_TIMEOUT)
            .ack_timeout(REQUEST_TIMEOUT)
            .build(client.clone());
        let queue = Self {
            client,
            js,
            names: Arc::new(Names::new(options.installation.cluster())),
            authenticator: Arc::new(Authenticator::new(
                options.installation.clone(),
                Arc::clone(&options.on_refusal),
            )),
            stream_epoch,
        };
        queue.follow_rebuilds().await?;
        Ok(queue)
    }

    /// Raises the stream epoch whenever a coordinator has created the stream.
    async fn follow_rebuilds(&self) -> Result<(), QueueError> {
        let subject = self.names.rebuilt();
        let rebuilt = self.client.subscribe(subject.clone()).await;
        let mut rebuilt = rebuilt.map_err(|error| QueueError::Subscribe {
            subject,
            source: NatsCause::of(error),
        })?;
        let stream_epoch = Arc::clone(&self.stream_epoch);
        let authenticator = Arc::clone(&self.authenticator);
        // The task holds no clone of the connection: the subscription, and with it the task, ends with the last clone.
        tokio::spawn(async move {
            while let Some(message) = rebuilt.next().await {
                match authenticator.check(Expected::Coordinator, &message) {
                    Ok(()) => stream_epoch.send_modify(|n| *n += 1),
                    Err(refusal) => authenticator.refused(refusal, &message.subject),
                }
            }
        });
        Ok(())
    }

    /// Returns the connection as a coordinator uses it that leads with this epoch.
    ///
    /// The datum stream gets `replicas` copies in a NATS cluster; `None` means one copy for a new stream, and no change
    /// of an existing one.
    pub fn lead(&self, epoch: u64, replicas: Option<usize>) -> CoordinatorQueue {
        CoordinatorQueue {
            queue: self.clone(),
            epoch,
            replicas,
        }
    }

    /// Returns the names of subjects, stream and consumers.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Returns the stream epoch: a number that rises after every connection and whenever a coordinator creates the
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

    /// Publishes a message of a worker to present subscribers. Waits for at most [`PUBLISH_TIMEOUT`] while the connection
    /// is down.
    pub(crate) async fn send_as_worker<T: Wire>(&self, subject: String, value: &T) -> Result<(), QueueError> {
        self.send(Sender::Worker, subject, wire::encode(value).into()).await
    }

    async fn send(&self, sender: Sender, subject: String, bytes: Bytes) -> Result<(), QueueError> {
        let headers = self.authenticator.headers(sender, &subject, &bytes);
        let publication = self.client.publish_with_headers(subject.clone(), headers, bytes);
        match tokio::time::timeout(PUBLISH_TIMEOUT, publication).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(publish_error(&subject, error)),
            Err(_) => Err(publish_error(&subject, "timed out")),
        }
    }
}

impl CoordinatorQueue {
    /// Returns what the headers of messages name as sender.
    pub(crate) fn sender(&self) -> Sender {
        Sender::Coordinator { epoch: self.epoch }
    }

    /// Publishes a message to present subscribers. Waits for at most [`PUBLISH_TIMEOUT`] while the connection is down.
    pub(crate) async fn publish<T: Wire>(&self, subject: String, value: &T) -> Result<(), QueueError> {
        self.send(self.sender(), subject, wire::encode(value).into()).await
    }

    /// Raises the stream epoch of all processes: the stream is new and empty.
    pub(crate) async fn announce_new_stream(&self) -> Result<(), QueueError> {
        self.stream_epoch.send_modify(|n| *n += 1);
        // Every process has its own connection and would otherwise not learn of it, because its connection stayed up.
        self.send(self.sender(), self.names.rebuilt(), Bytes::new()).await
    }
}

fn connect_options(options: &QueueOptions, stream_epoch: &Arc<watch::Sender<u64>>) -> async_nats::ConnectOptions {
    let on_connect = Arc::clone(stream_epoch);
    async_nats::ConnectOptions::new()
        .name(&options.name)
        .custom_inbox_prefix(options.inbox)
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
                    async_nats::Event::ServerError(error) => {
                        tracing::warn!(%error, "the NATS server refuses what this process asks for");
                    }
                    other => tracing::debug!(event = %other, "nats event"),
                }
            }
        })
}

fn publish_error(subject: &str, error: impl std::fmt::Display) -> QueueError {
    QueueError::Publish {
        subject: subject.to_owned(),
        source: NatsCause::of(error),
    }
}

/// Returns addresses without user name and password.
#[must_use]
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
