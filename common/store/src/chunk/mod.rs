//! Chunks: pieces of file bytes stored under their hash, and the frame stored objects come in.
//!
//! ```text
//! frame = codec (1 byte: 1 plain, 2 zstd) · length of the plain bytes (4 bytes, little endian) · payload
//! ```
//!
//! The address of a chunk is the hash of its plain bytes, so it is its checksum too: whatever comes
//! back from [`ChunkSource::chunk`] has been checked against it.

mod read;

pub use read::{read_file_from, slices_from};

use std::io;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use howdah_model::ContentHash;
use zstd::bulk::Compressor;

use crate::error::{Result, StoreError};
use crate::format::content::{ChunkHash, FileContent, Placement, Slice};
use crate::memory::cache::Weighted;
use crate::objects::keys;
use crate::store::Store;

/// Wherever chunks can be had: the store itself, or a cache in front of it.
#[async_trait]
pub trait ChunkSource: Send + Sync {
    /// Returns the plain bytes of a chunk. The bytes have been checked against the hash.
    async fn chunk(&self, hash: &ChunkHash) -> Result<Bytes>;

    /// Does the same for a chunk that will hardly be wanted again soon, so that it need not be kept.
    async fn chunk_once(&self, hash: &ChunkHash) -> Result<Bytes> {
        self.chunk(hash).await
    }

    /// Reads a small file without its chunks, if that is cheaper; its bytes have been checked against its own hash.
    async fn small_file(&self, _content: &FileContent) -> Result<Option<Bytes>> {
        Ok(None)
    }
}

#[async_trait]
impl ChunkSource for Store {
    async fn chunk(&self, hash: &ChunkHash) -> Result<Bytes> {
        Ok(self.inner.chunks.get_or_load(*hash, self.load_chunk(hash)).await?.bytes)
    }

    async fn chunk_once(&self, hash: &ChunkHash) -> Result<Bytes> {
        if self.inner.chunks.has_or_loads(hash) {
            return self.chunk(hash).await;
        }
        Ok(self.load_chunk(hash).await?.bytes)
    }

    async fn small_file(&self, content: &FileContent) -> Result<Option<Bytes>> {
        self.read_alone(content).await
    }
}

impl Store {
    /// Reads and checks a chunk, past the cache.
    async fn load_chunk(&self, hash: &ChunkHash) -> Result<CachedChunk> {
        let key = keys::chunk(&hash.0);
        let stored = self.get(&key).await?;
        let expected = hash.0;
        by_size(stored.len(), move || open_chunk(&key, &expected, &stored)).await?
    }
}

impl Store {
    /// Begins to read a chunk that will be wanted soon.
    pub fn prefetch_chunk(&self, hash: ChunkHash) {
        if !self.inner.chunks.has_or_loads(&hash) {
            let store = self.clone();
            // A failure here shows when the chunk is really read.
            tokio::spawn(async move { store.chunk(&hash).await.map(drop) });
        }
    }

    /// Reads a small file without the rest of its chunks, where reading those would be in vain: they have been read
    /// not long ago and had to make room for others. Its own hash vouches for its bytes, as that of a chunk would.
    ///
    /// `None` = the chunks must be read after all, be it that they are not stored plain or that something is wrong.
    pub(crate) async fn read_alone(&self, content: &FileContent) -> Result<Option<Bytes>> {
        let in_vain = |slice: &Slice| self.inner.chunks.was_thrown_out(&slice.chunk);
        self.read_alone_if(content, in_vain).await
    }

    /// Reads a small file of whose chunk nothing else, or little, is wanted: without the rest of the chunk, if that is
    /// not in memory anyway. Its own hash vouches for its bytes.
    ///
    /// # Errors
    /// When the chunk is missing or damaged, or the store does not answer.
    pub async fn read_scattered(&self, content: &FileContent) -> Result<Bytes> {
        let not_here = |slice: &Slice| !self.inner.chunks.has_or_loads(&slice.chunk);
        match self.read_alone_if(content, not_here).await? {
            Some(bytes) => Ok(bytes),
            None => self.read_file_all(content).await,
        }
    }

    async fn read_alone_if(&self, content: &FileContent, wanted: impl Fn(&Slice) -> bool) -> Result<Option<Bytes>> {
        let Placement::Direct(slices) = &content.placement else {
            return Ok(None);
        };
        if content.size > MAX_ALONE || slices.is_empty() || !slices.iter().all(wanted) {
            return Ok(None);
        }
        let mut bytes = BytesMut::with_capacity(content.size as usize);
        for slice in slices {
            let start = u64::from(slice.offset) + HEADER as u64;
            let range = start..start + u64::from(slice.len);
            bytes.extend_from_slice(&self.get_range(&keys::chunk(&slice.chunk.0), range).await?);
        }
        let whole = blake3::hash(&bytes).as_bytes() == content.hash.as_bytes();
        Ok(whole.then(|| bytes.freeze()))
    }
}

/// Larger files are read by their chunks, always.
const MAX_ALONE: u64 = 128 << 10;

/// Work on up to so many bytes is done where it arises, as it takes less than a thread switch.
pub(crate) const INLINE_BYTES: usize = 64 << 10;

