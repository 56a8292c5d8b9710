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

/// Returns the common prefix of the keys of all results of a job.
pub fn results_prefix(pipeline: &PipelineKey, job: &GlobalId) -> String {
    keys::job_results(&pipeline.project, &pipeline.name, job)
}

/// Returns the key of a set's result.
pub fn result_key(pipeline: &PipelineKey, job: &GlobalId, set: u32) -> String {
    keys::job_result(&pipeline.project, &pipeline.name, job, set)
}

/// Returns the number of the set of a result's key; `None` if the key is not one of a result.
pub fn set_of_result_key(key: &str) -> Option<u32> {
    keys::trailing_number(key).and_then(|number| u32::try_from(number).ok())
}

/// Returns the key of the log lines that one worker wrote for a set.
///
/// The worker is part of the key, because a set may run on two workers. The stored result names the log of its own
/// run; the other run cannot overwrite it.
pub fn log_key(pipeline: &PipelineKey, job: &GlobalId, set: u32, worker: &str) -> String {
    let key = keys::job_log(&pipeline.project, &pipeline.name, job, set);
    format!("{key}-{worker}")
}
