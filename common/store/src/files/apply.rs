//! [`ClosedEdits`]: applying folded steps to the files of a commit.
//!
//! The steps are read twice: as edits of the tree, then to look for collisions in the new tree. Looking in the new tree
//! finds all of them, also those between steps and files that no step names. A tree with a collision is never returned;
//! its nodes are unreferenced.

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use howdah_model::Content;

use super::collisions::{Collision, CollisionFinder};
use super::entry::{FileEntry, path_of};
use super::path::PathError;
use super::steps::{FileChange, FileWrite, FoldedStep, FoldedSteps};
use super::view::FileTree;
use crate::error::{Result, StoreError};
use crate::format::content::{FileContent, push_slice};
use crate::offload::hash_more;
use crate::sort::SortedRecords;
use crate::store::Store;
use crate::tree::{Tree, TreeEdit, TreeValue};

/// Why edits were not applied. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// A path breaks the rules.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A path would be both a file and a directory.
    #[error(transparent)]
    Collision(#[from] Collision),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Sorted steps that can be applied several times. Clones are cheap.
#[derive(Debug, Clone)]
pub struct ClosedEdits {
    steps: SortedRecords,
    clears: bool,
    clears_all: bool,
}

impl ClosedEdits {
    /// Takes sorted steps, and whether any of them clears a directory, or the root.
    pub(super) fn new(steps: SortedRecords, clears: bool, clears_all: bool) -> Self {
        ClosedEdits {
            steps,
            clears,
            clears_all,
        }
    }

    /// Applies all steps to a commit's content and returns the new one, which is durable.
    ///
    /// # Errors
    /// When a path would be both a file and a directory, or the store fails.
    pub async fn apply(&self, store: &Store, base: &Content) -> Result<Content, EditError> {
        let tree = Tree::new(store, if self.clears_all { None } else { base.root });
        let edited = tree.apply(merge(self.removals(&tree), self.changes(&tree))).await?;
        let edited = FileTree::new(store, edited.root());
        let mut finder = CollisionFinder::new(edited.tree()).await?;
        for step in self.folded() {
            if let FoldedStep::File(path, FileChange::Write(_)) = step?
                && let Some(collision) = finder.check(path_of(&path)?).await?
            {
                return Err(collision.into());
            }
        }
        Ok(edited.content().await?)
    }

    pub(super) fn folded(&self) -> FoldedSteps {
        FoldedSteps::new(self.steps.iter())
    }

    /// Streams the removals of everything that the base has in cleared directories.
    fn removals(&self, tree: &Tree) -> BoxStream<'static, Result<TreeEdit>> {
        if !self.clears {
            return stream::empty().boxed();
        }
        let tree = tree.clone();
        let cleared = self.folded().filter_map(|step| match step {
            Ok(FoldedStep::Cleared(directory)) => Some(Ok(directory)),
            Ok(FoldedStep::File(..)) => None,
            Err(error) => Some(Err(error)),
        });
        stream::iter(cleared)
            .map_ok(move |directory| tree.prefix(&directory))
            .try_flatten()
            .map_ok(|entry| TreeEdit::remove(entry.key))
            .boxed()
    }

    /// Streams the changes of the files that steps name.
    fn changes(&self, tree: &Tree) -> BoxStream<'static, Result<TreeEdit>> {
        let tree = tree.clone();
        let changes = self.folded().filter_map(|step| match step {
            Ok(FoldedStep::File(path, change)) => Some(Ok((path, change))),
            Ok(FoldedStep::Cleared(_)) => None,
            Err(error) => Some(Err(error)),
        });
        stream::iter(changes)
            .and_then(move |(key, change)| {
                let tree = tree.clone();
                async move {
                    let value = match change {
                        FileChange::Remove => None,
                        FileChange::Write(write) => Some(write.resolve(&tree, &key).await?),
                    };
                    Ok(TreeEdit { key, value })
                }
            })
            .boxed()
    }
}

impl FileTree {
    /// Applies changes of single files, which must ascend strictly by path, and returns the new content, which is
    /// durable. Memory does not depend on the number of files.
    ///
    /// `changes` must return the same stream each time: it is called a second time to look for collisions.
    ///
    /// # Errors
    /// When a path would be both a file and a directory, changes do not ascend, or the store fails.
    pub async fn apply_sorted<S>(&self, changes: impl Fn() -> S) -> Result<Content, EditError>
    where
        S: Stream<Item = Result<TreeEdit>> + Send,
    {
        let edited = self.tree().apply(changes()).await?;
        let edited = FileTree::new(self.tree().store(), edited.root());
        let mut finder = CollisionFinder::new(edited.tree()).await?;
        let mut written = std::pin::pin!(changes());
        while let Some(edit) = written.try_next().await? {
            if edit.value.is_some()
                && let Some(collision) = finder.check(path_of(&edit.key)?).await?
            {
                return Err(collision.into());
            }
        }
        Ok(edited.content().await?)
    }
}

impl FileWrite {
    /// Returns the file that the parts make, joined.
    async fn resolve(&self, tree: &Tree, key: &Bytes) -> Result<TreeValue> {
        let path = path_of(key)?;
        let mut parts = Vec::with_capacity(self.parts.len() + 1);
        if self.after_base {
            let files = FileTree::new(tree.store(), tree.root());
            parts.extend(files.file(path).await?.map(|entry| entry.content));
        }
        let mut datum = None;
        for part in &self.parts {
            let entry = part.entry()?;
            datum = entry.datum;
            parts.push(entry.content);
        }
        parts.retain(|part| part.size > 0);
        let content = match parts.len() {
            0 => FileContent::empty(),
            1 => parts.remove(0),
            _ => join(tree.store(), &parts).await?,
        };
        Ok(FileEntry { content, datum }.encode())
    }
}

/// Joins contents. Reads them once for the hash of the whole; writes no file bytes.
async fn join(store: &Store, parts: &[FileContent]) -> Result<FileContent> {
    let mut hasher = blake3::Hasher::new();
    let (mut size, mut slices) = (0, Vec::new());
    for part in parts {
        let mut bytes = std::pin::pin!(store.read_file(part, 0));
        while let Some(piece) = bytes.try_next().await? {
            hasher = hash_more(hasher, piece).await?;
        }
        size += part.size;
        for slice in store.slices(part).await? {
            push_slice(&mut slices, slice);
        }
    }
    let hash = howdah_model::ContentHash::new(*hasher.finalize().as_bytes());
    store.content_of(size, hash, slices).await
}

/// Merges two ascending streams of edits. Of equal keys, the edit of the second stream is taken.
fn merge<'a>(
    first: BoxStream<'a, Result<TreeEdit>>,
    second: BoxStream<'a, Result<TreeEdit>>,
) -> impl Stream<Item = Result<TreeEdit>> + Send + 'a {
    let state = (first.peekable(), second.peekable());
    stream::unfold(state, |(mut first, mut second)| async move {
        let (a, b) = (
            std::pin::Pin::new(&mut first).peek().await,
            std::pin::Pin::new(&mut second).peek().await,
        );
        let order = match (a, b) {
            (None, None) => return None,
            // An error is returned at once: the key that would order it is not known.
            (Some(Err(_)), _) | (Some(_), None) => std::cmp::Ordering::Less,
            (_, Some(Err(_))) | (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(Ok(a)), Some(Ok(b))) => a.key.cmp(&b.key),
        };
        if order.is_eq() {
            first.next().await;
        }
        let next = if order.is_lt() {
            first.next().await
        } else {
            second.next().await
        };
        next.map(|next| (next, (first, second)))
    })
}
