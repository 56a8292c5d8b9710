//! The datum stream.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

use crate::client::Queue;
use crate::error::{NatsCause, QueueError, is_missing};
use crate::subjects;

/// Window in which the server drops a second message of the same id.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

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
}

/// Newer servers notice that their store was deleted under them when they write the stream's description.
fn has_lost_its_files(text: &str) -> bool {
    text.contains("no such file or directory")
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
