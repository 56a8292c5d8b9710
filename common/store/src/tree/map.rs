//! [`Tree`]: an immutable map, and the functions that users call.

use futures::{Stream, TryStreamExt};
use howdah_model::TreeRoot;

use super::cursor::Cursor;
use super::entry::{Aggregate, DiffItem, TreeEdit, TreeEntry, TreeValue};
use super::range::KeyRange;
use super::{apply, diff, scan};
use crate::error::Result;
use crate::store::Store;

/// An immutable ordered map in the store. Edits return a new tree.
#[derive(Debug, Clone)]
pub struct Tree {
    store: Store,
    root: Option<TreeRoot>,
}

impl Tree {
    /// Returns the tree of a root. Nothing is read yet.
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

    /// Returns the root, which identifies the whole content. `None` for the empty tree.
    #[must_use]
    pub fn root(&self) -> Option<TreeRoot> {
        self.root
    }

    /// Returns the store of the tree.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the value of a key.
    pub async fn get(&self, key: &[u8]) -> Result<Option<TreeValue>> {
        let found = self.first_at_or_after(key).await?;
        Ok(found.filter(|entry| entry.key == key).map(|entry| entry.value))
    }

    /// Returns the first entry whose key is `key` or greater.
    pub async fn first_at_or_after(&self, key: &[u8]) -> Result<Option<TreeEntry>> {
        let Some(mut cursor) = self.cursor().await? else {
            return Ok(None);
        };
        cursor.seek(key).await?;
        Ok(cursor.item().map(TreeEntry::from))
    }

    /// Returns the last entry whose key is below `key`.
    pub async fn last_before(&self, key: &[u8]) -> Result<Option<TreeEntry>> {
        let Some(mut cursor) = self.cursor().await? else {
            return Ok(None);
        };
        cursor.seek(key).await?;
        if !cursor.previous().await? {
            return Ok(None);
        }
        Ok(cursor.item().map(TreeEntry::from))
    }

    /// Returns the entry at an index. Reads one path from the root.
    pub async fn nth(&self, index: u64) -> Result<Option<TreeEntry>> {
        scan::nth(&self.store, self.root, index).await
    }

    /// Streams the entries of a range in ascending order.
    pub fn range(&self, range: KeyRange) -> impl Stream<Item = Result<TreeEntry>> + Send + use<> {
        scan::ascending(self.store.clone(), self.root, range)
    }

    /// Streams the entries of a range in descending order.
    pub fn range_rev(&self, range: KeyRange) -> impl Stream<Item = Result<TreeEntry>> + Send + use<> {
        scan::descending(self.store.clone(), self.root, range)
    }

    /// Streams the entries whose keys begin with `prefix`.
    pub fn prefix(&self, prefix: &[u8]) -> impl Stream<Item = Result<TreeEntry>> + Send + use<> {
        self.range(KeyRange::prefix(prefix))
    }

    /// Returns the totals of a range. Reads two paths from the root, however large the range is.
    pub async fn aggregate(&self, range: &KeyRange) -> Result<Aggregate> {
        scan::aggregate(&self.store, self.root, range).await
    }

    /// Returns the totals of the whole tree.
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
        S: Stream<Item = Result<TreeEdit>> + Send,
    {
        let root = apply::apply(&self.store, self.root, edits).await?;
        Ok(Tree::new(&self.store, root))
    }

    /// Applies edits that are in memory, in ascending order.
    pub async fn apply_all<I>(&self, edits: I) -> Result<Tree>
    where
        I: IntoIterator<Item = TreeEdit>,
        I::IntoIter: Send,
    {
        self.apply(futures::stream::iter(edits.into_iter().map(Ok))).await
    }

    /// Builds a tree of entries, which must ascend strictly by key.
    pub async fn build<S>(store: &Store, entries: S) -> Result<Tree>
    where
        S: Stream<Item = Result<TreeEntry>> + Send,
    {
        let edits = entries.map_ok(|entry| TreeEdit {
            key: entry.key,
            value: Some(entry.value),
        });
        Tree::empty(store).apply(edits).await
    }

    /// Streams the keys of a range at which two trees of one store differ, in ascending order.
    /// Shared nodes are not read.
    pub fn diff(old: &Tree, new: &Tree, range: KeyRange) -> impl Stream<Item = Result<DiffItem>> + Send + use<> {
        diff::diff(&old.store, old.root, new.root, range)
    }

    /// Applies the difference between two trees to this one; keys that differ get the value that `to` has.
    pub async fn apply_difference(&self, from: &Tree, to: &Tree) -> Result<Tree> {
        let changes = Tree::diff(from, to, KeyRange::all());
        self.apply(changes.map_ok(|item| TreeEdit {
            key: item.key,
            value: item.new,
        }))
        .await
    }

    pub(crate) async fn cursor(&self) -> Result<Option<Cursor>> {
        Cursor::new(&self.store, self.root).await
    }
}
