//! The typed pipeline spec.
//!
//! The serde form of these types *is* the canonical JSON of a spec (camelCase, durations in seconds, no unset fields),
//! so the log, the API and the printed spec agree. `Deserialize` here accepts canonical JSON only;
//! [`parse`](crate::parse) accepts all forms that users write.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration::seconds;

mod forms;
mod input;
mod placement;
mod target;

use forms::{constant, is_default, project};
pub use input::{CronInput, Input, PfsInput, PropagationSpec, RepoType, TriggerSpec};
pub use placement::{GpuSpec, Metadata, ResourceSpec, SchedulingSpec, TaintEffect, Toleration, TolerationOperator};
pub use target::{
    Determined, Egress, FileFormat, FileFormatKind, ObjectStorageEgress, Service, ServiceType, Spout,
    SqlDatabaseEgress, SqlSecret,
};

/// A pipeline specification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PipelineSpec {
    /// Project and name of the pipeline.
    pub pipeline: PipelineId,
    /// Free text shown in listings.
    #[serde(skip_serializing_if = "is_default")]
    pub description: String,
    /// Annotations and labels for the containers of the pipeline.
    #[serde(skip_serializing_if = "is_default")]
    pub metadata: Option<Metadata>,
    /// The user code and its environment.
    pub transform: Transform,
    /// Most datum sets that are processed at the same time, over all workers; at least 1.
    #[serde(rename = "parallelismSpec", with = "constant")]
    pub parallelism: u64,
    /// The input that the datums come from; `None` for a spout.
    #[serde(skip_serializing_if = "is_default")]
    pub input: Option<Input>,
    /// The branch of the output repo that jobs write to.
    pub output_branch: String,
    /// The user code writes output to an S3 endpoint, not to the output directory.
    #[serde(skip_serializing_if = "is_default")]
    pub s3_out: bool,
    /// The target that finished output is copied to.
    #[serde(skip_serializing_if = "is_default")]
    pub egress: Option<Egress>,
    /// Change the pipeline if it exists.
    #[serde(skip_serializing_if = "is_default")]
    pub update: bool,
    /// With an update: process every datum again.
    #[serde(skip_serializing_if = "is_default")]
    pub reprocess: bool,
    /// Only validate, and return the effective spec.
    #[serde(skip_serializing_if = "is_default")]
    pub dry_run: bool,
    /// When a processed datum is processed again.
    pub reprocess_spec: ReprocessSpec,
    /// Text mixed into every datum hash; chosen at random on creation when absent.
    #[serde(skip_serializing_if = "is_default")]
    pub salt: Option<String>,
    /// Tries of each datum, at least 1.
    pub datum_tries: u32,
    /// Time limit of one run of the user command; `None` means no limit.
    #[serde(skip_serializing_if = "is_default", with = "seconds")]
    pub datum_timeout: Option<Duration>,
    /// Time limit of a job; `None` means no limit.
    #[serde(skip_serializing_if = "is_default", with = "seconds")]
    pub job_timeout: Option<Duration>,
    /// How datums are grouped into datum sets.
    #[serde(skip_serializing_if = "is_default")]
    pub datum_set_spec: Option<DatumSetSpec>,
    /// Run no workers while the pipeline is idle.
    #[serde(skip_serializing_if = "is_default")]
    pub autoscaling: bool,
    /// Resources that the user container requests.
    #[serde(skip_serializing_if = "is_default")]
    pub resource_requests: Option<ResourceSpec>,
    /// Upper limits for the user container.
    #[serde(skip_serializing_if = "is_default")]
    pub resource_limits: Option<ResourceSpec>,
    /// Resources that the storage container requests.
    #[serde(skip_serializing_if = "is_default")]
    pub sidecar_resource_requests: Option<ResourceSpec>,
    /// Upper limits for the storage container.
    #[serde(skip_serializing_if = "is_default")]
    pub sidecar_resource_limits: Option<ResourceSpec>,
    /// Placement of workers.
    #[serde(skip_serializing_if = "is_default")]
    pub scheduling_spec: Option<SchedulingSpec>,
    /// Node taints that workers tolerate.
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
    /// Alert when workers run longer than this.
    #[serde(skip_serializing_if = "is_default", with = "seconds")]
    pub maximum_expected_uptime: Option<Duration>,
    /// Settings of a training product; stored but not used.
    #[serde(skip_serializing_if = "is_default")]
    pub determined: Option<Determined>,
    /// An existing spec commit to adopt; for a restore only.
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
    /// The project; empty only in a user spec without one.
    #[serde(with = "project", skip_serializing_if = "is_default")]
    pub project: String,
    /// Name within the project.
    pub name: String,
}

