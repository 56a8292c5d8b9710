//! What the coordinator keeps of a plan until it merges: the base job and what is dropped of it.

use howdah_model::{Content, DatumCounts, DatumId, DatumIndex, GlobalId};
use howdah_protocol::wire::Wire;
use serde::{Deserialize, Serialize};

/// The successful job that a new one builds on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BaseJob {
    /// Id of that job.
    pub job: GlobalId,
    /// Its datums.
    pub datums: DatumIndex,
    /// Its output.
    pub output: Content,
}

/// What the coordinator has to know for merging, once all sets of a plan are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MergePlan {
    /// What the job builds on; none for a first job.
    #[serde(with = "base_as_text")]
    pub base: Option<BaseJob>,
    /// Datums of the base whose output and record are removed, those that run again included; sorted.
    pub dropped: Vec<DatumId>,
    /// Datums taken over from the base.
    pub skipped: u64,
    /// Datums handed to workers.
    pub to_do: u64,
    /// Number of datum sets.
    pub sets: u32,
}

impl MergePlan {
    /// Returns what is known of the job's datums before any of them has run.
    pub fn counts(&self) -> DatumCounts {
        DatumCounts {
            total: self.to_do + self.skipped,
            skipped: self.skipped,
            ..DatumCounts::default()
        }
    }
}

impl Wire for MergePlan {
    const KIND: &'static str = "merge_plan";
    const VERSION: u32 = 3;
    const BINARY: bool = true;
}

/// Writes the base as JSON text within the binary form: its parts leave out fields that are empty, which a binary form
/// cannot express.
mod base_as_text {
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::BaseJob;

    pub(super) fn serialize<S: Serializer>(base: &Option<BaseJob>, serializer: S) -> Result<S::Ok, S::Error> {
        let text = base.as_ref().map(serde_json::to_string).transpose();
        text.map_err(S::Error::custom)?.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BaseJob>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let base = text.map(|text| serde_json::from_str(&text)).transpose();
        base.map_err(D::Error::custom)
    }
}
