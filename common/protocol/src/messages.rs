//! What travels over NATS. Written and read through [`crate::wire`].

use howdah_model::entities::ImagePin;
use howdah_model::ids::{DatumId, GlobalId};
use howdah_model::names::PipelineKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::objects::{DatumSet, DatumSetV2, LogLine, StageSpec};
use crate::wire::{BodyError, Wire};

/// Largest encoded datum set that travels inside its [`SetMessage`]; bigger ones go by key.
pub const INLINE_LIMIT_BYTES: usize = 256 * 1024;

/// Hands one datum set to whichever worker takes it.
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
    /// Raised each time that the coordinator publishes the set again, which gets it past the
    /// server's detection of duplicates.
    pub attempt: u32,
    /// Key of the job's [`crate::objects::JobPlan`].
    pub plan_key: String,
    /// Key of the [`DatumSet`].
    pub set_key: String,
    /// The set itself when it is small.
    pub inline: Option<DatumSet>,
}

impl Wire for SetMessage {
    const KIND: &'static str = "datum_set_work";
    const VERSION: u32 = 3;
    const READS: &'static [u32] = &[2, Self::VERSION];
    const BINARY: bool = true;

    fn decode_older(_version: u32, body: &[u8]) -> Result<Self, BodyError> {
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

/// A [`SetMessage`] with an older datum set.
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
    /// Returns the id by which the server recognises a duplicate.
    pub fn message_id(&self) -> String {
        format!(
            "{}/{}/{}/{}/{}",
            self.pipeline.project, self.pipeline.name, self.job, self.set, self.attempt
        )
    }
}

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
pub const PRESENCE_INTERVAL: std::time::Duration = std::time::Duration::from_secs(2);

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

/// Log lines as they come, for followers. The lasting copy is a [`crate::objects::LogObject`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBatch {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Job.
    pub job: GlobalId,
    /// Set within the job.
    pub set: u32,
    /// Worker.
    pub worker: String,
    /// The lines.
    pub lines: Vec<LogLine>,
}

impl Wire for LogBatch {
    const KIND: &'static str = "log_batch";
}

/// Says that the list of pipelines to serve has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeUp {}

impl Wire for WakeUp {
    const KIND: &'static str = "wake_up";
}

/// Asks one worker which image a reference means.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolveImage {
    /// Reference as the user wrote it.
    pub image: String,
    /// Credentials, if the coordinator has any for that registry.
    pub auth: Option<PullCredentials>,
}

impl Wire for ResolveImage {
    const KIND: &'static str = "resolve_image";
}

impl std::fmt::Debug for ResolveImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResolveImage")
            .field("image", &self.image)
            .finish_non_exhaustive()
    }
}

/// Credentials for a registry.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullCredentials {
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
    /// Registry they are for; `None` is the image's own.
    pub server: Option<String>,
}

impl std::fmt::Debug for PullCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullCredentials")
            .field("username", &self.username)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// Answer to [`ResolveImage`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResolvedImage {
    /// The image exists and means this.
    Pinned(ImagePin),
    /// It could not be resolved.
    Refused {
        /// Why, for the pipeline's reason.
        message: String,
        /// Whether nothing will change until somebody acts.
        needs_attention: bool,
    },
}

impl Wire for ResolvedImage {
    const KIND: &'static str = "resolved_image";
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
pub const PREWARM_INTERVAL: std::time::Duration = std::time::Duration::from_secs(30);
/// Time after which what the coordinator said about stages no longer holds.
pub const PREWARM_LEASE: std::time::Duration = std::time::Duration::from_secs(100);

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
