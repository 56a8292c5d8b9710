//! Names of subjects, streams and consumers. No other module spells one.
//!
//! Every name contains the id of the installation ([`howdah_protocol::installation::Installation`]), so that several
//! installations can share a server. Streams of releases without an id (`HOWDAH_DATUMS`) are not used.
//!
//! Names of projects and pipelines consist of `a-zA-Z0-9_-` and are legal tokens of a subject. The name of a consumer
//! contains both names, separated by `_`. Both names may contain `_` themselves. The name of a consumer therefore
//! contains the length of the project's name.

use howdah_model::ids::GlobalId;
use howdah_model::names::{PipelineKey, PipelineName, ProjectName};

/// Queue group of all workers: the server sends each request to one member.
pub const WORKER_GROUP: &str = "workers";

/// The names of one installation.
#[derive(Clone, Debug)]
pub struct Names {
    cluster: String,
}

impl Names {
    /// Makes the names of an installation, given its id.
    pub fn new(cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
        }
    }

    fn subject(&self, rest: &str) -> String {
        format!("howdah.{}.{rest}", self.cluster)
    }

    /// Returns the stream of the datum sets that wait for a worker.
    pub fn stream(&self) -> String {
        format!("HOWDAH_DATUMS_{}", self.cluster)
    }

    /// Returns the filter for all subjects of the stream.
    pub fn all_datums(&self) -> String {
        self.subject("datums.>")
    }

    /// Returns the subject of set events.
    pub fn set_events(&self) -> String {
        self.subject("results")
    }

    /// Returns the subject of the heartbeats of workers.
    pub fn presence(&self) -> String {
        self.subject("presence")
    }

    /// Returns the subject of reports that the server does not deliver sets.
    pub fn stalled(&self) -> String {
        self.subject("stalled")
    }

    /// Returns the subject of changes of the list of pipelines with a consumer.
    pub fn wake_up(&self) -> String {
        self.subject("wake")
    }

    /// Returns the subject of the notice that the stream was created again. Messages that were published earlier may be lost.
    pub fn rebuilt(&self) -> String {
        self.subject("rebuilt")
    }

    /// Returns the subject of requests to resolve an image; one worker of [`WORKER_GROUP`] answers.
    pub fn resolve(&self) -> String {
        self.subject("ctl.resolve")
    }

    /// Returns the subject of orders to stop working on a job.
    pub fn cancel(&self) -> String {
        self.subject("ctl.cancel")
    }

    /// Returns the subject of orders to run datums again.
    pub fn restart(&self) -> String {
        self.subject("ctl.restart")
    }

    /// Returns the subject of prewarm orders.
    pub fn prewarm(&self) -> String {
        self.subject("ctl.standing")
    }

    /// Returns the filter for live log lines of all pipelines.
    pub fn all_logs(&self) -> String {
        self.subject("logs.>")
    }

    /// Returns the subject of the live log lines of a pipeline.
    pub fn logs(&self, pipeline: &PipelineKey) -> String {
        self.subject(&format!("logs.{}.{}", pipeline.project, pipeline.name))
    }

    /// Returns the subject that a job's sets are published on.
    ///
    /// The job is part of it, so that [`crate::CoordinatorQueue::purge_job`] can remove the sets of one job.
    pub fn datums(&self, pipeline: &PipelineKey, job: &GlobalId) -> String {
        self.subject(&format!("datums.{}.{}.{job}", pipeline.project, pipeline.name))
    }

    /// Returns the filter that covers the sets of all jobs of a pipeline.
    pub fn datum_filter(&self, pipeline: &PipelineKey) -> String {
        self.subject(&format!("datums.{}.{}.*", pipeline.project, pipeline.name))
    }

    /// Returns the name of the consumer of a pipeline.
    pub fn consumer(&self, pipeline: &PipelineKey) -> String {
        let project = pipeline.project.to_string();
        format!("{}_p{}_{project}_{}", self.cluster, project.len(), pipeline.name)
    }

    /// Returns the pipeline of a consumer by its name; `None` for a name that [`Names::consumer`] does not make.
    pub fn pipeline_of(&self, consumer: &str) -> Option<PipelineKey> {
        let own = consumer.strip_prefix(&self.cluster)?.strip_prefix("_p")?;
        let (length, rest) = own.split_once('_')?;
        let length: usize = length.parse().ok()?;
        let project = rest.get(..length)?;
        let name = rest.get(length..)?.strip_prefix('_')?;
        Some(PipelineKey {
            project: ProjectName::new(project).ok()?,
            name: PipelineName::new(name).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Names;

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
        let names = Names::new("c1");
        let mut made = BTreeSet::new();
        for text in tricky {
            let Ok(pipeline) = text.parse() else { continue };
            let name = names.consumer(&pipeline);
            assert_eq!(names.pipeline_of(&name), Some(pipeline));
            assert!(!name.contains(['.', ' ', '*', '>']));
            assert!(made.insert(name));
        }
        assert!(made.len() >= 7);
        let strangers = [
            "",
            "x",
            "p",
            "c1_p9_a_b",
            "c1_p1_ab",
            "c1_p1_a",
            "c1_pp_a_b",
            "p1_a_b",
            "c2_p1_a_b",
        ];
        for stranger in strangers {
            assert_eq!(names.pipeline_of(stranger), None, "{stranger}");
        }
    }
}
