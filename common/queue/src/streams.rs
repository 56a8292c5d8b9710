//! The datum stream: created when it is missing, created again when the server has lost its files.
//!
//! The stream is a work queue: the server removes a message when a worker acknowledges it. It holds nothing that the
//! coordinator cannot publish again, so deleting it is always safe.
//!
//! What an operator has set on an existing stream stays: limits, storage, and the number of copies unless the coordinator
//! was given one.

use std::time::Duration;

use howdah_protocol::messages::ConsumerStalled;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::ApiFailure;
use crate::client::CoordinatorQueue;
use crate::error::QueueError;

/// Time in which the server drops a second message with the same id.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// What the server tells about a stream, as far as it is needed. The configuration is kept as it is, because this
/// program does not know all fields of every release of the server.
#[derive(Deserialize)]
struct StreamInfo {
    config: Value,
}

impl CoordinatorQueue {
    /// Creates the datum stream if it is missing, and corrects its subjects and number of copies if they differ.
    ///
    /// A creation raises [`crate::Queue::stream_epoch`] of every process.
    ///
    /// # Errors
    /// When JetStream is off, or the server does not make the stream.
    pub async fn ensure_streams(&self) -> Result<(), QueueError> {
        let stream = self.names.stream();
        let found = self
            .api::<StreamInfo>(format!("STREAM.INFO.{stream}"), &json!({}))
            .await;
        let usable = match found {
            Ok(info) => self.update_stream(info.config).await,
            Err(failure) => Err(failure),
        };
        match usable {
            Ok(()) => return Ok(()),
            Err(failure) if failure.is_missing() => {}
            Err(failure) if failure.is_broken_store() => {
                let error = failure.into_cause();
                tracing::warn!(stream, %error, "the server cannot use the datum stream's files");
                self.delete_stream().await;
            }
            Err(failure) => return Err(self.stream_error(failure)),
        }
        self.create_stream().await
    }

    /// Sends the configuration of the stream back, corrected.
    ///
    /// Also if nothing is to be corrected: an update makes the server write the configuration, which fails if the files of
    /// the stream are gone. A look at the stream, or a creation with the same configuration, succeeds without a look at
    /// the disk, and the server would then accept sets that it can never deliver.
    async fn update_stream(&self, mut config: Value) -> Result<(), ApiFailure> {
        config["subjects"] = json!([self.names.all_datums()]);
        if let Some(replicas) = self.replicas {
            config["num_replicas"] = json!(replicas);
        }
        let subject = format!("STREAM.UPDATE.{}", self.names.stream());
        self.api::<Value>(subject, &config).await.map(drop)
    }

    async fn create_stream(&self) -> Result<(), QueueError> {
        let stream = self.names.stream();
        let config = json!({
            "name": stream,
            "description": "Howdah: datum sets waiting for a worker",
            "subjects": [self.names.all_datums()],
            "retention": "workqueue",
            "storage": "file",
            "discard": "new",
            "num_replicas": self.replicas.unwrap_or(1),
            "duplicate_window": nanoseconds(DUPLICATE_WINDOW),
            "max_bytes": -1,
            "max_msgs": -1,
            "max_msgs_per_subject": -1,
            "max_consumers": -1,
            "max_msg_size": -1,
        });
        let made = self.api::<Value>(format!("STREAM.CREATE.{stream}"), &config).await;
        made.map_err(|failure| self.stream_error(failure))?;
        tracing::info!(stream, "created the datum stream");
        // Sets that waited in an earlier stream of the name are gone.
        self.announce_new_stream().await
    }

    /// Deletes the datum stream and creates it again: for a server whose store is damaged.
    ///
    /// Raises [`crate::Queue::stream_epoch`]: waiting sets must be published again.
    pub async fn rebuild_streams(&self) -> Result<(), QueueError> {
        tracing::warn!(
            stream = self.names.stream(),
            "deleting the datum stream to create it again"
        );
        self.delete_stream().await;
        self.create_stream().await
    }

    /// Rebuilds the streams if a worker's report that the server withholds sets is still true. Returns whether it did.
    ///
    /// A report about a consumer that was made again since is ignored.
    pub async fn rebuild_if_stalled(&self, report: &ConsumerStalled) -> Result<bool, QueueError> {
        let status = self.consumer_info(&report.pipeline).await?;
        let is_stalled = status.is_some_and(|now| now.created == report.created && now.pending > 0 && now.has_room());
        if is_stalled {
            self.rebuild_streams().await?;
        }
        Ok(is_stalled)
    }

    /// Deletes the datum stream. An error is only logged: it matters only if the creation that follows fails too.
    async fn delete_stream(&self) {
        let subject = format!("STREAM.DELETE.{}", self.names.stream());
        if let Err(failure) = self.api::<Value>(subject, &json!({})).await {
            tracing::debug!(error = %failure.into_cause(), "old stream not deleted");
        }
    }

    fn stream_error(&self, failure: ApiFailure) -> QueueError {
        match failure {
            ApiFailure::Off => QueueError::JetStreamOff,
            failure => QueueError::EnsureStream {
                stream: self.names.stream(),
                source: failure.into_cause(),
            },
        }
    }
}

/// Returns a duration as JetStream writes it.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
