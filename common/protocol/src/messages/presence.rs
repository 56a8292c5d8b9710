//! Presence: the heartbeat of a worker, with the state of its slots.

use std::time::Duration;

use howdah_model::ids::{DatumId, GlobalId};
use howdah_model::names::PipelineKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::wire::Wire;

/// The heartbeat of a worker, sent every [`PRESENCE_INTERVAL`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Name of the worker, unique among those that run.
    pub worker: String,
    /// Name of its machine.
    pub host: String,
    /// Howdah version of the worker.
    pub version: String,
    /// Container runtime: `docker` or `scripted`.
    pub runtime: String,
    /// Number of slots.
    pub slots: u32,
    /// The slots that have a datum set.
    pub busy: Vec<SlotStatus>,
    /// Pipelines that the worker is limited to; empty means all.
    pub pipelines: Vec<PipelineKey>,
    /// Start time of the worker.
    pub started: Timestamp,
    /// True in the last message of a worker that shuts down in order: the coordinator need not wait for its silence.
    #[serde(default)]
    pub leaving: bool,
}

impl Wire for Presence {
    const KIND: &'static str = "presence";
}

/// Time between two heartbeats of a worker.
pub const PRESENCE_INTERVAL: Duration = Duration::from_secs(2);

/// A slot that has a datum set, and how far the set is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Job.
    pub job: GlobalId,
    /// Set within the job.
    pub set: u32,
    /// Datum that runs now.
    pub datum: Option<DatumId>,
    /// Start time of that datum.
    pub started: Timestamp,
    /// Number of finished datums of the set.
    pub done: u32,
    /// Number of datums of the set.
    pub total: u32,
    /// What the slot waits for now, such as the pull of an image.
    #[serde(default)]
    pub note: Option<String>,
}
