//! The message that carries a datum set to a worker.

use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use serde::{Deserialize, Serialize};

use crate::objects::{DatumSet, DatumSetV2, PlanId};
use crate::wire::{BodyError, Wire};

/// Largest encoded [`SetMessage`] with a datum set inside, in bytes. A bigger set is only named.
pub const INLINE_LIMIT_BYTES: usize = 256 * 1024;

/// Delivers one datum set to one worker.
///
/// It names no objects: the worker computes the keys of plan, set and result itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetMessage {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Its version.
    pub version: u64,
    /// Job.
    pub job: GlobalId,
    /// Plan that the set is of. If the job has another one by now, the set is dropped.
    pub plan: PlanId,
    /// Number of the set within the plan.
    pub set: u32,
    /// Another number each time that the coordinator publishes the set again. It is part of the message id: the server
    /// would drop a second message of the same id as a duplicate.
    pub attempt: u32,
    /// The set itself if it is small; otherwise the worker reads it.
    pub inline: Option<DatumSet>,
}

impl Wire for SetMessage {
    const KIND: &'static str = "datum_set_work";
    const VERSION: u32 = 4;
    const READS: &'static [u32] = &[2, 3, Self::VERSION];
    const BINARY: bool = true;

    fn decode_older(version: u32, body: &[u8]) -> Result<Self, BodyError> {
        // Sets that an older coordinator published may still wait in the stream when the workers are updated. A worker
        // that refused them would block their jobs until a person acts.
        Ok(match version {
            2 => postcard::from_bytes::<OlderSetMessage<DatumSetV2>>(body)?.into(),
            _ => postcard::from_bytes::<OlderSetMessage<DatumSet>>(body)?.into(),
        })
    }
}

/// Versions 2 and 3 of [`SetMessage`], which name objects. Version 2 holds a [`DatumSetV2`].
#[derive(Deserialize)]
struct OlderSetMessage<Set> {
    pipeline: PipelineKey,
    version: u64,
    job: GlobalId,
    set: u32,
    attempt: u32,
    _plan_key: String,
    _set_key: String,
    inline: Option<Set>,
}

impl<Set: Into<DatumSet>> From<OlderSetMessage<Set>> for SetMessage {
    fn from(older: OlderSetMessage<Set>) -> Self {
        Self {
            pipeline: older.pipeline,
            version: older.version,
            job: older.job,
            plan: PlanId::EARLIER,
            set: older.set,
            attempt: older.attempt,
            inline: older.inline.map(Into::into),
        }
    }
}

impl SetMessage {
    /// Returns the message id, by which the server recognises a duplicate.
    pub fn message_id(&self) -> String {
        format!(
            "{}/{}/{}/{}/{}/{}",
            self.pipeline.project, self.pipeline.name, self.job, self.plan, self.set, self.attempt
        )
    }
}
