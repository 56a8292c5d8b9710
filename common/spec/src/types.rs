//! The typed pipeline spec.
//!
//! The serde form of these types *is* the canonical JSON of a spec (camelCase, durations in seconds, unset
//! fields left out), so the log, the API and the printed spec agree. Reading what people write is the job of
//! [`parse`](crate::parse); `Deserialize` here takes canonical JSON only.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration::seconds;

mod forms;
mod input;
mod placement;
mod target;

use forms::{constant, is_default, project};
pub use input::{CronInput, Input, InputRepoType, PfsInput, PropagationSpec, TriggerSpec};
pub use placement::{GpuSpec, Metadata, ResourceSpec, SchedulingSpec, TaintEffect, Toleration, TolerationOperator};
pub use target::{
    Determined, Egress, FileFormat, FileFormatKind, ObjectStorageEgress, Service, ServiceType, Spout,
    SqlDatabaseEgress, SqlSecret,
};

/// A pipeline specification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PipelineSpec {
    /// Which pipeline this is.
    pub pipeline: PipelineId,
    /// Free text shown in listings.
    #[serde(skip_serializing_if = "is_default")]
    pub description: String,
    /// Annotations and labels for what the pipeline deploys.
    #[serde(skip_serializing_if = "is_default")]
    pub metadata: Option<Metadata>,
    /// What to run.
    pub transform: Transform,
    /// Number of workers, at least 1.
    #[serde(rename = "parallelismSpec", with = "constant")]
    pub parallelism: u64,
    /// Where the datums come from; none for spouts.
    #[serde(skip_serializing_if = "is_default")]
    pub input: Option<Input>,
    /// Branch of the output repo that is written to.
    pub output_branch: String,
    /// Output goes through an S3 endpoint instead of the output directory.
    #[serde(skip_serializing_if = "is_default")]
    pub s3_out: bool,
    /// Where finished output is copied to.
    #[serde(skip_serializing_if = "is_default")]
    pub egress: Option<Egress>,
    /// Change the pipeline if it exists.
    #[serde(skip_serializing_if = "is_default")]
    pub update: bool,
    /// With an update: do every datum again.
    #[serde(skip_serializing_if = "is_default")]
    pub reprocess: bool,
    /// Only validate and work out the effective spec.
    #[serde(skip_serializing_if = "is_default")]
    pub dry_run: bool,
    /// When datums are done again.
    pub reprocess_spec: ReprocessSpec,
    /// Text mixed into every datum hash; chosen at random on creation when absent.
    #[serde(skip_serializing_if = "is_default")]
    pub salt: Option<String>,
    /// Attempts per datum, at least 1.
    pub datum_tries: u32,
    /// Limit on one run of the user command; none means no limit.
    #[serde(skip_serializing_if = "is_default", with = "seconds")]
    pub datum_timeout: Option<Duration>,
    /// Limit on the wall time of a job; none means no limit.
    #[serde(skip_serializing_if = "is_default", with = "seconds")]
    pub job_timeout: Option<Duration>,
    /// How datums are grouped into the units handed to workers.
    #[serde(skip_serializing_if = "is_default")]
    pub datum_set_spec: Option<DatumSetSpec>,
    /// No workers while idle.
    #[serde(skip_serializing_if = "is_default")]
    pub autoscaling: bool,
    /// Resources asked for the user container.
    #[serde(skip_serializing_if = "is_default")]
    pub resource_requests: Option<ResourceSpec>,
    /// Most the user container may use.
    #[serde(skip_serializing_if = "is_default")]
    pub resource_limits: Option<ResourceSpec>,
    /// Resources asked for the storage container.
    #[serde(skip_serializing_if = "is_default")]
    pub sidecar_resource_requests: Option<ResourceSpec>,
    /// Most the storage container may use.
    #[serde(skip_serializing_if = "is_default")]
    pub sidecar_resource_limits: Option<ResourceSpec>,
    /// Where workers may be placed.
    #[serde(skip_serializing_if = "is_default")]
    pub scheduling_spec: Option<SchedulingSpec>,
    /// Taints that workers tolerate.
    #[serde(skip_serializing_if = "is_default")]
    pub tolerations: Vec<Toleration>,
    /// JSON object merged over the generated pod spec.
    #[serde(skip_serializing_if = "is_default")]
    pub pod_spec: String,
    /// JSON patch applied to the generated pod spec.
    #[serde(skip_serializing_if = "is_default")]
    pub pod_patch: String,
    /// Makes the pipeline a service.
    #[serde(skip_serializing_if = "is_default")]
    pub service: Option<Service>,
    /// Makes the pipeline a spout.
    #[serde(skip_serializing_if = "is_default")]
    pub spout: Option<Spout>,
    /// Alert when workers have been up longer than this.
    #[serde(skip_serializing_if = "is_default", with = "seconds")]
    pub maximum_expected_uptime: Option<Duration>,
    /// Ties to a training product; stored only.
    #[serde(skip_serializing_if = "is_default")]
    pub determined: Option<Determined>,
    /// Existing spec commit to adopt (restore only).
    #[serde(skip_serializing_if = "is_default")]
    pub spec_commit: Option<SpecCommit>,
}

