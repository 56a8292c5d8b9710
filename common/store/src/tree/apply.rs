//! Applying edits, level by level.
//!
//! On each level, a node into which an edit falls is opened, and its entries are cut into nodes again together with the
//! edits. Cutting continues over the following nodes until a new node ends where an old one ended. Whether a node ends
//! after an entry depends on that entry alone, so cutting the following entries again would give the old nodes. All
//! nodes up to the next edit are therefore kept. Each removed node and each added node is an edit of the level above.
//!
//! ```text
//! edit         put g
//! old leaves   [a b c] [d f h k] [m x z]          [d f h k] is opened
//! new leaves   [a b c] [d f g] [h k] [m x z]      g ends a node; cutting stops at k, where an old node ends
//! level above  put g: hash of [d f g]; put k: hash of [h k]
//! ```

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use howdah_model::{ContentHash, TreeRoot};

use super::cursor::LevelCursor;
use super::entry::TreeEdit;
use super::write::NodeSink;
use crate::error::{Result, StoreError};
use crate::format::node::NodeEntry;
use crate::format::node_builder::{BuiltNode, NodeBuilder};
use crate::store::Store;

/// Keys are at most this long.
pub const MAX_KEY_BYTES: usize = 16 << 10;

/// An edit of a level: of entries on level 0, of nodes by their last keys above.
#[derive(Debug)]
struct LevelEdit {
    key: Bytes,
    item: Option<NodeEntry>,
}

pub(super) async fn apply<S>(store: &Store, root: Option<TreeRoot>, edits: S) -> Result<Option<TreeRoot>>
where
    S: Stream<Item = Result<TreeEdit>> + Send,
{
    let mut sink = NodeSink::new(store);
    let changes = edits.map(|edit| edit.and_then(change_of_edit));
    let root = match root {
        None => {
            let nodes = build_level(&mut sink, 0, changes).await?;
            build_up(&mut sink, 0, nodes).await?
        }
        Some(root) => apply_to(store, &mut sink, root, changes).await?,
    };
    sink.flush().await?;
    Ok(root)
}

fn change_of_edit(edit: TreeEdit) -> Result<LevelEdit> {
    if edit.key.len() > MAX_KEY_BYTES {
        return Err(StoreError::BadKey {
            key: String::from_utf8_lossy(&edit.key[..64]).into_owned() + "...",
            reason: "it is longer than 16 KiB",
        });
    }
    let item = edit.value.map(|value| NodeEntry {
        key: edit.key.clone(),
        data: value.data,
        placement: value.placement,
        count: 1,
        weight: value.weight,
    });
    Ok(LevelEdit { key: edit.key, item })
}

async fn apply_to<S>(store: &Store, sink: &mut NodeSink, root: TreeRoot, changes: S) -> Result<Option<TreeRoot>>
where
    S: Stream<Item = Result<LevelEdit>> + Send,
{
    let top = store.node(root.0).await?.level();
    let mut cut_nodes = edit_level(store, sink, root, 0, changes).await?;
    for level in 1..=top {
        if cut_nodes.is_unchanged() {
            return Ok(Some(root));
        }
        let changes = stream::iter(cut_nodes.into_edits().map(Ok));
        cut_nodes = edit_level(store, sink, root, level, changes).await?;
    }
    if cut_nodes.is_unchanged() {
        return Ok(Some(root));
    }
    // The only old node of the top level is the root. It was opened, so the new nodes are the whole level.
    let entries = cut_nodes.last_entries;
    let nodes: Vec<NodeEntry> = cut_nodes.added;
    match (&nodes[..], top) {
        // An inner root with one child must not remain: a tree of the same content that is built from nothing has no
        // such node, and equal content must have an equal root. The nodes must be stored before they are read again.
        ([only], 1..) if entries == 1 => {
            sink.flush().await?;
            lower_root(store, only.child().map_err(damaged)?).await.map(Some)
        }
        _ => build_up(sink, top, nodes).await,
    }
}

fn damaged(error: crate::format::codec::DecodeError) -> StoreError {
    StoreError::corrupt("a tree node in memory", error.to_string())
}

