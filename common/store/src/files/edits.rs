//! Changing files: steps in order, applied together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use howdah_model::{Content, DatumId};

use super::path::{PathError, PathRules, as_directory, check_path, clean_path, directories};
use super::view::{Collision, CollisionFinder, FileTree, key_of, path_of};
use crate::error::{Result, StoreError};
use crate::file::{FileContent, FileEntry};
use crate::pack::push_slice;
use crate::store::Store;
use crate::tree::{Edit, Tree};

/// Why edits were not applied; nothing has changed then.
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

/// Steps that change files. They take effect in the order they are added, and all at once.
///
/// Each step costs memory for the files it names (a copied directory: for every file in it), and
/// nothing else happens before [`FileEdits::apply`].
#[derive(Debug, Default)]
pub struct FileEdits {
    rules: PathRules,
    /// What becomes of single files, in the end.
    files: BTreeMap<String, Change>,
    /// Directories, with their slash, of which nothing remains but what `files` says.
    cleared: BTreeSet<String>,
}

#[derive(Debug)]
enum Change {
    Remove,
    Write(Write),
}

#[derive(Debug)]
struct Write {
    /// What the base holds stays in front.
    after_base: bool,
    /// Contents to be joined.
    parts: Vec<FileContent>,
    datum: Option<DatumId>,
}

impl FileEdits {
    /// Begins with no steps.
    #[must_use]
    pub fn new(rules: PathRules) -> Self {
        FileEdits {
            rules,
            ..FileEdits::default()
        }
    }

    /// Tells whether no step has been added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.cleared.is_empty()
    }

    /// Returns the number of files named so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Gives a file new content; former content of the path is gone.
    pub fn put(&mut self, path: &str, content: FileContent) -> Result<(), PathError> {
        self.put_entry(path, FileEntry::new(content))
    }

    /// Gives a file new content that a datum made.
    pub fn put_entry(&mut self, path: &str, entry: FileEntry) -> Result<(), PathError> {
        let path = self.checked(path)?;
        let FileEntry { content, datum } = entry;
        let write = Write {
            after_base: false,
            parts: vec![content],
            datum,
        };
        self.files.insert(path, Change::Write(write));
        Ok(())
    }

    /// Adds content at the end of a file, wherever what it has so far comes from.
    pub fn append(&mut self, path: &str, content: FileContent) -> Result<(), PathError> {
        let path = self.checked(path)?;
        let cleared = self.is_cleared(&path);
        match self.files.get_mut(&path) {
            Some(Change::Write(write)) => {
                write.parts.push(content);
                write.datum = None;
            }
            found => {
                let after_base = found.is_none() && !cleared;
                let write = Write {
                    after_base,
                    parts: vec![content],
                    datum: None,
                };
                self.files.insert(path, Change::Write(write));
            }
        }
        Ok(())
    }

    /// Removes the file of a path, or, if the path ends with a slash, everything below it. What is
    /// not there need not be removed.
    pub fn delete(&mut self, path: &str) {
        let clean = clean_path(path);
        if clean == "/" || path.ends_with('/') {
            self.clear(as_directory(&clean));
        } else {
            self.files.insert(clean, Change::Remove);
        }
    }

    /// Removes the file of a path and everything below it.
    pub fn delete_recursive(&mut self, path: &str) {
        let clean = clean_path(path);
        self.clear(as_directory(&clean));
        if clean != "/" {
            self.files.insert(clean, Change::Remove);
        }
    }

    fn clear(&mut self, directory: String) {
        let inside = |path: &String| path.starts_with(&directory);
        let drop: Vec<String> = self
            .files
            .range(directory.clone()..)
            .map(|(path, _)| path)
            .take_while(|path| inside(path))
            .cloned()
            .collect();
        for path in drop {
            self.files.remove(&path);
        }
        // Only the outermost is kept: each path is to be removed once.
        if !self.is_cleared(&directory) {
            self.cleared.retain(|cleared| !inside(cleared));
            self.cleared.insert(directory);
        }
    }

    /// Copies a file or directory of some commit to a path, by reference. Copied over a path, it
    /// replaces what was there unless `append`; a source that does not exist changes nothing.
    /// Returns the number of files copied.
    pub async fn copy(&mut self, source: &FileTree, from: &str, to: &str, append: bool) -> Result<usize, EditError> {
        let (from, to) = (clean_path(from), clean_path(to));
        let mut files = std::pin::pin!(source.files(&from));
        let mut copied = 0;
        while let Some((path, entry)) = files.try_next().await? {
            // A file is copied to the path itself, a directory's files below it.
            let rest = path.strip_prefix(from.trim_end_matches('/')).unwrap_or(&path);
            let target = if rest.is_empty() {
                to.clone()
            } else {
                format!("{to}{rest}")
            };
            if copied == 0 && !append {
                self.delete_target(&to);
            }
            if append {
                self.append(&target, entry.content)?;
            } else {
                self.put(&target, entry.content)?;
            }
            copied += 1;
        }
        Ok(copied)
    }

    fn delete_target(&mut self, to: &str) {
        // Copying into the root must not empty the commit.
        if to != "/" {
            self.delete_recursive(to);
        }
    }

    fn checked(&self, path: &str) -> Result<String, PathError> {
        let clean = clean_path(path);
        check_path(&clean, self.rules)?;
        Ok(clean)
    }

    fn is_cleared(&self, path: &str) -> bool {
        !self.cleared.is_empty() && directories(path).any(|directory| self.cleared.contains(directory))
    }

    /// Applies all steps to a commit's content and returns the new one, which is durable then.
    ///
    /// # Errors
    /// When a path would be both a file and a directory, or the store fails.
    pub async fn apply(self, store: &Store, base: &Content) -> Result<Content, EditError> {
        self.close().apply(store, base).await
    }

    /// Ends the gathering of steps, for those who may have to apply them more than once.
    #[must_use]
    pub fn close(self) -> ClosedEdits {
        ClosedEdits {
            files: self.files.into_iter().collect(),
            cleared: self.cleared,
        }
    }
}

