//! Chunks: pieces of file bytes stored under their hash, and the frame stored objects come in.
//!
//! ```text
//! frame = codec (1 byte: 1 plain, 2 zstd) · length of the plain bytes (4 bytes, little endian) · payload
//! ```
//!
//! The address of a chunk is the hash of its plain bytes, so it is its checksum too: whatever comes
//! back from [`ChunkSource::chunk`] has been checked against it.

use async_trait::async_trait;
use bytes::Bytes;
use howdah_model::ContentHash;

use crate::cache::Weighted;
use crate::error::{Result, StoreError};
use crate::file::ChunkHash;
use crate::keys;
use crate::store::Store;

/// Wherever chunks can be had: the store itself, or a cache in front of it.
#[async_trait]
pub trait ChunkSource: Send + Sync {
    /// Returns the plain bytes of a chunk. The bytes have been checked against the hash.
    async fn chunk(&self, hash: &ChunkHash) -> Result<Bytes>;
}

#[async_trait]
impl ChunkSource for Store {
    async fn chunk(&self, hash: &ChunkHash) -> Result<Bytes> {
        let load = async { self.load_chunk(hash).await.map(CachedChunk) };
        Ok(self.inner.chunks.get_or_load(*hash, load).await?.0)
    }
}

impl Store {
    /// Reads and checks a chunk, past the cache.
    async fn load_chunk(&self, hash: &ChunkHash) -> Result<Bytes> {
        let key = keys::chunk(&hash.0);
        let stored = self.get(&key).await?;
        let expected = hash.0;
        // Small ones are checked at once: handing them to another thread would cost more.
        if stored.len() <= INLINE_BYTES {
            return open_chunk(&key, &expected, &stored);
        }
        let checked = tokio::task::spawn_blocking(move || open_chunk(&key, &expected, &stored));
        checked.await.map_err(|error| StoreError::task(&error))?
    }
}

/// Work on up to so many bytes is done where it arises, as it takes less than a thread switch.
pub(crate) const INLINE_BYTES: usize = 64 << 10;

fn open_chunk(key: &str, expected: &ContentHash, stored: &Bytes) -> Result<Bytes> {
    let plain = open_frame(stored).map_err(|reason| StoreError::corrupt(key, reason))?;
    if blake3::hash(&plain).as_bytes() == expected.as_bytes() {
        Ok(plain)
    } else {
        Err(StoreError::corrupt(
            key,
            "its bytes do not have the hash it is named by",
        ))
    }
}

/// A chunk in the cache.
#[derive(Debug, Clone)]
pub(crate) struct CachedChunk(pub(crate) Bytes);

impl Weighted for CachedChunk {
    fn weight(&self) -> usize {
        self.0.len() + 128
    }
}

const PLAIN: u8 = 1;
const ZSTD: u8 = 2;
const HEADER: usize = 5;
const ZSTD_LEVEL: i32 = 1;
/// Longer objects are judged by a sample before they are compressed whole.
const SAMPLE_BYTES: usize = 32 << 10;
/// No object is larger, so a damaged length cannot ask for more memory than this.
const MAX_PLAIN: usize = 1 << 30;

/// Packs bytes for storage, compressed if that saves at least a tenth.
pub(crate) fn frame(plain: &[u8]) -> Bytes {
    let header = |codec: u8, capacity: usize| {
        let mut out = Vec::with_capacity(HEADER + capacity);
        out.push(codec);
        out.extend_from_slice(&(plain.len() as u32).to_le_bytes());
        out
    };
    if let Some(packed) = compress(plain) {
        let mut out = header(ZSTD, packed.len());
        out.extend_from_slice(&packed);
        return out.into();
    }
    let mut out = header(PLAIN, plain.len());
    out.extend_from_slice(plain);
    out.into()
}

fn compress(plain: &[u8]) -> Option<Vec<u8>> {
    if plain.len() < 128 {
        return None;
    }
    let pays = |packed: usize, of: usize| packed + of / 10 <= of;
    if plain.len() >= 4 * SAMPLE_BYTES {
        let middle = plain.len() / 2;
        let sample = &plain[middle..middle + SAMPLE_BYTES];
        let packed = zstd::bulk::compress(sample, ZSTD_LEVEL).ok()?;
        if !pays(packed.len(), sample.len()) {
            return None;
        }
    }
    let packed = zstd::bulk::compress(plain, ZSTD_LEVEL).ok()?;
    pays(packed.len(), plain.len()).then_some(packed)
}

/// Unpacks what [`frame`] packed.
pub(crate) fn open_frame(stored: &Bytes) -> Result<Bytes, &'static str> {
    if stored.len() < HEADER {
        return Err("it is shorter than its header");
    }
    let length = u32::from_le_bytes([stored[1], stored[2], stored[3], stored[4]]) as usize;
    if length > MAX_PLAIN {
        return Err("its header states an impossible length");
    }
    let payload = stored.slice(HEADER..);
    let plain = match stored[0] {
        PLAIN => payload,
        ZSTD => zstd::bulk::decompress(&payload, length)
            .map_err(|_| "its compressed bytes cannot be unpacked")?
            .into(),
        _ => return Err("its codec is unknown"),
    };
    if plain.len() == length {
        Ok(plain)
    } else {
        Err("its length is not what its header states")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_come_back(bytes: Vec<u8>, times in 1usize..200) {
            let plain = bytes.repeat(times);
            let stored = frame(&plain);
            prop_assert!(stored.len() <= plain.len() + HEADER);
            prop_assert_eq!(open_frame(&stored).unwrap(), plain);
        }

        #[test]
        fn damage_is_found_and_never_panics(mut bytes: Vec<u8>, at: prop::sample::Index, flip in 1u8..) {
            bytes.extend_from_slice(&[7; 300]);
            let hash = ContentHash::new(*blake3::hash(&bytes).as_bytes());
            let mut stored = frame(&bytes).to_vec();
            let at = at.index(stored.len());
            stored[at] ^= flip;
            let opened = open_chunk("chunks/x", &hash, &stored.into());
            // A flipped bit may hit something without meaning, but never give other bytes.
            prop_assert!(opened.is_err() || opened.unwrap() == bytes);
        }
    }

    #[test]
    fn text_shrinks_and_noise_does_not_grow() {
        let text = b"the quick brown fox jumps over the lazy dog\n".repeat(10_000);
        assert!(frame(&text).len() < text.len() / 10);
        let mut noise = vec![0; 400_000];
        blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut noise);
        assert_eq!(frame(&noise).len(), noise.len() + HEADER);
    }
}
