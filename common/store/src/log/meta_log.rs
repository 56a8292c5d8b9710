//! [`MetaLog`], the writing end of the log: opens the log, appends records, resolves appends in doubt, writes snapshots
//! and prunes.
//!
//! What can go wrong: [`AppendError`] for an append, `StoreError` for everything else. The caller decides when to write
//! a snapshot and when to prune. The head of `log/mod.rs` says what the log guarantees between two writers.

use bytes::Bytes;
use serde::Serialize;

use super::claim::{claim, writer_name};
use super::create::{Creation, create};
use super::prune::prune;
use super::read::LogContents;
use super::record::{self, RecordKind};
use super::snapshot;
use crate::error::{Result, StoreError};
use crate::objects::{ObjectStore, keys};

/// An open log and all that is needed to rebuild the state.
#[derive(Debug)]
pub struct OpenedLog {
    /// For appending.
    pub log: MetaLog,
    /// What the log contained when it was opened.
    pub contents: LogContents,
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
    /// Number of this writer's claim.
    epoch: u64,
    /// Number of the next record.
    next: u64,
    /// Name of this writer; no other has it.
    writer: String,
    /// The encoded record of the append that is in doubt.
    doubtful: Option<Bytes>,
    /// A record of another writer was found under a number of this one.
    fenced: bool,
}

/// How often the log is read again because another writer was faster, until opening it fails.
const MAX_CLAIMS: usize = 16;

impl MetaLog {
    /// Reads the log and claims it: from now on no other writer can append.
    ///
    /// # Errors
    /// When an object is damaged or missing, the store fails, or other writers claim the log again and again.
    pub async fn open(store: &ObjectStore) -> Result<OpenedLog> {
        for _ in 0..MAX_CLAIMS {
            let contents = LogContents::read(store).await?;
            if let Some(log) = Self::claim(store, contents.last, "").await? {
                return Ok(OpenedLog { log, contents });
            }
        }
        Err(StoreError::Contested { attempts: MAX_CLAIMS })
    }

    /// Claims the log, of which the caller has read every record up to `last`. Returns `None` if a later record exists: the
    /// caller must read the log again. `address` is for the coordinators that find the claim.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn claim(store: &ObjectStore, last: u64, address: &str) -> Result<Option<MetaLog>> {
        let writer = writer_name(address);
        if !claim(store, last, &writer).await? {
            return Ok(None);
        }
        Ok(Some(MetaLog {
            store: store.clone(),
            epoch: last + 1,
            next: last + 2,
            writer,
            doubtful: None,
            fenced: false,
        }))
    }

    /// Returns the number of this writer's claim. It rises from each writer to the next.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the number of the last record written: at first that of the claim.
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
        let record = record::encode(seq, &self.writer, RecordKind::Events, payload);
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
        let void = record::encode(seq, &self.writer, RecordKind::Void, b"");
        let outcome = match self.create(seq, &void).await? {
            // The number was free, or a successor replayed the record, claimed the log and pruned the record. Its claim then
            // has the next number and is never pruned.
            Creation::Ours if self.exists(seq + 1).await? => {
                self.fenced = true;
                return Err(AppendError::Fenced { seq: seq + 1 });
            }
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

    /// Creates a record, or finds what has its number.
    async fn create(&self, seq: u64, record: &Bytes) -> Result<Creation, AppendError> {
        let created = create(&self.store, seq, record).await;
        created.map_err(|source| AppendError::InDoubt { seq, source })
    }

    /// Returns whether a record exists.
    async fn exists(&self, seq: u64) -> Result<bool, AppendError> {
        let found = self.store.get_opt(&keys::log_record(seq)).await;
        let found = found.map_err(|source| AppendError::InDoubt { seq, source })?;
        Ok(found.is_some())
    }

    /// Returns what finds out whether this writer still leads.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        Leadership {
            store: self.store.clone(),
            epoch: self.epoch,
            writer: self.writer.clone(),
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

    /// Removes all but the newest `keep` snapshots, and the records that no kept snapshot needs, except claims. Returns the
    /// number of objects removed.
    ///
    /// # Errors
    /// When the store fails; what was removed until then stays removed.
    pub async fn prune(store: &ObjectStore, keep: usize) -> Result<usize> {
        prune(store, keep).await
    }
}

/// Finds out whether a writer still leads, without the writing end.
#[derive(Debug, Clone)]
pub struct Leadership {
    store: ObjectStore,
    epoch: u64,
    writer: String,
}

impl Leadership {
    /// Returns the number of the writer's claim.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns whether no other writer has created a record after `last`, the last record that the writer is known to have
    /// created. If none has, the writer led when this was called.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn holds(&self, last: u64) -> Result<bool> {
        let writer = record::read_writer(&self.store, last + 1).await?;
        Ok(writer.is_none_or(|writer| writer == self.writer))
    }
}
