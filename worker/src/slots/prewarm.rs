//! Stages that start before there is work for them, so that no job waits for containers.
//!
//! The coordinator sends a prewarm order for each pipeline that needs it. An order expires after [`PREWARM_LEASE`], so
//! the coordinator sends it again while the pipeline needs it. Prewarmed stages start in slots that have no stage, a
//! few at a time. They are not stopped when they are idle. They do not reserve their slots: if another pipeline has
//! work and no other slot is free, its stage replaces a prewarmed one.
//!
//! Pulling an image needs no slot. A new order for another version, or one that ends prewarming, stops starts that are
//! under way. A start that fails is retried with later orders, at growing intervals; the error is logged once and
//! otherwise dropped, because a job that needs the stage reports it to the user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use howdah_model::names::PipelineKey;
use howdah_protocol::messages::{PREWARM_LEASE, PrewarmOrder};
use howdah_protocol::objects::StageSpec;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::InfraError;
use crate::slots::pool::{Pool, PrewarmDecision};
use crate::slots::running_stage::{StageKey, StageStarter};
use crate::slots::slot::Slot;
use crate::slots::slot_guard::SlotGuard;
use howdah_telemetry::error_chain;

/// Pause after the first failed start; doubled with each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between starts that fail.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Applies prewarm orders. Clones share everything.
#[derive(Clone)]
pub(crate) struct Prewarmer {
    pool: Arc<Pool>,
    starter: StageStarter,
    leases: Arc<PrewarmLeases>,
    /// Tracks the tasks that start and stop stages; shutdown waits for them.
    tasks: TaskTracker,
    /// Cancelled when the worker shuts down.
    closing: CancellationToken,
}

impl Prewarmer {
    /// Starts without orders.
    pub(crate) fn new(pool: Arc<Pool>, starter: StageStarter, tasks: TaskTracker, closing: CancellationToken) -> Self {
        Self {
            pool,
            starter,
            leases: Arc::default(),
            tasks,
            closing,
        }
    }

    /// Returns how many stages must be kept although they may be idle.
    pub(crate) fn target(&self, key: &StageKey) -> usize {
        self.leases.target(key, Instant::now())
    }

    /// Applies an order. Starting and stopping happens on tasks.
    ///
    /// The lease changes before this returns, so that orders take effect in the order in which they arrive.
    pub(crate) fn apply(&self, order: PrewarmOrder) {
        let pipeline = order.pipeline;
        let this = self.clone();
        let Some(stages) = order.stages else {
            self.leases.end(&pipeline);
            self.tasks
                .spawn(async move { this.pool.stop_pipeline(&pipeline).await });
            return;
        };
        let key = (pipeline, stages.version);
        let target = stages.slots as usize;
        if let Some(cancelled) = self.leases.renew(&key, target, Instant::now(), &self.closing) {
            self.tasks
                .spawn(async move { this.run_starts(&key, Arc::new(stages.stage), &cancelled).await });
        }
    }

    /// Starts the missing stages of a lease and records the outcome.
    async fn run_starts(&self, key: &StageKey, spec: Arc<StageSpec>, cancelled: &CancellationToken) {
        self.pool.stop_before(key).await;
        let failure = self.start_missing(key, &spec, cancelled).await.err();
        let is_first = self.leases.end_starts(key, failure.is_none(), Instant::now());
        if let Some(error) = failure.filter(|_| is_first) {
            tracing::warn!(
                pipeline = %key.0, image = %spec.image.reference, error = %error_chain(&error),
                "a stage could not be prewarmed"
            );
        }
    }

    /// Starts stages until enough run, no slot is left for them, one fails to start, or the lease is cancelled.
    async fn start_missing(
        &self,
        key: &StageKey,
        spec: &Arc<StageSpec>,
        cancelled: &CancellationToken,
    ) -> Result<(), InfraError> {
        if !self.pool.needs_prewarm(key, self.target(key)) {
            return Ok(());
        }
        let fetch = self.starter.runtime.fetch(&spec.image);
        let Some(fetched) = cancelled.run_until_cancelled(fetch).await else {
            return Ok(());
        };
        fetched.map_err(InfraError::Runtime)?;
        let mut starts = JoinSet::new();
        let mut pool_changes = self.pool.changes();
        let mut one_succeeded = false;
        let mut outcome = Ok(());
        while outcome.is_ok() {
            // Marked before the pool is asked, so that no change in between is lost.
            pool_changes.mark_unchanged();
            // A single start first: if the stage cannot start, only one slot is occupied to find out.
            if one_succeeded || starts.is_empty() {
                match self.pool.take_to_prewarm(key, self.target(key)) {
                    PrewarmDecision::Start(slot) => {
                        let this = self.clone();
                        let (key, spec, cancelled) = (key.clone(), Arc::clone(spec), cancelled.clone());
                        starts.spawn(async move { this.start(&key, &spec, &cancelled, slot).await });
                        continue;
                    }
                    PrewarmDecision::Wait => {}
                    PrewarmDecision::Finished => break,
                }
            }
            tokio::select! {
                Some(ended) = starts.join_next() => {
                    outcome = ended.unwrap_or(Err(InfraError::Task));
                    one_succeeded = outcome.is_ok();
                }
                // Never an error: the pool outlives this function.
                _ = pool_changes.changed() => {}
                () = cancelled.cancelled() => break,
            }
        }
        // Joined, not dropped: after one failure the other starts may still succeed, and dropping would abort them.
        while let Some(ended) = starts.join_next().await {
            outcome = outcome.and(ended.unwrap_or(Err(InfraError::Task)));
        }
        outcome
    }

