//! Jobs and their numbers.

use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::{CommitKey, JobKey};

/// State of a job; the numbers are those of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum JobState {
    /// Not known.
    #[default]
    Unknown = 0,
    /// Exists; nobody has looked at it.
    Created = 1,
    /// Being set up, or waiting for input.
    Starting = 2,
    /// Datums are being processed.
    Running = 3,
    /// A datum failed, or the output did not validate. Final.
    Failure = 4,
    /// Done. Final.
    Success = 5,
    /// Stopped by a user, a timeout, an update, a deletion. Final.
    Killed = 6,
    /// Writing to the egress target.
    Egressing = 7,
    /// Output commit being finished.
    Finishing = 8,
    /// An input commit has an error. Final.
    Unrunnable = 9,
}

impl JobState {
    /// Tells whether the job has ended.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Failure | Self::Success | Self::Killed | Self::Unrunnable)
    }

    /// Gives the name used on the wire, such as `JOB_RUNNING`.
    #[must_use]
    pub fn wire_name(self) -> &'static str {
        match self {
            Self::Unknown => "JOB_STATE_UNKNOWN",
            Self::Created => "JOB_CREATED",
            Self::Starting => "JOB_STARTING",
            Self::Running => "JOB_RUNNING",
            Self::Failure => "JOB_FAILURE",
            Self::Success => "JOB_SUCCESS",
            Self::Killed => "JOB_KILLED",
            Self::Egressing => "JOB_EGRESSING",
            Self::Finishing => "JOB_FINISHING",
            Self::Unrunnable => "JOB_UNRUNNABLE",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wire_name())
    }
}

/// Datums of a job by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatumCounts {
    /// All.
    pub total: u64,
    /// Processed with success.
    pub processed: u64,
    /// Taken over from an earlier job.
    pub skipped: u64,
    /// Failed.
    pub failed: u64,
    /// Failed, but taken care of by the error handler.
    pub recovered: u64,
}

/// Time and bytes a job's datums took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStats {
    /// Milliseconds of download.
    pub download_ms: u64,
    /// Milliseconds of user code.
    pub process_ms: u64,
    /// Milliseconds of upload.
    pub upload_ms: u64,
    /// Bytes of input.
    pub download_bytes: u64,
    /// Bytes of output.
    pub upload_bytes: u64,
}

impl AddAssign for DatumCounts {
    fn add_assign(&mut self, more: Self) {
        self.total += more.total;
        self.processed += more.processed;
        self.skipped += more.skipped;
        self.failed += more.failed;
        self.recovered += more.recovered;
    }
}

impl AddAssign for JobStats {
    fn add_assign(&mut self, more: Self) {
        self.download_ms += more.download_ms;
        self.process_ms += more.process_ms;
        self.upload_ms += more.upload_ms;
        self.download_bytes += more.download_bytes;
        self.upload_bytes += more.upload_bytes;
    }
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobOutcome {
    /// All is well.
    Success,
    /// A datum failed, or the output did not validate.
    Failure(String),
    /// Stopped.
    Killed(String),
    /// An input commit has an error.
    Unrunnable(String),
}

impl JobOutcome {
    /// Gives the final state.
    #[must_use]
    pub fn state(&self) -> JobState {
        match self {
            Self::Success => JobState::Success,
            Self::Failure(_) => JobState::Failure,
            Self::Killed(_) => JobState::Killed,
            Self::Unrunnable(_) => JobState::Unrunnable,
        }
    }

    /// Gives the reason; empty for success.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Success => "",
            Self::Failure(reason) | Self::Killed(reason) | Self::Unrunnable(reason) => reason,
        }
    }
}

/// One run of a pipeline: the making of one output commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its key.
    pub key: JobKey,
    /// Version of the pipeline it runs.
    pub pipeline_version: u64,
    /// How far it is.
    pub state: JobState,
    /// Why it is so.
    pub reason: Arc<str>,
    /// How often it was begun again after trouble with infrastructure.
    pub restart: u64,
    /// Its datums.
    pub counts: DatumCounts,
    /// What they took.
    pub stats: JobStats,
    /// When it was made.
    pub created: Timestamp,
    /// When it was first looked at.
    pub started: Option<Timestamp>,
    /// When its datums were first handed out.
    pub running_since: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// Object key of its plan.
    pub plan: Option<Arc<str>>,
    /// Commit it writes.
    pub output_commit: CommitKey,
    /// Order of creation over all entities.
    pub seq: u64,
}
