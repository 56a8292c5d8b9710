//! Set events: a worker reports that a set is done or could not be done.

use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use serde::{Deserialize, Serialize};

use crate::wire::Wire;

/// Tells that the result of a set is in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetDone {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Job.
    pub job: GlobalId,
    /// Set within the job.
    pub set: u32,
    /// Worker that did it.
    pub worker: String,
    /// A copy of what is stored, in hexadecimal digits, where the job has no other set and the result is small: it
    /// saves the coordinator from reading it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

impl Wire for SetDone {
    const KIND: &'static str = "set_done";
}

/// Tells that a set could not be done for want of infrastructure and will be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetFailed {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Job.
    pub job: GlobalId,
    /// Set within the job.
    pub set: u32,
    /// Worker that had to give it back.
    pub worker: String,
    /// What happened, for the job's reason.
    pub message: String,
    /// Whether nothing will change until somebody acts (image gone, not allowed to pull).
    pub needs_attention: bool,
}

impl Wire for SetFailed {
    const KIND: &'static str = "set_trouble";
}

/// What workers tell the coordinator about sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetEvent {
    /// A result is there.
    Done(SetDone),
    /// A set was given back.
    Failed(SetFailed),
}