/// Steps that no more are added to; see [`FileEdits::close`].
#[derive(Debug)]
pub struct ClosedEdits {
    files: Arc<[(String, Change)]>,
    cleared: BTreeSet<String>,
}

impl ClosedEdits {
    /// Does what [`FileEdits::apply`] does.
    ///
    /// # Errors
    /// As those of [`FileEdits::apply`].
    pub async fn apply(&self, store: &Store, base: &Content) -> Result<Content, EditError> {
        let everything = self.cleared.contains("/");
        let tree = Tree::new(store, if everything { None } else { base.root });
        let files = &self.files;
        let removals = stream::iter(self.cleared.clone())
            .map({
                let tree = tree.clone();
                move |directory| tree.prefix(directory.as_bytes())
            })
            .flatten()
            .map_ok(|entry| Edit::remove(entry.key))
            .boxed();
        let changes = stream::iter(0..files.len())
            .then({
                let (tree, files) = (tree.clone(), Arc::clone(files));
                move |index| {
                    let (tree, files) = (tree.clone(), Arc::clone(&files));
                    async move {
                        let (path, change) = &files[index];
                        let value = match change {
                            Change::Remove => None,
                            Change::Write(write) => Some(write.resolve(&tree, path).await?.encode()),
                        };
                        Ok(Edit {
                            key: key_of(path),
                            value,
                        })
                    }
                }
            })
            .boxed();
        let edited = tree.apply(merge(removals, changes)).await?;
        let edited = FileTree::new(store, edited.root());
        // Collected, because a closure held over an await would keep callers from being `Send`.
        let written: Vec<&str> = files
            .iter()
            .filter(|(_, change)| matches!(change, Change::Write(_)))
            .map(|(path, _)| path.as_str())
            .collect();
        if let Some(collision) = edited.find_collision(written).await? {
            return Err(collision.into());
        }
        Ok(edited.content().await?)
    }
}

impl FileTree {
    /// Applies changes of single files that ascend strictly by path and returns the new content, which is
    /// durable then. For as many files as there may be: nothing is collected.
    ///
    /// `changes` makes the same stream each time; it is called once more to look for collisions.
    ///
    /// # Errors
    /// When a path would be both a file and a directory, changes do not ascend, or the store fails.
    pub async fn apply_sorted<S>(&self, changes: impl Fn() -> S) -> Result<Content, EditError>
    where
        S: Stream<Item = Result<Edit>> + Send,
    {
        let edited = self.tree().apply(changes()).await?;
        let edited = FileTree::new(self.tree().store(), edited.root());
        let mut finder = CollisionFinder::new(&edited).await?;
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

impl Write {
    /// Joins the parts to one content.
    async fn resolve(&self, tree: &Tree, path: &str) -> Result<FileEntry> {
        let mut parts = Vec::new();
        if self.after_base {
            let files = FileTree::new(tree.store(), tree.root());
            parts.extend(files.file(path).await?.map(|entry| entry.content));
        }
        parts.extend(self.parts.iter().cloned());
        parts.retain(|part| part.size > 0);
        let content = match parts.len() {
            0 => FileContent::empty(),
            1 => parts.remove(0),
            _ => join(tree.store(), &parts).await?,
        };
        Ok(FileEntry {
            content,
            datum: self.datum,
        })
    }
}

/// Joins contents; reads them once for the hash of the whole, writes no bytes.
async fn join(store: &Store, parts: &[FileContent]) -> Result<FileContent> {
    let mut hasher = blake3::Hasher::new();
    let (mut size, mut slices) = (0, Vec::new());
    for part in parts {
        let mut bytes = std::pin::pin!(store.read_file(part, 0));
        while let Some(piece) = bytes.try_next().await? {
            hasher = crate::pack::hash_more(hasher, piece).await?;
        }
        size += part.size;
        for slice in store.slices(part).await? {
            push_slice(&mut slices, slice);
        }
    }
    let hash = howdah_model::ContentHash::new(*hasher.finalize().as_bytes());
    store.content_of(size, hash, slices).await
}

/// Merges two ascending streams of edits; on equal keys the second wins.
fn merge<'a>(
    first: BoxStream<'a, Result<Edit>>,
    second: BoxStream<'a, Result<Edit>>,
) -> impl Stream<Item = Result<Edit>> + Send + 'a {
    let state = (first.peekable(), second.peekable());
    stream::unfold(state, |(mut first, mut second)| async move {
        let (a, b) = (
            std::pin::Pin::new(&mut first).peek().await,
            std::pin::Pin::new(&mut second).peek().await,
        );
        let order = match (a, b) {
            (None, None) => return None,
            // An error goes ahead of everything.
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
