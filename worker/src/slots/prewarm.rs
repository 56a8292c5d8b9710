//! Stages that run before there is work for them, so that no job waits for containers.
//!
//! The coordinator says of which pipelines, and says it again as long as it holds. They start in slots that have no stage
//! yet, few at a time, and are not stopped for being idle; but a slot is nobody's: where another pipeline has work and
//! no other slot is free, its stage takes their place.
//!
//! Pulling an image needs no slot. What is told to stop in the meantime, or to be another version, stops at once. What
//! fails is tried again with later orders, less and less often; a job that needs it tells the user why.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use howdah_model::names::PipelineKey;
use howdah_protocol::messages::{PREWARM_LEASE, PrewarmOrder};
use howdah_protocol::objects::StageSpec;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::Kit;
use crate::error::Trouble;
use crate::slots::{Lent, Preparation, Slot, StageKey};
use howdah_telemetry::error_chain;

/// Least time between a start that failed and the next one; doubled with each failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Most time between them.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What the coordinator said lately.
#[derive(Default)]
pub(crate) struct Leases(Mutex<HashMap<PipelineKey, Lease>>);

struct Lease {
    version: u64,
    /// Number of stages that are to run.
    stages: usize,
    ends: Instant,
    /// Its stages are being started.
    preparing: bool,
    /// How often that failed, without a success since.
    failures: u32,
    /// When it may be tried again.
    not_before: Instant,
    /// Cancelled when the lease is over, but for one that nobody renewed.
    over: CancellationToken,
}

impl Leases {
    /// Returns how many stages are to run although there may be nothing to do.
    pub fn stages(&self, key: &StageKey, now: Instant) -> usize {
        let leases = self.lock();
        let lease = leases.get(&key.0);
        lease
            .filter(|lease| lease.version == key.1 && now < lease.ends)
            .map_or(0, |lease| lease.stages)
    }

    /// Begins or renews a lease. Whoever gets a token is to start what is missing until that is cancelled, and to say
    /// then how it [`ended`](Self::prepared).
    fn renew(
        &self,
        key: &StageKey,
        stages: usize,
        now: Instant,
        closing: &CancellationToken,
    ) -> Option<CancellationToken> {
        let mut leases = self.lock();
        let new = || Lease {
            version: key.1,
            stages,
            ends: now,
            preparing: false,
            failures: 0,
            not_before: now,
            over: closing.child_token(),
        };
        let lease = leases.entry(key.0.clone()).or_insert_with(new);
        if lease.version != key.1 {
            lease.over.cancel();
            *lease = new();
        }
        lease.stages = stages;
        lease.ends = now + PREWARM_LEASE;
        let begins = !lease.preparing && lease.not_before <= now;
        lease.preparing |= begins;
        begins.then(|| lease.over.clone())
    }

