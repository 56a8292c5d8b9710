//! Removal of waiting sets from the stream.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::ApiFailure;
use crate::client::CoordinatorQueue;
use crate::error::QueueError;

/// The answer to a request for a waiting message, as far as it is needed.
#[derive(Deserialize)]
struct FoundMessage {
    message: MessageSequence,
}

#[derive(Deserialize)]
struct MessageSequence {
    seq: u64,
}

impl CoordinatorQueue {
    /// Removes all waiting messages of a subject, which may have wildcards.
    pub(crate) async fn purge(&self, filter: &str) -> Result<(), QueueError> {
        // Before 2.10, the purge of one subject makes every consumer of the stream skip waiting messages of other
        // subjects: sets of other jobs would never be delivered.
        let purged = if self.client.is_server_compatible(2, 10, 0) {
            self.purge_at_once(filter).await
        } else {
            self.purge_one_by_one(filter).await
        };
        match purged {
            Err(failure) if !failure.is_empty() => Err(QueueError::Purge {
                subject: filter.to_owned(),
                source: failure.into_cause(),
            }),
            _ => Ok(()),
        }
    }

    async fn purge_at_once(&self, filter: &str) -> Result<(), ApiFailure> {
        let subject = format!("STREAM.PURGE.{}", self.names.stream());
        self.api::<Value>(subject, &json!({ "filter": filter })).await.map(drop)
    }

    async fn purge_one_by_one(&self, filter: &str) -> Result<(), ApiFailure> {
        let stream = self.names.stream();
        let mut from = 1_u64;
        loop {
            let get = json!({ "seq": from, "next_by_subj": filter });
            let found: FoundMessage = self.api(format!("STREAM.MSG.GET.{stream}"), &get).await?;
            let seq = found.message.seq;
            let delete = json!({ "seq": seq, "no_erase": true });
            match self.api::<Value>(format!("STREAM.MSG.DELETE.{stream}"), &delete).await {
                // A worker may have acknowledged the set since the previous request, which removes it.
                Err(ApiFailure::Refused { text, .. }) => tracing::debug!(seq, text, "waiting set not deleted"),
                Err(failure) => return Err(failure),
                Ok(_) => {}
            }
            from = seq + 1;
        }
    }
}
