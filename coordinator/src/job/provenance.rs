//! The immutable record of what made a commit.

use howdah_model::{CommitKey, Content, DatumCounts};
use howdah_protocol::objects::StageSpec;
use howdah_protocol::wire::{self, Wire, WireError};
use howdah_store::{Store, StoreError};
use jiff::Timestamp;
use lru::LruCache;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Everything needed to make an output commit again and to compare the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProvenanceRecord {
    /// The output commit.
    pub commit: CommitKey,
    /// Version of the pipeline.
    pub pipeline_version: u64,
    /// Effective spec, as JSON text.
    pub spec: String,
    /// What was run, with the pinned image.
    pub stage: StageSpec,
    /// Salt of the datum hashes.
    pub salt: String,
    /// Commits it was made from, with their file trees.
    pub inputs: Vec<ProvenanceInput>,
    /// Its own files.
    pub output: Content,
    /// Datums by outcome.
    pub datums: DatumCounts,
    /// Versions of the workers that ran datums.
    pub worker_versions: BTreeSet<String>,
    /// When the job started.
    pub started: Option<Timestamp>,
    /// When its output was merged.
    pub finished: Timestamp,
}

/// One commit that an output was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProvenanceInput {
    /// The commit.
    pub commit: CommitKey,
    /// Its files.
    pub content: Content,
}

impl Wire for ProvenanceRecord {
    const KIND: &'static str = "provenance";
}

/// Returns the key of a commit's record.
pub fn key(commit: &CommitKey) -> String {
    howdah_store::keys::provenance(&commit.repo.project, &commit.repo.name, commit.id)
}

/// The store's records behind a cache of those that were written or read last.
///
/// A job reads the record of the job before it, which the same coordinator has written in most cases. A record never
/// changes, so the cache is never outdated.
#[derive(Clone)]
pub struct ProvenanceCache {
    store: Store,
    recent: Arc<Mutex<LruCache<CommitKey, Arc<ProvenanceRecord>>>>,
}

/// Records in memory, of some kilobytes each: about one for each busy pipeline.
const CACHED_RECORDS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

impl ProvenanceCache {
    /// Makes an empty cache.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            recent: Arc::new(Mutex::new(LruCache::new(CACHED_RECORDS))),
        }
    }

    fn recent(&self) -> MutexGuard<'_, LruCache<CommitKey, Arc<ProvenanceRecord>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a record; it is durable when this returns.
    pub async fn write(&self, record: ProvenanceRecord) -> Result<(), StoreError> {
        write(&self.store, &record).await?;
        self.recent().put(record.commit.clone(), Arc::new(record));
        Ok(())
    }

    /// Reads the record of a commit, if there is one.
    pub async fn read(&self, commit: &CommitKey) -> Result<Option<Arc<ProvenanceRecord>>, ProvenanceReadError> {
        let known = self.recent().get(commit).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let record = read(&self.store, commit).await?.map(Arc::new);
        if let Some(record) = &record {
            self.recent().put(commit.clone(), Arc::clone(record));
        }
        Ok(record)
    }
}

/// Writes the record. Writing it again with the same content changes nothing.
pub async fn write(store: &Store, record: &ProvenanceRecord) -> Result<(), StoreError> {
    store.put(&key(&record.commit), wire::encode(record).into()).await
}

/// Reads the record of a commit, if there is one.
pub async fn read(store: &Store, commit: &CommitKey) -> Result<Option<ProvenanceRecord>, ProvenanceReadError> {
    match store.get_opt(&key(commit)).await? {
        Some(bytes) => Ok(Some(wire::decode(&bytes)?)),
        None => Ok(None),
    }
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ProvenanceReadError {
    /// The store failed.
    #[error("the provenance record could not be read")]
    Store(#[from] StoreError),
    /// It cannot be decoded.
    #[error("the provenance record could not be understood")]
    Wire(#[from] WireError),
}