    /// Notes how starting what was missing ended. Says whether it failed for the first time.
    fn prepared(&self, key: &StageKey, good: bool, now: Instant) -> bool {
        let mut leases = self.lock();
        let Some(lease) = leases.get_mut(&key.0).filter(|lease| lease.version == key.1) else {
            return false;
        };
        lease.preparing = false;
        if good {
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
            lease.over.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PipelineKey, Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does what the coordinator said of a pipeline's stages. What holds is noted before this returns, so that orders count in
/// the order in which they came; starting and stopping take their time.
pub(crate) fn obey(kit: &Arc<Kit>, order: PrewarmOrder) {
    let pipeline = order.pipeline;
    if !kit.serves(&pipeline) {
        return;
    }
    let here = Arc::clone(kit);
    let Some(stages) = order.stages else {
        kit.standing.end(&pipeline);
        kit.helpers
            .spawn(async move { here.pool.stop_pipeline(&pipeline).await });
        return;
    };
    let key = (pipeline, stages.version);
    let closing = kit.tickets.closing();
    let wanted = stages.slots as usize;
    if let Some(over) = kit.standing.renew(&key, wanted, Instant::now(), closing) {
        kit.helpers.spawn(async move {
            here.pool.stop_before(&key).await;
            let stage = Arc::new(stages.stage);
            let failure = prepare(&here, &key, &stage, &over).await.err();
            let first = here.standing.prepared(&key, failure.is_none(), Instant::now());
            if let Some(error) = failure.filter(|_| first) {
                tracing::warn!(
                    pipeline = %key.0, image = %stage.image.reference, error = %error_chain(&error),
                    "a stage could not be started ahead of work"
                );
            }
        });
    }
}

/// Starts stages until enough run, no slot is left for them, one cannot be started, or the lease is over.
async fn prepare(
    kit: &Arc<Kit>,
    key: &StageKey,
    stage: &Arc<StageSpec>,
    over: &CancellationToken,
) -> Result<(), Trouble> {
    let wanted = || kit.standing.stages(key, Instant::now());
    if !kit.pool.is_to_prepare(key, wanted()) {
        return Ok(());
    }
    let fetch = kit.starter.runtime.fetch(&stage.image);
    let Some(fetched) = over.run_until_cancelled(fetch).await else {
        return Ok(());
    };
    fetched.map_err(Trouble::Runtime)?;
    let mut starts = JoinSet::new();
    let mut room = kit.pool.changes();
    let mut ended_well = false;
    let mut outcome = Ok(());
    while outcome.is_ok() {
        room.mark_unchanged();
        // What cannot be started is found out with one.
        if ended_well || starts.is_empty() {
            match kit.pool.take_to_prepare(key, wanted()) {
                Preparation::Begin(slot) => {
                    starts.spawn(start(
                        Arc::clone(kit),
                        key.clone(),
                        Arc::clone(stage),
                        over.clone(),
                        slot,
                    ));
                    continue;
                }
                Preparation::Wait => {}
                Preparation::Over => break,
            }
        }
        tokio::select! {
            Some(ended) = starts.join_next() => {
                outcome = ended.unwrap_or(Err(Trouble::Task));
                ended_well = outcome.is_ok();
            }
            // The pool outlives this.
            _ = room.changed() => {}
            () = over.cancelled() => break,
        }
    }
    while let Some(ended) = starts.join_next().await {
        outcome = outcome.and(ended.unwrap_or(Err(Trouble::Task)));
    }
    outcome
}

/// Starts a stage in a slot and gives the slot back.
async fn start(
    kit: Arc<Kit>,
    key: StageKey,
    stage: Arc<StageSpec>,
    over: CancellationToken,
    slot: Slot,
) -> Result<(), Trouble> {
    let mut lent = Lent::new(Arc::clone(&kit.pool), slot);
    let ready = lent.slot().ready(&key, &stage, &kit.starter);
    if let Some(ready) = over.run_until_cancelled(ready).await {
        ready?;
    }
    if over.is_cancelled() {
        // Whoever ended the lease stopped what was idle then.
        lent.slot().stop().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> [StageKey; 2] {
        [1, 2].map(|version| ("default/a".parse::<PipelineKey>().unwrap(), version))
    }

    #[test]
    fn stages_stand_as_long_as_the_coordinator_says_so() {
        let leases = Leases::default();
        let (start, closing) = (Instant::now(), CancellationToken::new());
        let [first, second] = keys();
        let over = leases.renew(&first, 3, start, &closing).expect("to be started");
        assert!(leases.renew(&first, 3, start, &closing).is_none(), "being started");
        assert!(!leases.prepared(&first, true, start));
        let later = start + Duration::from_secs(1);
        assert!(leases.renew(&first, 2, later, &closing).is_some(), "what is missing");
        let late = start + PREWARM_LEASE;
        assert_eq!((leases.stages(&first, late), leases.stages(&second, late)), (2, 0));
        assert_eq!(leases.stages(&first, later + PREWARM_LEASE), 0, "not renewed");
        assert!(!over.is_cancelled());
        let next = leases.renew(&second, 1, late, &closing).expect("another version");
        assert!(over.is_cancelled() && !next.is_cancelled());
        assert!(!leases.prepared(&first, false, late), "it is no longer about this one");
        assert_eq!((leases.stages(&first, late), leases.stages(&second, late)), (0, 1));
        leases.end(&second.0);
        assert_eq!(leases.stages(&second, late), 0);
        assert!(next.is_cancelled());
    }

    #[test]
    fn what_cannot_be_started_is_tried_less_and_less_often() {
        let leases = Leases::default();
        let closing = CancellationToken::new();
        let [key, _] = keys();
        let mut now = Instant::now();
        let mut tries = Vec::new();
        while tries.len() < 12 {
            if leases.renew(&key, 1, now, &closing).is_some() {
                assert_eq!(leases.prepared(&key, false, now), tries.is_empty(), "said once");
                tries.push(now);
            }
            now += Duration::from_secs(1);
        }
        let pauses: Vec<u64> = tries.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600]);
    }
}
