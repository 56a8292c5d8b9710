//! Live log lines.

use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use serde::{Deserialize, Serialize};

use crate::objects::LogLine;
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
    /// The lines, oldest first.
    pub lines: Vec<LogLine>,
}

impl Wire for LogBatch {
    const KIND: &'static str = "log_batch";
}
