//! The handle by which a running datum set is stopped and its datums are restarted.
//!
//! Intake registers one handle per running set (`intake::running_sets`) and stops it when the job is cancelled, the
//! pipeline disappears or the worker shuts down. Execution waits on its tokens. The handle only carries signals: it
//! neither waits for the work to end nor knows what the work is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use howdah_model::names::JobKey;
use howdah_protocol::objects::Datum;
use tokio_util::sync::CancellationToken;

/// Why a running set is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// Its job was cancelled.
    JobCancelled,
    /// The worker shuts down; the set is delivered to another worker.
    Shutdown,
    /// Its pipeline is no longer listed and was probably deleted.
    NotServed,
    /// Another participant of the set met an error, so the whole set is handed back.
    Abandoned,
}

/// Cancellation and restart of one running set. Shared by intake and by all slots that run its datums.
pub(crate) struct SetHandle {
    job: JobKey,
    stop: CancellationToken,
    /// The first reason given. Written before `stop` is cancelled, so that a task that sees the token also sees it.
    reason: OnceLock<StopReason>,
    /// The running tries by slot. Written by the slots, read when datums are restarted.
    running_tries: Mutex<HashMap<usize, RunningTry>>,
}

struct RunningTry {
    datum: Arc<Datum>,
    cancel: CancellationToken,
}

impl SetHandle {
    /// Makes the handle of a set that is not stopped.
    pub(crate) fn new(job: JobKey) -> Self {
        Self {
            job,
            stop: CancellationToken::new(),
            reason: OnceLock::new(),
            running_tries: Mutex::default(),
        }
    }

    /// Returns the job of the set.
    pub(crate) fn job(&self) -> &JobKey {
        &self.job
    }

    /// Returns the token that is cancelled when the set must stop.
    pub(crate) fn stop_token(&self) -> &CancellationToken {
        &self.stop
    }

    /// Returns why the set must stop, or `None` while it may run.
    pub(crate) fn stop_reason(&self) -> Option<StopReason> {
        self.stop
            .is_cancelled()
            .then(|| self.reason.get().copied().unwrap_or(StopReason::Shutdown))
    }

    /// Waits until the set is stopped because its result is not wanted any more. A worker that shuts down still stores
    /// the result of a set whose datums are done.
    pub(crate) async fn unwanted(&self) -> StopReason {
        self.stop.cancelled().await;
        match self.stop_reason() {
            Some(reason @ (StopReason::JobCancelled | StopReason::NotServed)) => reason,
            _ => std::future::pending().await,
        }
    }

    /// Registers a try that begins in a slot; returns the token that ends this try alone.
    pub(crate) fn begin_try(&self, slot: usize, datum: &Arc<Datum>) -> CancellationToken {
        let cancel = self.stop.child_token();
        let running = RunningTry {
            datum: Arc::clone(datum),
            cancel: cancel.clone(),
        };
        self.running_tries().insert(slot, running);
        cancel
    }

    /// Removes the try of a slot. A restart that comes later does not affect it.
    pub(crate) fn end_try(&self, slot: usize) {
        self.running_tries().remove(&slot);
    }

    /// Stops the set. Only the first reason counts.
    pub(crate) fn stop(&self, reason: StopReason) {
        // In this order: a task that wakes up on the token reads the reason at once.
        let _ = self.reason.set(reason);
        self.stop.cancel();
    }

    /// Cancels the running tries of datums that match all filters; each of them runs again.
    pub(crate) fn restart_matching(&self, filters: &[String]) {
        for running in self.running_tries().values() {
            if matches(&running.datum, filters) {
                running.cancel.cancel();
            }
        }
    }

    fn running_tries(&self) -> MutexGuard<'_, HashMap<usize, RunningTry>> {
        self.running_tries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether every filter equals the path or the content hash of one of the datum's inputs.
fn matches(datum: &Datum, filters: &[String]) -> bool {
    filters.iter().all(|filter| {
        let path = format!("/{}", filter.trim_matches('/'));
        datum.inputs.iter().any(|input| {
            input.path.trim_end_matches('/') == path.trim_end_matches('/') || input.hash.to_string() == *filter
        })
    })
}

#[cfg(test)]
mod tests {
    use howdah_protocol::testing::{datum, file_input};

    use super::*;

    #[test]
    fn filters_are_paths_or_hashes_and_all_must_match() {
        let datum = datum(1, vec![file_input("a", "/x/1"), file_input("b", "/d/")]);
        let hash = datum.inputs[0].hash.to_string();
        let case = |filters: &[&str]| {
            let filters: Vec<String> = filters.iter().map(|f| (*f).to_owned()).collect();
            matches(&datum, &filters)
        };
        assert!(case(&[]));
        assert!(case(&["/x/1"]) && case(&["x/1"]) && case(&["/d"]) && case(&["/d/", &hash]));
        assert!(!case(&["/x"]) && !case(&["/x/1", "/y"]));
    }
}
