//! Set events: a worker reports that a set is done or could not be done.

use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use serde::{Deserialize, Serialize};

use crate::objects::PlanId;
use crate::wire::Wire;

/// The result of a set is in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetDone {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Job.
    pub job: GlobalId,
    /// Plan of the set.
    #[serde(default, skip_serializing_if = "PlanId::is_earlier")]
    pub plan: PlanId,
    /// Set within the plan.
    pub set: u32,
    /// Worker that ran the set.
    pub worker: String,
    /// A copy of the stored [`crate::objects::SetResult`] in hexadecimal digits. Present if the job has no other set
    /// and the result is small: the coordinator then need not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

impl Wire for SetDone {
    const KIND: &'static str = "set_done";
}

/// A worker could not run a set, because of infrastructure and not because of user code. The set will be delivered
/// again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetFailed {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Job.
    pub job: GlobalId,
    /// Plan of the set.
    #[serde(default, skip_serializing_if = "PlanId::is_earlier")]
    pub plan: PlanId,
    /// Set within the plan.
    pub set: u32,
    /// Worker that gave the set back.
    pub worker: String,
    /// What happened; shown as the job's reason.
    pub message: String,
    /// Whether another attempt fails too until a person acts: the image is gone, or pulling it is not allowed.
    pub needs_attention: bool,
    /// What the failure says about another attempt.
    #[serde(default, skip_serializing_if = "SetFailure::is_passing")]
    pub failure: SetFailure,
    /// Time until the queue delivers the set again, in milliseconds, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_ms: Option<u64>,
}

/// What a failure of infrastructure says about another attempt to run the set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetFailure {
    /// It may succeed.
    #[default]
    Passing,
    /// It fails until the store or the container engine works again, or until a person acts. Other sets are affected, too.
    Outage,
    /// It fails in the same way: input data is damaged or lost.
    Damage,
    /// The plan or the set cannot be used; the coordinator can make both again.
    Plan,
}

impl SetFailure {
    fn is_passing(&self) -> bool {
        *self == Self::Passing
    }
}

impl Wire for SetFailed {
    const KIND: &'static str = "set_trouble";
}

/// A worker got a set that an earlier leader published, and dropped it. The leader publishes it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetOutdated {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Job.
    pub job: GlobalId,
    /// Plan of the set.
    pub plan: PlanId,
    /// Set within the plan.
    pub set: u32,
}

impl Wire for SetOutdated {
    const KIND: &'static str = "set_outdated";
}

/// A worker found that the server has sets for a pipeline and does not deliver them. The leader checks it and makes the
/// stream again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerStalled {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// When the consumer was made, as the server writes it: a report about an earlier consumer is ignored.
    pub created: String,
}

impl Wire for ConsumerStalled {
    const KIND: &'static str = "consumer_stalled";
}

/// What a worker reports about a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetEvent {
    /// The result is in the store.
    Done(SetDone),
    /// The worker gave the set back.
    Failed(SetFailed),
    /// The worker dropped the set of an earlier leader.
    Outdated(SetOutdated),
}

impl SetEvent {
    /// Returns the plan of the set.
    pub fn plan(&self) -> PlanId {
        match self {
            Self::Done(done) => done.plan,
            Self::Failed(failed) => failed.plan,
            Self::Outdated(outdated) => outdated.plan,
        }
    }
}
