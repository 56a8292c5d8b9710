//! An open store: raw objects, and the caches and limits that everything above shares.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use howdah_model::ContentHash;
use lru::LruCache;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::backend::{Backend, FsBackend, MemoryBackend, ObjectMeta, PutOutcome, RemoteBackend};
use crate::chunk::CachedChunk;
use crate::error::{BackendError, Result, StoreError};
use crate::format::content::ChunkHash;
use crate::memory::buffers::Buffers;
use crate::memory::cache::Cache;
use crate::objects::config::{Limits, Location, StoreConfig};
use crate::objects::keys;
use crate::tree::CachedNode;

/// What the backend of a store can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Conditional writes are atomic. Without them nothing in the store itself keeps two
    /// coordinators apart: only one may run, and whoever starts it must make sure of that.
    pub put_if_absent: bool,
    /// Objects are on this machine: a request costs microseconds.
    pub near: bool,
}

/// An open store. Clones are cheap and share everything.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    backend: Arc<dyn Backend>,
    capabilities: Capabilities,
    pub(crate) limits: Limits,
    pub(crate) nodes: Cache<ContentHash, CachedNode>,
    pub(crate) chunks: Cache<ChunkHash, CachedChunk>,
    /// Hashes of directories already computed, by tree and path.
    pub(crate) directories: Mutex<LruCache<(ContentHash, String), ContentHash>>,
    /// Content-addressed objects seen in the store a short while ago. Bounded; a miss costs a request.
    known: Mutex<LruCache<(Kind, ContentHash), Instant>>,
    /// Memory for chunks on their way out, in units of [`PERMIT_BYTES`].
    pub(crate) write_buffer: Arc<Semaphore>,
    /// Memory that chunks are gathered in.
    pub(crate) buffers: Buffers,
}

/// Kinds of content-addressed objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Chunk,
    Node,
}

pub(crate) const PERMIT_BYTES: usize = 4096;
const KNOWN_HASHES: NonZeroUsize = NonZeroUsize::new(1 << 16).expect("not zero");
const KNOWN_DIRECTORIES: NonZeroUsize = NonZeroUsize::new(1 << 14).expect("not zero");
/// For how long an object once seen is believed to be there. A garbage collector must spare
/// objects for much longer than this.
const KNOWN_FOR: Duration = Duration::from_secs(15 * 60);
/// Larger objects are looked for before they are sent: asking is cheaper than sending in vain.
const LOOK_FIRST_BYTES: usize = 256 << 10;

const FORMAT_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct FormatMarker {
    howdah_store: u32,
}

impl Store {
    /// Opens the store a configuration names, making it if it is new.
    ///
    /// # Errors
    /// When the URL makes no sense, the place does not answer, or another version wrote it.
    pub async fn open(config: &StoreConfig) -> Result<Store> {
        let open = |source| StoreError::Open {
            url: config.url.clone(),
            source,
        };
        let backend: Arc<dyn Backend> = match Location::parse(&config.url)? {
            Location::Memory => Arc::new(MemoryBackend::default()),
            Location::Folder(path) => {
                let opened = tokio::task::spawn_blocking(move || FsBackend::open(&path)).await;
                let opened = opened.map_err(|error| StoreError::task(&error))?;
                Arc::new(opened.map_err(|error| open(BackendError::Io(error)))?)
            }
            Location::Bucket { bucket, prefix } => {
                Arc::new(RemoteBackend::s3(&bucket, &prefix, &config.s3).map_err(open)?)
            }
        };
        Store::with_backend(backend, config.limits).await
    }

    /// Opens a store on a given backend.
    ///
    /// # Errors
    /// When the backend does not answer, or another version wrote the store.
    pub async fn with_backend(backend: Arc<dyn Backend>, limits: Limits) -> Result<Store> {
        let url = backend.describe();
        check_format(&*backend, &url).await?;
        let put_if_absent = backend
            .supports_put_if_absent()
            .await
            .map_err(|source| StoreError::Open { url, source })?;
        // A permit larger than the whole buffer could never be had.
        let buffer = limits.write_buffer_bytes.max(2 * crate::pack::MAX_CHUNK) / PERMIT_BYTES;
        Ok(Store {
            inner: Arc::new(Inner {
                capabilities: Capabilities {
                    put_if_absent,
                    near: backend.is_near(),
                },
                backend,
                limits,
                nodes: Cache::new(limits.node_cache_bytes),
                chunks: Cache::new(limits.chunk_cache_bytes),
                directories: Mutex::new(LruCache::new(KNOWN_DIRECTORIES)),
                known: Mutex::new(LruCache::new(KNOWN_HASHES)),
                write_buffer: Arc::new(Semaphore::new(buffer)),
                buffers: Buffers::default(),
            }),
        })
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

    /// Tells what the backend can do.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.inner.capabilities
    }

