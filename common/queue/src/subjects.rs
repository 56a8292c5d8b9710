//! Names of subjects, streams and consumers: both sides get them here.
//!
//! Names of projects and pipelines hold only `a-zA-Z0-9_-`, so they are legal subject tokens as
//! they are. A consumer's name must tell them apart again although either may hold `_` and `-`;
//! hence the length in front.

use howdah_model::ids::GlobalId;
use howdah_model::names::{PipelineKey, PipelineName, ProjectName};

/// Stream that holds the datum sets waiting for a worker.
pub const DATUM_STREAM: &str = "HOWDAH_DATUMS";
/// Everything in [`DATUM_STREAM`].
pub const DATUM_SUBJECTS: &str = "howdah.datums.>";
/// Notices about sets.
pub const SET_EVENTS: &str = "howdah.results";
/// Signs of life.
pub const PRESENCE: &str = "howdah.presence";
/// The list of pipelines to serve has changed.
pub const WAKE_UP: &str = "howdah.wake";
/// Streams were made again: whatever was published earlier may be gone.
pub const REBUILT: &str = "howdah.rebuilt";
/// Requests to resolve an image; one worker answers.
pub const RESOLVE: &str = "howdah.ctl.resolve";
/// Queue group that shares [`RESOLVE`].
pub const WORKER_GROUP: &str = "workers";
/// Jobs to stop working on.
pub const CANCEL: &str = "howdah.ctl.cancel";
/// Datums to begin again.
pub const RESTART: &str = "howdah.ctl.restart";
/// Stages to have running.
pub const PREWARM: &str = "howdah.ctl.standing";
/// Log lines of all pipelines.
pub const ALL_LOGS: &str = "howdah.logs.>";

/// Returns the subject that a job's sets are published on.
///
/// The job is part of it so that [`crate::Queue::purge_job`] can take back one job's work.
pub fn datums(pipeline: &PipelineKey, job: &GlobalId) -> String {
    format!("howdah.datums.{}.{}.{job}", pipeline.project, pipeline.name)
}

/// Returns the filter that covers the sets of all jobs of a pipeline.
pub fn datum_filter(pipeline: &PipelineKey) -> String {
    format!("howdah.datums.{}.{}.*", pipeline.project, pipeline.name)
}

/// Returns the subject of a pipeline's log lines.
pub fn logs(pipeline: &PipelineKey) -> String {
    format!("howdah.logs.{}.{}", pipeline.project, pipeline.name)
}

/// Returns the name of a pipeline's durable consumer.
pub fn consumer(pipeline: &PipelineKey) -> String {
    let project = pipeline.project.to_string();
    format!("p{}_{project}_{}", project.len(), pipeline.name)
}

/// Reads a pipeline from the name of its consumer; `None` for names that are not ours.
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
    fn consumers_tell_pipelines_apart_and_lead_back_to_them() {
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
