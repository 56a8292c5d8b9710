//! Reading files: slice by slice, with chunks read ahead.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};

use super::slices::{read_slice, slices_from};
use super::source::ChunkSource;
use crate::error::Result;
use crate::format::chunk::ChunkHash;
use crate::format::content::{FileContent, Placement, Slice};
use crate::store::Store;

/// Chunks read ahead from a source that is not a store, which has a setting for it.
const READ_AHEAD: usize = 2;

/// Streams the bytes of a file from `offset` on. Every chunk has been compared with its hash.
pub fn read_file_from(
    source: Arc<dyn ChunkSource>,
    content: &FileContent,
    offset: u64,
) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
    read_ahead(source, content.clone(), offset, READ_AHEAD)
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
            slice.offset += skipped;
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
    /// Streams the bytes of a file from `offset` on. They have been compared with the hashes of their chunks or, for a
    /// small file that is read alone, with the hash of the file.
    pub fn read_file(&self, content: &FileContent, offset: u64) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
        let (store, content) = (self.clone(), content.clone());
        stream::once(async move {
            if offset == 0
                && let Some(bytes) = store.read_alone(&content).await?
            {
                return Ok(stream::iter([Ok(bytes)]).left_stream());
            }
            let ahead = store.shared.limits.read_ahead;
            Ok(read_ahead(Arc::new(store), content, offset, ahead).right_stream())
        })
        .try_flatten()
    }

    /// Reads a slice of a chunk.
    pub async fn read_slice(&self, slice: &Slice) -> Result<Bytes> {
        read_slice(self, slice).await
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
