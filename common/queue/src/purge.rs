//! Removal of waiting sets from the stream.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::PurgeResponse;
use serde::Deserialize;
use serde_json::json;

use crate::client::Queue;
use crate::error::{NatsCause, QueueError, gone};
use crate::subjects::DATUM_STREAM;

/// The answer to a request for a waiting message, as far as it is needed.
#[derive(Deserialize)]
struct FoundMessage {
    message: MessageSequence,
}

#[derive(Deserialize)]
struct MessageSequence {
    seq: u64,
}

/// The answer to the deletion of a message.
#[derive(Deserialize)]
struct DeletedMessage {}

impl Queue {
    /// Removes all waiting messages of a subject, which may have wildcards.
    pub(crate) async fn purge(&self, filter: &str) -> Result<(), QueueError> {
        // Before 2.10, the purge of one subject makes every consumer of the stream skip waiting messages of other
        // subjects: sets of other jobs would never be delivered.
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
            let found: Response<FoundMessage> = self
                .js
                .request(
                    format!("STREAM.MSG.GET.{DATUM_STREAM}"),
                    &json!({ "seq": from, "next_by_subj": filter }),
                )
                .await
                .map_err(|error| failed(filter, error))?;
            let seq = match found {
                Response::Ok(found) => found.message.seq,
                Response::Err { error } if nothing_left(error.error_code()) => return Ok(()),
                Response::Err { error } => return Err(failed(filter, error)),
            };
            let deleted: Response<DeletedMessage> = self
                .js
                .request(
                    format!("STREAM.MSG.DELETE.{DATUM_STREAM}"),
                    &json!({ "seq": seq, "no_erase": true }),
                )
                .await
                .map_err(|error| failed(filter, error))?;
            if let Response::Err { error } = deleted {
                // A worker may have acknowledged the set since the previous request, which removes it.
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
