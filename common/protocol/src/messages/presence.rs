//! Presence: the heartbeat of a worker, with the state of its slots.

use std::time::Duration;

use howdah_model::ids::{DatumId, GlobalId};
use howdah_model::names::PipelineKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::wire::Wire;

/// A worker's sign of life, sent every [`PRESENCE_INTERVAL`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Name of the worker, unique among the living ones.
    pub worker: String,
    /// Machine it runs on.
    pub host: String,
    /// Howdah version.
    pub version: String,
    /// Runtime it uses (`docker`, ...).
    pub runtime: String,
    /// Number of slots.
    pub slots: u32,
    /// What the busy ones do.
    pub busy: Vec<SlotStatus>,
    /// Pipelines it is limited to; empty means all.
    pub pipelines: Vec<PipelineKey>,
    /// When it was started.
    pub started: Timestamp,
    /// Set in the last message of a worker that stops on purpose.
    #[serde(default)]
    pub leaving: bool,
}

impl Wire for Presence {
    const KIND: &'static str = "presence";
}

/// How often a worker says that it lives.
pub const PRESENCE_INTERVAL: Duration = Duration::from_secs(2);

/// What a busy slot does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Job.
    pub job: GlobalId,
    /// Set within the job.
    pub set: u32,
    /// Datum that is being worked on.
    pub datum: Option<DatumId>,
    /// When that datum was begun.
    pub started: Timestamp,
    /// Datums of the set that are finished.
    pub done: u32,
    /// Datums of the set in all.
    pub total: u32,
    /// What holds the slot up just now (an image being pulled), if anything.
    #[serde(default)]
    pub note: Option<String>,
}
