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

    /// Makes the last heartbeat of a worker older, as if the worker had been silent meanwhile.
    #[cfg(test)]
    pub(crate) fn silence(&self, worker: &str, time: Duration) {
        let mut heartbeats = self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner);
        let (received, _) = heartbeats.get_mut(worker).expect("the worker is known");
        *received = received.checked_sub(time).expect("the machine has run for longer");
    }
}

/// Returns a heartbeat of a worker that takes work of all pipelines.
#[cfg(test)]
pub(crate) fn test_heartbeat(worker: &str, slots: u32) -> Presence {
    Presence {
        worker: worker.to_owned(),
        host: "h".to_owned(),
        version: "1".to_owned(),
        runtime: "scripted".to_owned(),
        slots,
        busy: Vec::new(),
        pipelines: Vec::new(),
        started: jiff::Timestamp::UNIX_EPOCH,
        leaving: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(workers: &LiveWorkers) -> Vec<String> {
        workers.list().into_iter().map(|worker| worker.worker).collect()
    }

    #[test]
    fn a_silent_worker_is_gone_after_the_timeout_until_it_is_heard_again() {
        let workers = LiveWorkers::default();
        let edges: PipelineKey = "default/edges".parse().unwrap();
        let other: PipelineKey = "default/other".parse().unwrap();
        let limited = Presence {
            pipelines: vec![edges.clone()],
            ..test_heartbeat("limited", 2)
        };
        assert!(workers.record_heartbeat(test_heartbeat("general", 4)));
        assert!(workers.record_heartbeat(limited));
        let margin = Duration::from_secs(1);
        workers.silence("general", WORKER_TIMEOUT - margin);
        assert_eq!(names(&workers), ["general", "limited"]);
        assert_eq!(workers.slots_for(&edges), vec![4, 2]);
        assert_eq!(workers.slots_for(&other), vec![4]);

        workers.silence("general", margin);
        assert_eq!(names(&workers), ["limited"]);
        assert_eq!(workers.slots_for(&edges), vec![2]);
        assert!(workers.slots_for(&other).is_empty());

        assert!(
            workers.record_heartbeat(test_heartbeat("general", 4)),
            "it connects again"
        );
        assert_eq!(names(&workers), ["general", "limited"]);
        assert_eq!(workers.slots_for(&other), vec![4]);
    }

    #[test]
    fn a_heartbeat_in_time_keeps_a_worker_and_a_restart_makes_it_a_new_one() {
        let workers = LiveWorkers::default();
        workers.record_heartbeat(test_heartbeat("w", 1));
        for _ in 0..3 {
            workers.silence("w", WORKER_TIMEOUT - Duration::from_secs(1));
            assert!(!workers.record_heartbeat(test_heartbeat("w", 1)), "it was connected");
        }
        let restarted = Presence {
            started: jiff::Timestamp::MAX,
            ..test_heartbeat("w", 8)
        };
        assert!(workers.record_heartbeat(restarted));
        assert_eq!(workers.list().len(), 1);
        assert_eq!(workers.slots_for(&"default/edges".parse().unwrap()), vec![8]);
    }

    #[test]
    fn a_worker_that_says_that_it_leaves_is_gone_at_once() {
        let workers = LiveWorkers::default();
        workers.record_heartbeat(test_heartbeat("w", 1));
        workers.remove("w");
        workers.remove("unknown");
        assert!(workers.list().is_empty());
    }

    #[test]
    fn the_table_is_complete_when_every_worker_has_had_time_for_a_heartbeat() {
        let mut workers = LiveWorkers::default();
        assert!(!workers.is_complete());
        workers.opened = workers.opened.checked_sub(WORKER_TIMEOUT).unwrap();
        assert!(workers.is_complete());
    }
}
