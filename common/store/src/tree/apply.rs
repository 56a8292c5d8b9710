//! Applying edits, level by level.
//!
//! On each level, the nodes in which edits fall are taken apart and cut anew together with the
//! edits. Cutting goes on over neighbouring nodes until an old end of a node is met again; from there
//! on the old nodes would come out the same, so everything up to the next edit stays as it is.
//! Which nodes went and which came are the edits of the level above.

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use howdah_model::{ContentHash, TreeRoot};

use super::cursor::LevelCursor;
use super::write::NodeSink;
use super::{Edit, MAX_KEY_BYTES};
use crate::error::{Result, StoreError};
use crate::format::node::{BuiltNode, Item, NodeBuilder};
use crate::store::Store;

/// A change of one key on some level.
#[derive(Debug)]
struct Change {
    key: Bytes,
    item: Option<Item>,
}

pub(super) async fn apply<S>(store: &Store, root: Option<TreeRoot>, edits: S) -> Result<Option<TreeRoot>>
where
    S: Stream<Item = Result<Edit>> + Send,
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

fn change_of_edit(edit: Edit) -> Result<Change> {
    if edit.key.len() > MAX_KEY_BYTES {
        return Err(StoreError::BadKey {
            key: String::from_utf8_lossy(&edit.key[..64]).into_owned() + "...",
            reason: "it is longer than 16 KiB",
        });
    }
    let item = edit.value.map(|value| Item {
        key: edit.key.clone(),
        data: value.data,
        placement: value.placement,
        count: 1,
        weight: value.weight,
    });
    Ok(Change { key: edit.key, item })
}

