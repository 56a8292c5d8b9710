//! From set results to the output commit and the datum index.
//!
//! The output of a job is that of the datums it took over plus that of the datums it ran. Both trees are
//! made by editing those of the base job: files of dropped datums go, new ones come, and nothing else is
//! read or written.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use howdah_model::{Content, DatumCounts, DatumId, DatumIndex, JobStats, TreeRoot};
use howdah_queue::job::{DatumOutcome, DatumRecord, DatumSet, JobPlan, SetResult};
use howdah_queue::wire;
use howdah_store::{Edit, EditError, FileEdits, FileEntry, FileTree, PathRules, Store, StoreError, Tree, Value};

use crate::plan::MergePlan;

/// Why outputs could not be merged. A collision between datums is not among them: it fails the job.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The store failed.
    #[error("the store failed while merging")]
    Store(#[from] StoreError),
}

/// What a job comes to.
#[derive(Debug)]
pub struct Merged {
    /// Files of the output commit; of a failed job, what there is of it.
    pub output: Content,
    /// Records of all its datums.
    pub datums: DatumIndex,
    /// Datums by what became of them.
    pub counts: DatumCounts,
    /// What they took.
    pub stats: JobStats,
    /// Why the job failed, if it did.
    pub failure: Option<String>,
}

/// Adds up one set's result.
pub fn tally(result: &SetResult) -> (DatumCounts, JobStats) {
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

/// Key of an output file in the tree of outputs: the datum's id, then the path.
pub fn output_key(datum: &DatumId, path: &str) -> Vec<u8> {
    let mut key = datum.as_bytes().to_vec();
    key.extend_from_slice(path.as_bytes());
    key
}

/// Merges the results of all sets into the trees of the base job.
///
/// `sets` and `results` are parallel. Nothing of the base is changed; running it again gives the same.
pub async fn merge(
    store: &Store,
    plan: &JobPlan,
    merge_plan: &MergePlan,
    sets: &[DatumSet],
    results: &[SetResult],
) -> Result<Merged, MergeError> {
    let base = merge_plan.base.as_ref();
    let base_output = base.map(|base| base.output).unwrap_or_default();
    let base_datums = base.map(|base| base.datums).unwrap_or_default();
    let mut edits = Edits::default();
    edits.drop_datums(store, &base_datums, &merge_plan.dropped).await?;
    edits.add_results(plan, sets, results);

    let (mut counts, mut stats) = (merge_plan.counts(), JobStats::default());
    for result in results {
        let (set_counts, set_stats) = tally(result);
        counts += set_counts;
        stats += set_stats;
    }
    let mut failure = first_failure(results);
    if failure.is_none() {
        failure = edits.duplicate.take();
    }
    if failure.is_none() {
        failure = edits.duplicate_with_base(store, base_output).await?;
    }
    let output = match edit_files(store, base_output, edits.files).await {
        Ok(content) => content,
        Err(EditError::Store(error)) => return Err(error.into()),
        Err(fault) => {
            failure.get_or_insert_with(|| fault.to_string());
            base_output
        }
    };
    let records = apply(store, base_datums.records, edits.records).await?;
    let outputs = apply(store, base_datums.outputs, edits.outputs).await?;
    Ok(Merged {
        output,
        datums: DatumIndex { records, outputs },
        counts,
        stats,
        failure,
    })
}

async fn edit_files(
    store: &Store,
    base: Content,
    files: BTreeMap<String, Option<FileEntry>>,
) -> Result<Content, EditError> {
    let mut edits = FileEdits::new(PathRules::default());
    for (path, entry) in files {
        match entry {
            Some(entry) => edits.put_entry(&path, entry)?,
            None => edits.delete(&path),
        }
    }
    edits.apply(store, &base).await
}

async fn apply(
    store: &Store,
    root: Option<TreeRoot>,
    edits: BTreeMap<Vec<u8>, Option<Value>>,
) -> Result<Option<TreeRoot>, StoreError> {
    let edits = edits.into_iter().map(|(key, value)| Edit { key: key.into(), value });
    Ok(Tree::new(store, root).apply_all(edits).await?.root())
}

fn first_failure(results: &[SetResult]) -> Option<String> {
    let failed = results
        .iter()
        .flat_map(|result| &result.datums)
        .find(|datum| datum.state == DatumOutcome::Failed)?;
    let reason = failed.reason.as_deref().unwrap_or("no reason given");
    Some(format!("datum {} failed: {reason}", failed.id))
}

/// Edits of the three trees, gathered before any of them is touched.
#[derive(Default)]
struct Edits {
    files: BTreeMap<String, Option<FileEntry>>,
    records: BTreeMap<Vec<u8>, Option<Value>>,
    outputs: BTreeMap<Vec<u8>, Option<Value>>,
    dropped: BTreeSet<DatumId>,
    duplicate: Option<String>,
}

impl Edits {
    async fn drop_datums(&mut self, store: &Store, base: &DatumIndex, dropped: &[DatumId]) -> Result<(), MergeError> {
        let outputs = Tree::new(store, base.outputs);
        for id in dropped {
            self.dropped.insert(*id);
            self.records.insert(id.as_bytes().to_vec(), None);
            let mut entries = std::pin::pin!(outputs.prefix(id.as_bytes()));
            while let Some(entry) = entries.try_next().await? {
                let path = String::from_utf8_lossy(&entry.key[id.as_bytes().len()..]).into_owned();
                self.files.insert(path, None);
                self.outputs.insert(entry.key.to_vec(), None);
            }
        }
        Ok(())
    }

    fn add_results(&mut self, plan: &JobPlan, sets: &[DatumSet], results: &[SetResult]) {
        for (set, result) in sets.iter().zip(results) {
            for (datum, done) in set.datums.iter().zip(&result.datums) {
                let record = DatumRecord {
                    hash: done.hash,
                    state: done.state,
                    job: plan.job,
                    inputs: datum.inputs.clone(),
                    stats: done.stats,
                    image: plan.stage.image.clone(),
                    pipeline_version: plan.version,
                    reason: done.reason.clone(),
                    log_key: result.log_key.clone(),
                };
                self.records.insert(
                    done.id.as_bytes().to_vec(),
                    Some(Value::plain(wire::encode(&record), 0)),
                );
                for file in &done.outputs {
                    let entry = FileEntry {
                        content: file.content.clone(),
                        datum: Some(done.id),
                    };
                    self.outputs
                        .insert(output_key(&done.id, &file.path), Some(entry.encode()));
                    if let Some(Some(other)) = self.files.insert(file.path.clone(), Some(entry))
                        && let Some(other) = other.datum
                        && other != done.id
                    {
                        self.duplicate
                            .get_or_insert_with(|| duplicate(&file.path, &other, &done.id));
                    }
                }
            }
        }
    }

    /// Looks for new files at paths that a datum which was taken over owns.
    async fn duplicate_with_base(&self, store: &Store, base: Content) -> Result<Option<String>, MergeError> {
        if base.root.is_none() {
            return Ok(None);
        }
        let tree = FileTree::new(store, base.root);
        for (path, entry) in &self.files {
            let Some(owner) = entry.as_ref().and_then(|entry| entry.datum) else {
                continue;
            };
            if let Some(other) = tree.file(path).await?.and_then(|before| before.datum)
                && other != owner
                && !self.dropped.contains(&other)
            {
                return Ok(Some(duplicate(path, &other, &owner)));
            }
        }
        Ok(None)
    }
}

fn duplicate(path: &str, one: &DatumId, other: &DatumId) -> String {
    format!(
        "duplicate path output by different datums: {path} was written by datum {one} and by datum {other}; let each datum write its own file names"
    )
}
