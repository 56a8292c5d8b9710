//! What a job has to do, compared with its base job.

use std::collections::BTreeMap;
use std::sync::Arc;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use howdah_model::{Content, DatumCounts, DatumId, DatumIndex, GlobalId};
use howdah_protocol::objects::{Datum, DatumOutcome, DatumRecord, StageSpec};
use howdah_protocol::wire::{self, Wire, WireError};
use howdah_spec::Input;
use howdah_store::{Store, StoreError, Tree};
use serde::{Deserialize, Serialize};

use super::difference::{Change, Sides, difference};
use super::enumerate::{CommitLookup, enumerate};

/// Why a plan could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// An input cannot be turned into datums.
    #[error("input {name}: {message}")]
    Input {
        /// Name of the input.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// The spec uses something that does not work yet.
    #[error("not supported yet: {0}")]
    Unsupported(&'static str),
    /// A cross has too many combinations.
    #[error("the cross input has {count} datums, more than the {limit} that one job may have: narrow its globs")]
    TooMany {
        /// How many there would be.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// What is recorded of the base job cannot be understood. Neither the spec nor this plan is at fault.
    #[error("the datum records of the job before cannot be understood (repeat with `update pipeline --reprocess`)")]
    Base(#[source] WireError),
    /// The store failed.
    #[error("the plan could not be read or written")]
    Store(#[from] StoreError),
    /// Something stored cannot be understood.
    #[error("the plan could not be understood")]
    Wire(#[from] WireError),
}

impl PlanError {
    /// Tells whether the spec is at fault, so that trying again would give the same.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Input { .. } | Self::Unsupported(_) | Self::TooMany { .. } => true,
            Self::Base(_) | Self::Store(_) | Self::Wire(_) => false,
        }
    }
}

/// The successful job that a new one builds on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Base {
    /// Id of that job.
    pub job: GlobalId,
    /// Its datums.
    pub datums: DatumIndex,
    /// Its output.
    pub output: Content,
}

/// What the coordinator must remember between planning and merging.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MergePlan {
    /// What the job builds on; none for a first job.
    #[serde(with = "base_as_text")]
    pub base: Option<Base>,
    /// Datums of the base whose output and record go away, those done again included; sorted.
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

/// The base as JSON within whatever it is written in: its parts leave out fields that are empty, which a binary form has
/// no way to tell.
mod base_as_text {
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Base;

    pub fn serialize<S: Serializer>(base: &Option<Base>, serializer: S) -> Result<S::Ok, S::Error> {
        let text = base.as_ref().map(serde_json::to_string).transpose();
        text.map_err(S::Error::custom)?.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Base>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let base = text.map(|text| serde_json::from_str(&text)).transpose();
        base.map_err(D::Error::custom)
    }
}

/// How the datums of a job are compared with those of its base.
#[derive(Clone, Copy)]
pub enum Reuse<'a> {
    /// Nothing is taken over: there is no base, or it ran under another salt.
    Nothing,
    /// The base did all its datums well, from the same input under the same salt and from these commits:
    /// what has not changed in their trees is taken over without being looked at.
    Unchanged(&'a Base, &'a CommitLookup<'a>),
    /// Every datum is compared with those of the base, whatever that was made from.
    Equal(&'a Base),
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A datum that workers get.
    Run {
        /// The datum.
        datum: Datum,
        /// Whether the base has it too, with a result that is outdated.
        replaces: bool,
    },
    /// A datum of the base that is gone.
    Drop(DatumId),
}

/// Streams what a job has to do. A datum of the base that is not mentioned is taken over.
pub async fn steps(
    store: &Store,
    input: &Input,
    new: &CommitLookup<'_>,
    salt: Arc<str>,
    reuse: Reuse<'_>,
) -> Result<BoxStream<'static, Result<Step, PlanError>>, PlanError> {
    match reuse {
        Reuse::Nothing => {
            let datums = enumerate(store, input, new, salt).await?;
            let run = |datum| Step::Run { datum, replaces: false };
            Ok(datums.map_ok(run).boxed())
        }
        Reuse::Unchanged(base, old) => {
            let records = Tree::new(store, base.datums.records);
            let changes = difference(store, input, &Sides { old, new }, salt).await?;
            let steps = changes.try_filter_map(move |change| {
                let records = records.clone();
                async move {
                    Ok(match change {
                        Change::New(datum) => Some(Step::Run { datum, replaces: false }),
                        Change::Came(datum) => {
                            let before = base_datum(&records, &datum.id).await?;
                            judge(datum, before.as_ref())
                        }
                        Change::Went(id) => base_datum(&records, &id).await?.map(|_| Step::Drop(id)),
                    })
                }
            });
            Ok(steps.boxed())
        }
        Reuse::Equal(base) => {
            let before = base_datums(store, &base.datums).await?;
            let datums = enumerate(store, input, new, salt).await?;
            let steps = stream::try_unfold((datums, before), |(mut datums, mut before)| async move {
                while let Some(datum) = datums.try_next().await? {
                    let known = before.remove(&datum.id);
                    if let Some(step) = judge(datum, known.as_ref()) {
                        return Ok(Some((step, (datums, before))));
                    }
                }
                let gone = before.pop_first();
                Ok(gone.map(|(id, _)| (Step::Drop(id), (datums, before))))
            });
            Ok(steps.boxed())
        }
    }
}

/// Decides whether a datum is done again (semantics 12); `None` means that the base's result is taken over.
fn judge(datum: Datum, before: Option<&BaseDatum>) -> Option<Step> {
    let replaces = before.is_some();
    let done = before.is_some_and(|before| before.outcome == DatumOutcome::Success && before.hash == datum.hash);
    (!done).then_some(Step::Run { datum, replaces })
}

/// Salt for `reprocess_spec: on_code_change`: the pipeline's own, and a hash of everything that makes up the code.
pub fn salt_with_code(salt: &str, stage: &StageSpec) -> String {
    let code = (
        &stage.image.digest,
        &stage.cmd,
        &stage.stdin,
        &stage.err_cmd,
        &stage.err_stdin,
        &stage.env,
        &stage.working_dir,
        &stage.user,
    );
    // Lists and strings in JSON are delimited, so different code cannot give the same text.
    let text = serde_json::to_vec(&code).expect("strings, lists and maps of strings always have a JSON form");
    format!("{salt}/{}", hex::encode(Blake2b::<U32>::digest(&text)))
}

/// What matters of a datum of the base job.
#[derive(Debug, Clone, PartialEq)]
pub struct BaseDatum {
    /// Hash that it was processed with.
    pub hash: howdah_model::DatumHash,
    /// How it ended.
    pub outcome: DatumOutcome,
}

/// Reads hash and outcome of every datum of a base job.
async fn base_datums(store: &Store, base: &DatumIndex) -> Result<BTreeMap<DatumId, BaseDatum>, PlanError> {
    let tree = Tree::new(store, base.records);
    let mut entries = std::pin::pin!(tree.prefix(b""));
    let mut datums = BTreeMap::new();
    while let Some(entry) = entries.try_next().await? {
        datums.insert(datum_id_of_key(&entry.key)?, decode_base(&entry.value.data)?);
    }
    Ok(datums)
}

async fn base_datum(records: &Tree, id: &DatumId) -> Result<Option<BaseDatum>, PlanError> {
    let found = records.get(id.as_bytes()).await?;
    found.map(|value| decode_base(&value.data)).transpose()
}

fn decode_base(data: &[u8]) -> Result<BaseDatum, PlanError> {
    let record: DatumRecord = wire::decode(data).map_err(PlanError::Base)?;
    Ok(BaseDatum {
        hash: record.hash,
        outcome: record.state,
    })
}

/// Returns the number of datums of a base job.
pub async fn datum_count(store: &Store, base: &DatumIndex) -> Result<u64, PlanError> {
    Ok(Tree::new(store, base.records).total().await?.count)
}

/// Tells whether some datum of a base job did not succeed and so has to be done again in any case.
pub async fn has_unfinished(store: &Store, base: &DatumIndex) -> Result<bool, PlanError> {
    // Records weigh nothing unless they are of that kind.
    Ok(Tree::new(store, base.records).total().await?.weight > 0)
}

/// Reads a datum id from the front of a tree key.
pub fn datum_id_of_key(key: &[u8]) -> Result<DatumId, PlanError> {
    let id: [u8; 32] = key
        .get(..32)
        .and_then(|front| front.try_into().ok())
        .ok_or_else(|| PlanError::Input {
            name: "datum index".to_owned(),
            message: format!("a key of {} bytes is too short to begin with a datum id", key.len()),
        })?;
    Ok(DatumId::new(id))
}

#[cfg(test)]
mod skipping {
    use super::*;
    use howdah_model::DatumHash;

    fn judged(hash: u8, before: Option<(u8, DatumOutcome)>) -> Option<bool> {
        let datum = Datum {
            id: DatumId::new([1; 32]),
            hash: DatumHash::new([hash; 32]),
            inputs: Vec::new(),
            slices: Vec::new(),
        };
        let before = before.map(|(hash, outcome)| BaseDatum {
            hash: DatumHash::new([hash; 32]),
            outcome,
        });
        judge(datum, before.as_ref()).map(|step| matches!(step, Step::Run { replaces: true, .. }))
    }

    #[test]
    fn each_line_of_the_skipping_table() {
        assert_eq!(judged(1, Some((1, DatumOutcome::Success))), None, "done there");
        assert_eq!(judged(9, Some((1, DatumOutcome::Success))), Some(true), "changed");
        assert_eq!(judged(1, Some((1, DatumOutcome::Failed))), Some(true), "failed");
        assert_eq!(judged(1, Some((1, DatumOutcome::Recovered))), Some(true), "recovered");
        assert_eq!(judged(1, None), Some(false), "new");
    }
}
