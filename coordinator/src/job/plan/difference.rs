//! Which datums differ between two jobs, computed from what differs between their input trees.
//!
//! For a file input this is the difference of two trees below a glob. For a cross `X × Y` it is
//! `ΔX × Y ∪ (X \ ΔX) × ΔY`: with the new commits it gives the datums that were added, with the old commits those that
//! were removed. For a union it is the union of the differences.
//!
//! What has not changed is not read, with one exception: the other sides of a cross are read in full. Each of their
//! elements, combined with a changed element, is a datum that differs.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use howdah_model::DatumId;
use howdah_protocol::objects::Datum;
use howdah_spec::Input;
use howdah_store::{FileDiff, FileTree, Store};

use super::cross::{CrossSide, count, cross, within_limit};
use super::enumerate::{select, unsupported};
use super::error::PlanError;
use super::input_files::{CommitLookup, FileInput, InputFiles, datum, id_of};

/// One difference between the datums of two jobs.
#[derive(Debug, Clone, PartialEq)]
pub enum DatumChange {
    /// A datum that the earlier job did not have.
    New(Datum),
    /// A datum that the earlier job did not have, or had with other content.
    NewOrChanged(Datum),
    /// A datum that the later job does not have.
    Gone(DatumId),
}

/// The commits of two jobs that have the same input.
pub struct CommitLookups<'a> {
    /// Commits of the earlier job.
    pub old: &'a CommitLookup<'a>,
    /// Commits of the later job.
    pub new: &'a CommitLookup<'a>,
}

/// Streams the changes, each datum once. Their order is not defined.
pub async fn difference(
    store: &Store,
    input: &Input,
    lookups: &CommitLookups<'_>,
    salt: Arc<str>,
) -> Result<BoxStream<'static, Result<DatumChange, PlanError>>, PlanError> {
    if let Input::Pfs(pfs) = input {
        let (old, new) = (FileInput::new(pfs, lookups.old)?, FileInput::new(pfs, lookups.new)?);
        let changes = file_changes(store, &old, &new).map_ok(move |(removed, added)| match (added, removed) {
            (Some(files), None) => DatumChange::New(datum(id_of(&files), files, &salt)),
            (Some(files), Some(_)) => DatumChange::NewOrChanged(datum(id_of(&files), files, &salt)),
            (None, removed) => DatumChange::Gone(id_of(&removed.unwrap_or_default())),
        });
        return Ok(changes.boxed());
    }
    let Delta { removed, added, .. } = delta(store, input, lookups).await?;
    let mut seen = HashSet::new();
    let changes = added
        .map(|files| (true, files))
        .chain(removed.map(|files| (false, files)));
    let changes = changes.filter_map(move |(added, files)| {
        let id = id_of(&files);
        // A changed datum is among the removed as well. The added ones come first, so it is reported once, as changed.
        seen.insert(id).then(|| match added {
            true => DatumChange::NewOrChanged(datum(id, files, &salt)),
            false => DatumChange::Gone(id),
        })
    });
    Ok(stream::iter(changes.map(Ok)).boxed())
}

/// The old files and the new files of one difference; at least one of them is present.
type ChangedFiles = (Option<InputFiles>, Option<InputFiles>);

/// Streams the differences between what a file input selects in two commits.
fn file_changes(
    store: &Store,
    old: &FileInput,
    new: &FileInput,
) -> BoxStream<'static, Result<ChangedFiles, PlanError>> {
    let (old_root, new_root) = (old.commit.content.root, new.commit.content.root);
    let trees = (FileTree::new(store, old_root), FileTree::new(store, new_root));
    let differences = FileTree::glob_diff(&trees.0, &trees.1, &new.glob);
    let (old, new) = (old.clone(), new.clone());
    differences
        .map_err(PlanError::from)
        .try_filter_map(
            move |FileDiff {
                      old: before,
                      new: after,
                  }| {
                // A directory that became a file has another path, so a path on both sides differs in content only.
                let same = !new.depends_on_content() && before.is_some() && after.is_some();
                let removed = before.and_then(|node| old.file(node)).map(|file| vec![file]);
                let added = after.and_then(|node| new.file(node)).map(|file| vec![file]);
                std::future::ready(Ok((!same).then_some((removed, added))))
            },
        )
        .boxed()
}

/// Lists of files that were removed and added; a changed one is in both. Combinations are made one at a time.
struct Delta {
    removed: Combinations,
    added: Combinations,
    is_empty: bool,
}

type Combinations = Box<dyn Iterator<Item = InputFiles> + Send>;

