//! Collects the results of a job and merges them into the trees of its base.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::{Arc, PoisonError};

use futures::TryStreamExt;
use howdah_model::{Content, DatumCounts, DatumId, DatumIndex, JobStats, TreeRoot};
use howdah_protocol::objects::{Datum, DatumOutcome, DatumRecord, DatumResult, DatumSet, JobPlan, SetResult};
use howdah_protocol::wire;
use howdah_store::{EditError, FileEntry, FileTree, PathRules, Store, StoreError, Tree, TreeValue, check_path};

use super::edit_sorter::{EditSorter, SortedEdits};
use super::file_changes::{FileChanges, last_of_each_key};
use crate::job::plan::MergePlan;

/// Why outputs could not be merged. A collision between datums is not an error of the merge: it fails the job.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The store failed.
    #[error("the store failed while merging")]
    Store(#[from] StoreError),
    /// Sorting needs more space than the folder for temporary files has.
    #[error("a temporary file for merging could not be written or read (folder: {})", std::env::temp_dir().display())]
    Scratch(#[from] io::Error),
}

/// The result of a job.
#[derive(Debug)]
pub struct Merged {
    /// Files of the output commit. For a failed job: what its datums have written, or the files of the base if these do not
    /// fit together.
    pub output: Content,
    /// Records of all its datums.
    pub datums: DatumIndex,
    /// Datums by outcome.
    pub counts: DatumCounts,
    /// Sums of time and bytes over the datums that ran.
    pub stats: JobStats,
    /// Why the job failed, if it did.
    pub failure: Option<String>,
}

/// Returns the sums over one set's result.
fn tally(result: &SetResult) -> (DatumCounts, JobStats) {
    let (mut counts, mut stats) = (DatumCounts::default(), JobStats::default());
    for datum in &result.datums {
        match datum.state {
            DatumOutcome::Success => counts.processed += 1,
            DatumOutcome::Failed => counts.failed += 1,
            DatumOutcome::Recovered => counts.recovered += 1,
        }
        stats.download_ms += datum.stats.download_ms;
        stats.process_ms += datum.stats.process_ms;
        stats.upload_ms += datum.stats.upload_ms;
        stats.download_bytes += datum.stats.download_bytes;
        stats.upload_bytes += datum.stats.upload_bytes;
    }
    (counts, stats)
}

/// Returns the key of an output file in the tree of outputs: the datum's id, then the path.
pub fn output_key(datum: &DatumId, path: &str) -> Vec<u8> {
    let mut key = datum.as_bytes().to_vec();
    key.extend_from_slice(path.as_bytes());
    key
}

/// Collects the results of a job and merges them.
pub struct Merger {
    plan: Arc<JobPlan>,
    files: EditSorter,
    records: EditSorter,
    outputs: EditSorter,
    counts: DatumCounts,
    stats: JobStats,
    /// The first failure in the order of the plan: number of the set, position in it, reason. The order of the plan makes
    /// the reason independent of the order in which results come in.
    failure: Option<(u32, usize, String)>,
    worker_versions: BTreeSet<String>,
}

impl Merger {
    /// Makes a merger without results. Each of three sorters uses about `sorter_bytes` of memory, and temporary files
    /// beyond that.
    pub fn new(plan: Arc<JobPlan>, sorter_bytes: usize) -> Self {
        Merger {
            plan,
            files: EditSorter::new(sorter_bytes),
            records: EditSorter::new(sorter_bytes),
            outputs: EditSorter::new(sorter_bytes),
            counts: DatumCounts::default(),
            stats: JobStats::default(),
            failure: None,
            worker_versions: BTreeSet::new(),
        }
    }

    /// Returns the plan whose results are collected.
    pub fn plan(&self) -> &Arc<JobPlan> {
        &self.plan
    }

    /// Returns the versions of the workers that ran datums.
    pub fn worker_versions(&self) -> &BTreeSet<String> {
        &self.worker_versions
    }

    /// Adds the result of a set, which must have the set's datums in the set's order, and returns its sums. May block while
    /// a temporary file is written. Adding the same result twice counts it twice.
    pub fn add(&mut self, set: &DatumSet, result: &SetResult) -> io::Result<(DatumCounts, JobStats)> {
        let (counts, stats) = tally(result);
        self.counts += counts;
        self.stats += stats;
        self.worker_versions.insert(result.worker_version.clone());
        for (position, (datum, done)) in set.datums.iter().zip(&result.datums).enumerate() {
            if done.state == DatumOutcome::Failed {
                let reason = done.reason.as_deref().unwrap_or("no reason given");
                self.fail(result.set, position, format!("datum {} failed: {reason}", done.id));
            }
            let record = self.record(datum, done, result.log_key.clone());
            self.records.push(done.id.as_bytes(), Some(&record))?;
            for file in &done.outputs {
                if let Err(error) = check_path(&file.path, PathRules::default()) {
                    self.fail(result.set, position, error.to_string());
                    continue;
                }
                let entry = FileEntry {
                    content: file.content.clone(),
                    datum: Some(done.id),
                };
                self.files.push(file.path.as_bytes(), Some(&entry.encode()))?;
                self.outputs
                    .push(&output_key(&done.id, &file.path), Some(&TreeValue::default()))?;
            }
        }
        Ok((counts, stats))
    }

    fn fail(&mut self, set: u32, position: usize, reason: String) {
        let earlier = self
            .failure
            .as_ref()
            .is_some_and(|first| (first.0, first.1) <= (set, position));
        if !earlier {
            self.failure = Some((set, position, reason));
        }
    }

    fn record(&self, datum: &Datum, done: &DatumResult, log_key: Option<String>) -> TreeValue {
        let record = DatumRecord {
            hash: done.hash,
            state: done.state,
            job: self.plan.job,
            inputs: datum.inputs.clone(),
            stats: done.stats,
            image: self.plan.stage.image.clone(),
            pipeline_version: self.plan.version,
            reason: done.reason.clone(),
            log_key,
        };
        // The weight of a tree is that of all records, so planning finds out in one read whether any did not succeed.
        let weight = u64::from(done.state != DatumOutcome::Success);
        TreeValue::plain(wire::encode(&record), weight)
    }

    /// Merges everything into new trees, made from those of the base job. Nothing of the base is changed, and merging again
    /// gives the same trees: a driver that dies after this and before the job is finished costs only the repetition.
    pub async fn finish(mut self, store: &Store, merge_plan: &MergePlan) -> Result<Merged, MergeError> {
        let base = merge_plan.base.as_ref();
        let base_output = base.map(|base| base.output).unwrap_or_default();
        let base_datums = base.map(|base| base.datums).unwrap_or_default();
        self.drop_datums(store, &base_datums, &merge_plan.dropped).await?;
        let dropped: HashSet<DatumId> = merge_plan.dropped.iter().copied().collect();
        let Merger {
            files,
            records,
            outputs,
            failure,
            counts: own_counts,
            stats,
            ..
        } = self;
        // Sorting what is in memory takes long for large jobs; on a thread of the runtime it would delay other tasks.
        let sort = move || (files.finish(), records.finish(), outputs.finish());
        let (files, records, outputs) = tokio::task::spawn_blocking(sort).await.map_err(io::Error::other)?;
        let changes = FileChanges {
            sorted: files,
            base: FileTree::of(store, &base_output),
            dropped: Arc::new(dropped),
            duplicate: Arc::default(),
        };
        let (files, records, outputs) = tokio::join!(
            changes.base.apply_sorted(|| changes.stream()),
            apply_edits(store, base_datums.records, records),
            apply_edits(store, base_datums.outputs, outputs),
        );
        let mut failure = failure.map(|(_, _, reason)| reason);
        if failure.is_none() {
            failure = changes.duplicate.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        // Files that contradict each other, such as a file and a directory of one name, are the user's to mend: they fail
        // the job with a reason and must not repeat it for ever, as an error would.
        let output = match files {
            Ok(content) => content,
            Err(EditError::Store(error)) => return Err(error.into()),
            Err(fault) => {
                failure.get_or_insert_with(|| fault.to_string());
                base_output
            }
        };
        let mut counts = merge_plan.counts();
        counts += own_counts;
        Ok(Merged {
            output,
            datums: DatumIndex {
                records: records?,
                outputs: outputs?,
            },
            counts,
            stats,
            failure,
        })
    }

    async fn drop_datums(&mut self, store: &Store, base: &DatumIndex, dropped: &[DatumId]) -> Result<(), MergeError> {
        let outputs = Tree::new(store, base.outputs);
        // Also for datums that run again: what they wrote in the base is removed first, and an edit that adds a file wins
        // over one that removes it. A file that the datum does not write any more is gone then.
        for id in dropped {
            self.records.push(id.as_bytes(), None)?;
            let mut entries = std::pin::pin!(outputs.prefix(id.as_bytes()));
            while let Some(entry) = entries.try_next().await? {
                self.files.push(&entry.key[id.as_bytes().len()..], None)?;
                self.outputs.push(&entry.key, None)?;
            }
        }
        Ok(())
    }
}

async fn apply_edits(
    store: &Store,
    root: Option<TreeRoot>,
    edits: SortedEdits,
) -> Result<Option<TreeRoot>, StoreError> {
    let edits = last_of_each_key(&edits);
    Ok(Tree::new(store, root).apply(edits).await?.root())
}
