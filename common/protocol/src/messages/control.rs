//! Control messages from the coordinator to all workers.

use std::time::Duration;

use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use serde::{Deserialize, Serialize};

use crate::objects::StageSpec;
use crate::wire::Wire;

/// Says that the list of pipelines to serve has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeUp {}

impl Wire for WakeUp {
    const KIND: &'static str = "wake_up";
}

/// Tells all workers to stop working on a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelJob {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Job.
    pub job: GlobalId,
}

impl Wire for CancelJob {
    const KIND: &'static str = "cancel_job";
}

/// Tells all workers to kill the running try of matching datums and begin it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartDatum {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Job.
    pub job: GlobalId,
    /// Each must equal the path, or the content hash in hex, of one of the datum's inputs.
    pub filters: Vec<String>,
}

impl Wire for RestartDatum {
    const KIND: &'static str = "restart_datum";
}

/// Tells all workers which stages of a pipeline are to run although there may be nothing to do, so that no job has to wait
/// for their start. Holds for [`PREWARM_LEASE`]; said again every [`PREWARM_INTERVAL`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrewarmOrder {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// What is to run; `None` when nothing is any more.
    pub stages: Option<PrewarmStages>,
}

/// Stages of one version of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrewarmStages {
    /// Version of the pipeline.
    pub version: u64,
    /// What to start.
    pub stage: StageSpec,
    /// In how many slots of each worker, at most.
    pub slots: u32,
}

impl Wire for PrewarmOrder {
    const KIND: &'static str = "standing";
}

/// How often the coordinator says again what stages are to run.
pub const PREWARM_INTERVAL: Duration = Duration::from_secs(30);
/// Time after which what the coordinator said about stages no longer holds.
pub const PREWARM_LEASE: Duration = Duration::from_secs(100);

/// What a worker is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Control {
    /// Stop working on a job.
    Cancel(CancelJob),
    /// Begin running datums again.
    Restart(RestartDatum),
    /// Have stages running.
    Prewarm(Box<PrewarmOrder>),
}
