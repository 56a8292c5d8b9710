//! Stages that run before there is work for them, so that no job waits for containers.
//!
//! The coordinator says of which pipelines, and says it again as long as it holds. They start in slots that have no stage
//! yet, few at a time, and are not stopped for being idle; but a slot is nobody's: where another pipeline has work and
//! no other slot is free, its stage takes their place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use howdah_model::names::PipelineKey;
use howdah_queue::job::StageSpec;
use howdah_queue::messages::{STANDING_LEASE, Standing};
use tokio::task::JoinSet;

use crate::error::{Trouble, chain};
use crate::kit::Kit;
use crate::slots::{Lent, Preparation, Slot, StageKey};

/// What the coordinator said lately.
#[derive(Default)]
pub(crate) struct Leases(Mutex<HashMap<PipelineKey, Lease>>);

struct Lease {
    version: u64,
    ends: Instant,
    /// Its stages are being started.
    preparing: bool,
}

impl Leases {
    /// Tells whether a stage is to run although there is nothing to do.
    pub fn holds(&self, key: &StageKey, now: Instant) -> bool {
        let leases = self.lock();
        let lease = leases.get(&key.0);
        lease.is_some_and(|lease| lease.version == key.1 && now < lease.ends)
    }

    /// Begins or renews a lease; says whether its stages are not being started yet.
    fn renew(&self, key: &StageKey, now: Instant) -> bool {
        let mut leases = self.lock();
        let ends = now + STANDING_LEASE;
        let known = leases.get_mut(&key.0).filter(|lease| lease.version == key.1);
        match known {
            Some(lease) => {
                lease.ends = ends;
                !std::mem::replace(&mut lease.preparing, true)
            }
            None => {
                let lease = Lease {
                    version: key.1,
                    ends,
                    preparing: true,
                };
                leases.insert(key.0.clone(), lease);
                true
            }
        }
    }

    fn prepared(&self, key: &StageKey) {
        if let Some(lease) = self.lock().get_mut(&key.0).filter(|lease| lease.version == key.1) {
            lease.preparing = false;
        }
    }

    fn end(&self, pipeline: &PipelineKey) {
        self.lock().remove(pipeline);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PipelineKey, Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does what the coordinator said of a pipeline's stages. What holds is noted before this returns, so that orders count in
/// the order in which they came; starting and stopping take their time.
pub(crate) fn obey(kit: &Arc<Kit>, order: Standing) {
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
    if kit.standing.renew(&key, Instant::now()) {
        kit.helpers.spawn(async move {
            here.pool.stop_before(&key).await;
            prepare(&here, &key, stages.stage, stages.slots as usize).await;
            here.standing.prepared(&key);
        });
    }
}

/// Starts stages until enough run, no slot is left for them, or one cannot be started: the next order tries again.
async fn prepare(kit: &Arc<Kit>, key: &StageKey, stage: StageSpec, wanted: usize) {
    let stage = Arc::new(stage);
    let mut starts = JoinSet::new();
    let mut room = kit.pool.changes();
    let mut failed = false;
    while !failed && kit.standing.holds(key, Instant::now()) {
        room.mark_unchanged();
        match kit.pool.take_to_prepare(key, wanted) {
            Preparation::Begin(slot) => {
                starts.spawn(start(Arc::clone(kit), key.clone(), Arc::clone(&stage), slot));
                continue;
            }
            Preparation::Wait => {}
            Preparation::Over => break,
        }
        tokio::select! {
            Some(ended) = starts.join_next() => failed = !matches!(ended, Ok(true)),
            changed = room.changed() => failed = changed.is_err(),
            () = kit.tickets.closing().cancelled() => break,
        }
    }
    while starts.join_next().await.is_some() {}
}

/// Starts a stage in a slot and gives the slot back; says whether it runs.
async fn start(kit: Arc<Kit>, key: StageKey, stage: Arc<StageSpec>, slot: Slot) -> bool {
    let mut lent = Lent::new(Arc::clone(&kit.pool), slot);
    let ready = tokio::select! {
        ready = lent.slot().ready(&key, &stage, &kit.starter) => ready.map(drop),
        () = kit.tickets.closing().cancelled() => Err(Trouble::Task),
    };
    match ready {
        Ok(()) if kit.standing.holds(&key, Instant::now()) => true,
        Ok(()) => {
            // Whoever took the order back while it started stopped what was idle then.
            lent.slot().stop().await;
            false
        }
        Err(_) if kit.tickets.closing().is_cancelled() => false,
        Err(error) => {
            // The first job that needs it says so to the user.
            tracing::warn!(
                pipeline = %key.0, image = %stage.image.reference,
                error = %chain(&error), "a stage could not be started ahead of work"
            );
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn stages_stand_as_long_as_the_coordinator_says_so() {
        let leases = Leases::default();
        let start = Instant::now();
        let [first, second] = [1, 2].map(|version| ("default/a".parse::<PipelineKey>().unwrap(), version));
        assert!(leases.renew(&first, start), "to be started");
        assert!(!leases.renew(&first, start), "being started");
        leases.prepared(&first);
        assert!(leases.renew(&first, start + Duration::from_secs(1)), "what is missing");
        let late = start + STANDING_LEASE;
        assert!(leases.holds(&first, late) && !leases.holds(&second, late));
        assert!(!leases.holds(&first, late + Duration::from_secs(1)));
        assert!(leases.renew(&second, late), "another version");
        assert!(leases.holds(&second, late) && !leases.holds(&first, late));
        leases.end(&second.0);
        assert!(!leases.holds(&second, late));
    }
}