    /// Returns the bounds on memory and concurrency.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.inner.limits
    }

    /// Names the store in messages.
    #[must_use]
    pub fn describe(&self) -> String {
        self.inner.backend.describe()
    }

    /// Reads an object that must exist.
    pub async fn get(&self, key: &str) -> Result<Bytes> {
        self.get_opt(key)
            .await?
            .ok_or_else(|| StoreError::Missing { key: key.to_owned() })
    }

    /// Reads an object, if there is one.
    pub async fn get_opt(&self, key: &str) -> Result<Option<Bytes>> {
        let read = self.inner.backend.get(key).await;
        read.map_err(|source| StoreError::Read {
            key: key.to_owned(),
            source,
        })
    }

    /// Reads a part of an object that must exist; the part is cut off at the object's end.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        let read = self.inner.backend.get_range(key, range).await;
        read.map_err(|source| StoreError::Read {
            key: key.to_owned(),
            source,
        })?
        .ok_or_else(|| StoreError::Missing { key: key.to_owned() })
    }

    /// Tells size and age of an object, if there is one.
    pub async fn stat(&self, key: &str) -> Result<Option<ObjectMeta>> {
        let found = self.inner.backend.stat(key).await;
        found.map_err(|source| StoreError::Read {
            key: key.to_owned(),
            source,
        })
    }

    /// Writes an object, replacing any former one. It is durable when this returns.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        let written = self.inner.backend.put(key, bytes).await;
        written.map_err(|source| StoreError::write(key, source))
    }

    /// Writes an object unless there is one. After an error the object may or may not exist.
    pub async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<PutOutcome> {
        let written = if self.inner.capabilities.put_if_absent {
            self.inner.backend.put_if_absent(key, bytes).await
        } else if self.stat(key).await?.is_some() {
            Ok(PutOutcome::Exists)
        } else {
            self.inner.backend.put(key, bytes).await.map(|()| PutOutcome::Created)
        };
        written.map_err(|source| StoreError::write(key, source))
    }

    /// Removes an object; it need not exist.
    pub async fn delete(&self, key: &str) -> Result<()> {
        let deleted = self.inner.backend.delete(key).await;
        deleted.map_err(|source| StoreError::Delete {
            key: key.to_owned(),
            source,
        })
    }

    /// Lists the objects whose keys begin with `prefix`, by key.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        self.list_after(prefix, None).await
    }

    /// Lists the objects whose keys begin with `prefix` and come after `after`, by key.
    pub async fn list_after(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>> {
        let listed = self.inner.backend.list(prefix, after).await;
        listed.map_err(|source| StoreError::List {
            prefix: prefix.to_owned(),
            source,
        })
    }

    /// Tells whether an object was seen in the store a short while ago.
    pub(crate) fn is_known(&self, kind: Kind, hash: &ContentHash) -> bool {
        let mut known = self.inner.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(kind, *hash)).is_some_and(|seen| seen.elapsed() < KNOWN_FOR)
    }

    /// Writes a content-addressed object unless it is there.
    pub(crate) async fn put_content(&self, kind: Kind, hash: &ContentHash, bytes: Bytes) -> Result<PutOutcome> {
        let key = match kind {
            Kind::Chunk => keys::chunk(hash),
            Kind::Node => keys::node(hash),
        };
        // A backend that finds out by itself before it takes the bytes also makes sure that what
        // it finds is durable.
        let look_first = bytes.len() >= LOOK_FIRST_BYTES && !self.inner.backend.looks_before_writing();
        let outcome = if look_first && self.stat(&key).await?.is_some() {
            PutOutcome::Exists
        } else {
            self.put_if_absent(&key, bytes).await?
        };
        let mut known = self.inner.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.put((kind, *hash), Instant::now());
        Ok(outcome)
    }
}

/// Reads the store's version marker, or writes it if the store is new.
async fn check_format(backend: &dyn Backend, url: &str) -> Result<()> {
    let open = |source| StoreError::Open {
        url: url.to_owned(),
        source,
    };
    let format = |found: String| StoreError::Format {
        url: url.to_owned(),
        found,
        expected: FORMAT_VERSION,
    };
    match backend.get(keys::FORMAT).await.map_err(open)? {
        Some(bytes) => {
            let marker: FormatMarker =
                serde_json::from_slice(&bytes).map_err(|_| format(format!("{:?}", String::from_utf8_lossy(&bytes))))?;
            if marker.howdah_store != FORMAT_VERSION {
                return Err(format(marker.howdah_store.to_string()));
            }
        }
        None => {
            let marker = format!("{{\"howdah_store\":{FORMAT_VERSION}}}\n");
            backend.put(keys::FORMAT, marker.into()).await.map_err(open)?;
        }
    }
    Ok(())
}
