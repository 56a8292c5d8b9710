//! Log lines as the store keeps them: of a datum set (by a worker) and of a pipeline (by the coordinator).

use howdah_model::ids::{DatumId, GlobalId};
use howdah_model::names::PipelineKey;
use howdah_store::keys as store_keys;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::keys::{log_key, run_log_key};
use crate::wire::Wire;

/// Log lines of one run of a datum set. A set runs again if it was stopped or returned, or if its worker was lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogObject {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Job.
    pub job: GlobalId,
    /// Set within the job.
    pub set: u32,
    /// Worker that ran the set.
    pub worker: String,
    /// Beginning of the run; `None` in objects of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Timestamp>,
    /// The lines, oldest first. Since runs have a beginning, no two lines of a run have the same time.
    pub lines: Vec<LogLine>,
    /// Number of lines left out, because datums wrote more than the limits allow. A line in the place of those of each
    /// datum tells of them.
    #[serde(default)]
    pub dropped: u64,
}

impl LogObject {
    /// Returns the key of the object.
    pub fn key(&self) -> String {
        match self.run {
            Some(run) => run_log_key(&self.pipeline, &self.job, self.set, &self.worker, run),
            None => log_key(&self.pipeline, &self.job, self.set, &self.worker),
        }
    }
}

impl Wire for LogObject {
    const KIND: &'static str = "log";
}

/// One log line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Time at which the worker read it.
    pub ts: Timestamp,
    /// Datum of the line; `None` for a line about the whole set.
    pub datum: Option<DatumId>,
    /// Whether user code wrote it; otherwise the worker did.
    pub user: bool,
    /// The text, without a line feed at its end.
    pub message: String,
}

/// One line that the coordinator logged about a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterLine {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Time of the line.
    pub ts: Timestamp,
    /// The text.
    pub message: String,
}

impl Wire for MasterLine {
    const KIND: &'static str = "master_line";
}

impl MasterLine {
    /// Returns the key of the line. The keys of one pipeline sort by time.
    pub fn key(&self) -> String {
        let micros = self.ts.as_microsecond().max(0);
        format!("{}{micros:020}", master_lines_prefix(&self.pipeline))
    }
}

/// Returns the common prefix of the keys of all [`MasterLine`]s of a pipeline.
pub fn master_lines_prefix(pipeline: &PipelineKey) -> String {
    store_keys::master_lines(&pipeline.project, &pipeline.name)
}
