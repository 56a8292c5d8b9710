//! Planning a job: from input trees to the datum sets that workers get.
//!
//! ```text
//!  input + commits --enumerate--> datums --compare with base--> to do / skipped / removed --split--> sets
//! ```
//!
//! The result is written to the store before anything is published: [`JobPlan`] for workers, one
//! [`DatumSet`] object per set, and [`MergePlan`] for the coordinator itself, so that a coordinator that
//! dies continues with the very same plan.

mod enumerate;
mod split;

use std::collections::HashMap;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use futures::{StreamExt, TryStreamExt};
use howdah_model::{Content, DatumCounts, DatumId, DatumIndex, GlobalId};
use howdah_queue::job::{Datum, DatumOutcome, DatumRecord, DatumSet, JobPlan, StageSpec, plan_key, set_key};
use howdah_queue::wire::{self, Wire, WireError};
use howdah_store::{Store, StoreError, Tree};
use serde::{Deserialize, Serialize};

pub use enumerate::{CommitLookup, InputCommit, enumerate, repo_of};
pub use split::split;

/// How many set objects are written at once.
const WRITES_AT_ONCE: usize = 16;

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
    /// The store failed.
    #[error("the plan could not be read or written")]
    Store(#[from] StoreError),
    /// Something stored cannot be understood.
    #[error("the plan could not be understood")]
    Wire(#[from] WireError),
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
    pub base: Option<Base>,
    /// Datums of the base whose output and record go away, those done again included.
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
}

/// Result of comparing a job's datums with those of its base. Pure data, sorted by datum id.
#[derive(Debug, Default, PartialEq)]
pub struct Comparison {
    /// Datums to hand out, in the order they were given.
    pub to_do: Vec<Datum>,
    /// Number of datums that are taken over.
    pub skipped: u64,
    /// Ids in the base whose output and record go away.
    pub dropped: Vec<DatumId>,
}

/// Decides for every datum whether it is done again (semantics 12).
///
/// `base` gives hash and outcome of the datums of the base job. With `never_skip` every datum is to do.
pub fn compare(datums: Vec<Datum>, mut base: HashMap<DatumId, BaseDatum>, never_skip: bool) -> Comparison {
    let mut result = Comparison::default();
    for datum in datums {
        let before = base.remove(&datum.id);
        let done = before
            .as_ref()
            .is_some_and(|before| before.outcome == DatumOutcome::Success && before.hash == datum.hash);
        if done && !never_skip {
            result.skipped += 1;
            continue;
        }
        if before.is_some() {
            result.dropped.push(datum.id);
        }
        result.to_do.push(datum);
    }
    result.dropped.extend(base.into_keys());
    result.dropped.sort_unstable();
    result
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
pub async fn base_datums(store: &Store, base: &DatumIndex) -> Result<HashMap<DatumId, BaseDatum>, PlanError> {
    let tree = Tree::new(store, base.records);
    let mut entries = std::pin::pin!(tree.prefix(b""));
    let mut datums = HashMap::new();
    while let Some(entry) = entries.try_next().await? {
        let record: DatumRecord = wire::decode(&entry.value.data)?;
        let id = datum_id_of_key(&entry.key)?;
        datums.insert(
            id,
            BaseDatum {
                hash: record.hash,
                outcome: record.state,
            },
        );
    }
    Ok(datums)
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

/// Key of the [`MergePlan`] that goes with a job's plan.
fn merge_plan_key(plan: &JobPlan) -> String {
    format!("{}-merge", plan_key(&plan.pipeline, &plan.job))
}

/// Writes sets, merge plan and, last, the plan itself. Returns the plan's key.
pub async fn write(store: &Store, plan: &JobPlan, merge: &MergePlan, sets: Vec<DatumSet>) -> Result<String, PlanError> {
    futures::stream::iter(sets.into_iter().map(|set| {
        let key = set_key(&plan.pipeline, &plan.job, set.set);
        async move { store.put(&key, wire::encode(&set).into()).await }
    }))
    .buffer_unordered(WRITES_AT_ONCE)
    .try_collect::<()>()
    .await?;
    store.put(&merge_plan_key(plan), wire::encode(merge).into()).await?;
    let key = plan_key(&plan.pipeline, &plan.job);
    store.put(&key, wire::encode(plan).into()).await?;
    Ok(key)
}

/// Reads back what [`write()`] wrote.
pub async fn read(store: &Store, key: &str) -> Result<(JobPlan, MergePlan), PlanError> {
    let plan: JobPlan = wire::decode(&store.get(key).await?)?;
    let merge = wire::decode(&store.get(&merge_plan_key(&plan)).await?)?;
    Ok((plan, merge))
}

/// Cuts the datums to do into numbered sets.
pub fn into_sets(datums: Vec<Datum>, spec: Option<&howdah_spec::DatumSetSpec>, workers: u64) -> Vec<DatumSet> {
    let sizes: Vec<u64> = datums
        .iter()
        .map(|datum| datum.inputs.iter().map(|input| input.size).sum())
        .collect();
    let ranges = split(&sizes, spec, workers);
    let mut datums = datums.into_iter();
    ranges
        .into_iter()
        .zip(0u32..)
        .map(|(range, set)| DatumSet {
            set,
            datums: datums.by_ref().take(range.len()).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use howdah_model::DatumHash;

    fn datum(id: u8, hash: u8) -> Datum {
        Datum {
            id: DatumId::new([id; 32]),
            hash: DatumHash::new([hash; 32]),
            inputs: Vec::new(),
        }
    }

    fn base(entries: &[(u8, u8, DatumOutcome)]) -> HashMap<DatumId, BaseDatum> {
        entries
            .iter()
            .map(|(id, hash, outcome)| {
                (
                    DatumId::new([*id; 32]),
                    BaseDatum {
                        hash: DatumHash::new([*hash; 32]),
                        outcome: *outcome,
                    },
                )
            })
            .collect()
    }

    #[test]
    fn each_line_of_the_skipping_table() {
        let before = base(&[
            (1, 1, DatumOutcome::Success),
            (2, 2, DatumOutcome::Success),
            (3, 3, DatumOutcome::Failed),
            (4, 4, DatumOutcome::Recovered),
            (5, 5, DatumOutcome::Success),
        ]);
        let now = vec![datum(1, 1), datum(2, 9), datum(3, 3), datum(4, 4), datum(6, 6)];
        let comparison = compare(now, before, false);
        assert_eq!(comparison.skipped, 1, "same id, same hash, done there");
        assert_eq!(
            comparison.to_do,
            vec![datum(2, 9), datum(3, 3), datum(4, 4), datum(6, 6)]
        );
        assert_eq!(
            comparison.dropped,
            [2, 3, 4, 5].map(|id| DatumId::new([id; 32])),
            "changed, failed, recovered, gone"
        );
    }

    #[test]
    fn every_job_does_everything_again() {
        let comparison = compare(vec![datum(1, 1)], base(&[(1, 1, DatumOutcome::Success)]), true);
        assert_eq!(
            (comparison.to_do.len(), comparison.skipped, comparison.dropped.len()),
            (1, 0, 1)
        );
    }

    #[test]
    fn sets_are_numbered_and_hold_every_datum_in_order() {
        let sets = into_sets((0..10).map(|n| datum(n, n)).collect(), None, 1);
        let numbers: Vec<u32> = sets.iter().map(|set| set.set).collect();
        assert_eq!(numbers, (0..5).collect::<Vec<_>>());
        let ids: Vec<DatumId> = sets
            .iter()
            .flat_map(|set| set.datums.iter().map(|datum| datum.id))
            .collect();
        assert_eq!(ids, (0..10).map(|n| DatumId::new([n; 32])).collect::<Vec<_>>());
    }
}
