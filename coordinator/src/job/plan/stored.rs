//! Plans in the store.
//!
//! ```text
//!  <plan key>         JobPlan, for workers; of a small plan with everything in it (SingleObjectPlan)
//!  <set key> ...      one DatumSet each
//!  <plan key>-merge   MergePlan: written last, makes the plan final
//! ```

use howdah_model::{DatumId, GlobalId, PipelineKey};
use howdah_protocol::objects::{
    DatumSet, JobPlan, PlanId, SingleObjectPlan, plan_key, results_prefix, set_key, sets_prefix,
};
use howdah_protocol::wire::{self, Wire, WireError};
use howdah_store::{Store, StoreError};
use serde::Deserialize;

use super::error::PlanError;
use super::merge_plan::MergePlan;

/// Returns the key of the [`MergePlan`] that belongs to the plan with a key.
fn merge_key(plan: &str) -> String {
    format!("{plan}-merge")
}

/// Largest single-object plan. Workers read the whole object and need little of it.
const SINGLE_OBJECT_LIMIT_BYTES: usize = 16 << 10;

/// Tells whether a plan is small enough for a single object. `set_bytes` is the size of its only set, `dropped` the number
/// of datums that it drops.
pub fn fits_single_object(set_bytes: usize, dropped: usize) -> bool {
    set_bytes + dropped * size_of::<DatumId>() <= SINGLE_OBJECT_LIMIT_BYTES
}

/// Writes a plan of one set at most as a single object, which is final at once.
pub async fn write_single_object(
    store: &Store,
    plan: &JobPlan,
    set: Option<DatumSet>,
    merge: &MergePlan,
) -> Result<(), PlanError> {
    let merge = serde_json::to_value(merge).expect("numbers, ids and lists of them always have a JSON form");
    let single = JobPlan {
        single_object: Some(Box::new(SingleObjectPlan { set, merge })),
        ..plan.clone()
    };
    write_job(store, &single).await
}

/// Returns a set of a final plan, from the plan itself or from the set's own object.
pub async fn read_set(store: &Store, plan: &JobPlan, set: u32) -> Result<DatumSet, PlanError> {
    let in_plan = plan.single_object.as_ref().and_then(|single| single.set.as_ref());
    if let Some(known) = in_plan.filter(|known| known.set == set) {
        return Ok(known.clone());
    }
    let stored = store.get(&set_key(&plan.pipeline, &plan.job, plan.id, set)).await?;
    Ok(wire::decode(&stored)?)
}

/// Writes the job part: what workers need to know before they get the first set.
pub async fn write_job(store: &Store, plan: &JobPlan) -> Result<(), PlanError> {
    let key = plan_key(&plan.pipeline, &plan.job);
    Ok(store.put(&key, wire::encode(plan).into()).await?)
}

/// Writes one set. Returns its size in bytes.
pub async fn write_set(store: &Store, plan: &JobPlan, set: &DatumSet) -> Result<usize, PlanError> {
    let key = set_key(&plan.pipeline, &plan.job, plan.id, set.set);
    let bytes = wire::encode(set);
    let length = bytes.len();
    store.put(&key, bytes.into()).await?;
    Ok(length)
}

/// Writes the merge part, which makes the plan final. All its sets must be written.
pub async fn write_merge(store: &Store, plan: &JobPlan, merge: &MergePlan) -> Result<(), PlanError> {
    Ok(store
        .put(
            &merge_key(&plan_key(&plan.pipeline, &plan.job)),
            wire::encode(merge).into(),
        )
        .await?)
}

/// Removes the plan of a job with its sets and results: first the merge part, so that a crash in between leaves a plan
/// that is not final, and the next driver none that it would resume.
pub async fn discard(store: &Store, pipeline: &PipelineKey, job: &GlobalId) -> Result<(), StoreError> {
    let key = plan_key(pipeline, job);
    store.delete(&merge_key(&key)).await?;
    store.delete(&key).await?;
    for prefix in [results_prefix(pipeline, job), sets_prefix(pipeline, job)] {
        for object in store.list(&prefix).await? {
            store.delete(&object.key).await?;
        }
    }
    Ok(())
}

/// Returns the identity of the plan of a job, final or not; `None` if there is no plan that can be read.
pub async fn identity(store: &Store, pipeline: &PipelineKey, job: &GlobalId) -> Option<PlanId> {
    let bytes = store.get_opt(&plan_key(pipeline, job)).await.ok()??;
    wire::decode::<JobPlan>(&bytes).ok().map(|plan| plan.id)
}

/// Reads a plan back; `None` unless it is final.
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