/// The user code of a pipeline and its environment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Transform {
    /// Container image.
    pub image: String,
    /// The argument vector; no shell is involved.
    #[serde(skip_serializing_if = "is_default")]
    pub cmd: Vec<String>,
    /// The lines of the standard input of the command.
    #[serde(skip_serializing_if = "is_default")]
    pub stdin: Vec<String>,
    /// The command that runs after a failed try.
    #[serde(skip_serializing_if = "is_default")]
    pub err_cmd: Vec<String>,
    /// The lines of the standard input of `err_cmd`.
    #[serde(skip_serializing_if = "is_default")]
    pub err_stdin: Vec<String>,
    /// Additional environment variables.
    #[serde(skip_serializing_if = "is_default")]
    pub env: BTreeMap<String, String>,
    /// Secrets, as files or as environment variables.
    #[serde(skip_serializing_if = "is_default")]
    pub secrets: Vec<SecretMount>,
    /// Names of registry credentials.
    #[serde(skip_serializing_if = "is_default")]
    pub image_pull_secrets: Vec<String>,
    /// Exit codes that count as success, in addition to 0.
    #[serde(skip_serializing_if = "is_default")]
    pub accept_return_code: Vec<i64>,
    /// The worker logs more.
    #[serde(skip_serializing_if = "is_default")]
    pub debug: bool,
    /// `name`, `uid`, `name:group` or `uid:gid`; empty means the user of the image.
    #[serde(skip_serializing_if = "is_default")]
    pub user: String,
    /// The working directory of the command; empty means that of the image.
    #[serde(skip_serializing_if = "is_default")]
    pub working_dir: String,
    /// Ignored; image building used it.
    #[serde(skip_serializing_if = "is_default")]
    pub dockerfile: String,
    /// Keeps the scratch space in memory.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_volume: bool,
    /// The command iterates over the datums itself.
    #[serde(skip_serializing_if = "is_default")]
    pub datum_batching: bool,
    /// Inputs are private copies that the user code may modify.
    #[serde(skip_serializing_if = "is_default")]
    pub writable_inputs: bool,
    /// What the datums of a pipeline may see of each other in their container.
    #[serde(skip_serializing_if = "is_default")]
    pub isolation: Isolation,
}

/// What the datums of a pipeline may see of each other in their container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Datums run in the same container, one after the other. The folders for temporary files are emptied between
    /// them; files elsewhere stay.
    #[default]
    Warm,
    /// Each try of a datum runs in a new container.
    Strict,
}

/// A secret given to the user code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretMount {
    /// Name of the secret.
    pub name: String,
    /// A key of the secret; empty means all keys.
    #[serde(skip_serializing_if = "is_default")]
    pub key: String,
    /// The directory that has the keys as files.
    #[serde(skip_serializing_if = "is_default")]
    pub mount_path: String,
    /// The variable with the value of the key.
    #[serde(skip_serializing_if = "is_default")]
    pub env_var: String,
}

/// When a processed datum is processed again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReprocessSpec {
    /// Never after a success.
    #[default]
    UntilSuccess,
    /// In every job.
    EveryJob,
    /// When the code changed: image digest, commands, their standard input, environment, working directory or user.
    OnCodeChange,
}

/// How datums are grouped into sets. Zero means unset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DatumSetSpec {
    /// The largest number of datums in a set; ignored when `size_bytes` is set.
    #[serde(skip_serializing_if = "is_default")]
    pub number: u64,
    /// A new set starts when the current one has this many input bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub size_bytes: u64,
    /// The desired number of sets for each unit of parallelism, if neither of the others is set; unset counts as 4.
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
