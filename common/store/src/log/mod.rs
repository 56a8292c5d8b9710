//! The metadata log: numbered records, each written once and for ever.
//!
//! ```text
//!              covered by the snapshot          replayed at start
//! meta/log/    1  2  3  4  5  6  7  8  9  |  10  11  12     13 ← next: whoever creates it is the writer
//! meta/snapshot/                       9
//! ```
//!
//! A record is created with put-if-absent, so of two coordinators only one can write number N; the
//! other learns that it is [fenced](AppendError::Fenced) and must not act on what it believed. A record is
//! one header line and a payload:
//! ```text
//! {"v":1,"seq":13,"writer":"<random>","blake3":"<of seq, writer, kind and payload>"}\n<payload>
//! ```
//! A record whose hash does not fit, and a number that is missing while later ones exist, are errors
//! that name the object; nothing is skipped.
//!
//! **When an append fails** the record may still have been written. The log then refuses further
//! appends until [`MetaLog::settle`] has found out, by trying to fill the number with a void record:
//! either that succeeds, and the failed record can never appear, or the record is there.
//!
//! On a backend without atomic conditional writes ([`crate::Capabilities::put_if_absent`] is false) the
//! log does not keep two writers apart. It knows nothing of what its payloads mean.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::backend::PutOutcome;
use crate::error::{Result, StoreError};
use crate::objects::keys;
use crate::store::Store;

/// A record read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Its number; the first is 1.
    pub seq: u64,
    /// What was appended.
    pub payload: Bytes,
}

impl LogRecord {
    /// Reads the payload as the list of events [`MetaLog::append_events`] wrote.
    pub fn events<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        serde_json::from_slice(&self.payload).map_err(|error| {
            let reason = format!("this program cannot read its events: {error}");
            StoreError::corrupt(keys::log_record(self.seq), reason)
        })
    }
}

/// The state after some record, as its writer encoded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last record it contains.
    pub seq: u64,
    /// The encoded state.
    pub bytes: Bytes,
}

/// An open log and all that is needed to rebuild the state.
#[derive(Debug)]
pub struct OpenedLog {
    /// For appending.
    pub log: MetaLog,
    /// Where to begin; `None` = with nothing.
    pub snapshot: Option<Snapshot>,
    /// What happened since, in order.
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
    /// The store failed; the record may or may not be written.
    #[error("record {seq} of the metadata log may or may not be written; it must be settled first")]
    InDoubt {
        /// The number in doubt.
        seq: u64,
        /// What the store said.
        #[source]
        source: StoreError,
    },
    /// An earlier append is still in doubt.
    #[error("record {seq} of the metadata log is in doubt and has not been settled")]
    Unsettled {
        /// The number in doubt.
        seq: u64,
    },
    /// The events cannot be encoded.
    #[error("events cannot be encoded for the metadata log")]
    Encode(#[source] serde_json::Error),
}

/// What became of an append that was in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It was written, under this number.
    Written(u64),
    /// It was not written and never will be.
    NotWritten,
}

/// The writing end of the log.
#[derive(Debug)]
pub struct MetaLog {
    store: Store,
    next: u64,
    /// Tells this writer's records from those of any other, even if they say the same.
    writer: String,
    /// The record of an append that failed.
    doubt: Option<Bytes>,
    /// Another writer has been seen.
    fenced: bool,
}

const VERSION: u32 = 1;
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const PARALLEL_READS: usize = 16;