impl Default for PipelineSpec {
    fn default() -> Self {
        PipelineSpec {
            pipeline: PipelineId::default(),
            description: String::new(),
            metadata: None,
            transform: Transform::default(),
            parallelism: 1,
            input: None,
            output_branch: "master".to_owned(),
            s3_out: false,
            egress: None,
            update: false,
            reprocess: false,
            dry_run: false,
            reprocess_spec: ReprocessSpec::default(),
            salt: None,
            datum_tries: 3,
            datum_timeout: None,
            job_timeout: None,
            datum_set_spec: None,
            autoscaling: false,
            resource_requests: None,
            resource_limits: None,
            sidecar_resource_requests: None,
            sidecar_resource_limits: None,
            scheduling_spec: None,
            tolerations: Vec::new(),
            pod_spec: String::new(),
            pod_patch: String::new(),
            service: None,
            spout: None,
            maximum_expected_uptime: None,
            determined: None,
            spec_commit: None,
        }
    }
}

/// Project and name of a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PipelineId {
    /// Project; empty only in a user spec that names none.
    #[serde(with = "project", skip_serializing_if = "is_default")]
    pub project: String,
    /// Name within the project.
    pub name: String,
}

/// What a pipeline runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Transform {
    /// Container image.
    pub image: String,
    /// Argument vector, not run through a shell.
    #[serde(skip_serializing_if = "is_default")]
    pub cmd: Vec<String>,
    /// Lines fed to the command's standard input.
    #[serde(skip_serializing_if = "is_default")]
    pub stdin: Vec<String>,
    /// Command run after a failed try.
    #[serde(skip_serializing_if = "is_default")]
    pub err_cmd: Vec<String>,
    /// Lines fed to `err_cmd`'s standard input.
    #[serde(skip_serializing_if = "is_default")]
    pub err_stdin: Vec<String>,
    /// Extra environment.
    #[serde(skip_serializing_if = "is_default")]
    pub env: BTreeMap<String, String>,
    /// Secrets mounted or put into the environment.
    #[serde(skip_serializing_if = "is_default")]
    pub secrets: Vec<SecretMount>,
    /// Names of registry credentials.
    #[serde(skip_serializing_if = "is_default")]
    pub image_pull_secrets: Vec<String>,
    /// Exit codes counted as success beside 0.
    #[serde(skip_serializing_if = "is_default")]
    pub accept_return_code: Vec<i64>,
    /// More worker logging.
    #[serde(skip_serializing_if = "is_default")]
    pub debug: bool,
    /// `name`, `uid`, `name:group` or `uid:gid`; empty means the image's user.
    #[serde(skip_serializing_if = "is_default")]
    pub user: String,
    /// Directory the command starts in; empty means the image's.
    #[serde(skip_serializing_if = "is_default")]
    pub working_dir: String,
    /// Ignored; once used by image building.
    #[serde(skip_serializing_if = "is_default")]
    pub dockerfile: String,
    /// Backs the scratch space with memory.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_volume: bool,
    /// The command loops over datums itself.
    #[serde(skip_serializing_if = "is_default")]
    pub datum_batching: bool,
    /// Inputs are private copies that the code may modify.
    #[serde(skip_serializing_if = "is_default")]
    pub writable_inputs: bool,
}

/// A secret given to the user code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretMount {
    /// Name of the secret.
    pub name: String,
    /// Key within the secret; empty means all keys.
    #[serde(skip_serializing_if = "is_default")]
    pub key: String,
    /// Directory in which keys appear as files.
    #[serde(skip_serializing_if = "is_default")]
    pub mount_path: String,
    /// Variable that gets the key's value.
    #[serde(skip_serializing_if = "is_default")]
    pub env_var: String,
}

/// When datums that were done already are done again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReprocessSpec {
    /// Never, once they succeeded.
    #[default]
    UntilSuccess,
    /// In every job.
    EveryJob,
    /// When the code (image digest, commands, environment, secrets ...) changed.
    OnCodeChange,
}

/// How datums are grouped into sets. Zero means unset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DatumSetSpec {
    /// At most this many datums per set; ignored when `size_bytes` is set.
    #[serde(skip_serializing_if = "is_default")]
    pub number: u64,
    /// A new set starts once this many input bytes are in the present one.
    #[serde(skip_serializing_if = "is_default")]
    pub size_bytes: u64,
    /// Sets per worker aimed for when neither of the others is set; unset counts as 4.
    #[serde(skip_serializing_if = "is_default")]
    pub per_worker: u64,
}

/// A commit named by a spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpecCommit {
    /// Id of the commit.
    #[serde(skip_serializing_if = "is_default")]
    pub id: String,
    /// Repo of the commit.
    #[serde(skip_serializing_if = "is_default")]
    pub repo: Option<SpecRepo>,
    /// Branch of the commit.
    #[serde(skip_serializing_if = "is_default")]
    pub branch: Option<SpecBranch>,
}

/// A branch named by a [`SpecCommit`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpecBranch {
    /// Repo of the branch.
    #[serde(skip_serializing_if = "is_default")]
    pub repo: Option<SpecRepo>,
    /// Name of the branch.
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
}

/// A repo named by a [`SpecCommit`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpecRepo {
    /// Project of the repo.
    #[serde(with = "project", skip_serializing_if = "is_default")]
    pub project: String,
    /// Name of the repo.
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
    /// Type of the repo: `user`, `meta` or `spec`.
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub kind: String,
}
