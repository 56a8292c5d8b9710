//! Names of subjects, streams and consumers. No other module spells one.
//!
//! Names of projects and pipelines consist of `a-zA-Z0-9_-` and are legal tokens of a subject. The name of a consumer
//! contains both names, separated by `_`. Both names may contain `_` themselves. The name of a consumer therefore
//! begins with the length of the project's name.

use howdah_model::ids::GlobalId;
use howdah_model::names::{PipelineKey, PipelineName, ProjectName};

/// Stream of the datum sets that wait for a worker.
pub const DATUM_STREAM: &str = "HOWDAH_DATUMS";
/// All subjects of [`DATUM_STREAM`].
pub const DATUM_SUBJECTS: &str = "howdah.datums.>";
/// Set events.
pub const SET_EVENTS: &str = "howdah.results";
/// Heartbeats of workers.
pub const PRESENCE: &str = "howdah.presence";
/// The list of pipelines with a consumer has changed.
pub const WAKE_UP: &str = "howdah.wake";
/// The stream was created again: anything published earlier may be gone.
pub const REBUILT: &str = "howdah.rebuilt";
/// Requests to resolve an image; one worker of [`WORKER_GROUP`] answers.
pub const RESOLVE: &str = "howdah.ctl.resolve";
/// Queue group of all workers: the server sends each request to one member.
pub const WORKER_GROUP: &str = "workers";
/// Orders to stop working on a job.
pub const CANCEL: &str = "howdah.ctl.cancel";
/// Orders to run datums again.
pub const RESTART: &str = "howdah.ctl.restart";
/// Prewarm orders.
pub const PREWARM: &str = "howdah.ctl.standing";
/// Live log lines of all pipelines.
pub const ALL_LOGS: &str = "howdah.logs.>";

/// Returns the subject that a job's sets are published on.
///
/// The job is part of it, so that [`crate::Queue::purge_job`] can remove the sets of one job.
pub fn datums(pipeline: &PipelineKey, job: &GlobalId) -> String {
    format!("howdah.datums.{}.{}.{job}", pipeline.project, pipeline.name)
}

/// Returns the filter that covers the sets of all jobs of a pipeline.
pub fn datum_filter(pipeline: &PipelineKey) -> String {
    format!("howdah.datums.{}.{}.*", pipeline.project, pipeline.name)
}

/// Returns the subject of the live log lines of a pipeline.
pub fn logs(pipeline: &PipelineKey) -> String {
    format!("howdah.logs.{}.{}", pipeline.project, pipeline.name)
}

/// Returns the name of a pipeline's durable consumer.
pub fn consumer(pipeline: &PipelineKey) -> String {
    let project = pipeline.project.to_string();
    format!("p{}_{project}_{}", project.len(), pipeline.name)
}

/// Returns the pipeline of a consumer by its name; `None` for a name that [`consumer`] does not make.
pub fn pipeline_of(consumer: &str) -> Option<PipelineKey> {
    let (length, rest) = consumer.strip_prefix('p')?.split_once('_')?;
    let length: usize = length.parse().ok()?;
    let project = rest.get(..length)?;
    let name = rest.get(length..)?.strip_prefix('_')?;
    Some(PipelineKey {
        project: ProjectName::new(project).ok()?,
        name: PipelineName::new(name).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{consumer, pipeline_of};

    #[test]
    fn names_of_consumers_are_distinct_and_parse_back() {
        let tricky = [
            "default/a",
            "a_/b",
            "a/_b1",
            "a/b",
            "p1_a/b",
            "a_b/c",
            "a/b_c",
            "1/a-b__c",
        ];
        let mut names = BTreeSet::new();
        for text in tricky {
            let Ok(pipeline) = text.parse() else { continue };
            let name = consumer(&pipeline);
            assert_eq!(pipeline_of(&name), Some(pipeline));
            assert!(!name.contains(['.', ' ', '*', '>']));
            assert!(names.insert(name));
        }
        assert!(names.len() >= 7);
        for stranger in ["", "x", "p", "p9_a_b", "p1_ab", "p1_a", "pp_a_b", "durable"] {
            assert_eq!(pipeline_of(stranger), None, "{stranger}");
        }
    }
}
