//! What has changed between the datums of two jobs, worked out from what has changed in their input trees.
//!
//! For a file input the difference is that of two trees below a glob. For a cross `X × Y` it is
//! `ΔX × Y ∪ (X \ ΔX) × ΔY`, on the new side for what came and on the old side for what went; for a union
//! it is the union of the differences. What did not change is not looked at, except for the other sides
//! of a cross, whose combinations with what changed are new datums themselves.

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use howdah_model::DatumId;
use howdah_queue::job::Datum;
use howdah_spec::Input;
use howdah_store::{FileDiff, FileTree, Store};

use super::PlanError;
use super::enumerate::{CommitLookup, InputFiles, Leaf, cross, datum, id_of, select, unsupported};

/// One difference between the datums of two jobs.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A datum that the earlier job cannot have had.
    New(Datum),
    /// A datum that is new or has other content.
    Came(Datum),
    /// A datum that is gone.
    Went(DatumId),
}

/// What two jobs with the same input differ in.
pub struct Sides<'a> {
    /// Commits of the earlier job.
    pub old: &'a CommitLookup<'a>,
    /// Commits of the later job.
    pub new: &'a CommitLookup<'a>,
}

/// Streams the changes, each datum once, in no particular order beyond that of the input.
pub async fn difference(
    store: &Store,
    input: &Input,
    sides: &Sides<'_>,
    salt: Arc<str>,
) -> Result<BoxStream<'static, Result<Change, PlanError>>, PlanError> {
    if let Input::Pfs(pfs) = input {
        let (old, new) = (Leaf::new(pfs, sides.old)?, Leaf::new(pfs, sides.new)?);
        let changes = leaf_changes(store, &old, &new).map_ok(move |(went, came)| match (came, went) {
            (Some(files), None) => Change::New(datum(id_of(&files), files, &salt)),
            (Some(files), Some(_)) => Change::Came(datum(id_of(&files), files, &salt)),
            (None, went) => Change::Went(id_of(&went.unwrap_or_default())),
        });
        return Ok(changes.boxed());
    }
    let Delta { went, came } = delta(store, input, sides).await?;
    let mut seen = HashSet::new();
    let mut changes = Vec::with_capacity(came.len());
    for files in came {
        let id = id_of(&files);
        if seen.insert(id) {
            changes.push(Ok(Change::Came(datum(id, files, &salt))));
        }
    }
    for files in went {
        let id = id_of(&files);
        if seen.insert(id) {
            changes.push(Ok(Change::Went(id)));
        }
    }
    Ok(stream::iter(changes).boxed())
}

/// The old side and the new side of a difference, at least one of them there.
type LeafChange = (Option<InputFiles>, Option<InputFiles>);

/// Streams what a file input selects differently.
fn leaf_changes(store: &Store, old: &Leaf, new: &Leaf) -> BoxStream<'static, Result<LeafChange, PlanError>> {
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
                // A directory that became a file is another path, so both sides being there means other content.
                let same = !new.minds_content() && before.is_some() && after.is_some();
                let went = before.zip(old_root).map(|(node, root)| vec![old.file(root, node)]);
                let came = after.zip(new_root).map(|(node, root)| vec![new.file(root, node)]);
                std::future::ready(Ok((!same).then_some((went, came))))
            },
        )
        .boxed()
}

/// Lists of files that went and came; what changed is in both.
#[derive(Default)]
struct Delta {
    went: Vec<InputFiles>,
    came: Vec<InputFiles>,
}

impl Delta {
    fn is_empty(&self) -> bool {
        self.went.is_empty() && self.came.is_empty()
    }
}

fn delta<'a>(store: &'a Store, input: &'a Input, sides: &'a Sides<'a>) -> BoxFuture<'a, Result<Delta, PlanError>> {
    async move {
        match input {
            Input::Pfs(pfs) => {
                let (old, new) = (Leaf::new(pfs, sides.old)?, Leaf::new(pfs, sides.new)?);
                let mut changes = leaf_changes(store, &old, &new);
                let mut delta = Delta::default();
                while let Some((went, came)) = changes.try_next().await? {
                    delta.went.extend(went);
                    delta.came.extend(came);
                }
                Ok(delta)
            }
            Input::Union(inputs) => {
                let mut all = Delta::default();
                for input in inputs {
                    let mut part = delta(store, input, sides).await?;
                    all.went.append(&mut part.went);
                    all.came.append(&mut part.came);
                }
                Ok(all)
            }
            Input::Cross(inputs) => cross_delta(store, inputs, sides).await,
            other => Err(unsupported(other)),
        }
    }
    .boxed()
}

async fn cross_delta(store: &Store, inputs: &[Input], sides: &Sides<'_>) -> Result<Delta, PlanError> {
    let mut deltas = Vec::with_capacity(inputs.len());
    for input in inputs {
        deltas.push(delta(store, input, sides).await?);
    }
    if deltas.iter().all(Delta::is_empty) {
        return Ok(Delta::default());
    }
    let (mut went, mut came) = (Vec::new(), Vec::new());
    for (input, delta) in inputs.iter().zip(deltas) {
        went.push((select(store, input, sides.old).await?, delta.went));
        came.push((select(store, input, sides.new).await?, delta.came));
    }
    Ok(Delta {
        went: changed_combinations(went)?,
        came: changed_combinations(came)?,
    })
}

/// Returns the combinations in which at least one part is among the changed ones of its side. Each side
/// is given as everything it selects and what of that has changed.
fn changed_combinations(sides: Vec<(Vec<InputFiles>, Vec<InputFiles>)>) -> Result<Vec<InputFiles>, PlanError> {
    let parts: Vec<(Vec<InputFiles>, Vec<InputFiles>, Vec<InputFiles>)> = sides
        .into_iter()
        .map(|(all, changed)| {
            let ids: HashSet<DatumId> = changed.iter().map(|files| id_of(files)).collect();
            let same = all
                .iter()
                .filter(|files| !ids.contains(&id_of(files)))
                .cloned()
                .collect();
            (same, changed, all)
        })
        .collect();
    let mut combinations = Vec::new();
    // The first changed part stands in turn on each side: left of it nothing has changed, right of it anything.
    for first in 0..parts.len() {
        let sides = parts
            .iter()
            .enumerate()
            .map(|(index, (same, changed, all))| match index.cmp(&first) {
                std::cmp::Ordering::Less => same.clone(),
                std::cmp::Ordering::Equal => changed.clone(),
                std::cmp::Ordering::Greater => all.clone(),
            });
        combinations.extend(cross(sides.collect())?);
    }
    Ok(combinations)
}
