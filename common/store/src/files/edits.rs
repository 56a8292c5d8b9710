//! Changing files: steps in order, applied together.
//!
//! ```text
//! put, append, delete, copy ──► sorted by path, then by number ──► one change for each path ──► tree
//!    numbered as they come        in memory, then temporary files
//! ```
//!
//! What a cleared directory takes with it needs no list: its path sorts before everything in it, so that going
//! through the steps in order meets it first.

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use howdah_model::Content;

use super::path::{PathError, PathRules, as_directory, check_path, clean_path};
use super::steps::{Change, Folded, FoldedSteps, StepKind, Write};
use super::view::{Collision, CollisionFinder, FileTree, path_of};
use crate::error::{Result, StoreError};
use crate::format::content::{FileContent, FileEntry};
use crate::objects::config::Limits;
use crate::pack::push_slice;
use crate::sort::{Sorted, Sorter};
use crate::store::Store;
use crate::tree::{Edit, Tree, Value};

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

/// Steps that change files. They take effect in the order of their numbers, and all at once.
///
/// Nothing happens before [`FileEdits::apply`]. Memory is bounded as long as [`FileEdits::make_room`] is called
/// between steps: what does not fit goes to temporary files.
#[derive(Debug)]
pub struct FileEdits {
    rules: PathRules,
    /// Path, then what [`StepKind`] writes.
    steps: Sorter,
    next: StepNumber,
    /// Some directory was cleared.
    clears: bool,
    /// Nothing of the base remains.
    clears_all: bool,
}

/// Where a step stands among the others; see [`FileEdits::reserve`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepNumber(pub(super) u64);

impl Default for FileEdits {
    fn default() -> Self {
        FileEdits::new(PathRules::default())
    }
}

/// Sorting fewer bytes than these takes less time than handing them to another thread.
const SORTED_AT_ONCE: usize = 256 << 10;

impl FileEdits {
    /// Begins with no steps, and with as much memory for them as a store takes by default.
    #[must_use]
    pub fn new(rules: PathRules) -> Self {
        FileEdits::with_memory(rules, Limits::default().sort_buffer_bytes)
    }

    /// Begins with no steps, of which about `bytes` bytes are to be kept in memory.
    #[must_use]
    pub fn with_memory(rules: PathRules, bytes: usize) -> Self {
        FileEdits {
            rules,
            steps: Sorter::new(bytes),
            next: StepNumber(0),
            clears: false,
            clears_all: false,
        }
    }

    /// Tells whether no step has been added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Keeps a place among the steps for one whose content is not known yet.
    pub fn reserve(&mut self) -> StepNumber {
        let number = self.next;
        self.next.0 += 1;
        number
    }

    /// Moves steps to a temporary file if they take more memory than they should.
    ///
    /// # Errors
    /// When there is no room for the file.
    pub async fn make_room(&mut self) -> Result<()> {
        if !self.steps.is_full() {
            return Ok(());
        }
        let mut steps = std::mem::replace(&mut self.steps, Sorter::new(0));
        let spilling = tokio::task::spawn_blocking(move || steps.spill().map(|()| steps));
        let spilled = spilling.await.map_err(|error| StoreError::task(&error))?;
        self.steps = spilled.map_err(StoreError::scratch)?;
        Ok(())
    }

    pub(super) fn push(&mut self, number: StepNumber, path: &str, kind: &StepKind<'_>) {
        kind.encode(number, |parts| self.steps.push(path.as_bytes(), parts));
    }

    /// Gives a file new content; former content of the path is gone.
    pub fn put(&mut self, path: &str, content: FileContent) -> Result<(), PathError> {
        self.put_entry(path, FileEntry::new(content))
    }

    /// Gives a file new content that a datum made.
    pub fn put_entry(&mut self, path: &str, entry: FileEntry) -> Result<(), PathError> {
        let path = self.checked(path)?;
        let number = self.reserve();
        self.push(number, &path, &StepKind::Put(&entry.encode()));
        Ok(())
    }

    /// Adds content at the end of a file, wherever what it has so far comes from.
    pub fn append(&mut self, path: &str, content: FileContent) -> Result<(), PathError> {
        let number = self.reserve();
        self.append_at(number, path, content)
    }

    /// Does what [`FileEdits::append`] does, as the step that a place was kept for.
    pub fn append_at(&mut self, number: StepNumber, path: &str, content: FileContent) -> Result<(), PathError> {
        let path = self.checked(path)?;
        self.push(number, &path, &StepKind::Append(&FileEntry::new(content).encode()));
        Ok(())
    }

