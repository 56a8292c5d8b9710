//! The log objects of a job: the lines of the runs of its datum sets.

use std::collections::BTreeMap;

use howdah_model::JobKey;
use howdah_protocol::objects::{LogObject, PlanId, SetResult, result_key, run_of_log_key};
use howdah_store::{ObjectMeta, Store};
use tonic::Status;

use crate::services::pps::known_datums::decode;
use crate::services::status::IntoStatus;

/// Returns the log objects of a job, in the order of the sets.
///
/// # Errors
/// When the store fails, or an object is not named like a log.
pub(super) async fn log_objects(store: &Store, job: &JobKey) -> Result<Vec<ObjectMeta>, Status> {
    let prefix = format!("logs/{}/{}/{}/", job.pipeline.project, job.pipeline.name, job.id);
    let objects = store.list(&prefix).await.map_err(IntoStatus::into_status)?;
    let mut sets: BTreeMap<u32, Vec<ObjectMeta>> = BTreeMap::new();
    for object in objects {
        let set = set_of_key(&object.key)
            .ok_or_else(|| Status::data_loss(format!("object {} is not named like a log", object.key)))?;
        sets.entry(set).or_default().push(object);
    }
    let mut found = Vec::new();
    for (set, mut logs) in sets {
        if logs.iter().filter(|log| run_of_log_key(&log.key).is_none()).count() > 1 {
            // Workers of an earlier release stored complete logs only. Of several, the one of the result that counts is
            // shown.
            let counted = log_of_result(store, job, set).await?;
            let counts = |key: &String| counted.as_ref().is_none_or(|counted| counted == key);
            logs.retain(|log| run_of_log_key(&log.key).is_some() || counts(&log.key));
        }
        found.append(&mut logs);
    }
    Ok(found)
}

/// Reads a log object; `None` if there is none.
///
/// # Errors
/// When the store fails, or the object is not a log.
pub(super) async fn read_log(store: &Store, key: &str) -> Result<Option<LogObject>, Status> {
    let bytes = store.get_opt(key).await.map_err(IntoStatus::into_status)?;
    bytes.map(|bytes| decode(&bytes)).transpose()
}

/// Returns the key of the log that the result of a set names; none without a result. Only an earlier release has written
/// logs of which this must be known, and so the result.
async fn log_of_result(store: &Store, job: &JobKey, set: u32) -> Result<Option<String>, Status> {
    let result = store
        .get_opt(&result_key(&job.pipeline, &job.id, PlanId::EARLIER, set))
        .await;
    match result.map_err(IntoStatus::into_status)? {
        Some(bytes) => Ok(decode::<SetResult>(&bytes)?.log_key),
        None => Ok(None),
    }
}

/// Reads the number of the set from the key of its log.
pub(super) fn set_of_key(key: &str) -> Option<u32> {
    let (_, name) = key.rsplit_once('/')?;
    let digits = name.split_once('-').map_or(name, |(digits, _)| digits);
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use howdah_model::PipelineKey;

    #[test]
    fn the_key_of_a_log_has_the_set_whatever_the_name_of_the_worker() {
        let pipeline: PipelineKey = "default/edges".parse().expect("a pipeline");
        let id = howdah_model::GlobalId::from_number(1);
        let key = howdah_protocol::objects::log_key(&pipeline, &id, 12, "host-1-2");
        assert_eq!(set_of_key(&key), Some(12));
        assert_eq!(set_of_key("logs/x"), None);
    }
}
