//! Snapshots: the state after some record, which bounds how many records are replayed.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::header::{SNAPSHOT_VERSION, check_version, join, split};
use crate::error::{Result, StoreError};
use crate::objects::{ObjectStore, keys};

/// The state after some record, as its writer encoded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last record it contains.
    pub seq: u64,
    /// Version of its format; it says how the state is encoded.
    pub version: u32,
    /// The encoded state.
    pub bytes: Bytes,
}

#[derive(Debug, Serialize, Deserialize)]
struct SnapshotHeader {
    v: u32,
    seq: u64,
    bytes: u64,
    blake3: String,
}

/// Level of compression of snapshots.
const LEVEL: i32 = 3;

/// Stores the state after record `seq`.
pub(super) async fn write(store: &ObjectStore, seq: u64, bytes: &[u8]) -> Result<()> {
    let header = SnapshotHeader {
        v: SNAPSHOT_VERSION,
        seq,
        bytes: bytes.len() as u64,
        blake3: hash(seq, bytes),
    };
    let plain = Bytes::copy_from_slice(bytes);
    let packing = tokio::task::spawn_blocking(move || zstd::bulk::compress(&plain, LEVEL));
    let packed = packing.await.map_err(|error| StoreError::task(&error))?;
    let key = keys::snapshot(seq);
    let packed = packed.map_err(|error| StoreError::write(&key, error.into()))?;
    store.put(&key, join(&header, &packed)).await
}

/// Returns the numbers of all snapshots, ascending: of each the last record that it contains.
pub(super) async fn numbers(store: &ObjectStore) -> Result<Vec<u64>> {
    let listed = store.list(keys::SNAPSHOTS).await?;
    listed.iter().map(|object| number_of(&object.key)).collect()
}

/// Reads and checks a snapshot.
pub(super) async fn read(store: &ObjectStore, seq: u64) -> Result<Snapshot> {
    let key = keys::snapshot(seq);
    let stored = store.get(&key).await?;
    let (header, packed): (SnapshotHeader, _) = split(&key, &stored)?;
    check_version(&key, header.v, SNAPSHOT_VERSION)?;
    if header.seq != seq {
        return Err(StoreError::corrupt(key, "its header names another record than its key"));
    }
    let length = usize::try_from(header.bytes).unwrap_or(usize::MAX);
    let unpack = move || -> Result<Snapshot> {
        let damaged = || StoreError::corrupt(&*key, "its bytes do not have the hash in its header");
        // Streaming: a damaged length in the header must not allocate memory that the payload does not fill.
        let bytes = zstd::stream::decode_all(&packed[..]).map_err(|_| damaged())?;
        if bytes.len() != length || hash(header.seq, &bytes) != header.blake3 {
            return Err(damaged());
        }
        Ok(Snapshot {
            seq: header.seq,
            version: header.v,
            bytes: bytes.into(),
        })
    };
    let unpacked = tokio::task::spawn_blocking(unpack).await;
    unpacked.map_err(|error| StoreError::task(&error))?
}

fn number_of(key: &str) -> Result<u64> {
    let number = keys::trailing_number(key);
    number.ok_or_else(|| StoreError::corrupt(key, "its name is not that of a snapshot"))
}

fn hash(seq: u64, bytes: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("howdah snapshot {seq}\n").as_bytes());
    hasher.update(bytes);
    hasher.finalize().to_hex().to_string()
}
