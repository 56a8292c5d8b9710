//! Keys of a job's objects in the store.

use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use howdah_store::keys;
use jiff::Timestamp;

/// Digits of the time at the end of the key of a run's log. No other log has as many there.
const RUN_DIGITS: usize = 16;

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

/// Returns the key of the log lines of one run of a set. `run` is its beginning.
///
/// Worker and beginning are part of the key: a set may run several times, also on one worker, and no run may overwrite
/// the lines of another. The stored result names the log of its own run.
pub fn run_log_key(pipeline: &PipelineKey, job: &GlobalId, set: u32, worker: &str, run: Timestamp) -> String {
    let micros = run.as_microsecond().max(0);
    format!("{}-{micros:0RUN_DIGITS$}", log_key(pipeline, job, set, worker))
}

/// Returns the beginning of the run whose log has this key; `None` for a log of an earlier release.
pub fn run_of_log_key(key: &str) -> Option<Timestamp> {
    let (_, digits) = key.rsplit_once('-')?;
    let micros = (digits.len() == RUN_DIGITS).then(|| digits.parse().ok())?;
    Timestamp::from_microsecond(micros?).ok()
}

/// Returns the key of the log lines that one worker of an earlier release wrote for a set.
pub fn log_key(pipeline: &PipelineKey, job: &GlobalId, set: u32, worker: &str) -> String {
    let key = keys::job_log(&pipeline.project, &pipeline.name, job, set);
    format!("{key}-{worker}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_runs_log_has_its_beginning() {
        let pipeline: PipelineKey = "default/edges".parse().unwrap();
        let job = GlobalId::from_number(1);
        let run = Timestamp::from_microsecond(1_764_000_000_123_456).unwrap();
        let key = run_log_key(&pipeline, &job, 3, "host-12-ab12cd", run);
        assert!(key.ends_with("/0000000003-host-12-ab12cd-1764000000123456"), "{key}");
        assert_eq!(run_of_log_key(&key), Some(run));
        assert_eq!(run_of_log_key(&log_key(&pipeline, &job, 3, "host-12-123456")), None);
        assert_eq!(run_of_log_key("logs/x"), None);
    }
}
