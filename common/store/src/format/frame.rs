//! The frame that stored chunks, nodes and staged edits come in: a header and perhaps compression.
//!
//! ```text
//! frame = codec (1 byte: 1 plain, 2 zstd) · length of the plain bytes (4 bytes, little endian) · payload
//! ```
//!
//! A frame has no checksum: the caller knows the hash that the plain bytes must have, and compares.

use std::io;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use zstd::bulk::Compressor;

const PLAIN: u8 = 1;
const ZSTD: u8 = 2;
/// Length of a frame's header in bytes.
pub(crate) const HEADER: usize = 5;
const LEVEL: i32 = 1;
/// Level for objects that are replaced often. Takes half the time of level 1; tree nodes do not become larger, because
/// most of what can be saved in them is repetition.
const QUICK_LEVEL: i32 = -3;
/// From four times this length on, a sample of this length decides whether compression is tried.
const SAMPLE_BYTES: usize = 32 << 10;
/// No object is larger: a damaged length in a header must not allocate more memory than this.
const MAX_PLAIN: usize = 1 << 30;

/// Packs bytes for storage, compressed if that saves at least a tenth.
pub(crate) fn frame(plain: &[u8]) -> Bytes {
    compress_if_likely(plain).unwrap_or_else(|| framed_plain(plain))
}

/// Packs bytes as [`frame`] does, with a faster level and without a sample. For bytes that usually compress well.
pub(crate) fn frame_quickly(plain: &[u8]) -> Bytes {
    compress(plain, QUICK_LEVEL).unwrap_or_else(|| framed_plain(plain))
}

/// Packs bytes that follow after [`HEADER`] free bytes, as [`frame`] does. Bytes that do not compress are not copied.
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

/// Does what [`compress`] does, but tries a sample from the middle of long input first.
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
    // A longer result is not used, so there is no room for one: the compressor stops early.
    let mut frame = vec![0; HEADER + plain.len() - plain.len() / 10];
    frame[..HEADER].copy_from_slice(&header(ZSTD, plain.len()));
    let length = with_compressor(level, |compressor| {
        compressor.compress_to_buffer(plain, &mut frame[HEADER..])
    })
    .ok()?;
    frame.truncate(HEADER + length);
    Some(frame.into())
}

/// Compressors that are kept and used again. Making one takes as long as compressing ten kilobytes; each has half a
/// megabyte of memory.
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

/// Tells whether a frame has the bytes uncompressed.
pub(crate) fn is_plain(stored: &[u8]) -> bool {
    stored.first() == Some(&PLAIN)
}

/// Unpacks a frame.
///
/// # Errors
/// Says what is wrong with the frame; the caller knows the key.
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
        fn frames_survive_a_round_trip(bytes: Vec<u8>, times in 1usize..200) {
            let plain = bytes.repeat(times);
            let stored = frame(&plain);
            prop_assert!(stored.len() <= plain.len() + HEADER);
            let in_place = frame_in_place([&[0; HEADER][..], &plain].concat());
            prop_assert_eq!(&in_place, &stored);
            prop_assert_eq!(open_frame(&stored).unwrap(), plain);
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
