//! The datum stream and its consumers.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, Info as ConsumerInfo, pull};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Config, DeleteStatus, DiscardPolicy, RetentionPolicy, StorageType};
use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use serde_json::json;

use crate::client::Queue;
use crate::error::{NatsCause, QueueError};
use crate::subjects;
use howdah_protocol::messages::{INLINE_LIMIT_BYTES, SetMessage, WakeUp};
use howdah_protocol::wire;

/// Time after which an unacknowledged set goes to another worker.
pub const ACK_WAIT: Duration = Duration::from_secs(12);
/// Window in which the server drops a second message of the same id.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// Publications that wait for their acknowledgement at a time.
const PUBLISH_WINDOW: usize = 256;
/// Room left for subject and headers below the server's limit.
const HEADER_ROOM_BYTES: usize = 4 * 1024;

/// How much work a pipeline has in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerStatus {
    /// Sets that nobody has taken yet.
    pub pending: u64,
    /// Sets that workers have and have not acknowledged.
    pub ack_pending: u64,
    /// Workers that wait for a set.
    pub waiting: u64,
    /// Most sets that may be out at once.
    pub max_ack_pending: u64,
    /// Deliveries so far, repeated ones included.
    pub delivered: u64,
}

impl ConsumerStatus {
    /// Says whether more sets may be out than are.
    pub fn has_room(&self) -> bool {
        self.ack_pending < self.max_ack_pending
    }
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The server has it.
    Stored,
    /// The server already had a message of that id.
    Duplicate,
}

impl Queue {
    /// Makes what is missing of the streams and adjusts what differs.
    ///
    /// Raises [`Queue::stream_epoch`], on every connection, if something had to be made.
    pub async fn ensure_streams(&self) -> Result<(), QueueError> {
        let config = self.stream_config();
        match self.js.update_stream(config.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if is_missing(&error.to_string()) => {}
            Err(error) if has_lost_its_files(&error.to_string()) => {
                tracing::warn!(stream = subjects::DATUM_STREAM, %error, "the server lost the datum stream's files");
                if let Err(error) = self.js.delete_stream(subjects::DATUM_STREAM).await {
                    tracing::debug!(%error, "old stream not deleted");
                }
            }
            Err(error) => return Err(stream_error(error)),
        }
        self.js.create_stream(config).await.map_err(stream_error)?;
        tracing::info!(stream = subjects::DATUM_STREAM, "made the datum stream");
        self.stream_epoch.send_modify(|n| *n += 1);
        self.send_bytes(subjects::REBUILT.to_owned(), bytes::Bytes::new()).await
    }

    /// Throws the datum stream away and makes it anew: for a server whose store is damaged.
    ///
    /// Whatever was in it must be published again; [`Queue::stream_epoch`] rises.
    pub async fn rebuild_streams(&self) -> Result<(), QueueError> {
        tracing::warn!(stream = subjects::DATUM_STREAM, "making the datum stream anew");
        self.drop_stream().await;
        self.ensure_streams().await
    }

    /// Deletes the datum stream if that is possible; making it anew shows if it was not.
    async fn drop_stream(&self) {
        if let Err(error) = self.js.delete_stream(subjects::DATUM_STREAM).await {
            tracing::debug!(%error, "old stream not deleted");
        }
    }

