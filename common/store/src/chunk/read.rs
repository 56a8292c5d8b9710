//! Reading files: the chunks of their slices, one after the other, some ahead.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt, stream};

use crate::chunk::ChunkSource;
use crate::error::{Result, StoreError};
use crate::format::codec::Reader;
use crate::format::content::{FileContent, Placement, Slice, decode_slices};
use crate::objects::keys;
use crate::pack::MIN_CHUNK;
use crate::store::Store;

/// Chunks read ahead where the source has no setting of its own.
const READ_AHEAD: usize = 2;

/// Streams the bytes of a file from `offset` on. Every chunk has been checked against its hash.
pub fn read_file_from(
    source: Arc<dyn ChunkSource>,
    content: &FileContent,
    offset: u64,
) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
    read_ahead(source, content.clone(), offset, READ_AHEAD)
}

/// Returns where the bytes of a file lie.
pub async fn slices_from(source: &dyn ChunkSource, content: &FileContent) -> Result<Vec<Slice>> {
    let slices = match &content.placement {
        Placement::Direct(slices) => slices.clone(),
        Placement::Listed(list) => {
            let mut bytes = BytesMut::new();
            for slice in list {
                bytes.extend_from_slice(&read_slice(source, slice).await?);
            }
            let mut reader = Reader::new(&bytes);
            let decoded = decode_slices(&mut reader).and_then(|slices| reader.finish().map(|()| slices));
            decoded.map_err(|reason| {
                let name = list
                    .first()
                    .map_or_else(String::new, |slice| keys::chunk(&slice.chunk.0));
                StoreError::corrupt(name, format!("as a list of slices, {reason}"))
            })?
        }
    };
    let total: u64 = slices.iter().map(|slice| u64::from(slice.len)).sum();
    if total == content.size {
        Ok(slices)
    } else {
        Err(StoreError::corrupt(
            format!("of the file with hash {}", content.hash),
            format!("its slices have {total} bytes in all, not {}", content.size),
        ))
    }
}

async fn read_slice(source: &dyn ChunkSource, slice: &Slice) -> Result<Bytes> {
    // A part that large fills a chunk, most of the time: nobody else is waiting for the rest of it.
    let chunk = if slice.len as usize >= MIN_CHUNK {
        source.chunk_once(&slice.chunk).await?
    } else {
        source.chunk(&slice.chunk).await?
    };
    let start = slice.offset as usize;
    let end = start + slice.len as usize;
    if end > chunk.len() {
        let reason = format!("a file expects bytes up to {end} in it, it has {}", chunk.len());
        return Err(StoreError::corrupt(keys::chunk(&slice.chunk.0), reason));
    }
    Ok(chunk.slice(start..end))
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
    /// Streams the bytes of a file from `offset` on. All have been checked: against the hashes of their chunks, or,
    /// where a small file is read without the rest of its chunk, against its own.
    pub fn read_file(&self, content: &FileContent, offset: u64) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
        let (store, content) = (self.clone(), content.clone());
        stream::once(async move {
            if offset == 0
                && let Some(bytes) = store.read_alone(&content).await?
            {
                return Ok(stream::iter([Ok(bytes)]).left_stream());
            }
            let ahead = store.inner.limits.read_ahead;
            Ok(read_ahead(Arc::new(store), content, offset, ahead).right_stream())
        })
        .try_flatten()
    }

    /// Reads a part of a chunk.
    pub async fn read_slice(&self, slice: &Slice) -> Result<Bytes> {
        read_slice(self, slice).await
    }

    /// Reads a whole file into memory.
    pub async fn read_file_all(&self, content: &FileContent) -> Result<Bytes> {
        let mut pieces: Vec<Bytes> = self.read_file(content, 0).try_collect().await?;
        if pieces.len() == 1 {
            return Ok(pieces.remove(0));
        }
        Ok(pieces.concat().into())
    }

    /// Returns where the bytes of a file lie.
    pub async fn slices(&self, content: &FileContent) -> Result<Vec<Slice>> {
        slices_from(self, content).await
    }

    /// Lists every chunk a file needs, also those that hold a long list of slices.
    pub async fn chunks_of(&self, content: &FileContent) -> Result<Vec<crate::format::content::ChunkHash>> {
        let mut chunks: Vec<_> = self.slices(content).await?.iter().map(|slice| slice.chunk).collect();
        if let Placement::Listed(list) = &content.placement {
            chunks.extend(list.iter().map(|slice| slice.chunk));
        }
        chunks.dedup();
        Ok(chunks)
    }
}
