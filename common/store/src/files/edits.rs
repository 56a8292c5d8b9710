//! [`FileEdits`]: steps that change files, gathered in order and applied together.
//!
//! ```text
//! put, append, delete, copy ──► sorted by path, then by number ──► one change for each path ──► tree
//!    numbered in order            in memory, then temporary files
//! ```

use futures::TryStreamExt;
use howdah_model::Content;

use super::apply::{ClosedEdits, EditError};
use super::entry::FileEntry;
use super::path::{PathError, PathRules, as_directory, check_path, clean_path};
use super::steps::{StepKind, StepNumber};
use super::view::FileTree;
use crate::error::{Result, StoreError};
use crate::format::content::FileContent;
use crate::objects::config::Limits;
use crate::sort::RecordSorter;
use crate::store::Store;

/// Steps that change files. They take effect in the order of their numbers, and all at once.
///
/// Nothing happens before [`FileEdits::apply`]. Memory is bounded as long as [`FileEdits::make_room`] is called
/// between steps: what does not fit goes to temporary files.
#[derive(Debug)]
pub struct FileEdits {
    rules: PathRules,
    /// Records: path, then what [`StepKind`] encodes.
    steps: RecordSorter,
    next: StepNumber,
    /// A step clears a directory.
    clears: bool,
    /// A step clears the root: nothing of the base remains.
    clears_all: bool,
}

impl Default for FileEdits {
    fn default() -> Self {
        FileEdits::new(PathRules::default())
    }
}

/// Fewer bytes are sorted on the thread of the caller: this takes less time than a thread switch.
const SORTED_AT_ONCE: usize = 256 << 10;

impl FileEdits {
    /// Begins without steps, with the memory for them that a store has by default.
    #[must_use]
    pub fn new(rules: PathRules) -> Self {
        FileEdits::with_memory(rules, Limits::default().sort_buffer_bytes)
    }

    /// Begins without steps, and keeps about `bytes` bytes of them in memory.
    #[must_use]
    pub fn with_memory(rules: PathRules, bytes: usize) -> Self {
        FileEdits {
            rules,
            steps: RecordSorter::new(bytes),
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

    /// Returns the next number, for a step whose content is not known yet.
    pub fn reserve(&mut self) -> StepNumber {
        let number = self.next;
        self.next.0 += 1;
        number
    }

    /// Moves the steps in memory to a temporary file if they take more than the limit.
    ///
    /// # Errors
    /// When there is no room for the file.
    pub async fn make_room(&mut self) -> Result<()> {
        if !self.steps.is_full() {
            return Ok(());
        }
        let mut steps = std::mem::replace(&mut self.steps, RecordSorter::new(0));
        let spilling = tokio::task::spawn_blocking(move || steps.spill().map(|()| steps));
        let spilled = spilling.await.map_err(|error| StoreError::task(&error))?;
        self.steps = spilled.map_err(StoreError::scratch)?;
        Ok(())
    }

    pub(super) fn push(&mut self, number: StepNumber, path: &str, kind: &StepKind<'_>) {
        kind.encode(number, |parts| self.steps.push(path.as_bytes(), parts));
    }

    /// Replaces the content of a file.
    pub fn put(&mut self, path: &str, content: FileContent) -> Result<(), PathError> {
        self.put_entry(path, &FileEntry::new(content))
    }

    /// Replaces the content of a file by one that a datum wrote.
    pub fn put_entry(&mut self, path: &str, entry: &FileEntry) -> Result<(), PathError> {
        let path = self.checked(path)?;
        let number = self.reserve();
        self.push(number, &path, &StepKind::Put(&entry.encode()));
        Ok(())
    }

    /// Adds content at the end of a file, which may be in the base, be written by an earlier step, or not exist.
    pub fn append(&mut self, path: &str, content: FileContent) -> Result<(), PathError> {
        let number = self.reserve();
        self.append_at(number, path, content)
    }

    /// Does what [`FileEdits::append`] does, with a number from [`FileEdits::reserve`].
    pub fn append_at(&mut self, number: StepNumber, path: &str, content: FileContent) -> Result<(), PathError> {
        let path = self.checked(path)?;
        self.push(number, &path, &StepKind::Append(&FileEntry::new(content).encode()));
        Ok(())
    }

    /// Removes the file of a path or, if the path ends with a slash, everything below it. Without effect if it does not
    /// exist.
    pub fn delete(&mut self, path: &str) {
        let clean = clean_path(path);
        if clean == "/" || path.ends_with('/') {
            self.clear(&as_directory(&clean));
        } else {
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

    /// Copies a file or directory of a commit, by reference. Returns the number of files copied.
    ///
    /// A directory is merged into the directory at the path: each file replaces the file of the same path, or with
    /// `append` is added to its end, and all other files stay. A file is copied to the path; if the path ends with a
    /// slash or is empty, into that directory under its own name. A source that does not exist has no effect.
    ///
    /// A file in the place of a directory, and a directory in the place of a file, are collisions: applying the edits
    /// refuses them.
    pub async fn copy(&mut self, source: &FileTree, from: &str, to: &str, append: bool) -> Result<usize, EditError> {
        let from = clean_path(from);
        let place = CopyPlace::new(&from, to);
        let mut files = std::pin::pin!(source.files(&from));
        let mut copied = 0;
        while let Some((path, entry)) = files.try_next().await? {
            let target = place.of(&path);
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

    fn checked(&self, path: &str) -> Result<String, PathError> {
        let clean = clean_path(path);
        check_path(&clean, self.rules)?;
        Ok(clean)
    }

    /// Applies all steps to a commit's content and returns the new one, which is durable.
    ///
    /// # Errors
    /// When a path would be both a file and a directory, or the store fails.
    pub async fn apply(self, store: &Store, base: &Content) -> Result<Content, EditError> {
        self.close().await?.apply(store, base).await
    }

    /// Sorts the steps, so that they can be applied several times.
    ///
    /// # Errors
    /// When the program is ending, so that no thread sorts them.
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
        Ok(ClosedEdits::new(steps, clears, clears_all))
    }
}

/// Where the files of one copy go.
struct CopyPlace<'a> {
    /// The source, without a slash at the end; the root is empty.
    from: &'a str,
    /// The target, without a slash at the end; the root is empty.
    to: String,
    /// The target is a directory, also for a source that is a file.
    into: bool,
}

impl<'a> CopyPlace<'a> {
    /// Takes the source as a clean path, and the target as the request has it.
    fn new(from: &'a str, to: &str) -> Self {
        let into = to.is_empty() || to.ends_with('/');
        let mut to = clean_path(to);
        if to == "/" {
            to.clear();
        }
        CopyPlace {
            from: from.trim_end_matches('/'),
            to,
            into,
        }
    }

    /// Returns the target of a file at or below the source.
    fn of(&self, path: &str) -> String {
        let inside = match path.strip_prefix(self.from) {
            // The source is this file.
            Some("") if self.into => path.rfind('/').map_or(path, |at| &path[at..]),
            Some(inside) => inside,
            None => path,
        };
        format!("{}{inside}", self.to)
    }
}
