//! [`ChunkSource`]: the store through its cache, or a cache in front of the store.

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;
use crate::format::chunk::{CheckedChunk, ChunkHash, open_chunk};
use crate::format::content::FileContent;
use crate::objects::keys;
use crate::offload::by_size;
use crate::store::Store;

/// A source of chunks: the store itself, or a cache in front of it.
#[async_trait]
pub trait ChunkSource: Send + Sync {
    /// Returns the plain bytes of a chunk. The bytes have been checked against the hash.
    async fn chunk(&self, hash: &ChunkHash) -> Result<Bytes>;

    /// Does the same for a chunk that is probably not needed again soon, so that a cache need not keep it.
    async fn chunk_once(&self, hash: &ChunkHash) -> Result<Bytes> {
        self.chunk(hash).await
    }

    /// Reads a small file without its chunks, if that is cheaper. The bytes have been compared with the hash of the
    /// file.
    ///
    /// `None` = the caller reads the chunks.
    async fn small_file(&self, _content: &FileContent) -> Result<Option<Bytes>> {
        Ok(None)
    }
}

#[async_trait]
impl ChunkSource for Store {
    async fn chunk(&self, hash: &ChunkHash) -> Result<Bytes> {
        Ok(self
            .shared
            .chunks
            .get_or_load(*hash, self.load_chunk(hash))
            .await?
            .bytes)
    }

    async fn chunk_once(&self, hash: &ChunkHash) -> Result<Bytes> {
        if self.shared.chunks.has_or_loads(hash) {
            return self.chunk(hash).await;
        }
        Ok(self.load_chunk(hash).await?.bytes)
    }

    async fn small_file(&self, content: &FileContent) -> Result<Option<Bytes>> {
        self.read_alone(content).await
    }
}

impl Store {
    /// Reads and checks a chunk without the cache.
    async fn load_chunk(&self, hash: &ChunkHash) -> Result<CheckedChunk> {
        let key = keys::chunk(&hash.0);
        let stored = self.get(&key).await?;
        let expected = hash.0;
        by_size(stored.len(), move || open_chunk(&key, &expected, &stored)).await?
    }

    /// Begins to read a chunk that will be needed soon.
    pub fn prefetch_chunk(&self, hash: ChunkHash) {
        if !self.shared.chunks.has_or_loads(&hash) {
            let store = self.clone();
            // An error is reported by the read that needs the chunk, which repeats the request.
            tokio::spawn(async move { store.chunk(&hash).await.map(drop) });
        }
    }
}
