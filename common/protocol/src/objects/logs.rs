//! Log lines as the store keeps them: of a datum set (by a worker) and of a pipeline (by the coordinator).

use howdah_model::ids::{DatumId, GlobalId};
use howdah_model::names::PipelineKey;
use howdah_store::keys;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::wire::Wire;

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
