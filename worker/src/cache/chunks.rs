//! A disk cache of chunks in front of a remote store.
//!
//! A chunk packs many small files, so a chunk that is fetched for one datum serves the next ones too. The store itself
//! keeps recent chunks in memory; [`DiskChunks`] adds a disk cache. A local store needs none: its chunks are on a local
//! disk already.
//!
//! A chunk with wrong bytes is removed and fetched again. A cache that cannot be written only costs speed.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use howdah_store::{ChunkHash, ChunkSource, FileContent, Store, StoreError, read_file_from};

use crate::cache::disk_lru::DiskLru;
use crate::metrics::Metrics;

/// Chunks that are kept in memory in front of the disk.
const RECENT_CHUNKS: std::num::NonZeroUsize = std::num::NonZeroUsize::new(16).expect("sixteen is not zero");

/// A store with a disk cache in front of it.
pub(crate) struct DiskChunks {
    store: Store,
    disk: Arc<DiskLru>,
    /// The last few chunks, so that reading the small files of one chunk does not read the disk for each file.
    recent: std::sync::Mutex<lru::LruCache<ChunkHash, Bytes>>,
    metrics: Arc<Metrics>,
}

impl DiskChunks {
    /// Puts a disk cache in front of a store.
    pub(crate) fn new(store: Store, disk: Arc<DiskLru>, metrics: Arc<Metrics>) -> Self {
        Self {
            store,
            disk,
            recent: std::sync::Mutex::new(lru::LruCache::new(RECENT_CHUNKS)),
            metrics,
        }
    }

    fn keep_in_memory(&self, hash: ChunkHash, bytes: &Bytes) {
        let mut recent = self.recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        recent.put(hash, bytes.clone());
    }

    fn read_memory(&self, hash: &ChunkHash) -> Option<Bytes> {
        let mut recent = self.recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        recent.get(hash).cloned()
    }

    async fn read_disk(&self, hash: &ChunkHash) -> Option<Bytes> {
        self.disk.get(&hash.0)?;
        let (disk, wanted) = (Arc::clone(&self.disk), hash.0);
        tokio::task::spawn_blocking(move || {
            let bytes = std::fs::read(disk.path(&wanted)).ok();
            let good = bytes.filter(|bytes| wanted.as_bytes() == blake3::hash(bytes).as_bytes());
            if good.is_none() {
                disk.remove(&wanted);
            }
            good.map(Bytes::from)
        })
        .await
        .ok()?
    }

    async fn write_disk(&self, hash: &ChunkHash, bytes: Bytes) {
        let (disk, hash) = (Arc::clone(&self.disk), hash.0);
        let written = tokio::task::spawn_blocking(move || {
            let file = disk.new_file();
            std::fs::write(file.path(), &bytes)?;
            disk.adopt(&file, &hash, bytes.len() as u64)
        });
        if let Ok(Err(error)) = written.await {
            tracing::debug!(%error, "chunk not cached on disk");
        }
    }
}

#[async_trait]
impl ChunkSource for DiskChunks {
    async fn chunk(&self, hash: &ChunkHash) -> Result<Bytes, StoreError> {
        if let Some(bytes) = self.read_memory(hash) {
            return Ok(bytes);
        }
        if let Some(bytes) = self.read_disk(hash).await {
            self.metrics.chunk_cache_hits.inc();
            self.keep_in_memory(*hash, &bytes);
            return Ok(bytes);
        }
        let bytes = self.store.chunk(hash).await?;
        self.metrics.chunk_cache_misses.inc();
        self.write_disk(hash, bytes.clone()).await;
        self.keep_in_memory(*hash, &bytes);
        Ok(bytes)
    }
}

/// Reads a small file into memory. Its bytes have been compared with its hash: its place within a chunk may come from a
/// datum set, which no hash protects.
pub(crate) async fn read_all(source: &Arc<dyn ChunkSource>, content: &FileContent) -> Result<Bytes, StoreError> {
    if content.size == 0 {
        return Ok(Bytes::new());
    }
    if let Some(bytes) = source.small_file(content).await? {
        return Ok(bytes);
    }
    let stream = read_file_from(Arc::clone(source), content, 0);
    let mut pieces: Vec<Bytes> = stream.try_collect().await?;
    Ok(if pieces.len() == 1 {
        pieces.remove(0)
    } else {
        pieces.concat().into()
    })
}
