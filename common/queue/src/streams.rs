//! The datum stream: created when it is missing, created again when the server has lost its files.
//!
//! The stream is a work queue: the server removes a message when a worker acknowledges it. It holds nothing that the
//! coordinator cannot publish again, so deleting it is always safe.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

use crate::client::Queue;
use crate::error::{NatsCause, QueueError, is_missing};
use crate::subjects;

/// Time in which the server drops a second message with the same id.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

impl Queue {
    /// Creates the datum stream if it is missing, and changes its configuration if that differs.
    ///
    /// A creation raises [`Queue::stream_epoch`] of every process.
    pub async fn ensure_streams(&self) -> Result<(), QueueError> {
        let config = self.stream_config();
        // Update before create. An update makes the server write the configuration of the stream, which fails if its
        // files are gone. A creation with the same configuration succeeds without a look at the disk, and the server
        // would then accept sets that it can never deliver.
        match self.js.update_stream(config.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if is_missing(&error.to_string()) => {}
            Err(error) if has_lost_its_files(&error.to_string()) => {
                tracing::warn!(stream = subjects::DATUM_STREAM, %error, "the server lost the datum stream's files");
                self.delete_stream().await;
            }
            Err(error) => return Err(stream_error(error)),
        }
        self.js.create_stream(config).await.map_err(stream_error)?;
        tracing::info!(stream = subjects::DATUM_STREAM, "created the datum stream");
        // The new stream is empty: sets that waited in the old one are gone. Every process has its own connection and
        // would otherwise not learn of it, because its connection stayed up.
        self.stream_epoch.send_modify(|n| *n += 1);
        self.send_bytes(subjects::REBUILT.to_owned(), bytes::Bytes::new()).await
    }

    /// Deletes the datum stream and creates it again: for a server whose store is damaged.
    ///
    /// Raises [`Queue::stream_epoch`]: waiting sets must be published again.
    pub async fn rebuild_streams(&self) -> Result<(), QueueError> {
        tracing::warn!(
            stream = subjects::DATUM_STREAM,
            "deleting the datum stream to create it again"
        );
        self.delete_stream().await;
        self.ensure_streams().await
    }

    /// Deletes the datum stream. An error is only logged: it matters only if the creation that follows fails too.
    async fn delete_stream(&self) {
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

/// Returns whether an answer means that the files of the stream are gone. Newer servers notice it when they write the
/// configuration of the stream.
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
