//! Walking a tree: from node to node on one level, and from entry to entry.

use std::sync::Arc;

use bytes::Bytes;
use howdah_model::{ContentHash, TreeRoot};

use crate::chunk::{by_size, open_frame};
use crate::error::{Result, StoreError};
use crate::format::node::{CachedNode, Item, Node};
use crate::objects::keys;
use crate::store::Store;

impl Store {
    /// Reads and checks a node, or takes it from the cache.
    pub(crate) async fn node(&self, hash: ContentHash) -> Result<Arc<Node>> {
        let load = async {
            let key = keys::node(&hash);
            let stored = self.get(&key).await?;
            by_size(stored.len(), move || {
                let payload = open_frame(&stored).map_err(|reason| StoreError::corrupt(&*key, reason))?;
                let node =
                    Node::decode(&hash, payload).map_err(|reason| StoreError::corrupt(&*key, reason.to_string()))?;
                if node.len() == 0 {
                    return Err(StoreError::corrupt(key, "it has no entries"));
                }
                Ok(CachedNode(Arc::new(node)))
            })
            .await?
        };
        Ok(self.inner.nodes.get_or_load(hash, load).await?.0)
    }

    /// Begins to read a node that will be wanted soon.
    fn prefetch_node(&self, hash: ContentHash) {
        if !self.inner.nodes.has_or_loads(&hash) {
            let store = self.clone();
            // A failure here shows when the node is really read.
            tokio::spawn(async move { store.node(hash).await.map(drop) });
        }
    }
}

/// Stands on a node of one level of a tree.
#[derive(Debug)]
pub(crate) struct LevelCursor {
    store: Store,
    root: Arc<Node>,
    root_hash: ContentHash,
    level: u8,
    /// Inner nodes from the root down to the level above, each with the entry taken.
    path: Vec<(Arc<Node>, usize)>,
    /// Where the reader will stop: nodes that only hold keys from there on are not read ahead.
    until: Option<Bytes>,
    /// How many nodes are read ahead next.
    ahead: usize,
}

/// Nodes read ahead when the first step to a next node is made: most readers want no more than a few.
const FIRST_AHEAD: usize = 2;

impl LevelCursor {
    /// Prepares to walk a level, which the tree must have. One of the `seek` functions comes next.
    pub(crate) async fn new(store: &Store, root: TreeRoot, level: u8) -> Result<Self> {
        let node = store.node(root.0).await?;
        Ok(LevelCursor {
            store: store.clone(),
            root: node,
            root_hash: root.0,
            level,
            path: Vec::new(),
            until: None,
            ahead: FIRST_AHEAD,
        })
    }

    /// Tells the key at which the reader will stop; `None` = at the last.
    pub(crate) fn until(&mut self, end: Option<Bytes>) {
        self.until = end;
    }

    /// Rebuilds the path from the root, or from where it still reaches. Nodes of the level itself
    /// are not read.
    async fn descend(&mut self, choose: impl Fn(&Node) -> usize) -> Result<()> {
        loop {
            let node = match self.path.last() {
                Some((parent, _)) if parent.level() <= self.level + 1 => return Ok(()),
                None if self.root.level() <= self.level => return Ok(()),
                Some(_) => self.node().await?,
                None => Arc::clone(&self.root),
            };
            let index = choose(&node);
            self.path.push((node, index));
        }
    }

    async fn load(&self, hash: ContentHash, parent_level: u8) -> Result<Arc<Node>> {
        let node = self.store.node(hash).await?;
        if node.level() + 1 != parent_level {
            return Err(StoreError::corrupt(
                keys::node(&hash),
                "it stands on a wrong level of its tree",
            ));
        }
        Ok(node)
    }

