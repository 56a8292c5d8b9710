//! Reading ranges: streams in both directions, and totals.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use howdah_model::ContentHash;

use super::cursor::{LevelCursor, Run};
use super::{Aggregate, Entry, Tree};
use crate::error::Result;

/// A range of keys: from `start` on, up to but without `end`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key that may be in it.
    pub start: Bytes,
    /// The first key beyond it; `None` = up to the last.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// Returns the range of all keys.
    #[must_use]
    pub fn all() -> Self {
        KeyRange::default()
    }

    /// Returns the range from `start` to the end.
    pub fn from(start: impl Into<Bytes>) -> Self {
        KeyRange {
            start: start.into(),
            end: None,
        }
    }

    /// Returns the range of the keys after `key`.
    #[must_use]
    pub fn after(key: &[u8]) -> Self {
        KeyRange::from(successor(key))
    }

    /// Returns the range from `start` up to but without `end`.
    pub fn between(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        KeyRange {
            start: start.into(),
            end: Some(end.into()),
        }
    }

    /// Returns the range of the keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        KeyRange {
            start: Bytes::copy_from_slice(prefix),
            end: end_of_prefix(prefix),
        }
    }

    /// Leaves out what lies before `start`.
    #[must_use]
    pub fn not_before(mut self, start: impl Into<Bytes>) -> Self {
        self.start = self.start.max(start.into());
        self
    }

    /// Leaves out `end` and what lies beyond.
    #[must_use]
    pub fn below(mut self, end: impl Into<Bytes>) -> Self {
        let end = end.into();
        self.end = Some(self.end.map_or(end.clone(), |own| own.min(end)));
        self
    }

    /// Tells whether a key is in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && !self.is_past(key)
    }

    /// Tells whether a key lies beyond the range.
    pub(crate) fn is_past(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_some_and(|end| key >= &end[..])
    }
}

/// Returns the least key above `key`.
pub(crate) fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

/// Returns the least key above all that begin with `prefix`; `None` if there is no such key.
pub(crate) fn end_of_prefix(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

/// Where a scan stands: not begun, on a leaf, or at its end.
enum Scan {
    New(Tree),
    At(LevelCursor),
    Done,
}

pub(super) fn ascending(tree: Tree, range: KeyRange) -> impl Stream<Item = Result<Entry>> + Send {
    let runs = stream::try_unfold((Scan::New(tree), range), |(scan, range)| async move {
        let leaves = match scan {
            Scan::Done => return Ok(None),
            Scan::New(tree) => {
                let Some(root) = tree.root else { return Ok(None) };
                let mut leaves = LevelCursor::new(&tree.store, root, 0).await?;
                leaves.until(range.end.clone());
                leaves.seek(&range.start).await?;
                leaves
            }
            Scan::At(mut leaves) => {
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
            Scan::Done
        } else {
            Scan::At(leaves)
        };
        Ok(Some((Run { leaf, start, stop }, (next, range))))
    });
    runs.map_ok(|run| stream::iter(run.into_items().map(|item| Ok(Entry::from(item)))))
        .try_flatten()
}

pub(super) fn descending(tree: Tree, range: KeyRange) -> impl Stream<Item = Result<Entry>> + Send {
    let runs = stream::try_unfold((Scan::New(tree), range), |(scan, range)| async move {
        let leaves = match scan {
            Scan::Done => return Ok(None),
            Scan::New(tree) => {
                let Some(root) = tree.root else { return Ok(None) };
                let mut leaves = LevelCursor::new(&tree.store, root, 0).await?;
                match &range.end {
                    Some(end) => leaves.seek(end).await?,
                    None => leaves.seek_last().await?,
                }
                leaves
            }
            Scan::At(mut leaves) => {
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
        let next = if start > 0 { Scan::Done } else { Scan::At(leaves) };
        Ok(Some((Run { leaf, start, stop }, (next, range))))
    });
    runs.map_ok(|run| stream::iter(run.into_items().rev().map(|item| Ok(Entry::from(item)))))
        .try_flatten()
}

pub(super) async fn aggregate(tree: &Tree, range: &KeyRange) -> Result<Aggregate> {
    let mut total = Aggregate::default();
    let Some(root) = tree.root else { return Ok(total) };
    // Subtrees that straddle an end of the range, each with what is known to lie before its keys.
    let mut open: VecDeque<(ContentHash, Option<Bytes>)> = VecDeque::from([(root.0, None)]);
    while let Some((hash, mut before)) = open.pop_front() {
        let node = tree.store.node(hash).await?;
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

pub(super) async fn nth(tree: &Tree, mut index: u64) -> Result<Option<Entry>> {
    let Some(mut at) = tree.root.map(|root| root.0) else {
        return Ok(None);
    };
    loop {
        let node = tree.store.node(at).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_prefixes() {
        assert_eq!(end_of_prefix(b"/a/").unwrap(), "/a0");
        assert_eq!(end_of_prefix(&[1, 0xff, 0xff]).unwrap(), Bytes::from_static(&[2]));
        assert_eq!(end_of_prefix(&[0xff]), None);
        assert_eq!(end_of_prefix(b""), None);
        assert!(KeyRange::prefix(b"/a/").contains(b"/a/x"));
        assert!(!KeyRange::after(b"/a").contains(b"/a"));
    }
}
