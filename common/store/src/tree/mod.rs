//! The ordered map that serves every index: a persistent, content-addressed search tree.
//!
//! A node ends after an entry when a hash of the entry's *key* (weighed by its size) says so; the
//! level above holds one entry for each node, and so on until one node is left. The shape is thus a
//! function of the content alone:
//! * equal content has an equal root, whatever the order of edits that led to it;
//! * an edit changes the nodes around it and the path above them, and nothing else;
//! * two trees that share most of their content share most of their nodes, and [`Tree::diff`]
//!   never looks into a shared one.
//!
//! ```text
//! level 1                [ ..c | ..k | ..z ]            entry = last key, hash, count, weight of a child
//!                        /        |        \
//! level 0     [a b c]      [d f h k]      [m x z]       entry = key, weight, data, placement
//! ```
//!
//! Inner entries carry counts and sums of weights, so totals over a range cost two paths. All scans
//! are streams; an edit keeps one entry per *changed node* in memory, some thousandth of the edits.
//!
//! A value has two parts: `data`, which is what the tree means, and `placement`, which says where
//! things lie. Only `data` (with key and weight) makes the root and counts as a difference.
//! The tree knows nothing of paths or files; see [`crate::files`].

mod apply;
mod cursor;
mod diff;
mod scan;
#[cfg(test)]
mod tests;
mod write;

use bytes::Bytes;
use futures::Stream;
use howdah_model::TreeRoot;

pub use scan::KeyRange;

pub(crate) use crate::format::node::{CachedNode, Item};
pub(crate) use cursor::Cursor;
pub(crate) use scan::end_of_prefix;

use crate::error::Result;
use crate::store::Store;

/// Keys are at most this long.
pub const MAX_KEY_BYTES: usize = 16 << 10;

/// What a tree holds under a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Value {
    /// The meaning: part of the root's identity.
    pub data: Bytes,
    /// Where things lie: kept, but not part of the root's identity and no difference to
    /// [`Tree::diff`]. When two trees have the same node, whichever was stored first is kept.
    pub placement: Bytes,
    /// What the entry adds to the weight of every range it lies in.
    pub weight: u64,
}

impl Value {
    /// Makes a value that is all meaning.
    pub fn plain(data: impl Into<Bytes>, weight: u64) -> Self {
        Value {
            data: data.into(),
            placement: Bytes::new(),
            weight,
        }
    }

    /// Tells whether two values mean the same.
    #[must_use]
    pub fn same(&self, other: &Value) -> bool {
        self.data == other.data && self.weight == other.weight
    }
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Value,
}

/// A change of one key: a new value, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The key.
    pub key: Bytes,
    /// What it shall hold; `None` removes it.
    pub value: Option<Value>,
}

impl Edit {
    /// Sets a key.
    pub fn put(key: impl Into<Bytes>, value: Value) -> Self {
        Edit {
            key: key.into(),
            value: Some(value),
        }
    }

    /// Removes a key, which need not exist.
    pub fn remove(key: impl Into<Bytes>) -> Self {
        Edit {
            key: key.into(),
            value: None,
        }
    }
}

/// A key at which two trees differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffItem {
    /// The key.
    pub key: Bytes,
    /// What the old tree holds.
    pub old: Option<Value>,
    /// What the new tree holds.
    pub new: Option<Value>,
}

/// Totals over a range of a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Aggregate {
    /// Number of entries.
    pub count: u64,
    /// Sum of their weights.
    pub weight: u64,
}

/// An immutable ordered map in the store. A value: edits give a new tree.
#[derive(Debug, Clone)]
pub struct Tree {
    store: Store,
    root: Option<TreeRoot>,
}

impl Tree {
    /// Names the tree of a root; nothing is read yet.
    #[must_use]
    pub fn new(store: &Store, root: Option<TreeRoot>) -> Self {
        Tree {
            store: store.clone(),
            root,
        }
    }

    /// Returns the empty tree.
    #[must_use]
    pub fn empty(store: &Store) -> Self {
        Tree::new(store, None)
    }

    /// Returns the root: the identity of the whole content. `None` for the empty tree.
    #[must_use]
    pub fn root(&self) -> Option<TreeRoot> {
        self.root
    }

