//! A job's plan: what all its datum sets have in common, and how a datum is run.

use std::collections::BTreeMap;

use howdah_model::entities::ImagePin;
use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use serde::{Deserialize, Serialize};

use super::DatumSet;
use crate::wire::Wire;

/// What all datum sets of a job have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobPlan {
    /// Pipeline that the job belongs to.
    pub pipeline: PipelineKey,
    /// Version of the pipeline that the job was made with.
    pub version: u64,
    /// The job.
    pub job: GlobalId,
    /// Commit that receives the output.
    pub output_commit: GlobalId,
    /// Commit of the spec repository that holds this version's spec.
    pub spec_commit: Option<GlobalId>,
    /// Handle of the job's input file set, given to user code as `FILESET_ID`.
    #[serde(default)]
    pub file_set: Option<String>,
    /// Salt that went into the datum hashes.
    pub salt: String,
    /// What to run.
    pub stage: StageSpec,
    /// How the job is laid out for the workers there were when it was planned.
    #[serde(default, rename = "spread")]
    pub concurrency: SetConcurrency,
    /// The rest of the plan, where it is so small that one object holds all of it. Workers need not look at it.
    #[serde(rename = "whole", default, skip_serializing_if = "Option::is_none")]
    pub single_object: Option<Box<SingleObjectPlan>>,
}

/// How datum sets lie over slots. Kept with the plan, so that a job that is planned again after a crash gets the sets
/// that it had, and results that are stored fit them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetConcurrency {
    /// A worker does the datums of a set one after the other; how many sets are out bounds how many datums run.
    #[default]
    #[serde(rename = "OneAfterTheOther")]
    Sequential,
    /// A worker may do several datums of a set at once: the pipeline's parallelism allows all slots there are.
    #[serde(rename = "AtOnce")]
    Concurrent {
        /// Number of workers.
        workers: u64,
        /// Slots of the smallest.
        slots: u64,
    },
}

impl SetConcurrency {
    /// Chooses for a pipeline's parallelism and the slots of each of its workers.
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

/// What else belongs to a plan that has no more than one set, and that a small one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SingleObjectPlan {
    /// The only set; `None` if there is nothing to do.
    pub set: Option<DatumSet>,
    /// What the coordinator has to know for merging.
    pub merge: serde_json::Value,
}

impl Wire for JobPlan {
    const KIND: &'static str = "job_plan";
}

/// How to run one datum's command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageSpec {
    /// Image, resolved once per pipeline version.
    pub image: ImagePin,
    /// Program and arguments; run directly, not by a shell.
    pub cmd: Vec<String>,
    /// Lines of standard input for `cmd`; `None` is an empty input.
    #[serde(default)]
    pub stdin: Option<Vec<String>>,
    /// Error handler, if any.
    #[serde(default)]
    pub err_cmd: Option<Vec<String>>,
    /// Lines of standard input for `err_cmd`.
    #[serde(default)]
    pub err_stdin: Option<Vec<String>>,
    /// The spec's environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Exit codes, besides 0, that count as success.
    #[serde(default)]
    pub accept_return_code: Vec<i64>,
    /// `name`, `uid`, `name:group` or `uid:gid`; `None` is the image's user.
    #[serde(default)]
    pub user: Option<String>,
    /// Working directory; `None` is the image's.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// Tries per datum, at least 1.
    pub datum_tries: u32,
    /// Limit on one run of `cmd` (and, separately, of `err_cmd`).
    #[serde(default)]
    pub datum_timeout_ms: Option<u64>,
    /// Gives user code private, writable copies of its inputs.
    #[serde(default)]
    pub writable_inputs: bool,
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
