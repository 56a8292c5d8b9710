//! The record of one datum in the tree of a job's datums.

use howdah_model::entities::ImagePin;
use howdah_model::ids::{DatumHash, GlobalId};
use serde::{Deserialize, Serialize};

use super::{DatumInput, DatumOutcome, DatumStats};
use crate::wire::Wire;

/// A datum in the tree of a job's datums. A later job takes over the output of a datum with the same hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatumRecord {
    /// Hash of the datum.
    pub hash: DatumHash,
    /// How it ended.
    pub state: DatumOutcome,
    /// Job that ran the datum: an earlier one if this job skipped it.
    pub job: GlobalId,
    /// Its input files.
    pub inputs: Vec<DatumInput>,
    /// Times and bytes.
    pub stats: DatumStats,
    /// Image of its stage.
    pub image: ImagePin,
    /// Version of the pipeline that ran it.
    pub pipeline_version: u64,
    /// Why it failed, if it did.
    pub reason: Option<String>,
    /// Key of the [`super::LogObject`] of its set, if the set has log lines.
    pub log_key: Option<String>,
}

impl Wire for DatumRecord {
    const KIND: &'static str = "datum_record";
    const VERSION: u32 = 2;
    const BINARY: bool = true;
}
