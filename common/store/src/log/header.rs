//! Objects of the log: one header line of JSON, then the payload.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Result, StoreError};

/// Version of the format of records.
pub(super) const RECORD_VERSION: u32 = 1;
/// Version of the format of snapshots that are written. All up to it are read.
pub(super) const SNAPSHOT_VERSION: u32 = 2;

/// Puts a header line before a payload.
pub(super) fn join(header: &impl Serialize, payload: &[u8]) -> Bytes {
    let mut out = serde_json::to_vec(header).expect("BUG: a header of numbers and texts can be encoded");
    out.push(b'\n');
    out.extend_from_slice(payload);
    out.into()
}

/// Takes header line and payload apart.
pub(super) fn split<H: DeserializeOwned>(key: &str, stored: &Bytes) -> Result<(H, Bytes)> {
    let end = stored.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or_else(|| StoreError::corrupt(key, "it has no header line"))?;
    let header = serde_json::from_slice(&stored[..end])
        .map_err(|error| StoreError::corrupt(key, format!("its header is damaged: {error}")))?;
    Ok((header, stored.slice(end + 1..)))
}

/// Refuses objects of a format version that this program does not know; `known` is the newest.
pub(super) fn check_version(key: &str, version: u32, known: u32) -> Result<()> {
    if (1..=known).contains(&version) {
        return Ok(());
    }
    Err(StoreError::ObjectFormat {
        key: key.to_owned(),
        found: version,
        expected: known,
    })
}
