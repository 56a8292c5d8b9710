//! The result of a datum set: how each datum ended and which files it wrote.

use howdah_model::ids::{DatumHash, DatumId};
use howdah_store::FileContent;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::wire::Wire;

/// The result of a datum set. A worker stores it before it acknowledges the set or sends an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetResult {
    /// Number of the set within its job.
    pub set: u32,
    /// Worker that ran the set.
    pub worker: String,
    /// Howdah version of that worker.
    pub worker_version: String,
    /// Start of the first datum.
    pub started: Timestamp,
    /// Time at which the last output byte was in the store.
    pub finished: Timestamp,
    /// One entry for each datum of the set, in the order of the set.
    pub datums: Vec<DatumResult>,
    /// Key of the [`super::LogObject`], if the set has log lines.
    pub log_key: Option<String>,
}

impl Wire for SetResult {
    const KIND: &'static str = "set_result";
    const VERSION: u32 = 2;
    const BINARY: bool = true;
}

/// The result of one datum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatumResult {
    /// The datum.
    pub id: DatumId,
    /// Its hash, as planned.
    pub hash: DatumHash,
    /// How it ended.
    pub state: DatumOutcome,
    /// Number of tries.
    pub tries: u32,
    /// Exit code of the last run of the command; `None` if a signal ended it.
    pub exit_code: Option<i32>,
    /// Why the datum failed; of a recovered datum, its last error.
    pub reason: Option<String>,
    /// Times and bytes.
    pub stats: DatumStats,
    /// Output files, sorted by path; empty unless `state` is success.
    pub outputs: Vec<OutputFile>,
}

/// One output file of a datum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputFile {
    /// Path in the output commit, beginning with `/`.
    pub path: String,
    /// Its size, its hash and the location of its bytes.
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
    /// Every try failed, but the error handler succeeded at least once: the datum has no output and does not fail the
    /// job.
    Recovered,
}

/// Time and bytes of one datum, summed over its tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatumStats {
    /// Milliseconds spent on placing the inputs below `/pfs`.
    pub download_ms: u64,
    /// Milliseconds spent in the command and the error handler.
    pub process_ms: u64,
    /// Milliseconds spent on storing output.
    pub upload_ms: u64,
    /// Bytes of input.
    pub download_bytes: u64,
    /// Bytes of output.
    pub upload_bytes: u64,
}
