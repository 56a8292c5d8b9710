//! Whole files: their bytes are compared with the hash of the file while they pass.
//!
//! Chunks are compared with their own hashes. This does not show whether they are the chunks of this file: the record of
//! a file may be damaged, or forged by a worker.
//!
//! The piece that was read last is held back until the next one has come, and the last piece of all until the hash is
//! known. So a reader that gets all bytes of a file has got the right ones. A long piece is hashed on another thread,
//! while the reader works on the piece before it.

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use howdah_model::ContentHash;
use tokio::task::JoinHandle;

use super::slices::read_chunk_of;
use super::source::ChunkSource;
use crate::error::{Result, StoreError};
use crate::format::content::{FileContent, Slice};
use crate::offload::{INLINE_BYTES, by_size};

/// Passes the bytes of a whole file on. Ends with [`StoreError::WrongFile`] instead of the last piece if they do not have
/// the hash of the file.
pub(super) fn checked<'a>(
    expected: ContentHash,
    bytes: impl Stream<Item = Result<Bytes>> + Send + 'a,
) -> impl Stream<Item = Result<Bytes>> + Send + 'a {
    let check = WholeCheck {
        expected,
        bytes: bytes.boxed(),
        hashing: Hashing::Done(Box::default()),
        held: None,
    };
    stream::try_unfold(Some(check), |check| async move {
        match check {
            Some(check) => check.next().await,
            None => Ok(None),
        }
    })
}

/// The hash of what has passed so far.
enum Hashing {
    Done(Box<blake3::Hasher>),
    Running(JoinHandle<Box<blake3::Hasher>>),
}

impl Hashing {
    fn begin(mut hasher: Box<blake3::Hasher>, bytes: Bytes) -> Self {
        if bytes.len() <= INLINE_BYTES {
            hasher.update(&bytes);
            return Hashing::Done(hasher);
        }
        Hashing::Running(tokio::task::spawn_blocking(move || {
            hasher.update(&bytes);
            hasher
        }))
    }

    async fn end(self) -> Result<Box<blake3::Hasher>> {
        match self {
            Hashing::Done(hasher) => Ok(hasher),
            Hashing::Running(task) => task.await.map_err(|error| StoreError::task(&error)),
        }
    }
}

struct WholeCheck<'a> {
    expected: ContentHash,
    bytes: BoxStream<'a, Result<Bytes>>,
    hashing: Hashing,
    /// The piece that was read last.
    held: Option<Bytes>,
}

impl WholeCheck<'_> {
    /// Returns the next piece and what follows it; `None` after the last piece.
    async fn next(mut self) -> Result<Option<(Bytes, Option<Self>)>> {
        loop {
            let piece = self.bytes.next().await.transpose()?;
            let hasher = self.hashing.end().await?;
            let Some(piece) = piece else {
                if hasher.finalize().as_bytes() != self.expected.as_bytes() {
                    return Err(StoreError::WrongFile { hash: self.expected });
                }
                return Ok(self.held.map(|last| (last, None)));
            };
            self.hashing = Hashing::begin(hasher, piece.clone());
            if let Some(before) = self.held.replace(piece) {
                return Ok(Some((before, Some(self))));
            }
        }
    }
}

/// Returns the slice of a file that is exactly one chunk as far as its record says: file and chunk have the same hash.
pub(super) fn one_chunk(content: &FileContent) -> Option<Slice> {
    let is_whole = |slice: &Slice| slice.chunk.0 == content.hash && slice.offset == 0;
    content.single_slice().filter(is_whole)
}

/// Reads a file that is one chunk. The hash of the chunk is that of the file, so only the length remains to be compared.
pub(super) async fn read_one_chunk(source: &dyn ChunkSource, content: &FileContent, slice: &Slice) -> Result<Bytes> {
    let chunk = read_chunk_of(source, slice).await?;
    if chunk.len() as u64 == content.size {
        Ok(chunk)
    } else {
        Err(StoreError::WrongFile { hash: content.hash })
    }
}

/// Compares the bytes of a whole file with its hash.
pub(super) async fn check_whole(content: &FileContent, bytes: Bytes) -> Result<Bytes> {
    let expected = content.hash;
    by_size(bytes.len(), move || {
        if blake3::hash(&bytes).as_bytes() == expected.as_bytes() {
            Ok(bytes)
        } else {
            Err(StoreError::WrongFile { hash: expected })
        }
    })
    .await?
}