/// Does work on so many bytes: where it arises if they are few, else on a thread that may be blocked.
pub(crate) async fn by_size<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    if bytes <= INLINE_BYTES {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StoreError::task(&error))
}

fn open_chunk(key: &str, expected: &ContentHash, stored: &Bytes) -> Result<CachedChunk> {
    let bytes = open_frame(stored).map_err(|reason| StoreError::corrupt(key, reason))?;
    if blake3::hash(&bytes).as_bytes() == expected.as_bytes() {
        let stored_plain = stored.first() == Some(&PLAIN);
        Ok(CachedChunk { bytes, stored_plain })
    } else {
        Err(StoreError::corrupt(
            key,
            "its bytes do not have the hash it is named by",
        ))
    }
}

/// A chunk in the cache.
#[derive(Debug, Clone)]
pub(crate) struct CachedChunk {
    bytes: Bytes,
    /// The bytes stand in the stored object as they are.
    stored_plain: bool,
}

impl Weighted for CachedChunk {
    fn weight(&self) -> usize {
        self.bytes.len() + 128
    }

    fn leaves_trace(&self) -> bool {
        self.stored_plain
    }
}

const PLAIN: u8 = 1;
const ZSTD: u8 = 2;
/// Length of a frame's header in bytes.
pub(crate) const HEADER: usize = 5;
const LEVEL: i32 = 1;
/// Level for what is written anew again and again. Half the time of level 1; tree nodes become no larger, since what can be
/// saved in them are repeated stretches.
const QUICK_LEVEL: i32 = -3;
/// Longer objects are judged by a sample before they are compressed whole.
const SAMPLE_BYTES: usize = 32 << 10;
/// No object is larger, so a damaged length cannot ask for more memory than this.
const MAX_PLAIN: usize = 1 << 30;

/// Packs bytes for storage, compressed if that saves at least a tenth.
pub(crate) fn frame(plain: &[u8]) -> Bytes {
    compress_if_likely(plain).unwrap_or_else(|| framed_plain(plain))
}

/// Packs bytes as [`frame`] does, those that are known to compress well enough to try it, quickly.
pub(crate) fn frame_quickly(plain: &[u8]) -> Bytes {
    compress(plain, QUICK_LEVEL).unwrap_or_else(|| framed_plain(plain))
}

/// Packs bytes that stand behind room for a header, as [`frame`] does, without copying what cannot be compressed.
pub(crate) fn frame_in_place(mut room: impl AsRef<[u8]> + AsMut<[u8]> + Send + 'static) -> Bytes {
    let plain = &room.as_ref()[HEADER..];
    if let Some(packed) = compress_if_likely(plain) {
        return packed;
    }
    let header = header(PLAIN, plain.len());
    room.as_mut()[..HEADER].copy_from_slice(&header);
    Bytes::from_owner(room)
}

fn framed_plain(plain: &[u8]) -> Bytes {
    [&header(PLAIN, plain.len())[..], plain].concat().into()
}

fn header(codec: u8, plain_length: usize) -> [u8; HEADER] {
    let [a, b, c, d] = (plain_length as u32).to_le_bytes();
    [codec, a, b, c, d]
}

/// Does as [`compress`], but judges longer bytes by a part of them first.
fn compress_if_likely(plain: &[u8]) -> Option<Bytes> {
    if plain.len() >= 4 * SAMPLE_BYTES {
        let middle = plain.len() / 2;
        compress(&plain[middle..middle + SAMPLE_BYTES], LEVEL)?;
    }
    compress(plain, LEVEL)
}

/// Returns the frame with the bytes compressed, if that saves at least a tenth.
fn compress(plain: &[u8], level: i32) -> Option<Bytes> {
    if plain.len() < 128 {
        return None;
    }
    // What is longer is of no use.
    let mut frame = vec![0; HEADER + plain.len() - plain.len() / 10];
    frame[..HEADER].copy_from_slice(&header(ZSTD, plain.len()));
    let length = with_compressor(level, |compressor| {
        compressor.compress_to_buffer(plain, &mut frame[HEADER..])
    })
    .ok()?;
    frame.truncate(HEADER + length);
    Some(frame.into())
}

/// Compressors kept for use again: making one costs as much as compressing some ten kilobytes. Each has half a megabyte.
const KEPT_COMPRESSORS: usize = 8;
static COMPRESSORS: Mutex<Vec<Compressor<'static>>> = Mutex::new(Vec::new());

fn with_compressor<T>(level: i32, work: impl FnOnce(&mut Compressor<'static>) -> io::Result<T>) -> io::Result<T> {
    let kept = || COMPRESSORS.lock().unwrap_or_else(PoisonError::into_inner);
    let known = kept().pop();
    let mut compressor = match known {
        Some(compressor) => compressor,
        None => Compressor::new(level)?,
    };
    compressor.set_compression_level(level)?;
    let done = work(&mut compressor);
    let mut kept = kept();
    if kept.len() < KEPT_COMPRESSORS {
        kept.push(compressor);
    }
    done
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
            let in_place = frame_in_place([&[0; HEADER][..], &plain].concat());
            prop_assert_eq!(&in_place, &stored);
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
            prop_assert!(opened.is_err() || opened.unwrap().bytes == bytes);
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
