//! Plans in the store.

use howdah_model::{DatumId, GlobalId, PipelineKey};
use howdah_protocol::objects::{DatumSet, JobPlan, SingleObjectPlan, plan_key, set_key};
use howdah_protocol::wire::{self, Wire, WireError};
use howdah_store::{Store, StoreError};
use serde::Deserialize;

use super::{MergePlan, PlanError};

/// Key of the [`MergePlan`] that goes with the plan of a key.
fn merge_key(plan: &str) -> String {
    format!("{plan}-merge")
}

/// A plan larger than this is not written as one object: workers read it, and have no use for most of it.
const WHOLE_LIMIT_BYTES: usize = 16 << 10;

/// Tells whether a plan is so small that it is written as one object. `set_bytes` is the size of its only set.
pub fn fits_one_object(set_bytes: usize, dropped: usize) -> bool {
    set_bytes + dropped * size_of::<DatumId>() <= WHOLE_LIMIT_BYTES
}

/// Writes a plan that has no more than one set as one object, which is final at once.
pub async fn write_whole(
    store: &Store,
    plan: &JobPlan,
    set: Option<DatumSet>,
    merge: &MergePlan,
) -> Result<(), PlanError> {
    let merge = serde_json::to_value(merge).expect("numbers, ids and lists of them always have a JSON form");
    let whole = JobPlan {
        single_object: Some(Box::new(SingleObjectPlan { set, merge })),
        ..plan.clone()
    };
    write_job(store, &whole).await
}

/// Returns a set of a final plan, from the plan itself or from the object it has of its own.
pub async fn read_set(store: &Store, plan: &JobPlan, set: u32) -> Result<DatumSet, PlanError> {
    let in_plan = plan.single_object.as_ref().and_then(|single| single.set.as_ref());
    if let Some(known) = in_plan.filter(|known| known.set == set) {
        return Ok(known.clone());
    }
    let stored = store.get(&set_key(&plan.pipeline, &plan.job, set)).await?;
    Ok(wire::decode(&stored)?)
}

/// Writes what workers need to know before they get the first set.
pub async fn write_job(store: &Store, plan: &JobPlan) -> Result<(), PlanError> {
    let key = plan_key(&plan.pipeline, &plan.job);
    Ok(store.put(&key, wire::encode(plan).into()).await?)
}

/// Writes one set. Returns its size in bytes.
pub async fn write_set(store: &Store, plan: &JobPlan, set: &DatumSet) -> Result<usize, PlanError> {
    let key = set_key(&plan.pipeline, &plan.job, set.set);
    let bytes = wire::encode(set);
    let length = bytes.len();
    store.put(&key, bytes.into()).await?;
    Ok(length)
}

/// Writes what makes a plan final, once all its sets are written.
pub async fn write_merge(store: &Store, plan: &JobPlan, merge: &MergePlan) -> Result<(), PlanError> {
    Ok(store
        .put(
            &merge_key(&plan_key(&plan.pipeline, &plan.job)),
            wire::encode(merge).into(),
        )
        .await?)
}

/// Removes a plan, first of all what makes it final. Its sets stay: another plan writes its own over them.
pub async fn discard(store: &Store, pipeline: &PipelineKey, job: &GlobalId) -> Result<(), StoreError> {
    let key = plan_key(pipeline, job);
    store.delete(&merge_key(&key)).await?;
    store.delete(&key).await
}

/// Reads back a plan; `None` unless it is final.
pub async fn read(store: &Store, key: &str) -> Result<Option<(JobPlan, MergePlan)>, PlanError> {
    let Some(bytes) = store.get_opt(key).await? else {
        return Ok(None);
    };
    let plan: JobPlan = wire::decode(&bytes)?;
    if let Some(single) = &plan.single_object {
        let merge = MergePlan::deserialize(&single.merge).map_err(|source| WireError::BadBody {
            kind: JobPlan::KIND,
            source: source.into(),
        })?;
        return Ok(Some((plan, merge)));
    }
    let Some(bytes) = store.get_opt(&merge_key(key)).await? else {
        return Ok(None);
    };
    let merge = wire::decode(&bytes)?;
    Ok(Some((plan, merge)))
}