/// Returns the first node, from here down, that has more than one entry or is a leaf.
async fn lower_root(store: &Store, mut hash: ContentHash) -> Result<TreeRoot> {
    loop {
        let node = store.node(hash).await?;
        if node.level() == 0 || node.len() > 1 {
            return Ok(TreeRoot(hash));
        }
        hash = node.child(0);
    }
}

/// The nodes of a level that were removed and added, both sorted by last key.
#[derive(Debug, Default)]
struct CutNodes {
    removed: Vec<NodeEntry>,
    added: Vec<NodeEntry>,
    /// How many of `removed` have been compared with the added ones.
    compared: usize,
    /// Number of entries of the last added node.
    last_entries: usize,
}

impl CutNodes {
    async fn add(&mut self, sink: &mut NodeSink, node: BuiltNode) -> Result<()> {
        self.last_entries = node.node.len();
        // A new node that equals the old one it replaces exists in the store: storing it would cost a request for
        // nothing. Both lists ascend by key, so one pass over `removed` finds all such pairs.
        while self
            .removed
            .get(self.compared)
            .is_some_and(|old| old.key < node.item.key)
        {
            self.compared += 1;
        }
        let unchanged = self
            .removed
            .get(self.compared)
            .is_some_and(|old| old.data == node.item.data);
        self.added.push(node.item.clone());
        if unchanged { Ok(()) } else { sink.put(node).await }
    }

    fn is_unchanged(&self) -> bool {
        self.removed.len() == self.added.len()
            && self
                .removed
                .iter()
                .zip(&self.added)
                .all(|(old, new)| old.data == new.data)
    }

    /// Returns the difference as edits of the level above.
    fn into_edits(self) -> impl Iterator<Item = LevelEdit> {
        let mut removed = self.removed.into_iter().peekable();
        let mut added = self.added.into_iter().peekable();
        std::iter::from_fn(move || {
            loop {
                let order = match (removed.peek(), added.peek()) {
                    (None, None) => return None,
                    (Some(_), None) => std::cmp::Ordering::Less,
                    (None, Some(_)) => std::cmp::Ordering::Greater,
                    (Some(old), Some(new)) => old.key.cmp(&new.key),
                };
                let old = if order.is_le() { removed.next() } else { None };
                let new = if order.is_ge() { added.next() } else { None };
                match (old, new) {
                    (Some(old), Some(new)) if old.data == new.data => {}
                    (_, Some(new)) => {
                        return Some(LevelEdit {
                            key: new.key.clone(),
                            item: Some(new),
                        });
                    }
                    (Some(old), None) => {
                        return Some(LevelEdit {
                            key: old.key,
                            item: None,
                        });
                    }
                    (None, None) => return None,
                }
            }
        })
    }
}

/// Cuts the nodes of one level again where edits fall.
async fn edit_level<S>(store: &Store, sink: &mut NodeSink, root: TreeRoot, level: u8, changes: S) -> Result<CutNodes>
where
    S: Stream<Item = Result<LevelEdit>> + Send,
{
    let mut changes = AscendingEdits::new(changes);
    let mut cut_nodes = CutNodes::default();
    let mut nodes = LevelCursor::new(store, root, level).await?;
    while let Some(key) = changes.peek().await?.map(|change| change.key.clone()) {
        let mut builder = NodeBuilder::new(level);
        nodes.seek(&key).await?;
        loop {
            let node = nodes.node().await?;
            let last = nodes.is_last();
            cut_nodes.removed.push(NodeEntry {
                key: Bytes::copy_from_slice(node.last_key()),
                data: Bytes::copy_from_slice(nodes.hash().as_bytes()),
                placement: Bytes::new(),
                count: 0,
                weight: 0,
            });
            // Entries between two edits are a run, which is copied without decoding. The last entry of a
            // node is never part of a run: it may end the new node, so it must pass `push`, which decides this.
            let mut index = 0;
            while index < node.len() {
                let run = match changes.peek().await? {
                    Some(change) if change.key <= node.key(index) => index,
                    Some(change) => node.lower_bound(&change.key),
                    None => node.len(),
                };
                let run = run.min(node.len() - 1);
                if run > index {
                    builder.push_run(&node, index..run);
                    index = run;
                }
                let old = node.item(index);
                index += 1;
                while let Some(change) = changes.next_if(|key| key < &old.key[..]).await? {
                    push(&mut cut_nodes, sink, &mut builder, change.item).await?;
                }
                let kept = match changes.next_if(|key| key == &old.key[..]).await? {
                    None => Some(old),
                    // The same meaning: the old placement stays. The stored node has it, and so a rewrite of equal
                    // files changes nothing.
                    Some(LevelEdit { item: Some(new), .. }) if new.data == old.data && new.weight == old.weight => {
                        Some(NodeEntry {
                            count: new.count,
                            ..old
                        })
                    }
                    Some(change) => change.item,
                };
                push(&mut cut_nodes, sink, &mut builder, kept).await?;
            }
            if last {
                // Edits after the last key of the tree belong to its last node: no other node could take them.
                while let Some(change) = changes.next_if(|_| true).await? {
                    push(&mut cut_nodes, sink, &mut builder, change.item).await?;
                }
                if let Some(built) = builder.finish() {
                    cut_nodes.add(sink, built).await?;
                }
                break;
            }
            // A new node has just ended where this old one ends: the following nodes are unchanged.
            if builder.is_empty() {
                break;
            }
            nodes.next().await?;
        }
    }
    Ok(cut_nodes)
}

