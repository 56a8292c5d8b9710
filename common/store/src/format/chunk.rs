//! Chunks: pieces of file bytes, each stored in a [frame](super::frame) under the hash of its plain bytes.

use bytes::Bytes;
use howdah_model::ContentHash;
use serde::{Deserialize, Serialize};

use super::frame::{is_plain, open_frame};
use crate::error::{Result, StoreError};

/// No chunk is smaller, except the last one of a stream or of a large file, and chunks of very many tiny files.
pub(crate) const MIN_CHUNK: usize = 512 << 10;
/// Size of a chunk on average, if the content has no repeated structure.
pub(crate) const AVERAGE_CHUNK: usize = 2 << 20;
/// No chunk is larger.
pub(crate) const MAX_CHUNK: usize = 8 << 20;

/// The name of a chunk: the BLAKE3 hash of its plain bytes, which is its checksum, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkHash(pub ContentHash);

impl std::fmt::Display for ChunkHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A chunk whose bytes have been compared with its hash.
#[derive(Debug, Clone)]
pub(crate) struct CheckedChunk {
    /// The plain bytes.
    pub(crate) bytes: Bytes,
    /// The stored object has the bytes uncompressed, so that a part of them can be read alone.
    pub(crate) stored_plain: bool,
}

/// Unpacks a stored chunk and compares it with its hash.
pub(crate) fn open_chunk(key: &str, expected: &ContentHash, stored: &Bytes) -> Result<CheckedChunk> {
    let bytes = open_frame(stored).map_err(|reason| StoreError::corrupt(key, reason))?;
    if blake3::hash(&bytes).as_bytes() == expected.as_bytes() {
        let stored_plain = is_plain(stored);
        Ok(CheckedChunk { bytes, stored_plain })
    } else {
        Err(StoreError::corrupt(
            key,
            "its bytes do not have the hash it is named by",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::frame;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn damage_is_detected_and_never_panics(mut bytes: Vec<u8>, at: prop::sample::Index, flip in 1u8..) {
            bytes.extend_from_slice(&[7; 300]);
            let hash = ContentHash::new(*blake3::hash(&bytes).as_bytes());
            let mut stored = frame(&bytes).to_vec();
            let at = at.index(stored.len());
            stored[at] ^= flip;
            let opened = open_chunk("chunks/x", &hash, &stored.into());
            // A flipped bit may be without effect, but must never result in other bytes.
            prop_assert!(opened.is_err() || opened.unwrap().bytes == bytes);
        }
    }
}
