//! A job's plan: what all its datum sets have in common, and how a datum is run.

use std::collections::BTreeMap;

use howdah_model::entities::ImagePin;
use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use serde::{Deserialize, Serialize};

use super::DatumSet;
use super::plan_id::PlanId;
use crate::wire::Wire;

/// What all datum sets of a job have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobPlan {
    /// Pipeline of the job.
    pub pipeline: PipelineKey,
    /// Version of the pipeline that the job runs.
    pub version: u64,
    /// The job.
    pub job: GlobalId,
    /// Distinguishes this plan from others of the job.
    #[serde(default, skip_serializing_if = "PlanId::is_earlier")]
    pub id: PlanId,
    /// Commit that receives the output.
    pub output_commit: GlobalId,
    /// Commit of the spec repository that holds this version's spec.
    pub spec_commit: Option<GlobalId>,
    /// Handle of the job's input file set, given to user code as `FILESET_ID`.
    #[serde(default)]
    pub file_set: Option<String>,
    /// Salt that is part of the datum hashes.
    pub salt: String,
    /// How to run each datum.
    pub stage: StageSpec,
    /// Whether the datums of a set run one after the other or several at a time.
    #[serde(default, rename = "spread")]
    pub concurrency: SetConcurrency,
    /// The rest of a small plan, so that one object holds all of it. Only the coordinator reads this.
    #[serde(rename = "whole", default, skip_serializing_if = "Option::is_none")]
    pub single_object: Option<Box<SingleObjectPlan>>,
}

/// How many datums of a set run at a time.
///
/// The choice depends on the workers present at planning time. It is kept with the plan, so that a job that is planned
/// again after a crash is cut into the same sets: stored results fit only those.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetConcurrency {
    /// One datum of a set runs at a time. The number of delivered sets bounds the number of running datums.
    #[default]
    #[serde(rename = "OneAfterTheOther")]
    Sequential,
    /// Several datums of a set may run at a time on one worker. Chosen only if the parallelism of the pipeline allows
    /// all slots of all workers.
    #[serde(rename = "AtOnce")]
    Concurrent {
        /// Number of workers.
        workers: u64,
        /// Number of slots of the smallest worker.
        slots: u64,
    },
}

impl SetConcurrency {
    /// Chooses from the parallelism of a pipeline and the number of slots of each of its workers.
    pub fn over(parallelism: u64, slots: &[u64]) -> Self {
        let all = slots.iter().sum::<u64>();
        match slots.iter().min() {
            Some(least) if parallelism >= all && all > slots.len() as u64 => Self::Concurrent {
                workers: slots.len() as u64,
                slots: *least,
            },
            _ => Self::Sequential,
        }
    }
}

/// The rest of a plan with at most one, small datum set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SingleObjectPlan {
    /// The only set; `None` if no datum has to run.
    pub set: Option<DatumSet>,
    /// What the coordinator needs to merge results; workers do not read it.
    pub merge: serde_json::Value,
}

impl Wire for JobPlan {
    const KIND: &'static str = "job_plan";
}

/// How to start a stage and run the command for one datum in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageSpec {
    /// Image, resolved once per pipeline version.
    pub image: ImagePin,
    /// Program and arguments; started without a shell.
    pub cmd: Vec<String>,
    /// Lines of standard input for `cmd`; `None` means no input.
    #[serde(default)]
    pub stdin: Option<Vec<String>>,
    /// Error handler: program and arguments, run after each failed try of `cmd`.
    #[serde(default)]
    pub err_cmd: Option<Vec<String>>,
    /// Lines of standard input for `err_cmd`.
    #[serde(default)]
    pub err_stdin: Option<Vec<String>>,
    /// Environment variables from the spec.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Exit codes, besides 0, that count as success.
    #[serde(default)]
    pub accept_return_code: Vec<i64>,
    /// `name`, `uid`, `name:group` or `uid:gid`; `None` means the user of the image.
    #[serde(default)]
    pub user: Option<String>,
    /// Working directory; `None` means that of the image.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// Number of tries of each datum, at least 1.
    pub datum_tries: u32,
    /// Time limit of one run of `cmd`, in milliseconds; `err_cmd` has the same limit for itself.
    #[serde(default)]
    pub datum_timeout_ms: Option<u64>,
    /// Whether user code gets private, writable copies of its inputs.
    #[serde(default)]
    pub writable_inputs: bool,
    /// Whether each try of a datum runs in a container in which nothing has run before.
    #[serde(default)]
    pub new_stage_for_each_try: bool,
    /// Memory limit in bytes.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Processor limit in cores.
    #[serde(default)]
    pub cpus: Option<f64>,
    /// Labels for the container, from the spec's metadata.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl StageSpec {
    /// Returns what the start of a container needs, without what only the runs of commands need: no command, no input and
    /// no environment. Such a specification may be sent to all workers.
    pub fn for_start(&self) -> Self {
        Self {
            cmd: Vec::new(),
            stdin: None,
            err_cmd: None,
            err_stdin: None,
            env: BTreeMap::new(),
            ..self.clone()
        }
    }
}
