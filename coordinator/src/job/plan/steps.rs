//! What a job has to do, compared with its base job: datums to run and datums to drop.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use howdah_model::{DatumHash, DatumId, DatumIndex};
use howdah_protocol::objects::{Datum, DatumOutcome, DatumRecord};
use howdah_protocol::wire;
use howdah_spec::Input;
use howdah_store::{Store, Tree};

use super::difference::{CommitLookups, DatumChange, difference};
use super::enumerate::enumerate;
use super::error::PlanError;
use super::input_files::CommitLookup;
use super::merge_plan::BaseJob;

/// How the datums of a job are compared with those of its base.
#[derive(Clone, Copy)]
pub enum Reuse<'a> {
    /// Nothing is taken over: there is no base, or it ran under another salt.
    Nothing,
    /// The base ran all its datums with success, from the same input under the same salt and from these commits: what has
    /// not changed in their trees is taken over without being read.
    ByTreeDiff(&'a BaseJob, &'a CommitLookup<'a>),
    /// Every datum is compared with those of the base, whatever the base was made from.
    ByDatum(&'a BaseJob),
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq)]
pub enum PlanStep {
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

/// Streams what a job has to do. A datum of the base that no step mentions is taken over.
pub async fn steps(
    store: &Store,
    input: &Input,
    new: &CommitLookup<'_>,
    salt: Arc<str>,
    reuse: Reuse<'_>,
) -> Result<BoxStream<'static, Result<PlanStep, PlanError>>, PlanError> {
    match reuse {
        Reuse::Nothing => {
            let datums = enumerate(store, input, new, salt).await?;
            let run = |datum| PlanStep::Run { datum, replaces: false };
            Ok(datums.map_ok(run).boxed())
        }
        Reuse::ByTreeDiff(base, old) => {
            let records = Tree::new(store, base.datums.records);
            let changes = difference(store, input, &CommitLookups { old, new }, salt).await?;
            let steps = changes.try_filter_map(move |change| {
                let records = records.clone();
                async move {
                    Ok(match change {
                        DatumChange::New(datum) => Some(PlanStep::Run { datum, replaces: false }),
                        // A cross or a union reports also combinations that the base has with the same content. Only
                        // the record shows whether this is one.
                        DatumChange::NewOrChanged(datum) => {
                            let before = base_datum(&records, &datum.id).await?;
                            compare(datum, before.as_ref())
                        }
                        DatumChange::Gone(id) => base_datum(&records, &id).await?.map(|_| PlanStep::Drop(id)),
                    })
                }
            });
            Ok(steps.boxed())
        }
        Reuse::ByDatum(base) => {
            let before = base_datums(store, &base.datums).await?;
            let datums = enumerate(store, input, new, salt).await?;
            let steps = stream::try_unfold((datums, before), |(mut datums, mut before)| async move {
                while let Some(datum) = datums.try_next().await? {
                    let known = before.remove(&datum.id);
                    if let Some(step) = compare(datum, known.as_ref()) {
                        return Ok(Some((step, (datums, before))));
                    }
                }
                // Every datum of the input has been removed from it: what remains is gone.
                let gone = before.pop_first();
                Ok(gone.map(|(id, _)| (PlanStep::Drop(id), (datums, before))))
            });
            Ok(steps.boxed())
        }
    }
}

/// Decides whether a datum is run again (semantics 12); `None` means that the base's result is taken over.
fn compare(datum: Datum, before: Option<&BaseDatum>) -> Option<PlanStep> {
    let replaces = before.is_some();
    let done = before.is_some_and(|before| before.outcome == DatumOutcome::Success && before.hash == datum.hash);
    (!done).then_some(PlanStep::Run { datum, replaces })
}

/// What matters of a datum of the base job.
#[derive(Debug, Clone, PartialEq)]
pub struct BaseDatum {
    /// Hash that it was processed with.
    pub hash: DatumHash,
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

/// Tells whether some datum of a base job did not succeed, so that it has to run again in any case.
pub async fn has_unsuccessful_datums(store: &Store, base: &DatumIndex) -> Result<bool, PlanError> {
    // The merge gives the records of such datums the weight 1 and all others 0, so the root of the tree has their
    // number.
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

    fn compared(hash: u8, before: Option<(u8, DatumOutcome)>) -> Option<bool> {
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
        compare(datum, before.as_ref()).map(|step| matches!(step, PlanStep::Run { replaces: true, .. }))
    }

    #[test]
    fn each_line_of_the_skipping_table() {
        assert_eq!(compared(1, Some((1, DatumOutcome::Success))), None, "done there");
        assert_eq!(compared(9, Some((1, DatumOutcome::Success))), Some(true), "changed");
        assert_eq!(compared(1, Some((1, DatumOutcome::Failed))), Some(true), "failed");
        assert_eq!(compared(1, Some((1, DatumOutcome::Recovered))), Some(true), "recovered");
        assert_eq!(compared(1, None), Some(false), "new");
    }
}
