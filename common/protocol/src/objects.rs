//! What coordinator and workers leave for each other in object storage.
//!
//! Every type here is written by [`crate::wire::encode`] and read by [`crate::wire::decode`]. To types in
//! text, fields are only ever added, each with a default; binary ones get a new version.

use std::collections::BTreeMap;
use std::sync::Arc;

use howdah_model::entities::ImagePin;
use howdah_model::ids::{ContentHash, DatumHash, DatumId, GlobalId, TreeRoot};
use howdah_model::names::{BranchName, PipelineKey, RepoKey};
use howdah_store::{FileContent, Slice, keys};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::wire::{BodyError, Wire};

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

/// The unit of work that is handed to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatumSet {
    /// Number of the set within its job, from 0.
    pub set: u32,
    /// Its datums, processed one after the other.
    pub datums: Vec<Datum>,
}

impl Wire for DatumSet {
    const KIND: &'static str = "datum_set";
    const VERSION: u32 = 3;
    const READS: &'static [u32] = &[2, Self::VERSION];
    const BINARY: bool = true;

    fn decode_older(_version: u32, body: &[u8]) -> Result<Self, BodyError> {
        Ok(postcard::from_bytes::<DatumSetV2>(body)?.into())
    }
}

/// A [`DatumSet`] that does not say where files lie.
#[derive(Deserialize)]
pub(crate) struct DatumSetV2 {
    set: u32,
    datums: Vec<DatumV2>,
}

#[derive(Deserialize)]
struct DatumV2 {
    id: DatumId,
    hash: DatumHash,
    inputs: Vec<DatumInput>,
}

impl From<DatumSetV2> for DatumSet {
    fn from(older: DatumSetV2) -> Self {
        let datum = |DatumV2 { id, hash, inputs }| Datum {
            id,
            hash,
            inputs,
            slices: Vec::new(),
        };
        DatumSet {
            set: older.set,
            datums: older.datums.into_iter().map(datum).collect(),
        }
    }
}

/// One datum: the input files that one run of the command sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datum {
    /// Identity, independent of content.
    pub id: DatumId,
    /// Identity with content and salt.
    pub hash: DatumHash,
    /// Input files in the order that the identity was computed from.
    pub inputs: Vec<DatumInput>,
    /// Where the bytes of the inputs lie, one entry for each: `None` for directories, and for files that are empty or
    /// do not lie in one piece. Nothing here means that the trees have to be asked for all of them.
    #[serde(default)]
    pub slices: Vec<Option<Slice>>,
}

impl Datum {
    /// Goes through the inputs, each with its content where the datum says where that lies.
    pub fn files(&self) -> impl Iterator<Item = (&DatumInput, Option<FileContent>)> {
        self.inputs.iter().enumerate().map(|(place, input)| {
            let slice = self.slices.get(place).copied().flatten();
            let content = (!input.is_dir).then(|| FileContent::in_one_slice(input.size, input.hash, slice));
            (input, content.flatten())
        })
    }
}

/// One input file (or directory) of a datum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatumInput {
    /// Name of the input: the folder below `/pfs`.
    pub name: Arc<str>,
    /// Repository it comes from.
    pub repo: RepoKey,
    /// Branch it comes from.
    pub branch: BranchName,
    /// Commit it comes from.
    pub commit: GlobalId,
    /// File tree of that commit.
    pub root: TreeRoot,
    /// Path in the commit, beginning with `/`; directories end in `/`.
    pub path: String,
    /// Whether the match is a directory, which stands for everything below it.
    pub is_dir: bool,
    /// Bytes in the file or below the directory.
    pub size: u64,
    /// Content hash of the file or directory.
    pub hash: ContentHash,
    /// Expanded `join_on` key, if any.
    pub join_on: String,
    /// Expanded `group_by` key, if any.
    pub group_by: String,
}

/// What became of a whole datum set. Written once, before anybody is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetResult {
    /// Number of the set within its job.
    pub set: u32,
    /// Worker that did it.
    pub worker: String,
    /// Howdah version of that worker.
    pub worker_version: String,
    /// When the first datum was begun.
    pub started: Timestamp,
    /// When the last byte of the set was in the store.
    pub finished: Timestamp,
    /// One entry per datum of the set, in its order.
    pub datums: Vec<DatumResult>,
    /// Object that holds the log lines (a [`LogObject`]), if there are any.
    pub log_key: Option<String>,
}

impl Wire for SetResult {
    const KIND: &'static str = "set_result";
    const VERSION: u32 = 2;
    const BINARY: bool = true;
}

/// What became of one datum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatumResult {
    /// The datum.
    pub id: DatumId,
    /// Its hash, as planned.
    pub hash: DatumHash,
    /// How it ended.
    pub state: DatumOutcome,
    /// Number of tries made.
    pub tries: u32,
    /// Exit code of the last run of the command, if it exited by itself.
    pub exit_code: Option<i32>,
    /// Why it failed (also the last error of a recovered one).
    pub reason: Option<String>,
    /// Times and bytes.
    pub stats: DatumStats,
    /// Output files with their paths (beginning with `/`), sorted by path; empty unless successful.
    pub outputs: Vec<OutputFile>,
}

