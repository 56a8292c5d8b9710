//! Where the worker takes chunks from.
//!
//! Small files are packed many to a chunk, so a chunk fetched for one datum serves the next ones
//! too. The store keeps recent chunks in memory; for a store across the network this adds a disk
//! cache in between. Chunks of a local store are not copied to the same disk again.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use howdah_store::{ChunkHash, ChunkSource, FileContent, Store, StoreError, read_file_from};

use crate::cache::disk_lru::DiskLru;
use crate::metrics::Metrics;

/// Chunks kept in memory in front of the disk.
const RECENT_CHUNKS: std::num::NonZeroUsize = std::num::NonZeroUsize::new(16).expect("sixteen is not zero");

/// A store with a disk cache in front of it.
pub struct DiskChunks {
    store: Store,
    disk: Arc<DiskLru>,
    /// The last few chunks, so that the small files of one chunk do not read the disk each.
    recent: std::sync::Mutex<lru::LruCache<ChunkHash, Bytes>>,
    metrics: Arc<Metrics>,
}

impl DiskChunks {
    /// Puts a disk cache in front of a store.
    pub fn new(store: Store, disk: Arc<DiskLru>, metrics: Arc<Metrics>) -> Self {
        Self {
            store,
            disk,
            recent: std::sync::Mutex::new(lru::LruCache::new(RECENT_CHUNKS)),
            metrics,
        }
    }

    fn remember(&self, hash: ChunkHash, bytes: &Bytes) {
        let mut recent = self.recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        recent.put(hash, bytes.clone());
    }

    fn recall(&self, hash: &ChunkHash) -> Option<Bytes> {
        let mut recent = self.recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        recent.get(hash).cloned()
    }

    async fn read_disk(&self, hash: &ChunkHash) -> Option<Bytes> {
        self.disk.used(&hash.0)?;
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
        let kept = tokio::task::spawn_blocking(move || {
            let temporary = disk.temporary();
            std::fs::write(temporary.path(), &bytes)?;
            disk.adopt(&temporary, &hash, bytes.len() as u64)
        });
        // A cache that cannot be written costs speed, nothing else.
        if let Ok(Err(error)) = kept.await {
            tracing::debug!(%error, "chunk not kept on disk");
        }
    }
}

#[async_trait]
impl ChunkSource for DiskChunks {
    async fn chunk(&self, hash: &ChunkHash) -> Result<Bytes, StoreError> {
        if let Some(bytes) = self.recall(hash) {
            return Ok(bytes);
        }
        if let Some(bytes) = self.read_disk(hash).await {
            self.metrics.chunk_cache_hits.inc();
            self.remember(*hash, &bytes);
            return Ok(bytes);
        }
        let bytes = self.store.chunk(hash).await?;
        self.metrics.chunk_cache_misses.inc();
        self.write_disk(hash, bytes.clone()).await;
        self.remember(*hash, &bytes);
        Ok(bytes)
    }
}

/// Says of a file that its bytes are not what its hash promises.
pub(crate) fn not_as_promised(content: &FileContent) -> StoreError {
    StoreError::Corrupt {
        key: format!("of the file with hash {}", content.hash),
        reason: "its bytes have another hash".to_owned(),
    }
}

/// Reads a small file into memory. Its own hash is checked: where it lies may come from a datum set, which has none.
pub async fn read_all(source: &Arc<dyn ChunkSource>, content: &FileContent) -> Result<Bytes, StoreError> {
    if content.size == 0 {
        return Ok(Bytes::new());
    }
    if let Some(bytes) = source.small_file(content).await? {
        return Ok(bytes);
    }
    let stream = read_file_from(Arc::clone(source), content, 0);
    let mut pieces: Vec<Bytes> = stream.try_collect().await?;
    let bytes = if pieces.len() == 1 {
        pieces.remove(0)
    } else {
        pieces.concat().into()
    };
    if blake3::hash(&bytes).as_bytes() == content.hash.as_bytes() {
        Ok(bytes)
    } else {
        Err(not_as_promised(content))
    }
}
