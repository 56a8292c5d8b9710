//! Guards that undo what a task did to the pool, also when the task panics or is cancelled.

use std::sync::Arc;

use howdah_model::names::PipelineKey;

use crate::slots::pool::Pool;
use crate::slots::slot::Slot;

/// A slot that is taken from the pool. It returns to the pool when dropped, so that no panic shrinks the worker.
pub(crate) struct SlotGuard {
    pool: Arc<Pool>,
    slot: Option<Slot>,
}

impl SlotGuard {
    /// Takes ownership of a slot of a pool.
    pub(crate) fn new(pool: Arc<Pool>, slot: Slot) -> Self {
        Self { pool, slot: Some(slot) }
    }

    /// Returns the slot.
    pub(crate) fn slot(&mut self) -> &mut Slot {
        self.slot.as_mut().expect("taken only when dropped")
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.pool.give_back(slot);
        }
    }
}

/// A running set's demand for free slots. While it lives, the worker pulls no further set of the pipeline.
pub(crate) struct SlotDemand {
    pool: Arc<Pool>,
    pipeline: PipelineKey,
}

impl SlotDemand {
    /// Registers the demand with a pool.
    pub(crate) fn new(pool: &Arc<Pool>, pipeline: &PipelineKey) -> Self {
        pool.begin_demand(pipeline);
        Self {
            pool: Arc::clone(pool),
            pipeline: pipeline.clone(),
        }
    }
}

impl Drop for SlotDemand {
    fn drop(&mut self) {
        self.pool.end_demand(&self.pipeline);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn a_set_that_demands_slots_blocks_further_sets_of_its_pipeline() {
        let [a, b] = ["default/a", "default/b"].map(|name| name.parse::<PipelineKey>().unwrap());
        let pool = Arc::new(Pool::new(2, Arc::new(Metrics::new())));
        let (first, second) = (SlotDemand::new(&pool, &a), SlotDemand::new(&pool, &a));
        assert!(!pool.wants_set(&a) && pool.wants_set(&b));
        assert!(
            pool.take_to_help(&(a.clone(), 1), true).is_some(),
            "its own datums have room"
        );
        assert!(pool.take_to_help(&(a.clone(), 1), false).is_none(), "no stage runs");
        drop(first);
        assert!(!pool.wants_set(&a));
        let mut changes = pool.changes();
        changes.mark_unchanged();
        drop(second);
        assert!(changes.has_changed().unwrap() && pool.wants_set(&a));
    }
}
