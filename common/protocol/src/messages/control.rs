//! Control messages from the coordinator to all workers.

use std::time::Duration;

use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use serde::{Deserialize, Serialize};

use crate::objects::{PlanId, StageSpec};
use crate::wire::Wire;

/// The list of pipelines with a consumer has changed: workers read it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeUp {}

impl Wire for WakeUp {
    const KIND: &'static str = "wake_up";
}

/// Tells all workers to stop working on a job, or on one plan of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelJob {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Job.
    pub job: GlobalId,
    /// The plan that is discarded, if the job goes on with another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanId>,
}

impl Wire for CancelJob {
    const KIND: &'static str = "cancel_job";
}

/// Tells all workers to kill the command of matching datums and to run it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartDatum {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Job.
    pub job: GlobalId,
    /// A datum matches if each filter equals the path, or the content hash in hexadecimal digits, of one of its inputs.
    pub filters: Vec<String>,
}

impl Wire for RestartDatum {
    const KIND: &'static str = "restart_datum";
}

/// Tells all workers which stages of a pipeline to keep running without work, so that the next job does not wait for
/// their start. An order expires after [`PREWARM_LEASE`] and is re-sent every [`PREWARM_INTERVAL`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrewarmOrder {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Stages to keep running; `None` ends the earlier order.
    pub stages: Option<PrewarmStages>,
}

/// The stages that a prewarm order asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrewarmStages {
    /// Version of the pipeline.
    pub version: u64,
    /// How to start each stage.
    pub stage: StageSpec,
    /// Most stages on each worker; each takes one slot.
    pub slots: u32,
}

impl Wire for PrewarmOrder {
    const KIND: &'static str = "standing";
}

/// Time between two copies of the same prewarm order.
pub const PREWARM_INTERVAL: Duration = Duration::from_secs(30);
/// Time after which a prewarm order expires. It outlives the loss of two copies in a row.
pub const PREWARM_LEASE: Duration = Duration::from_secs(100);

/// What the coordinator asks all workers to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Control {
    /// Stop working on a job.
    Cancel(CancelJob),
    /// Run matching datums again from their beginning.
    Restart(RestartDatum),
    /// Keep stages running without work.
    Prewarm(Box<PrewarmOrder>),
}
