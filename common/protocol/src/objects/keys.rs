//! Keys of a job's objects in the store.

use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use howdah_store::keys;

/// Returns the key of a job's plan.
pub fn plan_key(pipeline: &PipelineKey, job: &GlobalId) -> String {
    keys::job_plan(&pipeline.project, &pipeline.name, job)
}

/// Returns the key of a datum set.
pub fn set_key(pipeline: &PipelineKey, job: &GlobalId, set: u32) -> String {
    keys::job_set(&pipeline.project, &pipeline.name, job, set)
}

/// Returns the prefix that all results of a job share.
pub fn results_prefix(pipeline: &PipelineKey, job: &GlobalId) -> String {
    keys::job_results(&pipeline.project, &pipeline.name, job)
}

/// Returns the key of a set's result.
pub fn result_key(pipeline: &PipelineKey, job: &GlobalId, set: u32) -> String {
    keys::job_result(&pipeline.project, &pipeline.name, job, set)
}

/// Reads the set's number from a result's key.
pub fn set_of_result_key(key: &str) -> Option<u32> {
    keys::trailing_number(key).and_then(|number| u32::try_from(number).ok())
}

/// Returns the key of a set's log lines as one worker wrote them.
///
/// The worker's name is part of the key: when a set ran twice, the result that counts names the
/// log that belongs to it.
pub fn log_key(pipeline: &PipelineKey, job: &GlobalId, set: u32, worker: &str) -> String {
    let key = keys::job_log(&pipeline.project, &pipeline.name, job, set);
    format!("{key}-{worker}")
}