impl Delta {
    fn of(removed: Vec<InputFiles>, added: Vec<InputFiles>) -> Self {
        Delta {
            is_empty: removed.is_empty() && added.is_empty(),
            removed: Box::new(removed.into_iter()),
            added: Box::new(added.into_iter()),
        }
    }
}

fn delta<'a>(
    store: &'a Store,
    input: &'a Input,
    lookups: &'a CommitLookups<'a>,
) -> BoxFuture<'a, Result<Delta, PlanError>> {
    async move {
        match input {
            Input::Pfs(pfs) => {
                let (old, new) = (FileInput::new(pfs, lookups.old)?, FileInput::new(pfs, lookups.new)?);
                let mut changes = file_changes(store, &old, &new);
                let (mut all_removed, mut all_added) = (Vec::new(), Vec::new());
                while let Some((removed, added)) = changes.try_next().await? {
                    all_removed.extend(removed);
                    all_added.extend(added);
                }
                Ok(Delta::of(all_removed, all_added))
            }
            Input::Union(inputs) => {
                let mut all = Delta::of(Vec::new(), Vec::new());
                for input in inputs {
                    let part = delta(store, input, lookups).await?;
                    all = Delta {
                        is_empty: all.is_empty && part.is_empty,
                        removed: Box::new(all.removed.chain(part.removed)),
                        added: Box::new(all.added.chain(part.added)),
                    };
                }
                Ok(all)
            }
            Input::Cross(inputs) => cross_delta(store, inputs, lookups).await,
            other => Err(unsupported(other)),
        }
    }
    .boxed()
}

async fn cross_delta(store: &Store, inputs: &[Input], lookups: &CommitLookups<'_>) -> Result<Delta, PlanError> {
    let mut deltas = Vec::with_capacity(inputs.len());
    for input in inputs {
        deltas.push(delta(store, input, lookups).await?);
    }
    if deltas.iter().all(|delta| delta.is_empty) {
        return Ok(Delta::of(Vec::new(), Vec::new()));
    }
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    for (input, delta) in inputs.iter().zip(deltas) {
        removed.push(ChangedSide::new(
            select(store, input, lookups.old).await?,
            delta.removed,
        ));
        added.push(ChangedSide::new(select(store, input, lookups.new).await?, delta.added));
    }
    Ok(Delta {
        removed: changed_combinations(&removed)?,
        added: changed_combinations(&added)?,
        is_empty: false,
    })
}

/// A side of a cross, with the positions of the lists that have changed and of those that have not.
struct ChangedSide {
    lists: Arc<[InputFiles]>,
    same: Arc<[u32]>,
    changed: Arc<[u32]>,
}

impl ChangedSide {
    fn new(lists: Vec<InputFiles>, changed: Combinations) -> Self {
        let ids: HashSet<DatumId> = changed.map(|files| id_of(&files)).collect();
        // Lists beyond the range of `u32` are left out. They exceed the limit of a cross, which is checked before it is
        // made.
        let places = 0..u32::try_from(lists.len()).unwrap_or(u32::MAX);
        let (changed, same): (Vec<u32>, Vec<u32>) =
            places.partition(|place| !ids.is_empty() && ids.contains(&id_of(&lists[*place as usize])));
        ChangedSide {
            lists: lists.into(),
            same: same.into(),
            changed: changed.into(),
        }
    }

    fn side(&self, chosen: Option<&Arc<[u32]>>) -> CrossSide {
        CrossSide {
            lists: Arc::clone(&self.lists),
            chosen: chosen.map(Arc::clone),
        }
    }
}

/// Returns the combinations in which at least one part is among the changed ones of its side.
fn changed_combinations(parts: &[ChangedSide]) -> Result<Combinations, PlanError> {
    let mut combinations: Combinations = Box::new(std::iter::empty());
    let mut total = 0;
    // Each combination is made once, under its first changed part: the parts before it are unchanged ones, the parts
    // after it are any. Without that order, a combination of two changed parts would be a datum twice.
    for first in 0..parts.len() {
        let sides: Vec<CrossSide> = parts
            .iter()
            .enumerate()
            .map(|(index, part)| match index.cmp(&first) {
                Ordering::Less => part.side(Some(&part.same)),
                Ordering::Equal => part.side(Some(&part.changed)),
                Ordering::Greater => part.side(None),
            })
            .collect();
        total += count(&sides)?;
        within_limit(total)?;
        combinations = Box::new(combinations.chain(cross(sides)?));
    }
    Ok(combinations)
}
