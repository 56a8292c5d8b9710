//! Live log lines.

use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use serde::{Deserialize, Serialize};

use crate::objects::LogLine;
use crate::wire::Wire;

/// Log lines as they come, for followers. The lasting copy is a [`crate::objects::LogObject`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBatch {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Job.
    pub job: GlobalId,
    /// Set within the job.
    pub set: u32,
    /// Worker.
    pub worker: String,
    /// The lines.
    pub lines: Vec<LogLine>,
}

impl Wire for LogBatch {
    const KIND: &'static str = "log_batch";
}
