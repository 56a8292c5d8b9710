//! Objects by key, on whatever backend a configuration names.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::config::{Location, StoreConfig};
use super::keys::{self, ContentKey};
use super::known::KnownObjects;
use crate::backend::{Backend, FsBackend, MemoryBackend, ObjectMeta, PutOutcome, RemoteBackend};
use crate::error::{BackendError, Result, StoreError};

/// What the backend of a store can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Conditional writes are atomic. Without them the store itself does not keep two coordinators apart: the operator
    /// must make sure that only one runs.
    pub put_if_absent: bool,
    /// Objects are on this machine: a request takes microseconds.
    pub near: bool,
}

/// Reads, writes and lists objects by key. Clones are cheap and share the connection.
#[derive(Debug, Clone)]
pub struct ObjectStore {
    backend: Arc<dyn Backend>,
    capabilities: Capabilities,
    known: Arc<KnownObjects>,
}

/// For larger objects, a request whether the object exists is cheaper than sending bytes that are not needed.
const LOOK_FIRST_BYTES: usize = 256 << 10;

const FORMAT_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct FormatMarker {
    howdah_store: u32,
}

impl ObjectStore {
    /// Opens the place that a configuration names, and makes it if it is new.
    pub(crate) async fn open(config: &StoreConfig) -> Result<Self> {
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
        Self::with_backend(backend).await
    }

    /// Opens a store on a given backend.
    pub(crate) async fn with_backend(backend: Arc<dyn Backend>) -> Result<Self> {
        let url = backend.describe();
        check_format(&*backend, &url).await?;
        let put_if_absent = backend
            .supports_put_if_absent()
            .await
            .map_err(|source| StoreError::Open { url, source })?;
        Ok(ObjectStore {
            capabilities: Capabilities {
                put_if_absent,
                near: backend.is_near(),
            },
            backend,
            known: Arc::default(),
        })
    }

    /// Tells what the backend can do.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Returns the name of the store for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        self.backend.describe()
    }

    /// Reads an object that must exist.
    pub async fn get(&self, key: &str) -> Result<Bytes> {
        self.get_opt(key)
            .await?
            .ok_or_else(|| StoreError::Missing { key: key.to_owned() })
    }

    /// Reads an object; `None` if it does not exist.
    pub async fn get_opt(&self, key: &str) -> Result<Option<Bytes>> {
        let read = self.backend.get(key).await;
        read.map_err(|source| StoreError::Read {
            key: key.to_owned(),
            source,
        })
    }

    /// Reads a range of an object that must exist; the range is cut off at the object's end.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        let read = self.backend.get_range(key, range).await;
        read.map_err(|source| StoreError::Read {
            key: key.to_owned(),
            source,
        })?
        .ok_or_else(|| StoreError::Missing { key: key.to_owned() })
    }

    /// Returns size and age of an object; `None` if it does not exist.
    pub async fn stat(&self, key: &str) -> Result<Option<ObjectMeta>> {
        let found = self.backend.stat(key).await;
        found.map_err(|source| StoreError::Read {
            key: key.to_owned(),
            source,
        })
    }

    /// Writes an object, and replaces a former one. It is durable when this returns.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        let written = self.backend.put(key, bytes).await;
        written.map_err(|source| StoreError::write(key, source))
    }

    /// Writes an object unless one exists. After an error the object may or may not exist.
    ///
    /// Not atomic if [`Capabilities::put_if_absent`] is false: of two concurrent writers both may get `Created`.
    pub async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<PutOutcome> {
        let written = if self.capabilities.put_if_absent {
            self.backend.put_if_absent(key, bytes).await
        } else if self.stat(key).await?.is_some() {
            Ok(PutOutcome::Exists)
        } else {
            self.backend.put(key, bytes).await.map(|()| PutOutcome::Created)
        };
        written.map_err(|source| StoreError::write(key, source))
    }

    /// Removes an object. Succeeds if it does not exist.
    pub async fn delete(&self, key: &str) -> Result<()> {
        let deleted = self.backend.delete(key).await;
        deleted.map_err(|source| StoreError::Delete {
            key: key.to_owned(),
            source,
        })
    }

    /// Lists the objects whose keys begin with `prefix`, sorted by key.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        self.list_after(prefix, None).await
    }

    /// Lists the objects whose keys begin with `prefix` and come after `after`, sorted by key.
    pub async fn list_after(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>> {
        let listed = self.backend.list(prefix, after).await;
        listed.map_err(|source| StoreError::List {
            prefix: prefix.to_owned(),
            source,
        })
    }

    /// Tells whether an object was seen in the store a short while ago.
    pub(crate) fn is_known(&self, key: &ContentKey) -> bool {
        self.known.contains(key)
    }

    /// Forgets that an object was seen.
    pub(crate) fn forget_seen_object(&self, key: &ContentKey) {
        self.known.forget(key);
    }

    /// Forgets which objects were seen in the store a short while ago: the next write of each asks the store. For a process
    /// that writes content which another one may have taken away as damaged.
    pub fn forget_seen_objects(&self) {
        self.known.forget_all();
    }

    /// Writes a content-addressed object, and replaces a former one.
    pub(crate) async fn replace_content(&self, content: ContentKey, bytes: Bytes) -> Result<()> {
        self.put(&content.object_key(), bytes).await?;
        self.known.add(content);
        Ok(())
    }

    /// Writes a content-addressed object unless it exists.
    pub(crate) async fn put_content(&self, content: ContentKey, bytes: Bytes) -> Result<PutOutcome> {
        let key = content.object_key();
        // A backend that looks by itself also makes an object durable that it finds. A `stat` here would skip that.
        let look_first = bytes.len() >= LOOK_FIRST_BYTES && !self.backend.looks_before_writing();
        let outcome = if look_first && self.stat(&key).await?.is_some() {
            PutOutcome::Exists
        } else {
            self.put_if_absent(&key, bytes).await?
        };
        self.known.add(content);
        Ok(outcome)
    }
}

/// Compares the version marker of the store with this program's, or writes it if the store is new.
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
