//! Loading the stored objects of a job: its plan, which is kept in memory, and the datums of a set.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use howdah_model::names::JobKey;
use howdah_protocol::messages::SetMessage;
use howdah_protocol::objects::{DatumSet, JobPlan, plan_key, set_key};
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
    pub(crate) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            plans: Mutex::new(LruCache::new(CACHED_PLANS)),
        }
    }

    /// Returns the plan that a set is of, from memory if it was read before; `None` if its job has another one by now.
    ///
    /// # Errors
    /// [`InfraError::Store`] if it cannot be read, [`InfraError::Object`] if it cannot be decoded.
    pub(crate) async fn plan(&self, set: &SetMessage) -> Result<Option<Arc<JobPlan>>, InfraError> {
        let key = plan_key(&set.pipeline, &set.job);
        let known = self.plans().get(&key).cloned();
        if let Some(plan) = known.filter(|plan| plan.id == set.plan) {
            return Ok(Some(plan));
        }
        // Not locked while it is read: two sets of one job may both read the plan, which is harmless.
        let plan = Arc::new(self.read::<JobPlan>(&key).await?);
        // The job may make output again whose chunks were damaged, and were taken away since this worker saw them.
        self.store.forget_seen_objects();
        self.plans().put(key, Arc::clone(&plan));
        Ok((plan.id == set.plan).then_some(plan))
    }

    /// Forgets the plan of a job, because it was discarded.
    pub(crate) fn forget_plan(&self, job: &JobKey) {
        self.plans().pop(&plan_key(&job.pipeline, &job.id));
    }

    /// Returns the datums of a set of a plan: those in the message or in the plan, or those in the store.
    ///
    /// # Errors
    /// As [`JobObjects::plan`].
    pub(crate) async fn datum_set(&self, set: &SetMessage, plan: &JobPlan) -> Result<DatumSet, InfraError> {
        let in_plan = plan.single_object.as_ref().and_then(|single| single.set.as_ref());
        let known = set.inline.as_ref().or(in_plan);
        if let Some(datums) = known.filter(|datums| datums.set == set.set) {
            return Ok(datums.clone());
        }
        self.read(&set_key(&set.pipeline, &set.job, set.plan, set.set)).await
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
