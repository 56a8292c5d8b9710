//! Reading ranges: streams in both directions, and totals.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use howdah_model::{ContentHash, TreeRoot};

use super::cursor::{LeafRun, LevelCursor};
use super::entry::{Aggregate, TreeEntry};
use super::range::KeyRange;
use crate::error::Result;
use crate::store::Store;

/// Position of a scan: before its begin, on a leaf, or after its end.
enum ScanPosition {
    New(Store, Option<TreeRoot>),
    At(LevelCursor),
    Done,
}

pub(super) fn ascending(
    store: Store,
    root: Option<TreeRoot>,
    range: KeyRange,
) -> impl Stream<Item = Result<TreeEntry>> + Send {
    let runs = stream::try_unfold((ScanPosition::New(store, root), range), |(scan, range)| async move {
        let leaves = match scan {
            ScanPosition::Done => return Ok(None),
            ScanPosition::New(store, root) => {
                let Some(root) = root else { return Ok(None) };
                let mut leaves = LevelCursor::new(&store, root, 0).await?;
                leaves.until(range.end.clone());
                leaves.seek(&range.start).await?;
                leaves
            }
            ScanPosition::At(mut leaves) => {
                if !leaves.next().await? {
                    return Ok(None);
                }
                leaves.prefetch();
                leaves
            }
        };
        let leaf = leaves.node().await?;
        let start = leaf.lower_bound(&range.start);
        let stop = range
            .end
            .as_ref()
            .map_or(leaf.len(), |end| leaf.lower_bound(end))
            .max(start);
        let next = if stop < leaf.len() {
            ScanPosition::Done
        } else {
            ScanPosition::At(leaves)
        };
        Ok(Some((LeafRun { leaf, start, stop }, (next, range))))
    });
    runs.map_ok(|run| stream::iter(run.into_items().map(|item| Ok(TreeEntry::from(item)))))
        .try_flatten()
}

pub(super) fn descending(
    store: Store,
    root: Option<TreeRoot>,
    range: KeyRange,
) -> impl Stream<Item = Result<TreeEntry>> + Send {
    let runs = stream::try_unfold((ScanPosition::New(store, root), range), |(scan, range)| async move {
        let leaves = match scan {
            ScanPosition::Done => return Ok(None),
            ScanPosition::New(store, root) => {
                let Some(root) = root else { return Ok(None) };
                let mut leaves = LevelCursor::new(&store, root, 0).await?;
                match &range.end {
                    Some(end) => leaves.seek(end).await?,
                    None => leaves.seek_last().await?,
                }
                leaves
            }
            ScanPosition::At(mut leaves) => {
                if !leaves.previous().await? {
                    return Ok(None);
                }
                leaves
            }
        };
        let leaf = leaves.node().await?;
        let start = leaf.lower_bound(&range.start);
        let stop = range
            .end
            .as_ref()
            .map_or(leaf.len(), |end| leaf.lower_bound(end))
            .max(start);
        let next = if start > 0 {
            ScanPosition::Done
        } else {
            ScanPosition::At(leaves)
        };
        Ok(Some((LeafRun { leaf, start, stop }, (next, range))))
    });
    runs.map_ok(|run| stream::iter(run.into_items().rev().map(|item| Ok(TreeEntry::from(item)))))
        .try_flatten()
}

pub(super) async fn aggregate(store: &Store, root: Option<TreeRoot>, range: &KeyRange) -> Result<Aggregate> {
    let mut total = Aggregate::default();
    let Some(root) = root else { return Ok(total) };
    // Subtrees that are partly in the range, each with a key that is less than all of its keys. Only these are read: at
    // most two on each level.
    let mut open: VecDeque<(ContentHash, Option<Bytes>)> = VecDeque::from([(root.0, None)]);
    while let Some((hash, mut before)) = open.pop_front() {
        let node = store.node(hash).await?;
        let first = node.lower_bound(&range.start);
        if first > 0 {
            before = Some(Bytes::copy_from_slice(node.key(first - 1)));
        }
        for index in first..node.len() {
            let last = node.key(index);
            let inside = if node.level() == 0 {
                if range.is_past(last) {
                    break;
                }
                true
            } else {
                if before.as_ref().is_some_and(|before| range.is_past(before)) {
                    break;
                }
                let begins_inside =
                    range.start.is_empty() || before.as_ref().is_some_and(|before| *before >= range.start);
                begins_inside && !range.is_past(last)
            };
            if inside {
                total.count += node.count(index);
                total.weight = total.weight.saturating_add(node.weight(index));
            } else {
                open.push_back((node.child(index), before.take()));
            }
            before = Some(Bytes::copy_from_slice(last));
        }
    }
    Ok(total)
}

pub(super) async fn nth(store: &Store, root: Option<TreeRoot>, mut index: u64) -> Result<Option<TreeEntry>> {
    let Some(mut at) = root.map(|root| root.0) else {
        return Ok(None);
    };
    loop {
        let node = store.node(at).await?;
        let holds_it = |child: &usize| {
            let here = index < node.count(*child);
            if !here {
                index -= node.count(*child);
            }
            here
        };
        let Some(child) = (0..node.len()).find(holds_it) else {
            return Ok(None);
        };
        if node.level() == 0 {
            return Ok(Some(node.item(child).into()));
        }
        at = node.child(child);
    }
}
