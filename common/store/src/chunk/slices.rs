//! The slices of a file: found in its entry, or in a list that is stored apart if they are many.

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use howdah_model::ContentHash;

use super::source::ChunkSource;
use crate::error::{Result, StoreError};
use crate::format::chunk::{ChunkHash, MAX_CHUNK, MIN_CHUNK};
use crate::format::codec::FieldReader;
use crate::format::content::{FileContent, MAX_DIRECT_SLICES, Placement, Slice, decode_slices, encode_slices};
use crate::format::frame::frame;
use crate::objects::keys::{self, ContentKey};
use crate::store::Store;

/// Returns the slices of a file.
pub async fn slices_from(source: &dyn ChunkSource, content: &FileContent) -> Result<Vec<Slice>> {
    let slices = match &content.placement {
        Placement::Direct(slices) => slices.clone(),
        Placement::Listed(list) => {
            let mut bytes = BytesMut::new();
            for slice in list {
                bytes.extend_from_slice(&read_slice(source, slice).await?);
            }
            let mut reader = FieldReader::new(&bytes);
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

/// Reads the whole chunk of a slice.
pub(super) async fn read_chunk_of(source: &dyn ChunkSource, slice: &Slice) -> Result<Bytes> {
    // A slice of this size mostly is a whole chunk, and no other file has bytes in it. Keeping the chunk in the cache
    // would evict others for nothing.
    if slice.len as usize >= MIN_CHUNK {
        source.chunk_once(&slice.chunk).await
    } else {
        source.chunk(&slice.chunk).await
    }
}

pub(super) async fn read_slice(source: &dyn ChunkSource, slice: &Slice) -> Result<Bytes> {
    let chunk = read_chunk_of(source, slice).await?;
    let start = slice.offset as usize;
    let end = start + slice.len as usize;
    if end > chunk.len() {
        let reason = format!("a file expects bytes up to {end} in it, it has {}", chunk.len());
        return Err(StoreError::corrupt(keys::chunk(&slice.chunk.0), reason));
    }
    Ok(chunk.slice(start..end))
}

impl Store {
    /// Returns the content of a file with these slices. Stores their list in chunks if it is long.
    pub(crate) async fn content_of(&self, size: u64, hash: ContentHash, slices: Vec<Slice>) -> Result<FileContent> {
        if slices.len() <= MAX_DIRECT_SLICES {
            return Ok(FileContent {
                size,
                hash,
                placement: Placement::Direct(slices),
            });
        }
        let mut list = Vec::new();
        encode_slices(&slices, &mut list);
        let list = Bytes::from(list);
        let parts = (0..list.len()).step_by(MAX_CHUNK).map(|at| {
            let bytes = list.slice(at..list.len().min(at + MAX_CHUNK));
            async move {
                let len = bytes.len() as u32;
                let hash = ContentHash::new(*blake3::hash(&bytes).as_bytes());
                self.put_content(ContentKey::Chunk(hash), frame(&bytes)).await?;
                Ok::<_, StoreError>(Slice {
                    chunk: ChunkHash(hash),
                    offset: 0,
                    len,
                })
            }
        });
        let slices = futures::stream::iter(parts).buffered(2).try_collect().await?;
        Ok(FileContent {
            size,
            hash,
            placement: Placement::Listed(slices),
        })
    }
}
