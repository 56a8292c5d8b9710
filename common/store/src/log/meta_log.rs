//! [`MetaLog`], the writing end of the log: opens the log, appends records, resolves appends in doubt, writes snapshots
//! and prunes.
//!
//! What can go wrong: [`AppendError`] for an append, `StoreError` for everything else. The caller decides when to write
//! a snapshot and when to prune. The head of `log/mod.rs` says what the log guarantees between two writers.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::record::{self, LogRecord};
use super::snapshot::{self, Snapshot};
use crate::backend::PutOutcome;
use crate::error::{Result, StoreError};
use crate::objects::{ObjectStore, keys};

/// An open log and all that is needed to rebuild the state.
#[derive(Debug)]
pub struct OpenedLog {
    /// For appending.
    pub log: MetaLog,
    /// Where to begin; `None` = with the empty state.
    pub snapshot: Option<Snapshot>,
    /// The records after the snapshot, in order; void ones are left out.
    pub records: Vec<LogRecord>,
}

/// Why a record was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another writer has written this number: this one's state is out of date.
    #[error("another coordinator has written record {seq} of the metadata log: this one must stop")]
    Fenced {
        /// The number that is taken.
        seq: u64,
    },
    /// The store failed; the record may or may not exist.
    #[error("record {seq} of the metadata log may or may not be written; this must be resolved first")]
    InDoubt {
        /// The number in doubt.
        seq: u64,
        /// What the store reported.
        #[source]
        source: StoreError,
    },
    /// An earlier append is still in doubt.
    #[error("record {seq} of the metadata log is in doubt, and this has not been resolved")]
    Unresolved {
        /// The number in doubt.
        seq: u64,
    },
    /// The events cannot be encoded.
    #[error("events cannot be encoded for the metadata log")]
    Encode(#[source] serde_json::Error),
}

/// What became of an append that was in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The record exists, under this number.
    Written(u64),
    /// The record does not exist and can never appear.
    NotWritten,
}

/// The writing end of the log; the head of `log/mod.rs` says what it guarantees between two writers.
#[derive(Debug)]
pub struct MetaLog {
    store: ObjectStore,
    /// Number of the next record.
    next: u64,
    /// Random; makes this writer's records differ from those of any other writer with the same payload.
    writer: String,
    /// The encoded record of the append that is in doubt.
    doubtful: Option<Bytes>,
    /// A record of another writer was found under a number of this one.
    fenced: bool,
}

/// How often the creation of a record is tried before the append counts as in doubt.
const ATTEMPTS: u32 = 4;
/// Pause after the first attempt; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Records read at the same time when the log is opened.
const PARALLEL_READS: usize = 16;

impl MetaLog {
    /// Reads the log: the newest snapshot and every record after it.
    ///
    /// # Errors
    /// When an object is damaged or missing, or the store fails.
    pub async fn open(store: &ObjectStore) -> Result<OpenedLog> {
        // Another writer may store a snapshot and prune between these two requests. The list then begins too late,
        // which the loop below reports as a gap: it may refuse to open, but it never skips a record.
        let snapshot = snapshot::read_newest(store).await?;
        let base = snapshot.as_ref().map_or(0, |snapshot| snapshot.seq);
        let listed = store.list_after(keys::LOG, Some(&keys::log_record(base))).await?;
        // A lost record must stop the start: replaying around it would build a state that never existed, and the next
        // append would make that permanent.
        for (object, expected) in listed.iter().zip(base + 1..) {
            if object.key != keys::log_record(expected) {
                return Err(StoreError::LogGap {
                    key: keys::log_record(expected),
                });
            }
        }
        let last = base + listed.len() as u64;
        let reads = (base + 1..=last).map(|seq| record::read(store, seq));
        let records: Vec<Option<LogRecord>> = stream::iter(reads).buffered(PARALLEL_READS).try_collect().await?;
        let log = MetaLog {
            store: store.clone(),
            next: last + 1,
            writer: format!("{:032x}", rand::random::<u128>()),
            doubtful: None,
            fenced: false,
        };
        Ok(OpenedLog {
            log,
            snapshot,
            records: records.into_iter().flatten().collect(),
        })
    }

