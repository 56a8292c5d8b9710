//! The result of a datum set: how each datum ended and which files it wrote.

use howdah_model::ids::{DatumHash, DatumId};
use howdah_store::FileContent;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::wire::Wire;

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