    /// Starts a stage in a slot and gives the slot back.
    async fn start(
        &self,
        key: &StageKey,
        spec: &StageSpec,
        cancelled: &CancellationToken,
        slot: Slot,
    ) -> Result<(), InfraError> {
        let mut guard = SlotGuard::new(Arc::clone(&self.pool), slot);
        let stage = guard.slot().ensure_stage(key, spec, &self.starter);
        if let Some(started) = cancelled.run_until_cancelled(stage).await {
            started?;
        }
        if cancelled.is_cancelled() {
            // The order that cancelled the lease stopped idle stages only. This slot was not idle then, and its stage
            // would stay until it expires.
            guard.slot().stop().await;
        }
        Ok(())
    }
}

/// The orders in effect, one lease per pipeline.
#[derive(Default)]
struct PrewarmLeases(Mutex<HashMap<PipelineKey, PrewarmLease>>);

struct PrewarmLease {
    version: u64,
    /// Number of stages that must run.
    target: usize,
    ends: Instant,
    /// Whether a task starts its stages.
    starting: bool,
    /// Failed starts since the last success.
    failures: u32,
    /// When starts may be tried again.
    not_before: Instant,
    /// Cancelled when another order replaces or ends the lease, but not when it expires.
    cancelled: CancellationToken,
}

impl PrewarmLeases {
    fn target(&self, key: &StageKey, now: Instant) -> usize {
        let leases = self.lock();
        let lease = leases.get(&key.0);
        lease
            .filter(|lease| lease.version == key.1 && now < lease.ends)
            .map_or(0, |lease| lease.target)
    }

    /// Begins or renews a lease.
    ///
    /// If this returns a token, the caller must start what is missing until the token is cancelled, and then report
    /// with [`Self::end_starts`]. At most one caller per lease has a token.
    fn renew(
        &self,
        key: &StageKey,
        target: usize,
        now: Instant,
        closing: &CancellationToken,
    ) -> Option<CancellationToken> {
        let mut leases = self.lock();
        let new = || PrewarmLease {
            version: key.1,
            target,
            ends: now,
            starting: false,
            failures: 0,
            not_before: now,
            cancelled: closing.child_token(),
        };
        let lease = leases.entry(key.0.clone()).or_insert_with(new);
        if lease.version != key.1 {
            lease.cancelled.cancel();
            *lease = new();
        }
        lease.target = target;
        lease.ends = now + PREWARM_LEASE;
        let begins = !lease.starting && lease.not_before <= now;
        lease.starting |= begins;
        begins.then(|| lease.cancelled.clone())
    }

    /// Records that starting what was missing has ended. Returns whether this was the first failure in a row.
    fn end_starts(&self, key: &StageKey, succeeded: bool, now: Instant) -> bool {
        let mut leases = self.lock();
        let Some(lease) = leases.get_mut(&key.0).filter(|lease| lease.version == key.1) else {
            return false;
        };
        lease.starting = false;
        if succeeded {
            lease.failures = 0;
            return false;
        }
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(lease.failures));
        lease.not_before = now + pause.min(LONGEST_PAUSE);
        lease.failures += 1;
        lease.failures == 1
    }

    fn end(&self, pipeline: &PipelineKey) {
        if let Some(lease) = self.lock().remove(pipeline) {
            lease.cancelled.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PipelineKey, PrewarmLease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> [StageKey; 2] {
        [1, 2].map(|version| ("default/a".parse::<PipelineKey>().unwrap(), version))
    }

    #[test]
    fn a_lease_holds_until_it_expires_or_is_replaced() {
        let leases = PrewarmLeases::default();
        let (start, closing) = (Instant::now(), CancellationToken::new());
        let [first, second] = keys();
        let cancelled = leases.renew(&first, 3, start, &closing).expect("to be started");
        assert!(leases.renew(&first, 3, start, &closing).is_none(), "being started");
        assert!(!leases.end_starts(&first, true, start));
        let later = start + Duration::from_secs(1);
        assert!(
            leases.renew(&first, 2, later, &closing).is_some(),
            "what is missing starts"
        );
        let late = start + PREWARM_LEASE;
        assert_eq!((leases.target(&first, late), leases.target(&second, late)), (2, 0));
        assert_eq!(leases.target(&first, later + PREWARM_LEASE), 0, "not renewed");
        assert!(!cancelled.is_cancelled());
        let next = leases.renew(&second, 1, late, &closing).expect("another version");
        assert!(cancelled.is_cancelled() && !next.is_cancelled());
        assert!(
            !leases.end_starts(&first, false, late),
            "the lease is of another version"
        );
        assert_eq!((leases.target(&first, late), leases.target(&second, late)), (0, 1));
        leases.end(&second.0);
        assert_eq!(leases.target(&second, late), 0);
        assert!(next.is_cancelled());
    }

    #[test]
    fn failed_starts_are_retried_at_growing_intervals() {
        let leases = PrewarmLeases::default();
        let closing = CancellationToken::new();
        let [key, _] = keys();
        let mut now = Instant::now();
        let mut tries = Vec::new();
        while tries.len() < 12 {
            if leases.renew(&key, 1, now, &closing).is_some() {
                assert_eq!(leases.end_starts(&key, false, now), tries.is_empty(), "reported once");
                tries.push(now);
            }
            now += Duration::from_secs(1);
        }
        let pauses: Vec<u64> = tries.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600]);
    }
}
