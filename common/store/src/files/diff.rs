//! Comparing the files of two commits, directories included.

use std::collections::VecDeque;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use howdah_glob::Glob;

use super::path::{as_directory, clean_path, directories, without_slash};
use super::view::{FileNode, FileTree, decode, path_of};
use crate::error::Result;
use crate::format::content::decode_identity;
use crate::tree::{DiffItem, Entry, KeyRange, Tree, Value};

/// A path whose content differs between two commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDiff {
    /// What the old side has there.
    pub old: Option<FileNode>,
    /// What the new side has there.
    pub new: Option<FileNode>,
}

impl FileTree {
    /// Streams the paths at or below `path` whose hashes differ, files and the directories that lead
    /// to them, a directory just before its contents. What only one side has appears alone.
    pub fn diff(old: &FileTree, new: &FileTree, path: &str) -> impl Stream<Item = Result<FileDiff>> + Send + use<> {
        let file = clean_path(path);
        let directory = as_directory(&file);
        // Other paths may sort between the path as a file and its contents as a directory.
        let mut range = KeyRange::prefix(directory.as_bytes());
        range.start = file.clone().into();
        let wanted = Wanted::Below { file, directory };
        compare(old, new, range, wanted)
    }

    /// Streams the files at or below `path` whose hashes differ, without directories: it costs what has
    /// changed, where a directory shown by [`FileTree::diff`] costs a look at all its files.
    pub fn changed_files(
        old: &FileTree,
        new: &FileTree,
        path: &str,
    ) -> impl Stream<Item = Result<FileDiff>> + Send + use<> {
        let file = clean_path(path);
        let directory = as_directory(&file);
        let mut range = KeyRange::prefix(directory.as_bytes());
        range.start = file.clone().into();
        compare(old, new, range, Wanted::FilesBelow { file, directory })
    }

    /// Streams what a glob matches on either side and whose hashes differ, sorted by path, a directory
    /// before its contents. Costs what has changed below the glob's literal beginning, and for each
    /// directory shown, a look at all its files.
    pub fn glob_diff(
        old: &FileTree,
        new: &FileTree,
        glob: &Glob,
    ) -> impl Stream<Item = Result<FileDiff>> + Send + use<> {
        let range = KeyRange::prefix(glob.literal_prefix().as_bytes());
        compare(old, new, range, Wanted::Matches(glob.clone()))
    }
}

fn compare(
    old: &FileTree,
    new: &FileTree,
    range: KeyRange,
    wanted: Wanted,
) -> impl Stream<Item = Result<FileDiff>> + Send + use<> {
    let comparison = Comparison {
        old: old.clone(),
        new: new.clone(),
        wanted,
        changes: Tree::diff(old.tree(), new.tree(), range).boxed(),
        passed: String::new(),
        ready: VecDeque::new(),
    };
    stream::try_unfold(comparison, |mut comparison| async move {
        let next = comparison.next().await?;
        Ok(next.map(|next| (next, comparison)))
    })
}

/// Which differences are shown.
enum Wanted {
    /// Those at a path or below it.
    Below { file: String, directory: String },
    /// Those of files only.
    FilesBelow { file: String, directory: String },
    /// Those at paths that a glob matches.
    Matches(Glob),
}

impl Wanted {
    /// Whether a changed file can matter, for itself or for a directory that it lies in.
    fn concerns(&self, path: &str) -> bool {
        match self {
            Wanted::Below { file, directory } | Wanted::FilesBelow { file, directory } => {
                path == file || path.starts_with(directory)
            }
            Wanted::Matches(_) => true,
        }
    }

    fn shows_file(&self, path: &str) -> bool {
        match self {
            Wanted::Below { .. } | Wanted::FilesBelow { .. } => true,
            Wanted::Matches(glob) => glob.is_match(path),
        }
    }

    fn shows_directory(&self, path: &str) -> bool {
        match self {
            Wanted::Below { directory, .. } => path.len() >= directory.len(),
            Wanted::FilesBelow { .. } => false,
            Wanted::Matches(glob) => glob.is_match(without_slash(path)),
        }
    }

    /// The most directories above a file that can be shown.
    fn deepest(&self) -> usize {
        match self {
            Wanted::Below { .. } => usize::MAX,
            Wanted::FilesBelow { .. } => 0,
            Wanted::Matches(glob) => glob.max_depth().map_or(usize::MAX, |depth| depth.saturating_add(1)),
        }
    }
}

struct Comparison {
    old: FileTree,
    new: FileTree,
    wanted: Wanted,
    changes: stream::BoxStream<'static, Result<DiffItem>>,
    passed: String,
    ready: VecDeque<FileDiff>,
}

impl Comparison {
    async fn next(&mut self) -> Result<Option<FileDiff>> {
        while self.ready.is_empty() {
            let Some(DiffItem { key, old, new }) = self.changes.try_next().await? else {
                return Ok(None);
            };
            let path = path_of(&key)?;
            if !self.wanted.concerns(path) || same_bytes(&old, &new) {
                continue;
            }
            for directory in directories(path).take(self.wanted.deepest()) {
                if !self.passed.starts_with(directory) && self.wanted.shows_directory(directory) {
                    let (old, new) = tokio::try_join!(self.old.directory(directory), self.new.directory(directory))?;
                    self.ready.push_back(FileDiff { old, new });
                }
            }
            path.clone_into(&mut self.passed);
            if !self.wanted.shows_file(path) {
                continue;
            }
            let node = |value: Option<Value>| {
                let decoded = value.map(|value| {
                    decode(Entry {
                        key: key.clone(),
                        value,
                    })
                });
                decoded
                    .transpose()
                    .map(|found| found.map(|(path, entry)| FileNode::of_file(path, entry)))
            };
            self.ready.push_back(FileDiff {
                old: node(old)?,
                new: node(new)?,
            });
        }
        Ok(self.ready.pop_front())
    }
}

/// Tells whether two values differ only in who made the file.
fn same_bytes(old: &Option<Value>, new: &Option<Value>) -> bool {
    let hash = |value: &Option<Value>| {
        value
            .as_ref()
            .and_then(|value| decode_identity(&value.data).ok())
            .map(|(_, hash, _)| hash)
    };
    old.is_some() && new.is_some() && hash(old).is_some() && hash(old) == hash(new)
}
