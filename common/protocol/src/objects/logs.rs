//! Log lines as the store keeps them: of a datum set (by a worker) and of a pipeline (by the coordinator).

use howdah_model::ids::{DatumId, GlobalId};
use howdah_model::names::PipelineKey;
use howdah_store::keys;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::wire::Wire;

/// Log lines of one datum set.
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
    /// The lines, oldest first.
    pub lines: Vec<LogLine>,
    /// Number of lines left out, because the set wrote more than the limit.
    #[serde(default)]
    pub dropped: u64,
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
    keys::master_lines(&pipeline.project, &pipeline.name)
}
