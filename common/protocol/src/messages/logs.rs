//! Live log lines.

use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::objects::{LogLine, log_key, run_log_key};
use crate::wire::Wire;

/// Log lines for followers, sent while a datum set runs. The lasting copy is a [`crate::objects::LogObject`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBatch {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Job.
    pub job: GlobalId,
    /// Set within the job.
    pub set: u32,
    /// Worker that runs the set.
    pub worker: String,
    /// Beginning of the run; `None` in messages of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Timestamp>,
    /// Whether these lines and all lines of the run before them are in the store.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stored: bool,
    /// The lines, oldest first.
    pub lines: Vec<LogLine>,
}

impl LogBatch {
    /// Returns the key of the log object that has or gets the lines.
    pub fn log_key(&self) -> String {
        match self.run {
            Some(run) => run_log_key(&self.pipeline, &self.job, self.set, &self.worker, run),
            None => log_key(&self.pipeline, &self.job, self.set, &self.worker),
        }
    }
}

impl Wire for LogBatch {
    const KIND: &'static str = "log_batch";
}
