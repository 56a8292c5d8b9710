//! From an input and the commits that it reads to datums (semantics 11 and 12).

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use howdah_model::DatumId;
use howdah_protocol::objects::Datum;
use howdah_spec::Input;
use howdah_store::{FileTree, Store};

use super::cross::{CrossSide, cross};
use super::error::PlanError;
use super::input_files::{CommitLookup, FileInput, InputFiles, datum, id_of};

/// Streams every datum of `input`, in the input's order, without duplicates.
///
/// The hash of each datum covers `salt`. A file input is streamed while its tree is read. A cross keeps the files that
/// each of its sides selects in memory, not their combinations.
pub async fn enumerate(
    store: &Store,
    input: &Input,
    commits: &CommitLookup<'_>,
    salt: Arc<str>,
) -> Result<BoxStream<'static, Result<Datum, PlanError>>, PlanError> {
    let lists = combine(store, input, commits).await?;
    let mut seen = has_union(input).then(HashSet::new);
    let datums = lists.try_filter_map(move |files| {
        let id = id_of(&files);
        let is_new = seen.as_mut().is_none_or(|seen: &mut HashSet<DatumId>| seen.insert(id));
        std::future::ready(Ok(is_new.then(|| datum(id, files, &salt))))
    });
    Ok(datums.boxed())
}

/// Tells whether the same datum may come twice: only a union can give that.
fn has_union(input: &Input) -> bool {
    match input {
        Input::Union(_) => true,
        Input::Cross(inputs) | Input::Join(inputs) | Input::Group(inputs) => inputs.iter().any(has_union),
        Input::Pfs(_) | Input::Cron(_) => false,
    }
}

/// What an input selects.
type FileLists = BoxStream<'static, Result<InputFiles, PlanError>>;

/// Streams what an input selects, as lists of files, with duplicates.
fn combine<'a>(
    store: &'a Store,
    input: &'a Input,
    commits: &'a CommitLookup<'a>,
) -> BoxFuture<'a, Result<FileLists, PlanError>> {
    async move {
        match input {
            Input::Pfs(pfs) => Ok(matches(store, &FileInput::new(pfs, commits)?)),
            Input::Union(inputs) => {
                let mut lists = Vec::with_capacity(inputs.len());
                for input in inputs {
                    lists.push(combine(store, input, commits).await?);
                }
                Ok(stream::iter(lists).flatten().boxed())
            }
            Input::Cross(inputs) => {
                let mut sides = Vec::with_capacity(inputs.len());
                for input in inputs {
                    sides.push(CrossSide::from(select(store, input, commits).await?));
                }
                Ok(stream::iter(cross(sides)?).map(Ok).boxed())
            }
            other => Err(unsupported(other)),
        }
    }
    .boxed()
}

pub(super) fn unsupported(input: &Input) -> PlanError {
    PlanError::Unsupported(match input {
        Input::Join(_) => "input.join",
        Input::Group(_) => "input.group",
        _ => "input.cron",
    })
}

/// Collects what an input selects.
pub(super) async fn select(
    store: &Store,
    input: &Input,
    commits: &CommitLookup<'_>,
) -> Result<Vec<InputFiles>, PlanError> {
    combine(store, input, commits).await?.try_collect().await
}

/// Streams what the glob of one file input selects.
fn matches(store: &Store, leaf: &FileInput) -> FileLists {
    let Some(root) = leaf.commit.content.root else {
        return stream::empty().boxed();
    };
    let nodes = FileTree::new(store, Some(root)).glob(&leaf.glob);
    let leaf = leaf.clone();
    nodes
        .map_ok(move |node| leaf.file(node).into_iter().collect())
        .map_err(PlanError::from)
        .boxed()
}
