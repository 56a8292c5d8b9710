//! Taking back sets that nobody has taken yet.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::PurgeResponse;
use serde::Deserialize;
use serde_json::json;

use crate::client::Queue;
use crate::error::{NatsCause, QueueError, gone};
use crate::subjects::DATUM_STREAM;

/// What is needed of the answer to a request for a stored message.
#[derive(Deserialize)]
struct Stored {
    message: StoredMessage,
}

#[derive(Deserialize)]
struct StoredMessage {
    seq: u64,
}

#[derive(Deserialize)]
struct Deleted {}

impl Queue {
    /// Removes all waiting messages of a subject, which may hold wildcards.
    pub(crate) async fn purge(&self, filter: &str) -> Result<(), QueueError> {
        // Before 2.10, purging one subject makes *every* consumer of the stream jump over the
        // waiting messages of other subjects.
        if self.client.is_server_compatible(2, 10, 0) {
            self.purge_at_once(filter).await
        } else {
            self.purge_one_by_one(filter).await
        }
    }

    async fn purge_at_once(&self, filter: &str) -> Result<(), QueueError> {
        let subject = format!("STREAM.PURGE.{DATUM_STREAM}");
        let answer: Response<PurgeResponse> = self
            .js
            .request(subject, &json!({ "filter": filter }))
            .await
            .map_err(|error| failed(filter, error))?;
        match answer {
            Response::Err { error } if !gone(error.error_code()) => Err(failed(filter, error)),
            _ => Ok(()),
        }
    }

    async fn purge_one_by_one(&self, filter: &str) -> Result<(), QueueError> {
        let mut from = 1_u64;
        loop {
            let found: Response<Stored> = self
                .js
                .request(
                    format!("STREAM.MSG.GET.{DATUM_STREAM}"),
                    &json!({ "seq": from, "next_by_subj": filter }),
                )
                .await
                .map_err(|error| failed(filter, error))?;
            let seq = match found {
                Response::Ok(stored) => stored.message.seq,
                Response::Err { error } if nothing_left(error.error_code()) => return Ok(()),
                Response::Err { error } => return Err(failed(filter, error)),
            };
            let deleted: Response<Deleted> = self
                .js
                .request(
                    format!("STREAM.MSG.DELETE.{DATUM_STREAM}"),
                    &json!({ "seq": seq, "no_erase": true }),
                )
                .await
                .map_err(|error| failed(filter, error))?;
            if let Response::Err { error } = deleted {
                // A worker may have taken and acknowledged it in between.
                tracing::debug!(seq, %error, "waiting set not deleted");
            }
            from = seq + 1;
        }
    }
}

fn nothing_left(code: ErrorCode) -> bool {
    code == ErrorCode::NO_MESSAGE_FOUND || gone(code)
}

fn failed(filter: &str, error: impl std::fmt::Display) -> QueueError {
    QueueError::Purge {
        subject: filter.to_owned(),
        source: NatsCause::of(error),
    }
}
