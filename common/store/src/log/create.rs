//! Creation of one record under its number, where an error does not say whether the store acted.

use std::time::Duration;

use bytes::Bytes;

use crate::backend::PutOutcome;
use crate::error::{Result, StoreError};
use crate::objects::{ObjectStore, keys};

/// How often the creation of a record is tried.
const ATTEMPTS: u32 = 4;
/// Pause after the first attempt; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// What came of the creation of a record.
pub(super) enum Creation {
    /// It has the bytes that were sent.
    Ours,
    /// It has other bytes: these.
    Taken(Bytes),
}

/// Creates a record, or finds what has its number.
///
/// # Errors
/// When the store fails [`ATTEMPTS`] times. The record may exist, or may appear later.
pub(super) async fn create(store: &ObjectStore, seq: u64, record: &Bytes) -> Result<Creation> {
    let key = keys::log_record(seq);
    let mut pause = FIRST_PAUSE;
    let mut attempt = 1;
    loop {
        // Sending the same request again is safe: if the first one was carried out, the second finds the object. What is
        // found must then be compared with what was sent, because "exists" may be the effect of our own earlier attempt
        // (this function's or a retry inside the backend); taking it for another writer's record would stop a healthy
        // coordinator.
        let error = match store.put_if_absent(&key, record.clone()).await {
            Ok(PutOutcome::Created) => return Ok(Creation::Ours),
            Ok(PutOutcome::Exists) => match store.get_opt(&key).await {
                Ok(Some(found)) if found == *record => return Ok(Creation::Ours),
                Ok(Some(found)) => return Ok(Creation::Taken(found)),
                Ok(None) => StoreError::Missing { key: key.clone() },
                Err(error) => error,
            },
            Err(error) => error,
        };
        if attempt == ATTEMPTS {
            return Err(error);
        }
        tracing::warn!(key, attempt, %error, "writing the metadata log failed, trying again");
        tokio::time::sleep(pause).await;
        pause *= 2;
        attempt += 1;
    }
}
