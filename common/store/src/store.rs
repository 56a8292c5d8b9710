//! An open store: objects by key, and the caches and limits that all readers and writers share.

use std::num::NonZeroUsize;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use howdah_model::ContentHash;
use lru::LruCache;
use tokio::sync::Semaphore;

use crate::backend::{Backend, MemoryBackend};
use crate::error::Result;
use crate::format::chunk::{CheckedChunk, ChunkHash, MAX_CHUNK};
use crate::format::node::Node;
use crate::memory::buffers::ChunkBuffers;
use crate::memory::cache::{Cache, Weighted};
use crate::memory::marked::MarkedHashes;
use crate::objects::ObjectStore;
use crate::objects::config::{Limits, StoreConfig};

/// An open store. Clones are cheap and share everything.
///
/// Objects by key are reached through [`ObjectStore`], to which it dereferences. Modules above add what they know:
/// reading of files, trees, staged edits.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) shared: Arc<StoreShared>,
}

/// What all clones of a [`Store`] share.
#[derive(Debug)]
pub(crate) struct StoreShared {
    objects: ObjectStore,
    pub(crate) limits: Limits,
    pub(crate) nodes: Cache<ContentHash, Arc<Node>>,
    pub(crate) chunks: Cache<ChunkHash, CheckedChunk>,
    /// Hashes of directories already computed, by root of the tree and path.
    pub(crate) directories: Mutex<LruCache<(ContentHash, String), ContentHash>>,
    /// Memory for chunks that are being stored, in units of [`PERMIT_BYTES`].
    pub(crate) write_buffer: Arc<Semaphore>,
    /// Stored nodes that the next write of the same node replaces.
    pub(crate) replaced_nodes: MarkedHashes,
    /// Memory in which chunks are gathered.
    pub(crate) buffers: ChunkBuffers,
}

/// Bytes of one permit of the write buffer.
pub(crate) const PERMIT_BYTES: usize = 4096;
/// Bytes of each cache of a store that is opened to check what is stored: neighbouring files share chunks.
const CHECK_CACHE_BYTES: usize = 32 << 20;
const KNOWN_DIRECTORIES: NonZeroUsize = NonZeroUsize::new(1 << 14).expect("not zero");
/// Memory that an entry of a cache takes besides its value, in bytes; an estimate.
const ENTRY_BYTES: usize = 128;

impl Weighted for Arc<Node> {
    fn weight(&self) -> usize {
        self.memory() + ENTRY_BYTES
    }
}

impl Weighted for CheckedChunk {
    fn weight(&self) -> usize {
        self.bytes.len() + ENTRY_BYTES
    }

    fn leaves_trace(&self) -> bool {
        self.stored_plain
    }
}

impl Deref for Store {
    type Target = ObjectStore;

    fn deref(&self) -> &ObjectStore {
        &self.shared.objects
    }
}

impl Store {
    /// Opens the store that a configuration names, and makes it if it is new.
    ///
    /// # Errors
    /// When the URL cannot be understood, the place does not answer, or another version of the program wrote it.
    pub async fn open(config: &StoreConfig) -> Result<Store> {
        Ok(Store::new(ObjectStore::open(config).await?, config.limits))
    }

    /// Opens a store on a given backend.
    ///
    /// # Errors
    /// When the backend does not answer, or another version of the program wrote the store.
    pub async fn with_backend(backend: Arc<dyn Backend>, limits: Limits) -> Result<Store> {
        Ok(Store::new(ObjectStore::with_backend(backend).await?, limits))
    }

    fn new(objects: ObjectStore, limits: Limits) -> Store {
        // A chunk asks for its permits at once: with fewer in all than the largest chunk needs, it would wait forever.
        let permits = limits.write_buffer_bytes.max(2 * MAX_CHUNK) / PERMIT_BYTES;
        Store {
            shared: Arc::new(StoreShared {
                objects,
                limits,
                nodes: Cache::new(limits.node_cache_bytes),
                chunks: Cache::new(limits.chunk_cache_bytes),
                directories: Mutex::new(LruCache::new(KNOWN_DIRECTORIES)),
                write_buffer: Arc::new(Semaphore::new(permits)),
                replaced_nodes: MarkedHashes::default(),
                buffers: ChunkBuffers::default(),
            }),
        }
    }

    /// Returns a store over the same objects whose caches are empty and small. What it reads is what is stored now.
    #[must_use]
    pub fn with_empty_caches(&self) -> Store {
        let limits = Limits {
            node_cache_bytes: CHECK_CACHE_BYTES,
            chunk_cache_bytes: CHECK_CACHE_BYTES,
            ..self.shared.limits
        };
        Store::new(self.shared.objects.clone(), limits)
    }

    /// Opens a fresh store in memory, for tests.
    ///
    /// # Panics
    /// Never: memory does not refuse.
    pub async fn in_memory() -> Store {
        Store::with_backend(Arc::new(MemoryBackend::default()), Limits::default())
            .await
            .expect("BUG: the memory backend never fails")
    }

    /// Returns the bounds on memory and concurrency.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.shared.limits
    }
}
