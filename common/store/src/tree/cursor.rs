//! Moving in a tree: from node to node on one level, and from entry to entry.

use std::sync::Arc;

use bytes::Bytes;
use howdah_model::{ContentHash, TreeRoot};

use crate::error::{Result, StoreError};
use crate::format::frame::open_frame;
use crate::format::node::{Node, NodeEntry};
use crate::objects::keys;
use crate::offload::by_size;
use crate::store::Store;

/// Unpacks a stored node and compares it with its name.
pub(crate) fn open_node(key: &str, hash: &ContentHash, stored: &Bytes) -> Result<Node> {
    let payload = open_frame(stored).map_err(|reason| StoreError::corrupt(key, reason))?;
    let node = Node::decode(hash, payload).map_err(|reason| StoreError::corrupt(key, reason.to_string()))?;
    if node.len() == 0 {
        return Err(StoreError::corrupt(key, "it has no entries"));
    }
    Ok(node)
}

impl Store {
    /// Returns a node from the cache, or reads and checks it.
    pub(crate) async fn node(&self, hash: ContentHash) -> Result<Arc<Node>> {
        let load = async {
            let key = keys::node(&hash);
            let stored = self.get(&key).await?;
            by_size(stored.len(), move || open_node(&key, &hash, &stored).map(Arc::new)).await?
        };
        self.shared.nodes.get_or_load(hash, load).await
    }

    /// Begins to read a node that will be used soon.
    fn prefetch_node(&self, hash: ContentHash) {
        if !self.shared.nodes.has_or_loads(&hash) {
            let store = self.clone();
            // An error is reported by the read that needs the node, which repeats the request.
            tokio::spawn(async move { store.node(hash).await.map(drop) });
        }
    }
}

/// A position on one level of a tree: one of its nodes.
#[derive(Debug)]
pub(crate) struct LevelCursor {
    store: Store,
    root: Arc<Node>,
    root_hash: ContentHash,
    level: u8,
    /// Inner nodes from the root down to the level above, each with the index of the chosen entry.
    path: Vec<(Arc<Node>, usize)>,
    /// The key at which the reader will stop: nodes that only have keys from there on are not read ahead.
    until: Option<Bytes>,
    /// How many nodes the next call of `prefetch` reads ahead.
    ahead: usize,
}

/// Nodes read ahead at the first step to a next node. Few, because most readers need only few.
const FIRST_AHEAD: usize = 2;

impl LevelCursor {
    /// Begins on a level, which the tree must have. The caller calls one of the `seek` functions next.
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

    /// Sets the key at which the reader will stop; `None` = after the last one.
    pub(crate) fn until(&mut self, end: Option<Bytes>) {
        self.until = end;
    }

    /// Extends the path down to the level above this one. Nodes of the level itself are not read.
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
                "it is on a wrong level of its tree",
            ));
        }
        Ok(node)
    }

    /// Moves to the node that has `key` or would have it; for keys after the last one, to the last node.
    pub(crate) async fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.path.clear();
        self.descend(|node| node.lower_bound(key).min(node.len() - 1)).await
    }

    /// Moves to the last node.
    pub(crate) async fn seek_last(&mut self) -> Result<()> {
        self.path.clear();
        self.descend(|node| node.len() - 1).await
    }

    /// Moves to the next node; returns `false` and does not move if there is none.
    pub(crate) async fn next(&mut self) -> Result<bool> {
        let Some(depth) = self.path.iter().rposition(|(node, index)| index + 1 < node.len()) else {
            return Ok(false);
        };
        self.path.truncate(depth + 1);
        self.path[depth].1 += 1;
        self.descend(|_| 0).await?;
        Ok(true)
    }

    /// Moves to the previous node; returns `false` and does not move if there is none.
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

    /// Begins to read the following nodes of the same parent, twice as many at each call. Without this, every node
    /// would cost one round trip to the store.
    pub(crate) fn prefetch(&mut self) {
        if let Some((parent, index)) = self.path.last() {
            let wanted = |next: &usize| match &self.until {
                // All keys of a child are greater than the last key of the child before it.
                Some(end) => parent.key(next - 1) < &end[..],
                None => true,
            };
            for next in (index + 1..parent.len()).take(self.ahead).take_while(wanted) {
                self.store.prefetch_node(parent.child(next));
            }
        }
        self.ahead = (2 * self.ahead).min(self.store.shared.limits.nodes_ahead);
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

/// A position in a tree: an entry, or the end.
#[derive(Debug)]
pub(crate) struct Cursor {
    leaves: LevelCursor,
    leaf: Option<Arc<Node>>,
    /// Index in the leaf. The length of the leaf means the end of the tree.
    index: usize,
}

impl Cursor {
    /// Begins in a tree; the caller calls one of the `seek` functions next. `None` for an empty tree.
    pub(crate) async fn new(store: &Store, root: Option<TreeRoot>) -> Result<Option<Self>> {
        let Some(root) = root else { return Ok(None) };
        let leaves = LevelCursor::new(store, root, 0).await?;
        Ok(Some(Cursor {
            leaves,
            leaf: None,
            index: 0,
        }))
    }

    /// Sets the key at which the reader will stop; `None` = after the last one.
    pub(crate) fn until(&mut self, end: Option<Bytes>) {
        self.leaves.until(end);
    }

    /// Moves to the first entry whose key is `key` or greater.
    pub(crate) async fn seek(&mut self, key: &[u8]) -> Result<()> {
        let leaf = match self.leaf.take() {
            // Callers mostly ask for keys in ascending order, so the next one is often in the same leaf.
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

    /// Moves to the end, after the last entry.
    pub(crate) async fn seek_end(&mut self) -> Result<()> {
        self.leaves.seek_last().await?;
        let leaf = self.leaves.node().await?;
        self.index = leaf.len();
        self.leaf = Some(leaf);
        Ok(())
    }

    /// Returns the key of the current entry; `None` at the end.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        let leaf = self.leaf.as_ref()?;
        (self.index < leaf.len()).then(|| leaf.key(self.index))
    }

    /// Returns the current entry; `None` at the end.
    pub(crate) fn item(&self) -> Option<NodeEntry> {
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

    /// Moves to the previous entry; returns `false` if the current one is the first.
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

/// Consecutive entries of a leaf.
#[derive(Debug)]
pub(crate) struct LeafRun {
    pub(crate) leaf: Arc<Node>,
    pub(crate) start: usize,
    pub(crate) stop: usize,
}

impl LeafRun {
    pub(crate) fn into_items(self) -> impl DoubleEndedIterator<Item = NodeEntry> + Send {
        let LeafRun { leaf, start, stop } = self;
        (start..stop).map(move |index| leaf.item(index))
    }
}
