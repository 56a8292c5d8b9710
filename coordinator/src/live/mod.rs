//! Live facts about workers and open jobs, in memory only.
//!
//! - [`workers`]: which workers sent a heartbeat within the last seconds.
//! - [`progress`]: what the finished datum sets of each open job have reported.
//! - [`logs`]: log lines that are not in the store yet ([`pending_logs`]), and followers of lines ([`log_feed`]).
//!
//! The event listeners and the job drivers write; the API reads. Each table has one mutex of its own, which is never
//! held across an `.await` and never while another one is taken, so there is no lock order. A lock is held for one pass
//! over a table at most: for a copy of all workers, or of the pending lines of one job.
//!
//! Nothing here is authoritative. All of it is lost at a restart. Workers and progress are built again, from heartbeats
//! and from the results in the store; log lines are not sent again, but workers store them when a set ends. What must
//! survive is in the store or in the metadata log.

mod log_feed;
mod logs;
mod pending_logs;
mod progress;
mod workers;

use howdah_model::JobKey;

use crate::config::DEFAULT_REQUEST_MEMORY_BYTES;
use crate::memory_budget::MemoryBudget;

pub use log_feed::{FollowedLogs, LogFollower};
pub use logs::LiveLogs;
pub use pending_logs::PendingRunInfo;
pub use progress::{JobProgress, LiveProgress, RetryNote, times};
#[cfg(test)]
pub(crate) use workers::test_heartbeat;
pub use workers::{LiveWorkers, WORKER_TIMEOUT};

/// Memory for replies that are collected or sorted before they are sent, over all clients.
const REPLY_MEMORY_BYTES: usize = 256 << 20;

/// The live tables of one coordinator, and the memory that its calls share.
#[derive(Debug)]
pub struct LiveStatus {
    /// Workers that are connected.
    pub workers: LiveWorkers,
    /// Progress of open jobs.
    pub progress: LiveProgress,
    /// Log lines of open jobs and pipelines.
    pub logs: LiveLogs,
    /// Memory for what clients send.
    pub request_memory: MemoryBudget,
    /// Memory for replies that are collected or sorted before they are sent.
    pub reply_memory: MemoryBudget,
}

impl Default for LiveStatus {
    fn default() -> Self {
        Self::new(DEFAULT_REQUEST_MEMORY_BYTES)
    }
}

impl LiveStatus {
    /// Makes empty tables. `request_memory_bytes` is the memory for what clients send.
    #[must_use]
    pub fn new(request_memory_bytes: usize) -> Self {
        Self {
            workers: LiveWorkers::default(),
            progress: LiveProgress::default(),
            logs: LiveLogs::default(),
            request_memory: MemoryBudget::new(request_memory_bytes),
            reply_memory: MemoryBudget::new(REPLY_MEMORY_BYTES),
        }
    }

    /// Drops the progress of a job that is over. Its log lines are kept until they are stored.
    pub fn forget_job(&self, job: &JobKey) {
        self.progress.remove(job);
        self.logs.job_over(job);
    }
}
