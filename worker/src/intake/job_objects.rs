//! Loading the stored objects of a job: its plan, which is kept in memory, and the datums of a set.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use howdah_protocol::objects::{DatumSet, JobPlan};
use howdah_protocol::wire::{self, Wire};
use howdah_store::Store;
use lru::LruCache;

use crate::error::InfraError;

/// Plans that are kept in memory, one per job.
const CACHED_PLANS: NonZeroUsize = NonZeroUsize::new(128).expect("128 is not zero");

/// Reads objects of jobs from the store. Shared by all sets.
pub(crate) struct JobObjects {
    store: Store,
    plans: Mutex<LruCache<String, Arc<JobPlan>>>,
}

impl JobObjects {
    /// Starts with an empty cache.
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            plans: Mutex::new(LruCache::new(CACHED_PLANS)),
        }
    }

    /// Returns a job's plan, from memory if it was read before.
    ///
    /// # Errors
    /// [`InfraError::Store`] if it cannot be read, [`InfraError::Object`] if it cannot be decoded.
    pub async fn plan(&self, key: &str) -> Result<Arc<JobPlan>, InfraError> {
        let known = self.plans().get(key).cloned();
        if let Some(plan) = known {
            return Ok(plan);
        }
        // Not locked while it is read: two sets of one job may both read the plan, which is harmless.
        let plan = Arc::new(self.read::<JobPlan>(key).await?);
        self.plans().put(key.to_owned(), Arc::clone(&plan));
        Ok(plan)
    }

    /// Returns the datums of a set.
    ///
    /// # Errors
    /// As [`JobObjects::plan`].
    pub async fn datum_set(&self, key: &str) -> Result<DatumSet, InfraError> {
        self.read(key).await
    }

    async fn read<T: Wire>(&self, key: &str) -> Result<T, InfraError> {
        let bytes = self
            .store
            .get(key)
            .await
            .map_err(InfraError::store("cannot read what the job consists of"))?;
        wire::decode(&bytes).map_err(|source| InfraError::Object {
            key: key.to_owned(),
            source,
        })
    }

    fn plans(&self) -> MutexGuard<'_, LruCache<String, Arc<JobPlan>>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
