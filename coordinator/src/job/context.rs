//! What the drivers of all jobs share.

use std::sync::Arc;

use super::provenance::ProvenanceCache;
use super::retry::RetryLimits;
use super::set_queue::SetQueue;
use crate::metadata::Core;

/// What a job driver works with. A clone is cheap.
#[derive(Clone)]
pub struct JobContext {
    /// Command loop, published state, store and live facts.
    pub core: Core,
    /// Where datum sets are published.
    pub queue: Arc<dyn SetQueue>,
    /// Provenance records of earlier jobs.
    pub provenance: ProvenanceCache,
    /// When a job that cannot go on is ended.
    pub limits: RetryLimits,
}

impl JobContext {
    /// Makes the context of a coordinator.
    pub fn new(core: Core, queue: Arc<dyn SetQueue>, limits: RetryLimits) -> Self {
        let provenance = ProvenanceCache::new(core.store().clone());
        Self {
            core,
            queue,
            provenance,
            limits,
        }
    }
}