#[derive(Debug, Serialize, Deserialize)]
struct RecordHeader {
    v: u32,
    seq: u64,
    writer: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    void: bool,
    blake3: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct SnapshotHeader {
    v: u32,
    seq: u64,
    bytes: u64,
    blake3: String,
}

impl MetaLog {
    /// Reads the log: the newest snapshot and every record after it.
    ///
    /// # Errors
    /// When an object is damaged or missing, or the store fails.
    pub async fn open(store: &Store) -> Result<OpenedLog> {
        let snapshot = newest_snapshot(store).await?;
        let base = snapshot.as_ref().map_or(0, |snapshot| snapshot.seq);
        let listed = store.list_after(keys::LOG, Some(&keys::log_record(base))).await?;
        for (object, expected) in listed.iter().zip(base + 1..) {
            if object.key != keys::log_record(expected) {
                return Err(StoreError::LogGap {
                    key: keys::log_record(expected),
                });
            }
        }
        let last = base + listed.len() as u64;
        let reads = (base + 1..=last).map(|seq| read_record(store, seq));
        let records: Vec<Option<LogRecord>> = stream::iter(reads).buffered(PARALLEL_READS).try_collect().await?;
        let log = MetaLog {
            store: store.clone(),
            next: last + 1,
            writer: format!("{:032x}", rand::random::<u128>()),
            doubt: None,
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

    /// Appends a list of events, all or nothing. They are durable when this returns their number.
    pub async fn append_events<T: Serialize>(&mut self, events: &[T]) -> Result<u64, AppendError> {
        let payload = serde_json::to_vec(events).map_err(AppendError::Encode)?;
        self.append(&payload).await
    }

    /// Appends a payload. It is durable when this returns its number.
    pub async fn append(&mut self, payload: &[u8]) -> Result<u64, AppendError> {
        let seq = self.next;
        if self.fenced {
            return Err(AppendError::Fenced { seq });
        }
        if self.doubt.is_some() {
            return Err(AppendError::Unsettled { seq });
        }
        let record = encode_record(seq, &self.writer, false, payload);
        // Also in doubt if this future is dropped half-way.
        self.doubt = Some(record.clone());
        match self.create(seq, &record).await? {
            Creation::Ours => {
                self.doubt = None;
                self.next += 1;
                Ok(seq)
            }
            Creation::Taken(_) => {
                self.doubt = None;
                self.fenced = true;
                Err(AppendError::Fenced { seq })
            }
        }
    }

    /// Finds out what became of an append that failed, so that the log can be used again.
    ///
    /// Without anything in doubt this answers [`Settled::NotWritten`].
    pub async fn settle(&mut self) -> Result<Settled, AppendError> {
        let seq = self.next;
        let Some(doubtful) = self.doubt.clone() else {
            return Ok(Settled::NotWritten);
        };
        let void = encode_record(seq, &self.writer, true, b"");
        let settled = match self.create(seq, &void).await? {
            Creation::Ours => Settled::NotWritten,
            Creation::Taken(bytes) if bytes == doubtful => Settled::Written(seq),
            Creation::Taken(_) => {
                self.fenced = true;
                return Err(AppendError::Fenced { seq });
            }
        };
        self.doubt = None;
        self.next += 1;
        Ok(settled)
    }

    /// Creates an object of the log, or finds what is in its place.
    ///
    /// Only an answer of the store counts: after an error the same request is sent again, which does
    /// no harm if the first one was carried out. What is found is compared with what was to be
    /// written, since it may be the work of an earlier attempt.
    async fn create(&self, seq: u64, record: &Bytes) -> Result<Creation, AppendError> {
        let key = keys::log_record(seq);
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
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

    /// Stores the state after record `seq`, which bounds what has to be replayed.
    ///
    /// Needs no hold on the writing end: appends go on meanwhile.
    pub async fn write_snapshot(store: &Store, seq: u64, bytes: &[u8]) -> Result<()> {
        let header = SnapshotHeader {
            v: VERSION,
            seq,
            bytes: bytes.len() as u64,
            blake3: snapshot_hash(seq, bytes),
        };
        let plain = Bytes::copy_from_slice(bytes);
        let packing = tokio::task::spawn_blocking(move || zstd::bulk::compress(&plain, 3));
        let packed = packing.await.map_err(|error| StoreError::task(&error))?;
        let key = keys::snapshot(seq);
        let packed = packed.map_err(|error| StoreError::write(&key, error.into()))?;
        store.put(&key, with_header(&header, &packed)).await
    }

    /// Like [`MetaLog::write_snapshot`], into the log's own store.
    pub async fn snapshot(&self, seq: u64, bytes: &[u8]) -> Result<()> {
        Self::write_snapshot(&self.store, seq, bytes).await
    }

    /// Removes all but the newest `keep` snapshots, and the records that no kept snapshot needs.
    /// Returns the number of objects removed.
    pub async fn prune(store: &Store, keep: usize) -> Result<usize> {
        let snapshots = store.list(keys::SNAPSHOTS).await?;
        let drop = snapshots.len().saturating_sub(keep.max(1));
        let Some(oldest_kept) = snapshots
            .get(drop)
            .map(|object| snapshot_number(&object.key))
            .transpose()?
        else {
            return Ok(0);
        };
        let records = store.list(keys::LOG).await?;
        let covered = keys::log_record(oldest_kept);
        let old_snapshots = snapshots[..drop].iter().map(|object| &object.key);
        // Records from the front, so that an interruption leaves no gap.
        let old_records = records.iter().map(|object| &object.key).filter(|key| **key <= covered);
        let mut removed = 0;
        for key in old_snapshots.chain(old_records) {
            store.delete(key).await?;
            removed += 1;
        }
        Ok(removed)
    }
}

enum Creation {
    Ours,
    Taken(Bytes),
}

fn with_header(header: &impl Serialize, payload: &[u8]) -> Bytes {
    let mut out = serde_json::to_vec(header).expect("BUG: a header of numbers and texts can be encoded");
    out.push(b'\n');
    out.extend_from_slice(payload);
    out.into()
}

fn encode_record(seq: u64, writer: &str, void: bool, payload: &[u8]) -> Bytes {
    let blake3 = record_hash(seq, writer, void, payload);
    with_header(
        &RecordHeader {
            v: VERSION,
            seq,
            writer: writer.to_owned(),
            void,
            blake3,
        },
        payload,
    )
}

fn record_hash(seq: u64, writer: &str, void: bool, payload: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("howdah log record {seq} {writer} {void}\n").as_bytes());
    hasher.update(payload);
    hasher.finalize().to_hex().to_string()
}

fn snapshot_hash(seq: u64, bytes: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("howdah snapshot {seq}\n").as_bytes());
    hasher.update(bytes);
    hasher.finalize().to_hex().to_string()
}

/// Takes header line and payload apart.
fn split<H: DeserializeOwned>(key: &str, stored: &Bytes) -> Result<(H, Bytes)> {
    let end = stored.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or_else(|| StoreError::corrupt(key, "it has no header line"))?;
    let header = serde_json::from_slice(&stored[..end])
        .map_err(|error| StoreError::corrupt(key, format!("its header is damaged: {error}")))?;
    Ok((header, stored.slice(end + 1..)))
}

fn check_version(key: &str, version: u32) -> Result<()> {
    if version == VERSION {
        return Ok(());
    }
    let reason = format!("its format is {version}, this program reads {VERSION}");
    Err(StoreError::corrupt(key, reason))
}

/// Reads and checks a record; `None` if it is void.
async fn read_record(store: &Store, seq: u64) -> Result<Option<LogRecord>> {
    let key = keys::log_record(seq);
    let stored = store.get(&key).await?;
    let (header, payload): (RecordHeader, _) = split(&key, &stored)?;
    check_version(&key, header.v)?;
    if header.seq != seq {
        let reason = format!("its header says it is record {}", header.seq);
        return Err(StoreError::corrupt(key, reason));
    }
    if header.blake3 != record_hash(seq, &header.writer, header.void, &payload) {
        return Err(StoreError::corrupt(key, "its bytes do not have the hash in its header"));
    }
    Ok((!header.void).then_some(LogRecord { seq, payload }))
}

fn snapshot_number(key: &str) -> Result<u64> {
    let number = keys::trailing_number(key);
    number.ok_or_else(|| StoreError::corrupt(key, "its name is not that of a snapshot"))
}

async fn newest_snapshot(store: &Store) -> Result<Option<Snapshot>> {
    let Some(newest) = store.list(keys::SNAPSHOTS).await?.pop() else {
        return Ok(None);
    };
    let key = newest.key;
    let stored = store.get(&key).await?;
    let (header, packed): (SnapshotHeader, _) = split(&key, &stored)?;
    check_version(&key, header.v)?;
    if header.seq != snapshot_number(&key)? {
        return Err(StoreError::corrupt(key, "its header names another record than its key"));
    }
    let length = usize::try_from(header.bytes).unwrap_or(usize::MAX);
    let unpack = move || -> Result<Snapshot> {
        let damaged = || StoreError::corrupt(&*key, "its bytes do not have the hash in its header");
        // Streaming, so that a damaged length cannot ask for memory that the bytes do not fill.
        let bytes = zstd::stream::decode_all(&packed[..]).map_err(|_| damaged())?;
        if bytes.len() != length || snapshot_hash(header.seq, &bytes) != header.blake3 {
            return Err(damaged());
        }
        Ok(Snapshot {
            seq: header.seq,
            bytes: bytes.into(),
        })
    };
    let unpacked = tokio::task::spawn_blocking(unpack).await;
    unpacked.map_err(|error| StoreError::task(&error))?.map(Some)
}