    /// Removes the file of a path, or, if the path ends with a slash, everything below it. What is
    /// not there need not be removed.
    pub fn delete(&mut self, path: &str) {
        let clean = clean_path(path);
        if clean == "/" || path.ends_with('/') {
            self.clear(&as_directory(&clean));
        } else {
            let number = self.reserve();
            self.push(number, &clean, &StepKind::Remove);
        }
    }

    /// Removes the file of a path and everything below it.
    pub fn delete_recursive(&mut self, path: &str) {
        let clean = clean_path(path);
        self.clear(&as_directory(&clean));
        if clean != "/" {
            let number = self.reserve();
            self.push(number, &clean, &StepKind::Remove);
        }
    }

    pub(super) fn clear(&mut self, directory: &str) {
        self.clears = true;
        self.clears_all |= directory == "/";
        let number = self.reserve();
        self.push(number, directory, &StepKind::Clear);
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
            self.make_room().await?;
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

    /// Applies all steps to a commit's content and returns the new one, which is durable then.
    ///
    /// # Errors
    /// When a path would be both a file and a directory, or the store fails.
    pub async fn apply(self, store: &Store, base: &Content) -> Result<Content, EditError> {
        self.close().await?.apply(store, base).await
    }

    /// Ends the gathering of steps, for those who may have to apply them more than once.
    ///
    /// # Errors
    /// When the program is ending.
    pub async fn close(self) -> Result<ClosedEdits> {
        let FileEdits {
            steps,
            clears,
            clears_all,
            ..
        } = self;
        let steps = if steps.bytes() <= SORTED_AT_ONCE {
            steps.finish()
        } else {
            let sorting = tokio::task::spawn_blocking(move || steps.finish());
            sorting.await.map_err(|error| StoreError::task(&error))?
        };
        Ok(ClosedEdits {
            steps,
            clears,
            clears_all,
        })
    }
}

/// Steps that no more are added to; see [`FileEdits::close`]. Clones are cheap.
#[derive(Debug, Clone)]
pub struct ClosedEdits {
    steps: Sorted,
    clears: bool,
    clears_all: bool,
}

impl ClosedEdits {
    /// Does what [`FileEdits::apply`] does.
    ///
    /// # Errors
    /// As those of [`FileEdits::apply`].
    pub async fn apply(&self, store: &Store, base: &Content) -> Result<Content, EditError> {
        let tree = Tree::new(store, if self.clears_all { None } else { base.root });
        let edited = tree.apply(merge(self.removals(&tree), self.changes(&tree))).await?;
        let edited = FileTree::new(store, edited.root());
        let mut finder = CollisionFinder::new(&edited).await?;
        for step in self.folded() {
            if let Folded::File(path, Change::Write(_)) = step?
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

    /// Streams the removal of everything the base has in cleared directories.
    fn removals(&self, tree: &Tree) -> BoxStream<'static, Result<Edit>> {
        if !self.clears {
            return stream::empty().boxed();
        }
        let tree = tree.clone();
        let cleared = self.folded().filter_map(|step| match step {
            Ok(Folded::Cleared(directory)) => Some(Ok(directory)),
            Ok(Folded::File(..)) => None,
            Err(error) => Some(Err(error)),
        });
        stream::iter(cleared)
            .map_ok(move |directory| tree.prefix(&directory))
            .try_flatten()
            .map_ok(|entry| Edit::remove(entry.key))
            .boxed()
    }

    /// Streams what becomes of the files that steps name.
    fn changes(&self, tree: &Tree) -> BoxStream<'static, Result<Edit>> {
        let tree = tree.clone();
        let changes = self.folded().filter_map(|step| match step {
            Ok(Folded::File(path, change)) => Some(Ok((path, change))),
            Ok(Folded::Cleared(_)) => None,
            Err(error) => Some(Err(error)),
        });
        stream::iter(changes)
            .and_then(move |(key, change)| {
                let tree = tree.clone();
                async move {
                    let value = match change {
                        Change::Remove => None,
                        Change::Write(write) => Some(write.resolve(&tree, &key).await?),
                    };
                    Ok(Edit { key, value })
                }
            })
            .boxed()
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
    /// Joins the parts to one file.
    async fn resolve(&self, tree: &Tree, key: &Bytes) -> Result<Value> {
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