async fn push(
    cut_nodes: &mut CutNodes,
    sink: &mut NodeSink,
    builder: &mut NodeBuilder,
    item: Option<NodeEntry>,
) -> Result<()> {
    match item.and_then(|item| builder.push(&item)) {
        Some(built) => cut_nodes.add(sink, built).await,
        None => Ok(()),
    }
}

/// Cuts a level of a new tree, in which removals have no effect.
async fn build_level<S>(sink: &mut NodeSink, level: u8, changes: S) -> Result<Vec<NodeEntry>>
where
    S: Stream<Item = Result<LevelEdit>> + Send,
{
    let mut changes = AscendingEdits::new(changes);
    let mut cut_nodes = CutNodes::default();
    let mut builder = NodeBuilder::new(level);
    while let Some(change) = changes.next_if(|_| true).await? {
        push(&mut cut_nodes, sink, &mut builder, change.item).await?;
    }
    if let Some(built) = builder.finish() {
        cut_nodes.add(sink, built).await?;
    }
    Ok(cut_nodes.added)
}

/// Builds levels above all nodes of a level until one node is left.
async fn build_up(sink: &mut NodeSink, mut level: u8, mut nodes: Vec<NodeEntry>) -> Result<Option<TreeRoot>> {
    while nodes.len() > 1 {
        level += 1;
        let changes = nodes.into_iter().map(|item| {
            Ok(LevelEdit {
                key: item.key.clone(),
                item: Some(item),
            })
        });
        nodes = build_level(sink, level, stream::iter(changes)).await?;
    }
    nodes
        .first()
        .map(|item| item.child().map(TreeRoot).map_err(damaged))
        .transpose()
}

/// A stream of edits with one edit of look-ahead. An edit that does not ascend is an error.
struct AscendingEdits<'a> {
    changes: BoxStream<'a, Result<LevelEdit>>,
    ahead: Option<LevelEdit>,
    last: Option<Bytes>,
}

impl<'a> AscendingEdits<'a> {
    fn new(changes: impl Stream<Item = Result<LevelEdit>> + Send + 'a) -> Self {
        AscendingEdits {
            changes: changes.fuse().boxed(),
            ahead: None,
            last: None,
        }
    }

    /// Returns the next edit without taking it.
    async fn peek(&mut self) -> Result<Option<&LevelEdit>> {
        if self.ahead.is_none()
            && let Some(change) = self.changes.next().await.transpose()?
        {
            if self.last.as_ref().is_some_and(|last| *last >= change.key) {
                let key = String::from_utf8_lossy(&change.key).into_owned();
                return Err(StoreError::Unsorted { key });
            }
            self.last = Some(change.key.clone());
            self.ahead = Some(change);
        }
        Ok(self.ahead.as_ref())
    }

    /// Takes the next edit if its key passes a test.
    async fn next_if(&mut self, test: impl FnOnce(&[u8]) -> bool) -> Result<Option<LevelEdit>> {
        let passes = self.peek().await?.is_some_and(|change| test(&change.key));
        Ok(if passes { self.ahead.take() } else { None })
    }
}
