//! What the tasks of intake share, besides the worker's context.

use std::sync::Arc;

use howdah_model::names::PipelineKey;

use crate::context::WorkerContext;
use crate::error::WorkerError;
use crate::intake::delivery_journal::DeliveryJournal;
use crate::intake::job_objects::JobObjects;
use crate::intake::running_sets::RunningSets;

/// Shared state of intake.
pub(crate) struct IntakeState {
    pub context: Arc<WorkerContext>,
    pub running_sets: RunningSets,
    pub journal: DeliveryJournal,
    pub job_objects: JobObjects,
    /// Pipelines that this worker serves; empty means all.
    pub pipelines: Vec<PipelineKey>,
}

impl IntakeState {
    /// Opens the delivery journal and starts without running sets.
    ///
    /// # Errors
    /// If the scratch folder has no room for the journal.
    pub(crate) fn new(context: Arc<WorkerContext>, pipelines: Vec<PipelineKey>) -> Result<Self, WorkerError> {
        let root = context.storage.scratch.root();
        let journal = DeliveryJournal::open(root)
            .map_err(|error| WorkerError::scratch(root, "no folder for receipts can be made", error))?;
        Ok(Self {
            running_sets: RunningSets::new(context.closing.clone()),
            journal,
            job_objects: JobObjects::new(&context.storage.store),
            pipelines,
            context,
        })
    }

    /// Returns whether this worker serves a pipeline.
    pub(crate) fn serves(&self, pipeline: &PipelineKey) -> bool {
        self.pipelines.is_empty() || self.pipelines.contains(pipeline)
    }
}
