//! Workers that are connected, by their heartbeats.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use howdah_model::PipelineKey;
use howdah_protocol::messages::Presence;

/// A worker that sends no heartbeat for this long counts as gone.
pub const WORKER_TIMEOUT: Duration = Duration::from_secs(10);

/// Table of connected workers: the last heartbeat of each, by name.
#[derive(Debug)]
pub struct LiveWorkers {
    opened: Instant,
    heartbeats: Mutex<BTreeMap<String, (Instant, Presence)>>,
}

impl Default for LiveWorkers {
    fn default() -> Self {
        Self {
            opened: Instant::now(),
            heartbeats: Mutex::default(),
        }
    }
}

impl LiveWorkers {
    /// Returns the table without the workers that have timed out.
    fn current(&self) -> MutexGuard<'_, BTreeMap<String, (Instant, Presence)>> {
        // Each entry is replaced as a whole: a panic elsewhere cannot leave a half-written one.
        let mut heartbeats = self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner);
        heartbeats.retain(|_, (received, _)| received.elapsed() < WORKER_TIMEOUT);
        heartbeats
    }

    /// Records a heartbeat. Returns whether the worker was unknown before, or has been restarted.
    pub fn record_heartbeat(&self, presence: Presence) -> bool {
        let (name, started) = (presence.worker.clone(), presence.started);
        let before = self.current().insert(name, (Instant::now(), presence));
        before.is_none_or(|(_, before)| before.started != started)
    }

    /// Removes a worker that has announced its shutdown.
    pub fn remove(&self, worker: &str) {
        self.current().remove(worker);
    }

    /// Returns the last heartbeat of every connected worker, in the order of their names.
    pub fn list(&self) -> Vec<Presence> {
        self.current().values().map(|(_, presence)| presence.clone()).collect()
    }

    /// Tells whether this table is old enough to hold every worker that is alive: one timeout has passed.
    pub fn is_complete(&self) -> bool {
        self.opened.elapsed() >= WORKER_TIMEOUT
    }

    /// Returns the number of slots of each worker that takes work of a pipeline.
    pub fn slots_for(&self, pipeline: &PipelineKey) -> Vec<u64> {
        let serves = |worker: &Presence| worker.pipelines.is_empty() || worker.pipelines.contains(pipeline);
        let heartbeats = self.current();
        let workers = heartbeats.values().map(|(_, presence)| presence);
        workers
            .filter(|worker| serves(worker))
            .map(|worker| u64::from(worker.slots))
            .collect()
    }
}
