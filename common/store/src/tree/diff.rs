//! Comparing two trees without looking into what they share.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use howdah_model::ContentHash;

use super::{DiffItem, Entry, KeyRange, Tree, Value, scan};
use crate::error::Result;
use crate::format::node::{Item, Node};
use crate::store::Store;

/// One tree, taken apart as far as the comparison has come: nodes still to be looked at, the
/// leftmost innermost.
struct Side {
    store: Store,
    /// A root that has not been looked at.
    root: Option<ContentHash>,
    stack: Vec<(Arc<Node>, usize)>,
}

/// What stands leftmost on a side.
enum Head {
    End,
    /// A subtree of this level, not taken apart.
    Subtree(u8, ContentHash, Option<Bytes>),
    Entry(Item),
}

impl Side {
    fn new(tree: &Tree) -> Self {
        Side {
            store: tree.store.clone(),
            root: tree.root.map(|root| root.0),
            stack: Vec::new(),
        }
    }

    fn head(&mut self) -> Head {
        if let Some(root) = self.root {
            return Head::Subtree(u8::MAX, root, None);
        }
        while self.stack.last().is_some_and(|(node, index)| *index == node.len()) {
            self.stack.pop();
        }
        match self.stack.last() {
            None => Head::End,
            Some((node, index)) if node.level() == 0 => Head::Entry(node.item(*index)),
            Some((node, index)) => {
                let last_key = node.item(*index).key;
                Head::Subtree(node.level() - 1, node.child(*index), Some(last_key))
            }
        }
    }

    /// Goes past what stands leftmost.
    fn skip(&mut self) {
        if self.root.take().is_none()
            && let Some((_, index)) = self.stack.last_mut()
        {
            *index += 1;
        }
    }

    /// Takes the leftmost subtree apart.
    async fn open(&mut self, hash: ContentHash, start: &[u8]) -> Result<()> {
        let node = self.store.node(hash).await?;
        self.skip();
        // What lies before the range is never looked at.
        let first = node.lower_bound(start);
        self.stack.push((node, first));
        Ok(())
    }
}

struct Comparison {
    old: Side,
    new: Side,
    range: KeyRange,
}

pub(super) fn diff(old: Tree, new: Tree, range: KeyRange) -> impl Stream<Item = Result<DiffItem>> + Send {
    // Against an empty tree everything is a difference, and a plain scan reads ahead.
    if old.root.is_none() || new.root.is_none() {
        let is_old = new.root.is_none();
        let rest = scan::ascending(if is_old { old } else { new }, range);
        return rest
            .map_ok(move |Entry { key, value }| {
                let (old, new) = if is_old {
                    (Some(value), None)
                } else {
                    (None, Some(value))
                };
                DiffItem { key, old, new }
            })
            .left_stream();
    }
    let comparison = Comparison {
        old: Side::new(&old),
        new: Side::new(&new),
        range,
    };
    stream::try_unfold(comparison, |mut comparison| async move {
        let item = comparison.next().await?;
        Ok(item.map(|item| (item, comparison)))
    })
    .right_stream()
}

impl Comparison {
    async fn next(&mut self) -> Result<Option<DiffItem>> {
        let start = self.range.start.clone();
        loop {
            match (self.old.head(), self.new.head()) {
                (Head::Subtree(_, old, _), Head::Subtree(_, new, _)) if old == new => {
                    self.old.skip();
                    self.new.skip();
                }
                // Nodes of one level that end at the same key are taken apart together.
                (Head::Subtree(old_level, old, old_end), Head::Subtree(new_level, new, new_end))
                    if old_level == new_level && old_end == new_end =>
                {
                    let (old, new) = tokio::join!(self.old.open(old, &start), self.new.open(new, &start));
                    old?;
                    new?;
                }
                // Of different levels the higher one, for its children may be what the other has.
                (Head::Subtree(old_level, old, _), Head::Subtree(new_level, new, _)) => {
                    if old_level >= new_level {
                        self.old.open(old, &start).await?;
                    } else {
                        self.new.open(new, &start).await?;
                    }
                }
                (Head::Subtree(_, old, _), _) => self.old.open(old, &start).await?,
                (_, Head::Subtree(_, new, _)) => self.new.open(new, &start).await?,
                (Head::End, Head::End) => return Ok(None),
                (Head::Entry(old), Head::End) => return Ok(self.one_sided(Some(old), None)),
                (Head::End, Head::Entry(new)) => return Ok(self.one_sided(None, Some(new))),
                (Head::Entry(old), Head::Entry(new)) => match old.key.cmp(&new.key) {
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

    /// Goes past the entries that both leaves have in common next, after a key that they share. Tells whether that leads
    /// past the range.
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

    fn one_sided(&mut self, old: Option<Item>, new: Option<Item>) -> Option<DiffItem> {
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

fn value(item: Item) -> Value {
    Value {
        data: item.data,
        placement: item.placement,
        weight: item.weight,
    }
}
