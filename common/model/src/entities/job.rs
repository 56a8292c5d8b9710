//! Jobs, their states, counts and outcomes.

use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::{CommitKey, JobKey};

/// State of a job. The numbers are those of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum JobState {
    /// Not known.
    #[default]
    Unknown = 0,
    /// The scheduler has not started it.
    Created = 1,
    /// It waits for input, or its datums are being planned.
    Starting = 2,
    /// Its datums are being processed.
    Running = 3,
    /// A datum failed, or the output is not valid. Final.
    Failure = 4,
    /// It succeeded. Final.
    Success = 5,
    /// Ended by a user, a time limit, an update or a deletion. Final.
    Killed = 6,
    /// Its output is being copied to the egress target.
    Egressing = 7,
    /// Its output commit is being finished.
    Finishing = 8,
    /// An input commit has an error. Final.
    Unrunnable = 9,
}

impl JobState {
    /// Returns whether the job has ended.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Failure | Self::Success | Self::Killed | Self::Unrunnable)
    }

    /// Returns the name on the wire, such as `JOB_RUNNING`.
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

/// Number of datums of a job, by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatumCounts {
    /// All datums.
    pub total: u64,
    /// Processed successfully.
    pub processed: u64,
    /// Not processed, because the result of an earlier job is valid.
    pub skipped: u64,
    /// Failed.
    pub failed: u64,
    /// Failed, but the error handler succeeded.
    pub recovered: u64,
}

/// Time and bytes of the datums of a job.
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
    /// It succeeded.
    Success,
    /// A datum failed, or the output is not valid.
    Failure(String),
    /// It was ended before it was done.
    Killed(String),
    /// An input commit has an error.
    Unrunnable(String),
}

impl JobOutcome {
    /// Returns the final state.
    #[must_use]
    pub fn state(&self) -> JobState {
        match self {
            Self::Success => JobState::Success,
            Self::Failure(_) => JobState::Failure,
            Self::Killed(_) => JobState::Killed,
            Self::Unrunnable(_) => JobState::Unrunnable,
        }
    }

    /// Returns the reason; empty for success.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Success => "",
            Self::Failure(reason) | Self::Killed(reason) | Self::Unrunnable(reason) => reason,
        }
    }
}

/// One run of a pipeline, which makes one output commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its key.
    pub key: JobKey,
    /// Version of the pipeline that it runs.
    pub pipeline_version: u64,
    /// State.
    pub state: JobState,
    /// Reason of the state.
    pub reason: Arc<str>,
    /// Number of restarts after infrastructure errors.
    pub restart: u64,
    /// Its datums.
    pub counts: DatumCounts,
    /// Time and bytes of its datums.
    pub stats: JobStats,
    /// When it was created.
    pub created: Timestamp,
    /// When the scheduler started it.
    pub started: Option<Timestamp>,
    /// When its datums were planned for the first time.
    pub running_since: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// Key of its plan in the store.
    pub plan: Option<Arc<str>>,
    /// Commit that it writes.
    pub output_commit: CommitKey,
    /// Order of creation over all entities.
    pub seq: u64,
}
