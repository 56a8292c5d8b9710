//! The message that carries a datum set to a worker.

use howdah_model::ids::GlobalId;
use howdah_model::names::PipelineKey;
use serde::{Deserialize, Serialize};

use crate::objects::{DatumSet, DatumSetV2};
use crate::wire::{BodyError, Wire};

/// Largest encoded [`SetMessage`] with a datum set inside, in bytes. A bigger set is only named by its key.
pub const INLINE_LIMIT_BYTES: usize = 256 * 1024;

/// Delivers one datum set to one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetMessage {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Its version.
    pub version: u64,
    /// Job.
    pub job: GlobalId,
    /// Number of the set within the job.
    pub set: u32,
    /// Another number each time that the coordinator publishes the set again. It is part of the message id: the server
    /// would drop a second message of the same id as a duplicate.
    pub attempt: u32,
    /// Key of the job's [`crate::objects::JobPlan`].
    pub plan_key: String,
    /// Key of the [`DatumSet`].
    pub set_key: String,
    /// The set itself if it is small; otherwise the worker reads `set_key`.
    pub inline: Option<DatumSet>,
}

impl Wire for SetMessage {
    const KIND: &'static str = "datum_set_work";
    const VERSION: u32 = 3;
    const READS: &'static [u32] = &[2, Self::VERSION];
    const BINARY: bool = true;

    fn decode_older(_version: u32, body: &[u8]) -> Result<Self, BodyError> {
        // Sets that an older coordinator published may still wait in the stream when the workers are updated. A worker
        // that refused them would block their jobs until a person acts.
        let older: SetMessageV2 = postcard::from_bytes(body)?;
        Ok(SetMessage {
            pipeline: older.pipeline,
            version: older.version,
            job: older.job,
            set: older.set,
            attempt: older.attempt,
            plan_key: older.plan_key,
            set_key: older.set_key,
            inline: older.inline.map(DatumSet::from),
        })
    }
}

/// Version 2 of [`SetMessage`]: it holds a [`DatumSetV2`].
#[derive(Deserialize)]
struct SetMessageV2 {
    pipeline: PipelineKey,
    version: u64,
    job: GlobalId,
    set: u32,
    attempt: u32,
    plan_key: String,
    set_key: String,
    inline: Option<DatumSetV2>,
}

impl SetMessage {
    /// Returns the message id, by which the server recognises a duplicate.
    pub fn message_id(&self) -> String {
        format!(
            "{}/{}/{}/{}/{}",
            self.pipeline.project, self.pipeline.name, self.job, self.set, self.attempt
        )
    }
}