    /// Returns the store the tree lies in.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the value of a key.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        let found = self.first_at_or_after(key).await?;
        Ok(found.filter(|entry| entry.key == key).map(|entry| entry.value))
    }

    /// Returns the first entry whose key is not below `key`.
    pub async fn first_at_or_after(&self, key: &[u8]) -> Result<Option<Entry>> {
        let Some(mut cursor) = self.cursor().await? else {
            return Ok(None);
        };
        cursor.seek(key).await?;
        Ok(cursor.item().map(Entry::from))
    }

    /// Returns the last entry whose key is below `key`.
    pub async fn last_before(&self, key: &[u8]) -> Result<Option<Entry>> {
        let Some(mut cursor) = self.cursor().await? else {
            return Ok(None);
        };
        cursor.seek(key).await?;
        let found = cursor.previous().await?;
        Ok(if found { cursor.item().map(Entry::from) } else { None })
    }

    /// Returns the entry with so many before it. Costs one path; this finds where to split a tree.
    pub async fn nth(&self, index: u64) -> Result<Option<Entry>> {
        scan::nth(self, index).await
    }

    /// Streams the entries of a range in ascending order.
    pub fn range(&self, range: KeyRange) -> impl Stream<Item = Result<Entry>> + Send + use<> {
        scan::ascending(self.clone(), range)
    }

    /// Streams the entries of a range in descending order.
    pub fn range_rev(&self, range: KeyRange) -> impl Stream<Item = Result<Entry>> + Send + use<> {
        scan::descending(self.clone(), range)
    }

    /// Streams the entries whose keys begin with `prefix`.
    pub fn prefix(&self, prefix: &[u8]) -> impl Stream<Item = Result<Entry>> + Send + use<> {
        self.range(KeyRange::prefix(prefix))
    }

    /// Adds up a range. Costs two paths, however large the range is.
    pub async fn aggregate(&self, range: &KeyRange) -> Result<Aggregate> {
        scan::aggregate(self, range).await
    }

    /// Adds up the whole tree.
    pub async fn total(&self) -> Result<Aggregate> {
        self.aggregate(&KeyRange::all()).await
    }

    /// Applies edits, which must ascend strictly by key, and returns the new tree.
    ///
    /// Reads and writes only nodes around the edits. The new tree is durable when this returns.
    ///
    /// # Errors
    /// When edits do not ascend, a key is too long, or the store fails.
    pub async fn apply<S>(&self, edits: S) -> Result<Tree>
    where
        S: Stream<Item = Result<Edit>> + Send,
    {
        let root = apply::apply(&self.store, self.root, edits).await?;
        Ok(Tree::new(&self.store, root))
    }

    /// Applies edits that are at hand already, in ascending order.
    pub async fn apply_all<I>(&self, edits: I) -> Result<Tree>
    where
        I: IntoIterator<Item = Edit>,
        I::IntoIter: Send,
    {
        self.apply(futures::stream::iter(edits.into_iter().map(Ok))).await
    }

    /// Builds a tree of entries that ascend strictly by key.
    pub async fn build<S>(store: &Store, entries: S) -> Result<Tree>
    where
        S: Stream<Item = Result<Entry>> + Send,
    {
        use futures::TryStreamExt;
        let edits = entries.map_ok(|entry| Edit {
            key: entry.key,
            value: Some(entry.value),
        });
        Tree::empty(store).apply(edits).await
    }

    /// Streams the keys of a range at which two trees of one store differ, in ascending order.
    /// Shared nodes are not read.
    pub fn diff(old: &Tree, new: &Tree, range: KeyRange) -> impl Stream<Item = Result<DiffItem>> + Send + use<> {
        diff::diff(old.clone(), new.clone(), range)
    }

    /// Makes the change that leads from `from` to `to` on this tree too; where both changed the same
    /// key, `to` wins.
    pub async fn apply_difference(&self, from: &Tree, to: &Tree) -> Result<Tree> {
        use futures::TryStreamExt;
        let changes = Tree::diff(from, to, KeyRange::all());
        self.apply(changes.map_ok(|item| Edit {
            key: item.key,
            value: item.new,
        }))
        .await
    }

    pub(crate) async fn cursor(&self) -> Result<Option<Cursor>> {
        Cursor::new(&self.store, self.root).await
    }
}

impl From<Item> for Entry {
    fn from(item: Item) -> Self {
        Entry {
            key: item.key,
            value: Value {
                data: item.data,
                placement: item.placement,
                weight: item.weight,
            },
        }
    }
}
