//! Reading files: slice by slice, with chunks read ahead.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};

use super::slices::{read_slice, slices_from};
use super::source::ChunkSource;
use super::whole::{check_whole, checked, one_chunk, read_one_chunk};
use crate::error::Result;
use crate::format::chunk::ChunkHash;
use crate::format::content::{FileContent, Placement, Slice};
use crate::store::Store;

/// Pieces of a file, in order.
type FileBytes = BoxStream<'static, Result<Bytes>>;

/// Chunks read ahead from a source that is not a store, which has a setting for it.
const READ_AHEAD: usize = 2;

/// Streams the bytes of a file from `offset` on. Every chunk has been compared with its hash. From offset 0, the whole has
/// been compared with the hash of the file when the last piece comes.
pub fn read_file_from(
    source: Arc<dyn ChunkSource>,
    content: &FileContent,
    offset: u64,
) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
    read_checked(source, content.clone(), offset, READ_AHEAD)
}

/// Streams the bytes of a file from `offset` on; those of the whole file are compared with its hash.
fn read_checked(source: Arc<dyn ChunkSource>, content: FileContent, offset: u64, ahead: usize) -> FileBytes {
    if offset > 0 {
        return read_ahead(source, content, offset, ahead).boxed();
    }
    if let Some(slice) = one_chunk(&content) {
        return stream::once(async move { read_one_chunk(&*source, &content, &slice).await }).boxed();
    }
    checked(content.hash, read_ahead(source, content, 0, ahead)).boxed()
}

fn read_ahead(
    source: Arc<dyn ChunkSource>,
    content: FileContent,
    offset: u64,
    ahead: usize,
) -> impl Stream<Item = Result<Bytes>> + Send {
    stream::once(async move {
        let mut skip = offset;
        let mut slices = slices_from(&*source, &content).await?;
        slices.retain_mut(|slice| {
            let skipped = skip.min(slice.len.into()) as u32;
            skip -= u64::from(skipped);
            // A sum that is too large is beyond every chunk: reading the slice reports it.
            slice.offset = slice.offset.saturating_add(skipped);
            slice.len -= skipped;
            slice.len > 0
        });
        let reads = slices.into_iter().map(move |slice| {
            let source = Arc::clone(&source);
            async move { read_slice(&*source, &slice).await }
        });
        Ok(stream::iter(reads).buffered(1 + ahead))
    })
    .try_flatten()
}

impl Store {
    /// Streams the bytes of a file from `offset` on. Every chunk has been compared with its hash. From offset 0, the whole
    /// has been compared with the hash of the file when the last piece comes.
    ///
    /// # Errors
    /// [`StoreError::WrongFile`](crate::StoreError::WrongFile) instead of the last piece if the bytes are not those of the
    /// file. Before: a chunk is missing or damaged, or the store does not answer.
    pub fn read_file(&self, content: &FileContent, offset: u64) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
        let (store, content) = (self.clone(), content.clone());
        stream::once(async move {
            if offset == 0
                && let Some(bytes) = store.read_alone(&content).await?
            {
                return Ok(stream::iter([Ok(bytes)]).left_stream());
            }
            let ahead = store.shared.limits.read_ahead;
            Ok(read_checked(Arc::new(store), content, offset, ahead).right_stream())
        })
        .try_flatten()
    }

    /// Reads a file that is one slice, through its chunk. The bytes have been compared with the hash of the file.
    ///
    /// # Errors
    /// When the chunk is missing or damaged, the bytes are not those of the file, or the store does not answer.
    pub async fn read_in_chunk(&self, content: &FileContent, slice: &Slice) -> Result<Bytes> {
        if let Some(slice) = one_chunk(content) {
            return read_one_chunk(self, content, &slice).await;
        }
        check_whole(content, read_slice(self, slice).await?).await
    }

    /// Reads a small file of whose chunk little else is needed: alone, unless the chunk is in memory or being read.
    ///
    /// # Errors
    /// When the chunk is missing or damaged, or the store does not answer.
    pub async fn read_scattered(&self, content: &FileContent) -> Result<Bytes> {
        let not_here = |slice: &Slice| !self.shared.chunks.has_or_loads(&slice.chunk);
        match self.read_alone_if(content, not_here).await? {
            Some(bytes) => Ok(bytes),
            None => self.read_file_all(content).await,
        }
    }

    /// Reads a whole file into memory.
    pub async fn read_file_all(&self, content: &FileContent) -> Result<Bytes> {
        let mut pieces: Vec<Bytes> = self.read_file(content, 0).try_collect().await?;
        if pieces.len() == 1 {
            return Ok(pieces.remove(0));
        }
        Ok(pieces.concat().into())
    }

    /// Returns the slices of a file.
    pub async fn slices(&self, content: &FileContent) -> Result<Vec<Slice>> {
        slices_from(self, content).await
    }

    /// Lists every chunk that a file needs, including those with a long list of slices.
    pub async fn chunks_of(&self, content: &FileContent) -> Result<Vec<ChunkHash>> {
        let mut chunks: Vec<_> = self.slices(content).await?.iter().map(|slice| slice.chunk).collect();
        if let Placement::Listed(list) = &content.placement {
            chunks.extend(list.iter().map(|slice| slice.chunk));
        }
        chunks.dedup();
        Ok(chunks)
    }
}