    /// Moves to the node in which `key` is or would be; the last one takes all that lies beyond.
    pub(crate) async fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.path.clear();
        self.descend(|node| node.lower_bound(key).min(node.len() - 1)).await
    }

    /// Moves to the last node.
    pub(crate) async fn seek_last(&mut self) -> Result<()> {
        self.path.clear();
        self.descend(|node| node.len() - 1).await
    }

    /// Moves to the next node; `false` if there is none, and then it stays where it is.
    pub(crate) async fn next(&mut self) -> Result<bool> {
        let Some(depth) = self.path.iter().rposition(|(node, index)| index + 1 < node.len()) else {
            return Ok(false);
        };
        self.path.truncate(depth + 1);
        self.path[depth].1 += 1;
        self.descend(|_| 0).await?;
        Ok(true)
    }

    /// Moves to the previous node; `false` if there is none, and then it stays where it is.
    pub(crate) async fn previous(&mut self) -> Result<bool> {
        let Some(depth) = self.path.iter().rposition(|(_, index)| *index > 0) else {
            return Ok(false);
        };
        self.path.truncate(depth + 1);
        self.path[depth].1 -= 1;
        self.descend(|node| node.len() - 1).await?;
        Ok(true)
    }

    pub(crate) fn is_last(&self) -> bool {
        self.path.iter().all(|(node, index)| index + 1 == node.len())
    }

    /// Begins to read the nodes that follow, as far as the parent knows them, and more of them each time: with a
    /// store that is far away, reading them one by one would cost a round trip for each.
    pub(crate) fn prefetch(&mut self) {
        if let Some((parent, index)) = self.path.last() {
            let wanted = |next: &usize| match &self.until {
                // A child holds what comes after its neighbour's last key.
                Some(end) => parent.key(next - 1) < &end[..],
                None => true,
            };
            for next in (index + 1..parent.len()).take(self.ahead).take_while(wanted) {
                self.store.prefetch_node(parent.child(next));
            }
        }
        self.ahead = (2 * self.ahead).min(self.store.inner.limits.nodes_ahead);
    }

    /// Returns the node.
    pub(crate) async fn node(&self) -> Result<Arc<Node>> {
        match self.path.last() {
            None => Ok(Arc::clone(&self.root)),
            Some((parent, index)) => self.load(parent.child(*index), parent.level()).await,
        }
    }

    /// Returns the node's hash.
    pub(crate) fn hash(&self) -> ContentHash {
        self.path
            .last()
            .map_or(self.root_hash, |(parent, index)| parent.child(*index))
    }
}

/// Stands on an entry of a tree, or behind the last.
#[derive(Debug)]
pub(crate) struct Cursor {
    leaves: LevelCursor,
    leaf: Option<Arc<Node>>,
    /// Index in the leaf; its length stands for the end of the tree.
    index: usize,
}

impl Cursor {
    /// Prepares to walk a tree; one of the `seek` functions comes next. `None` for an empty tree.
    pub(crate) async fn new(store: &Store, root: Option<TreeRoot>) -> Result<Option<Self>> {
        let Some(root) = root else { return Ok(None) };
        let leaves = LevelCursor::new(store, root, 0).await?;
        Ok(Some(Cursor {
            leaves,
            leaf: None,
            index: 0,
        }))
    }

    /// Tells the key at which the walk will stop; `None` = at the last.
    pub(crate) fn until(&mut self, end: Option<Bytes>) {
        self.leaves.until(end);
    }

    /// Moves to the first entry whose key is not below `key`.
    pub(crate) async fn seek(&mut self, key: &[u8]) -> Result<()> {
        let leaf = match self.leaf.take() {
            // Neighbouring keys are mostly asked for one after the other.
            Some(leaf) if leaf.key(0) <= key && key <= leaf.last_key() => leaf,
            _ => {
                self.leaves.seek(key).await?;
                self.leaves.node().await?
            }
        };
        self.index = leaf.lower_bound(key);
        self.leaf = Some(leaf);
        Ok(())
    }

    /// Moves behind the last entry.
    pub(crate) async fn seek_end(&mut self) -> Result<()> {
        self.leaves.seek_last().await?;
        let leaf = self.leaves.node().await?;
        self.index = leaf.len();
        self.leaf = Some(leaf);
        Ok(())
    }

    /// Returns the key it stands on; `None` at the end.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        let leaf = self.leaf.as_ref()?;
        (self.index < leaf.len()).then(|| leaf.key(self.index))
    }

    /// Returns the entry it stands on; `None` at the end.
    pub(crate) fn item(&self) -> Option<Item> {
        let leaf = self.leaf.as_ref()?;
        (self.index < leaf.len()).then(|| leaf.item(self.index))
    }

    /// Moves to the next entry, or to the end.
    pub(crate) async fn next(&mut self) -> Result<()> {
        let length = self.leaf.as_ref().map_or(0, |leaf| leaf.len());
        if self.index < length {
            self.index += 1;
        }
        if self.index == length && self.leaves.next().await? {
            self.leaves.prefetch();
            self.leaf = Some(self.leaves.node().await?);
            self.index = 0;
        }
        Ok(())
    }

    /// Moves to the previous entry; `false` if it stands on the first.
    pub(crate) async fn previous(&mut self) -> Result<bool> {
        if self.index == 0 {
            if !self.leaves.previous().await? {
                return Ok(false);
            }
            let leaf = self.leaves.node().await?;
            self.index = leaf.len();
            self.leaf = Some(leaf);
        }
        self.index -= 1;
        Ok(true)
    }
}

/// Neighbouring entries of a leaf.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) leaf: Arc<Node>,
    pub(crate) start: usize,
    pub(crate) stop: usize,
}

impl Run {
    pub(crate) fn into_items(self) -> impl DoubleEndedIterator<Item = Item> + Send {
        let Run { leaf, start, stop } = self;
        (start..stop).map(move |index| leaf.item(index))
    }
}