    /// Returns the number of the last record written; 0 if there is none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.next - 1
    }

    /// Appends a list of events, all or none. They are durable when this returns their number.
    ///
    /// # Errors
    /// As those of [`MetaLog::append`], and when the events cannot be encoded.
    pub async fn append_events<T: Serialize>(&mut self, events: &[T]) -> Result<u64, AppendError> {
        let payload = serde_json::to_vec(events).map_err(AppendError::Encode)?;
        self.append(&payload).await
    }

    /// Appends a payload. It is durable when this returns its number.
    ///
    /// # Errors
    /// When another writer has the number, when the store failed so that the append is in doubt, or when an earlier
    /// append is in doubt.
    pub async fn append(&mut self, payload: &[u8]) -> Result<u64, AppendError> {
        let seq = self.next;
        if self.fenced {
            return Err(AppendError::Fenced { seq });
        }
        if self.doubtful.is_some() {
            return Err(AppendError::Unresolved { seq });
        }
        let record = record::encode(seq, &self.writer, false, payload);
        // Set before the first await: if the caller drops this future half-way, the request may still reach the store.
        // Without the note, the next append would meet that record and take itself for fenced.
        self.doubtful = Some(record.clone());
        match self.create(seq, &record).await? {
            Creation::Ours => {
                self.doubtful = None;
                self.next += 1;
                Ok(seq)
            }
            Creation::Taken(_) => {
                self.doubtful = None;
                self.fenced = true;
                Err(AppendError::Fenced { seq })
            }
        }
    }

    /// Finds out what became of an append that is in doubt, after which the log can be used again.
    ///
    /// Returns [`AppendOutcome::NotWritten`] if nothing is in doubt.
    ///
    /// # Errors
    /// When another writer has the number, or the store failed again; then the append is still in doubt.
    pub async fn resolve_in_doubt(&mut self) -> Result<AppendOutcome, AppendError> {
        let seq = self.next;
        let Some(doubtful) = self.doubtful.clone() else {
            return Ok(AppendOutcome::NotWritten);
        };
        // Looking whether the record exists is not enough: a request that is still on its way could create it after the
        // look. So a void record is created under the same number. If that succeeds, the late request finds the number
        // taken; if it finds the number taken itself, what is there is final. The void record has the same bytes each
        // time, so this may be dropped half-way and repeated.
        let void = record::encode(seq, &self.writer, true, b"");
        let outcome = match self.create(seq, &void).await? {
            Creation::Ours => AppendOutcome::NotWritten,
            Creation::Taken(bytes) if bytes == doubtful => AppendOutcome::Written(seq),
            Creation::Taken(_) => {
                self.fenced = true;
                return Err(AppendError::Fenced { seq });
            }
        };
        self.doubtful = None;
        // In both cases the number is used up: by the record or by the void one.
        self.next += 1;
        Ok(outcome)
    }

    /// Creates an object of the log, or finds what has its number.
    async fn create(&self, seq: u64, record: &Bytes) -> Result<Creation, AppendError> {
        let key = keys::log_record(seq);
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            // An error does not say whether the store acted. Sending the same request again is safe: if the first one
            // was carried out, the second finds the object. What is found must then be compared with what was sent,
            // because "exists" may be the effect of our own earlier attempt (this function's or a retry inside the
            // backend); taking it for another writer's record would stop a healthy coordinator.
            let error = match self.store.put_if_absent(&key, record.clone()).await {
                Ok(PutOutcome::Created) => return Ok(Creation::Ours),
                Ok(PutOutcome::Exists) => match self.store.get_opt(&key).await {
                    Ok(Some(found)) if found == *record => return Ok(Creation::Ours),
                    Ok(Some(found)) => return Ok(Creation::Taken(found)),
                    Ok(None) => StoreError::Missing { key: key.clone() },
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if attempt == ATTEMPTS {
                return Err(AppendError::InDoubt { seq, source: error });
            }
            tracing::warn!(key, attempt, %error, "writing the metadata log failed, trying again");
            tokio::time::sleep(pause).await;
            pause *= 2;
            attempt += 1;
        }
    }

    /// Stores the state after record `seq`, which bounds how many records are replayed.
    ///
    /// Does not need the writing end: appends continue meanwhile. A crash before this returns leaves the former
    /// snapshot and all records after it, so nothing is lost.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn write_snapshot(store: &ObjectStore, seq: u64, bytes: &[u8]) -> Result<()> {
        snapshot::write(store, seq, bytes).await
    }

    /// Does what [`MetaLog::write_snapshot`] does, in the log's own store.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn snapshot(&self, seq: u64, bytes: &[u8]) -> Result<()> {
        Self::write_snapshot(&self.store, seq, bytes).await
    }

    /// Removes all but the newest `keep` snapshots, and the records that no kept snapshot needs. Returns the number of
    /// objects removed.
    ///
    /// Numbers of removed records can be created again; the head of `log/mod.rs` says what this means for a writer with
    /// an old state.
    ///
    /// # Errors
    /// When the store fails; what was removed until then stays removed.
    pub async fn prune(store: &ObjectStore, keep: usize) -> Result<usize> {
        snapshot::prune(store, keep).await
    }
}

/// What came of the creation of an object.
enum Creation {
    /// It has the bytes that were sent.
    Ours,
    /// It has other bytes: these.
    Taken(Bytes),
}
