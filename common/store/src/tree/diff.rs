//! Comparing two trees without reading the nodes that they share.
//!
//! Both trees are opened from the left, node by node. While both have an unopened subtree leftmost and the two have the
//! same hash, both are skipped. The shape of a tree depends on its content alone, so equal content that is not at
//! the border of a change is in equal nodes.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use howdah_model::{ContentHash, TreeRoot};

use super::entry::{DiffItem, TreeEntry, TreeValue};
use super::range::KeyRange;
use super::scan;
use crate::error::Result;
use crate::format::node::{Node, NodeEntry};
use crate::store::Store;

/// One of the two trees, opened as far as the comparison has got.
struct ComparedTree {
    store: Store,
    /// The root, as long as it has not been opened.
    root: Option<ContentHash>,
    /// Opened nodes, each with the index of its next entry; the leftmost one is last.
    stack: Vec<(Arc<Node>, usize)>,
}

/// What comes next in a tree.
enum Leftmost {
    End,
    /// An unopened subtree: its level, its hash, its last key.
    Subtree(u8, ContentHash, Option<Bytes>),
    Entry(NodeEntry),
}

impl ComparedTree {
    fn new(store: &Store, root: TreeRoot) -> Self {
        ComparedTree {
            store: store.clone(),
            root: Some(root.0),
            stack: Vec::new(),
        }
    }

    fn leftmost(&mut self) -> Leftmost {
        if let Some(root) = self.root {
            return Leftmost::Subtree(u8::MAX, root, None);
        }
        while self.stack.last().is_some_and(|(node, index)| *index == node.len()) {
            self.stack.pop();
        }
        match self.stack.last() {
            None => Leftmost::End,
            Some((node, index)) if node.level() == 0 => Leftmost::Entry(node.item(*index)),
            Some((node, index)) => {
                let last_key = node.item(*index).key;
                Leftmost::Subtree(node.level() - 1, node.child(*index), Some(last_key))
            }
        }
    }

    /// Skips what comes next.
    fn skip(&mut self) {
        if self.root.take().is_none()
            && let Some((_, index)) = self.stack.last_mut()
        {
            *index += 1;
        }
    }

    /// Opens the subtree that comes next.
    async fn open(&mut self, hash: ContentHash, start: &[u8]) -> Result<()> {
        let node = self.store.node(hash).await?;
        self.skip();
        // Entries before the range are skipped without being read.
        let first = node.lower_bound(start);
        self.stack.push((node, first));
        Ok(())
    }
}

struct TreeComparison {
    old: ComparedTree,
    new: ComparedTree,
    range: KeyRange,
}

pub(super) fn diff(
    store: &Store,
    old: Option<TreeRoot>,
    new: Option<TreeRoot>,
    range: KeyRange,
) -> impl Stream<Item = Result<DiffItem>> + Send + use<> {
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (old, new),
        // Against an empty tree everything is a difference, and a plain scan reads ahead.
        (old, new) => {
            let is_old = new.is_none();
            let all = scan::ascending(store.clone(), old.or(new), range);
            return all
                .map_ok(move |TreeEntry { key, value }| {
                    let (old, new) = if is_old {
                        (Some(value), None)
                    } else {
                        (None, Some(value))
                    };
                    DiffItem { key, old, new }
                })
                .left_stream();
        }
    };
    let comparison = TreeComparison {
        old: ComparedTree::new(store, old),
        new: ComparedTree::new(store, new),
        range,
    };
    stream::try_unfold(comparison, |mut comparison| async move {
        let item = comparison.next().await?;
        Ok(item.map(|item| (item, comparison)))
    })
    .right_stream()
}

impl TreeComparison {
    async fn next(&mut self) -> Result<Option<DiffItem>> {
        let start = self.range.start.clone();
        loop {
            match (self.old.leftmost(), self.new.leftmost()) {
                (Leftmost::Subtree(_, old, _), Leftmost::Subtree(_, new, _)) if old == new => {
                    self.old.skip();
                    self.new.skip();
                }
                // Nodes of one level that end at the same key are opened together, with two concurrent reads.
                (Leftmost::Subtree(old_level, old, old_end), Leftmost::Subtree(new_level, new, new_end))
                    if old_level == new_level && old_end == new_end =>
                {
                    let (old, new) = tokio::join!(self.old.open(old, &start), self.new.open(new, &start));
                    old?;
                    new?;
                }
                // Otherwise the one of the higher level is opened, because one of its children may be the node that the
                // other tree has. Opening the lower one first would read a shared node.
                (Leftmost::Subtree(old_level, old, _), Leftmost::Subtree(new_level, new, _)) => {
                    if old_level >= new_level {
                        self.old.open(old, &start).await?;
                    } else {
                        self.new.open(new, &start).await?;
                    }
                }
                (Leftmost::Subtree(_, old, _), _) => self.old.open(old, &start).await?,
                (_, Leftmost::Subtree(_, new, _)) => self.new.open(new, &start).await?,
                (Leftmost::End, Leftmost::End) => return Ok(None),
                (Leftmost::Entry(old), Leftmost::End) => return Ok(self.one_sided(Some(old), None)),
                (Leftmost::End, Leftmost::Entry(new)) => return Ok(self.one_sided(None, Some(new))),
                (Leftmost::Entry(old), Leftmost::Entry(new)) => match old.key.cmp(&new.key) {
                    std::cmp::Ordering::Less => return Ok(self.one_sided(Some(old), None)),
                    std::cmp::Ordering::Greater => return Ok(self.one_sided(None, Some(new))),
                    std::cmp::Ordering::Equal => {
                        self.old.skip();
                        self.new.skip();
                        if self.range.is_past(&old.key) {
                            return Ok(None);
                        }
                        if old.data != new.data || old.weight != new.weight {
                            let key = new.key.clone();
                            return Ok(Some(DiffItem {
                                key,
                                old: Some(value(old)),
                                new: Some(value(new)),
                            }));
                        }
                        if self.skip_shared_run() {
                            return Ok(None);
                        }
                    }
                },
            }
        }
    }

    /// Skips the entries that follow in both leaves and are equal. The entries before them must have equal keys.
    /// Returns whether the end of the range has been reached.
    fn skip_shared_run(&mut self) -> bool {
        let (Some((old, old_index)), Some((new, new_index))) = (self.old.stack.last_mut(), self.new.stack.last_mut())
        else {
            return false;
        };
        let shared = old.shared_run(*old_index, new, *new_index);
        *old_index += shared;
        *new_index += shared;
        shared > 0 && self.range.is_past(old.key(*old_index - 1))
    }

    fn one_sided(&mut self, old: Option<NodeEntry>, new: Option<NodeEntry>) -> Option<DiffItem> {
        if old.is_some() {
            self.old.skip();
        }
        if new.is_some() {
            self.new.skip();
        }
        let key = old.as_ref().or(new.as_ref())?.key.clone();
        if self.range.is_past(&key) {
            return None;
        }
        Some(DiffItem {
            key,
            old: old.map(value),
            new: new.map(value),
        })
    }
}

fn value(item: NodeEntry) -> TreeValue {
    TreeValue {
        data: item.data,
        placement: item.placement,
        weight: item.weight,
    }
}
