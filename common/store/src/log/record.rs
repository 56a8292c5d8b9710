//! Records of the log.
//!
//! ```text
//! {"v":1,"seq":13,"writer":"<random>","blake3":"<of number, writer, void and payload>"}\n<payload>
//! ```
//!
//! A void record has `"void":true` and no payload. It fills the number of an append that failed, so that this append
//! can never appear later. A claim has `"claim":true` and no events (`claim.rs`).

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::header::{RECORD_VERSION, check_version, join, split};
use crate::error::{Result, StoreError};
use crate::objects::{ObjectStore, keys};

/// A record that was read from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Its number; the first is 1.
    pub seq: u64,
    /// What was appended.
    pub payload: Bytes,
}

impl LogRecord {
    /// Reads the payload as the list of events that `MetaLog::append_events` wrote.
    ///
    /// # Errors
    /// When the payload is not such a list, or an event is unknown to this program.
    pub fn events<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        serde_json::from_slice(&self.payload).map_err(|error| {
            let reason = format!("this program cannot read its events: {error}");
            StoreError::corrupt(keys::log_record(self.seq), reason)
        })
    }
}

/// What a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordKind {
    /// It has events.
    Events,
    /// It fills a number.
    Void,
    /// It makes its writer the only one that can append.
    Claim,
}

#[derive(Debug, Serialize, Deserialize)]
struct RecordHeader {
    v: u32,
    seq: u64,
    writer: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    void: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    claim: bool,
    blake3: String,
}

/// Encodes a record.
pub(super) fn encode(seq: u64, writer: &str, kind: RecordKind, payload: &[u8]) -> Bytes {
    let void = kind == RecordKind::Void;
    let header = RecordHeader {
        v: RECORD_VERSION,
        seq,
        writer: writer.to_owned(),
        void,
        claim: kind == RecordKind::Claim,
        blake3: hash(seq, writer, void, payload),
    };
    join(&header, payload)
}

/// Reads and checks a record; `None` if it has no events because of its kind.
pub(super) async fn read(store: &ObjectStore, seq: u64) -> Result<Option<LogRecord>> {
    parse(seq, &store.get(&keys::log_record(seq)).await?)
}

/// Checks the stored bytes of a record; `None` if it has no events because of its kind.
pub(super) fn parse(seq: u64, stored: &Bytes) -> Result<Option<LogRecord>> {
    let key = keys::log_record(seq);
    let (header, payload): (RecordHeader, _) = split(&key, stored)?;
    check_version(&key, header.v, RECORD_VERSION)?;
    if header.seq != seq {
        let reason = format!("its header says it is record {}", header.seq);
        return Err(StoreError::corrupt(key, reason));
    }
    if header.blake3 != hash(seq, &header.writer, header.void, &payload) {
        return Err(StoreError::corrupt(key, "its bytes do not have the hash in its header"));
    }
    Ok((!header.void && !header.claim).then_some(LogRecord { seq, payload }))
}

/// Returns the name of the writer of a record; `None` if there is no such record.
pub(super) async fn read_writer(store: &ObjectStore, seq: u64) -> Result<Option<String>> {
    let key = keys::log_record(seq);
    let Some(stored) = store.get_opt(&key).await? else {
        return Ok(None);
    };
    let (header, _): (RecordHeader, _) = split(&key, &stored)?;
    check_version(&key, header.v, RECORD_VERSION)?;
    Ok(Some(header.writer))
}

/// Returns the hash of everything a record means, so that a record copied to another number counts as damaged.
fn hash(seq: u64, writer: &str, void: bool, payload: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("howdah log record {seq} {writer} {void}\n").as_bytes());
    hasher.update(payload);
    hasher.finalize().to_hex().to_string()
}