    fn stream_config(&self) -> Config {
        Config {
            name: subjects::DATUM_STREAM.to_owned(),
            subjects: vec![subjects::DATUM_SUBJECTS.to_owned()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            num_replicas: self.replicas,
            duplicate_window: DUPLICATE_WINDOW,
            max_bytes: -1,
            max_messages: -1,
            max_messages_per_subject: -1,
            max_consumers: -1,
            max_message_size: -1,
            description: Some("Howdah: datum sets waiting for a worker".to_owned()),
            ..Config::default()
        }
    }

    /// Makes or adjusts a pipeline's consumer; `parallelism` sets may be out at once.
    ///
    /// Workers learn of it by [`Queue::wake_workers`], which this calls when it made something.
    pub async fn ensure_consumer(&self, pipeline: &PipelineKey, parallelism: u64) -> Result<(), QueueError> {
        let name = subjects::consumer(pipeline);
        let max_ack_pending = i64::try_from(parallelism.max(1)).unwrap_or(i64::MAX);
        let before = self.raw_consumer_info(&name).await?;
        if before
            .as_ref()
            .is_some_and(|info| info.config.max_ack_pending == max_ack_pending)
        {
            return Ok(());
        }
        let config = pull::Config {
            durable_name: Some(name.clone()),
            description: Some(pipeline.to_string()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_deliver: -1,
            max_ack_pending,
            max_waiting: 2048,
            filter_subject: subjects::datum_filter(pipeline),
            ..pull::Config::default()
        };
        for attempt in 0.. {
            let made = self
                .js
                .create_consumer_on_stream(config.clone(), subjects::DATUM_STREAM)
                .await;
            match made {
                Ok(_) => break,
                Err(error) if attempt == 0 && is_missing(&error.to_string()) => {
                    self.ensure_streams().await?;
                }
                Err(error) if attempt == 0 && says_store_is_broken(&error.to_string()) => {
                    self.rebuild_streams().await?;
                }
                Err(error) => return Err(consumer_error("make", &name, error)),
            }
        }
        if before.is_none() {
            self.wake_workers().await?;
        }
        Ok(())
    }

    /// Removes a pipeline's consumer and its waiting sets. It is no error if there are none.
    pub async fn delete_consumer(&self, pipeline: &PipelineKey) -> Result<(), QueueError> {
        let name = subjects::consumer(pipeline);
        let subject = format!("CONSUMER.DELETE.{}.{name}", subjects::DATUM_STREAM);
        let answer: Response<DeleteStatus> = self
            .js
            .request(subject, &json!({}))
            .await
            .map_err(|error| consumer_error("delete", &name, error))?;
        if let Response::Err { error } = answer
            && !gone(error.error_code())
        {
            return Err(consumer_error("delete", &name, error));
        }
        self.purge(&subjects::datum_filter(pipeline)).await?;
        self.wake_workers().await
    }

    /// Takes back all waiting sets of a job. Sets that workers already have are not affected:
    /// see [`Queue::cancel_job`].
    pub async fn purge_job(&self, pipeline: &PipelineKey, job: &GlobalId) -> Result<(), QueueError> {
        self.purge(&subjects::datums(pipeline, job)).await
    }

    /// Returns how much work a pipeline has in the queue; `None` if it has no consumer.
    pub async fn consumer_info(&self, pipeline: &PipelineKey) -> Result<Option<ConsumerStatus>, QueueError> {
        let info = self.raw_consumer_info(&subjects::consumer(pipeline)).await?;
        Ok(info.map(|info| ConsumerStatus {
            pending: info.num_pending,
            ack_pending: info.num_ack_pending as u64,
            waiting: info.num_waiting as u64,
            max_ack_pending: u64::try_from(info.config.max_ack_pending).unwrap_or(u64::MAX),
            delivered: info.delivered.consumer_sequence,
        }))
    }

    async fn raw_consumer_info(&self, name: &str) -> Result<Option<ConsumerInfo>, QueueError> {
        let subject = format!("CONSUMER.INFO.{}.{name}", subjects::DATUM_STREAM);
        let answer: Response<ConsumerInfo> = self
            .js
            .request(subject, &json!({}))
            .await
            .map_err(|error| consumer_error("look at", name, error))?;
        match answer {
            Response::Ok(info) => Ok(Some(info)),
            Response::Err { error } if gone(error.error_code()) => Ok(None),
            Response::Err { error } => Err(consumer_error("look at", name, error)),
        }
    }

    /// Returns all pipelines that have a consumer; none while the stream is missing.
    pub async fn served_pipelines(&self) -> Result<Vec<PipelineKey>, QueueError> {
        let failed = |cause| QueueError::ListConsumers {
            stream: subjects::DATUM_STREAM.to_owned(),
            source: cause,
        };
        let subject = format!("CONSUMER.NAMES.{}", subjects::DATUM_STREAM);
        let (mut found, mut offset) = (Vec::new(), 0);
        loop {
            let answer: Response<NamesPage> = self
                .js
                .request(subject.clone(), &json!({ "offset": offset }))
                .await
                .map_err(|error| failed(NatsCause::of(error)))?;
            let page = match answer {
                Response::Ok(page) => page,
                Response::Err { error } if gone(error.error_code()) => return Ok(Vec::new()),
                Response::Err { error } => return Err(failed(NatsCause::of(error))),
            };
            let names = page.consumers.unwrap_or_default();
            offset += names.len();
            found.extend(names.iter().filter_map(|name| subjects::pipeline_of(name)));
            if names.is_empty() || offset >= page.total {
                found.sort();
                return Ok(found);
            }
        }
    }

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

    /// Tells workers to look at the list of pipelines again.
    pub async fn wake_workers(&self) -> Result<(), QueueError> {
        self.send(subjects::WAKE_UP.to_owned(), &WakeUp {}).await
    }
}

#[derive(serde::Deserialize)]
struct NamesPage {
    total: usize,
    consumers: Option<Vec<String>>,
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

/// Recognises what a server answers whose store directory was removed or damaged under it.
fn says_store_is_broken(text: &str) -> bool {
    [
        "no such file or directory",
        "10077",
        "stream store failed",
        "error opening msg block",
    ]
    .iter()
    .any(|sign| text.contains(sign))
}

fn is_missing(text: &str) -> bool {
    text.contains("not found") || text.contains("10059")
}

/// Newer servers notice that their store was deleted under them when they write the stream's description.
fn has_lost_its_files(text: &str) -> bool {
    text.contains("no such file or directory")
}

pub(crate) fn gone(code: ErrorCode) -> bool {
    code == ErrorCode::STREAM_NOT_FOUND || code == ErrorCode::CONSUMER_NOT_FOUND
}

fn stream_error(error: impl std::fmt::Display) -> QueueError {
    let text = error.to_string();
    let off = ["JetStream resource does not exist", "not enabled", "unavailable"];
    if off.iter().any(|sign| text.contains(sign)) {
        return QueueError::JetStreamOff;
    }
    QueueError::EnsureStream {
        stream: subjects::DATUM_STREAM.to_owned(),
        source: NatsCause::of(text),
    }
}

fn consumer_error(operation: &'static str, name: &str, error: impl std::fmt::Display) -> QueueError {
    QueueError::Consumer {
        operation,
        consumer: name.to_owned(),
        source: NatsCause::of(error),
    }
}
