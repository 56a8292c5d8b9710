//! What has changed between the datums of two jobs, worked out from what has changed in their input trees.
//!
//! For a file input the difference is that of two trees below a glob. For a cross `X × Y` it is
//! `ΔX × Y ∪ (X \ ΔX) × ΔY`, on the new side for what came and on the old side for what went; for a union
//! it is the union of the differences. What did not change is not looked at, except for the other sides
//! of a cross, whose combinations with what changed are new datums themselves.

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

use super::PlanError;
use super::enumerate::{
    CommitLookup, InputFiles, Leaf, Side, count, cross, datum, id_of, select, unsupported, within_limit,
};

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
    let Delta { went, came, .. } = delta(store, input, sides).await?;
    let mut seen = HashSet::new();
    let changes = came.map(|files| (true, files)).chain(went.map(|files| (false, files)));
    let changes = changes.filter_map(move |(came, files)| {
        let id = id_of(&files);
        // What changed is on both sides: it came, and that is all to be said of it.
        seen.insert(id).then(|| match came {
            true => Change::Came(datum(id, files, &salt)),
            false => Change::Went(id),
        })
    });
    Ok(stream::iter(changes.map(Ok)).boxed())
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
                let went = before.and_then(|node| old.file(node)).map(|file| vec![file]);
                let came = after.and_then(|node| new.file(node)).map(|file| vec![file]);
                std::future::ready(Ok((!same).then_some((went, came))))
            },
        )
        .boxed()
}

/// Lists of files that went and came; what changed is in both. Combinations are made as they are asked for.
struct Delta {
    went: Combinations,
    came: Combinations,
    is_empty: bool,
}

type Combinations = Box<dyn Iterator<Item = InputFiles> + Send>;

impl Delta {
    fn of(went: Vec<InputFiles>, came: Vec<InputFiles>) -> Self {
        Delta {
            is_empty: went.is_empty() && came.is_empty(),
            went: Box::new(went.into_iter()),
            came: Box::new(came.into_iter()),
        }
    }
}

fn delta<'a>(store: &'a Store, input: &'a Input, sides: &'a Sides<'a>) -> BoxFuture<'a, Result<Delta, PlanError>> {
    async move {
        match input {
            Input::Pfs(pfs) => {
                let (old, new) = (Leaf::new(pfs, sides.old)?, Leaf::new(pfs, sides.new)?);
                let mut changes = leaf_changes(store, &old, &new);
                let (mut all_went, mut all_came) = (Vec::new(), Vec::new());
                while let Some((went, came)) = changes.try_next().await? {
                    all_went.extend(went);
                    all_came.extend(came);
                }
                Ok(Delta::of(all_went, all_came))
            }
            Input::Union(inputs) => {
                let mut all = Delta::of(Vec::new(), Vec::new());
                for input in inputs {
                    let part = delta(store, input, sides).await?;
                    all = Delta {
                        is_empty: all.is_empty && part.is_empty,
                        went: Box::new(all.went.chain(part.went)),
                        came: Box::new(all.came.chain(part.came)),
                    };
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
    if deltas.iter().all(|delta| delta.is_empty) {
        return Ok(Delta::of(Vec::new(), Vec::new()));
    }
    let (mut went, mut came) = (Vec::new(), Vec::new());
    for (input, delta) in inputs.iter().zip(deltas) {
        went.push(Part::new(select(store, input, sides.old).await?, delta.went));
        came.push(Part::new(select(store, input, sides.new).await?, delta.came));
    }
    Ok(Delta {
        went: changed_combinations(&went)?,
        came: changed_combinations(&came)?,
        is_empty: false,
    })
}

/// A side of a cross, with the places of what has changed in it and of what has not.
struct Part {
    lists: Arc<[InputFiles]>,
    same: Arc<[u32]>,
    changed: Arc<[u32]>,
}

impl Part {
    fn new(lists: Vec<InputFiles>, changed: Combinations) -> Self {
        let ids: HashSet<DatumId> = changed.map(|files| id_of(&files)).collect();
        // More than this many could not be combined anyway.
        let places = 0..u32::try_from(lists.len()).unwrap_or(u32::MAX);
        let (changed, same): (Vec<u32>, Vec<u32>) =
            places.partition(|place| !ids.is_empty() && ids.contains(&id_of(&lists[*place as usize])));
        Part {
            lists: lists.into(),
            same: same.into(),
            changed: changed.into(),
        }
    }

    fn side(&self, chosen: Option<&Arc<[u32]>>) -> Side {
        Side {
            lists: Arc::clone(&self.lists),
            chosen: chosen.map(Arc::clone),
        }
    }
}

/// Returns the combinations in which at least one part is among the changed ones of its side.
fn changed_combinations(parts: &[Part]) -> Result<Combinations, PlanError> {
    let mut combinations: Combinations = Box::new(std::iter::empty());
    let mut total = 0;
    // The first changed part stands in turn on each side: left of it nothing has changed, right of it anything.
    for first in 0..parts.len() {
        let sides: Vec<Side> = parts
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