/// One output file of a datum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputFile {
    /// Path in the output commit, beginning with `/`.
    pub path: String,
    /// Where its bytes are.
    pub content: FileContent,
}

/// How a datum ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatumOutcome {
    /// The command succeeded; its output counts.
    Success,
    /// Every try failed.
    Failed,
    /// Every try failed, but the error handler succeeded at least once: no output, no failure.
    Recovered,
}

/// Times and bytes of one datum, summed over its tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatumStats {
    /// Time spent laying out inputs.
    pub download_ms: u64,
    /// Time spent in the command and its error handler.
    pub process_ms: u64,
    /// Time spent storing output.
    pub upload_ms: u64,
    /// Bytes of input.
    pub download_bytes: u64,
    /// Bytes of output.
    pub upload_bytes: u64,
}

/// What is remembered of a datum in the tree of a job's datums.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatumRecord {
    /// Hash that it was processed with.
    pub hash: DatumHash,
    /// How it ended.
    pub state: DatumOutcome,
    /// Job that ran it (an earlier one when it was skipped since).
    pub job: GlobalId,
    /// Its input files.
    pub inputs: Vec<DatumInput>,
    /// Times and bytes.
    pub stats: DatumStats,
    /// Image that it ran in.
    pub image: ImagePin,
    /// Version of the pipeline that it ran as.
    pub pipeline_version: u64,
    /// Why it failed, if it did.
    pub reason: Option<String>,
    /// Object that holds its log lines among others, if there are any.
    pub log_key: Option<String>,
}

impl Wire for DatumRecord {
    const KIND: &'static str = "datum_record";
    const VERSION: u32 = 2;
    const BINARY: bool = true;
}

/// Log lines of one datum set, as kept in object storage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogObject {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Job.
    pub job: GlobalId,
    /// Set within the job.
    pub set: u32,
    /// Worker.
    pub worker: String,
    /// The lines, in order of arrival.
    pub lines: Vec<LogLine>,
    /// Lines left out because the set wrote more than is kept.
    #[serde(default)]
    pub dropped: u64,
}

impl Wire for LogObject {
    const KIND: &'static str = "log";
}

/// One line of log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was read.
    pub ts: Timestamp,
    /// Datum it belongs to; `None` for lines about the whole set.
    pub datum: Option<DatumId>,
    /// Whether user code wrote it (else the worker).
    pub user: bool,
    /// The text, without its line end.
    pub message: String,
}

/// What the coordinator said about a pipeline at one moment, as kept in object storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterLine {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// When it was said.
    pub ts: Timestamp,
    /// The text.
    pub message: String,
}

impl Wire for MasterLine {
    const KIND: &'static str = "master_line";
}

impl MasterLine {
    /// Returns its key; keys of a pipeline sort by time.
    pub fn key(&self) -> String {
        let micros = self.ts.as_microsecond().max(0);
        format!("{}{micros:020}", master_lines_prefix(&self.pipeline))
    }
}

/// Returns the prefix that all [`MasterLine`]s of a pipeline share.
pub fn master_lines_prefix(pipeline: &PipelineKey) -> String {
    keys::master_lines(&pipeline.project, &pipeline.name)
}

/// Returns the key of a job's plan.
pub fn plan_key(pipeline: &PipelineKey, job: &GlobalId) -> String {
    keys::job_plan(&pipeline.project, &pipeline.name, job)
}

/// Returns the key of a datum set.
pub fn set_key(pipeline: &PipelineKey, job: &GlobalId, set: u32) -> String {
    keys::job_set(&pipeline.project, &pipeline.name, job, set)
}

/// Returns the prefix that all results of a job share.
pub fn results_prefix(pipeline: &PipelineKey, job: &GlobalId) -> String {
    keys::job_results(&pipeline.project, &pipeline.name, job)
}

/// Returns the key of a set's result.
pub fn result_key(pipeline: &PipelineKey, job: &GlobalId, set: u32) -> String {
    keys::job_result(&pipeline.project, &pipeline.name, job, set)
}

/// Reads the set's number from a result's key.
pub fn set_of_result_key(key: &str) -> Option<u32> {
    keys::trailing_number(key).and_then(|number| u32::try_from(number).ok())
}

/// Returns the key of a set's log lines as one worker wrote them.
///
/// The worker's name is part of the key: when a set ran twice, the result that counts names the
/// log that belongs to it.
pub fn log_key(pipeline: &PipelineKey, job: &GlobalId, set: u32, worker: &str) -> String {
    let key = keys::job_log(&pipeline.project, &pipeline.name, job, set);
    format!("{key}-{worker}")
}
