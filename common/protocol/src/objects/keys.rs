//! Keys of a job's objects in the store.

use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use howdah_store::keys;
use jiff::Timestamp;

use super::plan_id::PlanId;

/// Digits of the time at the end of the key of a run's log. No other log has as many there.
const RUN_DIGITS: usize = 16;

/// Returns the key of a job's plan.
pub fn plan_key(pipeline: &PipelineKey, job: &GlobalId) -> String {
    keys::job_plan(&pipeline.project, &pipeline.name, job)
}

/// Returns the key of a datum set.
pub fn set_key(pipeline: &PipelineKey, job: &GlobalId, plan: PlanId, set: u32) -> String {
    sets_prefix(pipeline, job) + &plan.folder() + &keys::set_name(set)
}

/// Returns the common prefix of the keys of all sets of a job, of whatever plan.
pub fn sets_prefix(pipeline: &PipelineKey, job: &GlobalId) -> String {
    keys::job_sets(&pipeline.project, &pipeline.name, job)
}

/// Returns the common prefix of the keys of all results of a job, of whatever plan.
pub fn results_prefix(pipeline: &PipelineKey, job: &GlobalId) -> String {
    keys::job_results(&pipeline.project, &pipeline.name, job)
}

/// Returns the common prefix of the keys of the results of one plan. Below that of an earlier release are those of other
/// plans, too, see [`set_of_result_key`].
pub fn plan_results_prefix(pipeline: &PipelineKey, job: &GlobalId, plan: PlanId) -> String {
    results_prefix(pipeline, job) + &plan.folder()
}

/// Returns the key of a set's result.
pub fn result_key(pipeline: &PipelineKey, job: &GlobalId, plan: PlanId, set: u32) -> String {
    plan_results_prefix(pipeline, job, plan) + &keys::set_name(set)
}

/// Returns the number of the set of a result's key; `None` if the key is not one of a result of the plan with this
/// prefix.
pub fn set_of_result_key(prefix: &str, key: &str) -> Option<u32> {
    key.strip_prefix(prefix)?.parse().ok()
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
    fn results_of_another_plan_are_not_found_by_their_set() {
        let pipeline: PipelineKey = "default/edges".parse().unwrap();
        let job = GlobalId::from_number(1);
        let (plan, other) = (PlanId::from_random(7), PlanId::from_random(u64::MAX));
        let key = result_key(&pipeline, &job, plan, 12);
        assert!(key.ends_with("/results/0000000000000007/0000000012"), "{key}");
        let of = |plan| set_of_result_key(&plan_results_prefix(&pipeline, &job, plan), &key);
        assert_eq!([of(plan), of(other), of(PlanId::EARLIER)], [Some(12), None, None]);
        let earlier = result_key(&pipeline, &job, PlanId::EARLIER, 12);
        assert!(
            earlier.ends_with("/results/0000000012"),
            "as earlier releases wrote it: {earlier}"
        );
        assert_eq!(set_of_result_key(&results_prefix(&pipeline, &job), &earlier), Some(12));
        assert_eq!(other.to_string().parse(), Ok(other));
    }

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
