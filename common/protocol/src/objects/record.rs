//! The record of one datum in the tree of a job's datums.

use howdah_model::entities::ImagePin;
use howdah_model::ids::{DatumHash, GlobalId};
use serde::{Deserialize, Serialize};

use super::{DatumInput, DatumOutcome, DatumStats};
use crate::wire::Wire;

/// What is remembered of a datum in the tree of a job's datums.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatumRecord {
    /// Hash that it was processed with.
    pub hash: DatumHash,
    /// How it ended.
    pub state: DatumOutcome,
    /// Job that ran it (an earlier one when it was skipped since).
    pub job: GlobalId,
    /// Its input files.
    pub inputs: Vec<DatumInput>,
    /// Times and bytes.
    pub stats: DatumStats,
    /// Image that it ran in.
    pub image: ImagePin,
    /// Version of the pipeline that it ran as.
    pub pipeline_version: u64,
    /// Why it failed, if it did.
    pub reason: Option<String>,
    /// Object that holds its log lines among others, if there are any.
    pub log_key: Option<String>,
}

impl Wire for DatumRecord {
    const KIND: &'static str = "datum_record";
    const VERSION: u32 = 2;
    const BINARY: bool = true;
}
