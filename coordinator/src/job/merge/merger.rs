//! Collects the results of a job and merges them into the trees of its base.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, TryStreamExt, stream};
use howdah_model::{Content, DatumCounts, DatumId, DatumIndex, JobStats, TreeRoot};
use howdah_protocol::objects::{Datum, DatumOutcome, DatumRecord, DatumResult, DatumSet, JobPlan, SetResult};
use howdah_protocol::wire;
use howdah_store::{Edit, EditError, FileEntry, FileTree, PathRules, Store, StoreError, Tree, Value, check_path};

use super::edit_sorter::{Sorted, Sorter};
use crate::job::plan::MergePlan;

/// Why outputs could not be merged. A collision between datums is not among them: it fails the job.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The store failed.
    #[error("the store failed while merging")]
    Store(#[from] StoreError),
    /// Sorting needs more space than the folder for temporary files has.
    #[error("a temporary file for merging could not be written or read (folder: {})", std::env::temp_dir().display())]
    Scratch(#[from] io::Error),
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

/// Key of an output file in the tree of outputs: the datum's id, then the path.
pub fn output_key(datum: &DatumId, path: &str) -> Vec<u8> {
    let mut key = datum.as_bytes().to_vec();
    key.extend_from_slice(path.as_bytes());
    key
}

/// Gathers the results of a job.
pub struct Merger {
    plan: Arc<JobPlan>,
    files: Sorter,
    records: Sorter,
    outputs: Sorter,
    counts: DatumCounts,
    stats: JobStats,
    /// The first failure in the order of the plan: number of the set, place in it, reason.
    failure: Option<(u32, usize, String)>,
    worker_versions: BTreeSet<String>,
}

impl Merger {
    /// Begins with no results. Each of three sorters takes about `sorter_bytes` of memory; what does not fit goes to
    /// temporary files.
    pub fn new(plan: Arc<JobPlan>, sorter_bytes: usize) -> Self {
        Merger {
            plan,
            files: Sorter::new(sorter_bytes),
            records: Sorter::new(sorter_bytes),
            outputs: Sorter::new(sorter_bytes),
            counts: DatumCounts::default(),
            stats: JobStats::default(),
            failure: None,
            worker_versions: BTreeSet::new(),
        }
    }

    /// Returns the plan whose results are gathered.
    pub fn plan(&self) -> &Arc<JobPlan> {
        &self.plan
    }

    /// Returns the versions of the workers that took part.
    pub fn worker_versions(&self) -> &BTreeSet<String> {
        &self.worker_versions
    }

    /// Takes in the result of a set, which must have the set's datums in the set's order, and returns what it
    /// adds up to. May block for as long as it takes to write a temporary file.
    pub fn add(&mut self, set: &DatumSet, result: &SetResult) -> io::Result<(DatumCounts, JobStats)> {
        let (counts, stats) = tally(result);
        self.counts += counts;
        self.stats += stats;
        self.worker_versions.insert(result.worker_version.clone());
        for (place, (datum, done)) in set.datums.iter().zip(&result.datums).enumerate() {
            if done.state == DatumOutcome::Failed {
                let reason = done.reason.as_deref().unwrap_or("no reason given");
                self.fail(result.set, place, format!("datum {} failed: {reason}", done.id));
            }
            let record = self.record(datum, done, result.log_key.clone());
            self.records.push(done.id.as_bytes(), Some(&record))?;
            for file in &done.outputs {
                if let Err(error) = check_path(&file.path, PathRules::default()) {
                    self.fail(result.set, place, error.to_string());
                    continue;
                }
                let entry = FileEntry {
                    content: file.content.clone(),
                    datum: Some(done.id),
                };
                self.files.push(file.path.as_bytes(), Some(&entry.encode()))?;
                self.outputs
                    .push(&output_key(&done.id, &file.path), Some(&Value::default()))?;
            }
        }
        Ok((counts, stats))
    }

    fn fail(&mut self, set: u32, place: usize, reason: String) {
        let earlier = self
            .failure
            .as_ref()
            .is_some_and(|first| (first.0, first.1) <= (set, place));
        if !earlier {
            self.failure = Some((set, place, reason));
        }
    }

    fn record(&self, datum: &Datum, done: &DatumResult, log_key: Option<String>) -> Value {
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
        // Planning looks for what did not succeed by this weight.
        let weight = u64::from(done.state != DatumOutcome::Success);
        Value::plain(wire::encode(&record), weight)
    }

    /// Merges everything into the trees of the base job. Nothing of the base is changed; doing it all
    /// again gives the same.
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
            apply(store, base_datums.records, records),
            apply(store, base_datums.outputs, outputs),
        );
        let mut failure = failure.map(|(_, _, reason)| reason);
        if failure.is_none() {
            failure = changes.duplicate.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
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

async fn apply(store: &Store, root: Option<TreeRoot>, edits: Sorted) -> Result<Option<TreeRoot>, StoreError> {
    let edits = last_of_each_key(edits);
    Ok(Tree::new(store, root).apply(edits).await?.root())
}

/// Streams edits, of those with equal keys the last: a removal gives way to what was written.
fn last_of_each_key(edits: Sorted) -> impl Stream<Item = Result<Edit, StoreError>> + Send {
    let mut edits = edits.iter().peekable();
    stream::iter(std::iter::from_fn(move || {
        loop {
            let edit = edits.next()?;
            match (edit, edits.peek()) {
                (Ok(edit), Some(Ok(next))) if edit.key == next.key => {}
                (edit, _) => return Some(edit.map_err(StoreError::scratch)),
            }
        }
    }))
}

/// Changes to the files of the base.
struct FileChanges {
    sorted: Sorted,
    base: FileTree,
    dropped: Arc<HashSet<DatumId>>,
    /// Two datums wrote the same path; the first such case that was come across.
    duplicate: Arc<Mutex<Option<String>>>,
}

impl FileChanges {
    /// Streams the changes. Of files with the same path the first is kept; so is one of the base whose
    /// datum was taken over.
    fn stream(&self) -> impl Stream<Item = Result<Edit, StoreError>> + Send + use<> {
        let base = self.base.clone();
        let (dropped, duplicate) = (self.dropped.clone(), self.duplicate.clone());
        let (kept, doubled) = (last_of_each_file(self.sorted.clone(), duplicate.clone()), duplicate);
        kept.try_filter_map(move |edit| {
            let (base, dropped, doubled) = (base.clone(), dropped.clone(), doubled.clone());
            async move {
                let Some(owner) = edit.value.as_ref().and_then(owner) else {
                    return Ok(Some(edit));
                };
                let before = match base.tree().root() {
                    None => None,
                    Some(_) => base.tree().get(&edit.key).await?,
                };
                match before.as_ref().and_then(self::owner) {
                    Some(other) if other != owner && !dropped.contains(&other) => {
                        note(&doubled, &edit.key, &other, &owner);
                        Ok(None)
                    }
                    _ => Ok(Some(edit)),
                }
            }
        })
    }
}

/// Like [`last_of_each_key`], but of several files written to one path the first is kept, and it is noted.
fn last_of_each_file(
    edits: Sorted,
    doubled: Arc<Mutex<Option<String>>>,
) -> impl Stream<Item = Result<Edit, StoreError>> + Send {
    let mut edits = edits.iter().peekable();
    stream::iter(std::iter::from_fn(move || {
        let mut kept = match edits.next()? {
            Ok(edit) => edit,
            Err(error) => return Some(Err(StoreError::scratch(error))),
        };
        while let Some(Ok(next)) = edits.next_if(|next| next.as_ref().is_ok_and(|next| next.key == kept.key)) {
            match (kept.value.as_ref().and_then(owner), next.value.as_ref().and_then(owner)) {
                (Some(one), Some(other)) => note(&doubled, &kept.key, &one, &other),
                _ => kept = next,
            }
        }
        Some(Ok(kept))
    }))
}

/// Returns the datum that made a file.
fn owner(value: &Value) -> Option<DatumId> {
    FileEntry::decode(value).ok()?.datum
}

fn note(doubled: &Mutex<Option<String>>, path: &[u8], one: &DatumId, other: &DatumId) {
    let path = String::from_utf8_lossy(path);
    doubled
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_or_insert_with(|| duplicate(&path, one, other));
}

fn duplicate(path: &str, one: &DatumId, other: &DatumId) -> String {
    format!(
        "duplicate path output by different datums: {path} was written by datum {one} and by datum {other}; let each datum write its own file names"
    )
}