async fn apply_to<S>(store: &Store, sink: &mut NodeSink, root: TreeRoot, changes: S) -> Result<Option<TreeRoot>>
where
    S: Stream<Item = Result<Change>> + Send,
{
    let top = store.node(root.0).await?.level();
    let mut outcome = edit_level(store, sink, root, 0, changes).await?;
    for level in 1..=top {
        if outcome.is_nothing() {
            return Ok(Some(root));
        }
        let changes = stream::iter(outcome.into_changes().map(Ok));
        outcome = edit_level(store, sink, root, level, changes).await?;
    }
    if outcome.is_nothing() {
        return Ok(Some(root));
    }
    // The only old node of the top level is the root, which is taken apart: what came is all there is.
    let entries = outcome.last_entries;
    let nodes: Vec<Item> = outcome.came;
    match (&nodes[..], top) {
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

/// Finds the root below nodes that have but one child.
async fn lower_root(store: &Store, mut hash: ContentHash) -> Result<TreeRoot> {
    loop {
        let node = store.node(hash).await?;
        if node.level() == 0 || node.len() > 1 {
            return Ok(TreeRoot(hash));
        }
        hash = node.child(0);
    }
}

/// Which nodes of a level went and which came, both by last key.
#[derive(Debug, Default)]
struct Outcome {
    went: Vec<Item>,
    came: Vec<Item>,
    /// How many of `went` have been compared with what came.
    compared: usize,
    /// Number of entries of the node that came last.
    last_entries: usize,
}

impl Outcome {
    async fn add(&mut self, sink: &mut NodeSink, node: BuiltNode) -> Result<()> {
        self.last_entries = node.node.len();
        while self.went.get(self.compared).is_some_and(|old| old.key < node.item.key) {
            self.compared += 1;
        }
        let unchanged = self
            .went
            .get(self.compared)
            .is_some_and(|old| old.data == node.item.data);
        self.came.push(node.item.clone());
        if unchanged { Ok(()) } else { sink.put(node).await }
    }

    fn is_nothing(&self) -> bool {
        self.went.len() == self.came.len() && self.went.iter().zip(&self.came).all(|(old, new)| old.data == new.data)
    }

    /// Turns the difference into edits of the level above.
    fn into_changes(self) -> impl Iterator<Item = Change> {
        let mut went = self.went.into_iter().peekable();
        let mut came = self.came.into_iter().peekable();
        std::iter::from_fn(move || {
            loop {
                let order = match (went.peek(), came.peek()) {
                    (None, None) => return None,
                    (Some(_), None) => std::cmp::Ordering::Less,
                    (None, Some(_)) => std::cmp::Ordering::Greater,
                    (Some(old), Some(new)) => old.key.cmp(&new.key),
                };
                let old = if order.is_le() { went.next() } else { None };
                let new = if order.is_ge() { came.next() } else { None };
                match (old, new) {
                    (Some(old), Some(new)) if old.data == new.data => {}
                    (_, Some(new)) => {
                        return Some(Change {
                            key: new.key.clone(),
                            item: Some(new),
                        });
                    }
                    (Some(old), None) => {
                        return Some(Change {
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

/// Cuts one level of an existing tree anew where changes fall.
async fn edit_level<S>(store: &Store, sink: &mut NodeSink, root: TreeRoot, level: u8, changes: S) -> Result<Outcome>
where
    S: Stream<Item = Result<Change>> + Send,
{
    let mut changes = Ascending::new(changes);
    let mut outcome = Outcome::default();
    let mut nodes = LevelCursor::new(store, root, level).await?;
    while let Some(key) = changes.peek().await?.map(|change| change.key.clone()) {
        let mut builder = NodeBuilder::new(level);
        nodes.seek(&key).await?;
        loop {
            let node = nodes.node().await?;
            let last = nodes.is_last();
            outcome.went.push(Item {
                key: Bytes::copy_from_slice(node.last_key()),
                data: Bytes::copy_from_slice(nodes.hash().as_bytes()),
                placement: Bytes::new(),
                count: 0,
                weight: 0,
            });
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
                    push(&mut outcome, sink, &mut builder, change.item).await?;
                }
                let kept = match changes.next_if(|key| key == &old.key[..]).await? {
                    None => Some(old),
                    // The same meaning: keep the places already known.
                    Some(Change { item: Some(new), .. }) if new.data == old.data && new.weight == old.weight => {
                        Some(Item {
                            count: new.count,
                            ..old
                        })
                    }
                    Some(change) => change.item,
                };
                push(&mut outcome, sink, &mut builder, kept).await?;
            }
            if last {
                while let Some(change) = changes.next_if(|_| true).await? {
                    push(&mut outcome, sink, &mut builder, change.item).await?;
                }
                if let Some(built) = builder.finish() {
                    outcome.add(sink, built).await?;
                }
                break;
            }
            if builder.is_empty() {
                break;
            }
            nodes.next().await?;
        }
    }
    Ok(outcome)
}

async fn push(outcome: &mut Outcome, sink: &mut NodeSink, builder: &mut NodeBuilder, item: Option<Item>) -> Result<()> {
    match item.and_then(|item| builder.push(&item)) {
        Some(built) => outcome.add(sink, built).await,
        None => Ok(()),
    }
}

/// Cuts a level of a new tree; removals mean nothing there.
async fn build_level<S>(sink: &mut NodeSink, level: u8, changes: S) -> Result<Vec<Item>>
where
    S: Stream<Item = Result<Change>> + Send,
{
    let mut changes = Ascending::new(changes);
    let mut outcome = Outcome::default();
    let mut builder = NodeBuilder::new(level);
    while let Some(change) = changes.next_if(|_| true).await? {
        push(&mut outcome, sink, &mut builder, change.item).await?;
    }
    if let Some(built) = builder.finish() {
        outcome.add(sink, built).await?;
    }
    Ok(outcome.came)
}

/// Builds levels above all nodes of a level until one node is left.
async fn build_up(sink: &mut NodeSink, mut level: u8, mut nodes: Vec<Item>) -> Result<Option<TreeRoot>> {
    while nodes.len() > 1 {
        level += 1;
        let changes = nodes.into_iter().map(|item| {
            Ok(Change {
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

/// A stream of changes, looked at one ahead, that refuses what does not ascend.
struct Ascending<'a> {
    changes: BoxStream<'a, Result<Change>>,
    ahead: Option<Change>,
    last: Option<Bytes>,
}

impl<'a> Ascending<'a> {
    fn new(changes: impl Stream<Item = Result<Change>> + Send + 'a) -> Self {
        Ascending {
            changes: changes.fuse().boxed(),
            ahead: None,
            last: None,
        }
    }

    /// Looks at the next change.
    async fn peek(&mut self) -> Result<Option<&Change>> {
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

    /// Takes the next change if its key passes a test.
    async fn next_if(&mut self, test: impl FnOnce(&[u8]) -> bool) -> Result<Option<Change>> {
        let passes = self.peek().await?.is_some_and(|change| test(&change.key));
        Ok(if passes { self.ahead.take() } else { None })
    }
}
