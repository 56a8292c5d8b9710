//! Comparing the files of two commits, directories included.

use std::collections::VecDeque;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use howdah_glob::Glob;

use super::entry::{decode_file, decode_identity, path_of};
use super::file_node::FileNode;
use super::matching::NameMatcher;
use super::path::{as_directory, clean_path, directories, without_slash};
use super::view::FileTree;
use crate::error::Result;
use crate::tree::{DiffItem, KeyRange, Tree, TreeEntry, TreeValue};

/// A path at which two commits differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDiff {
    /// The file or directory in the old commit.
    pub old: Option<FileNode>,
    /// The file or directory in the new commit.
    pub new: Option<FileNode>,
}

impl FileTree {
    /// Streams the paths at or below `path` whose hashes differ: files, and the directories that contain them, a
    /// directory directly before its contents.
    pub fn diff(old: &FileTree, new: &FileTree, path: &str) -> impl Stream<Item = Result<FileDiff>> + Send + use<> {
        let file = clean_path(path);
        let directory = as_directory(&file);
        // Other paths may sort between the path as a file and its contents as a directory.
        let mut range = KeyRange::prefix(directory.as_bytes());
        range.start = file.clone().into();
        let scope = DiffScope::Below { file, directory };
        compare(old, new, range, scope)
    }

    /// Streams the files at or below `path` whose hashes differ, without directories. Reads the differing nodes only,
    /// while [`FileTree::diff`] reads all files of a directory that it returns, for its hash.
    pub fn changed_files(
        old: &FileTree,
        new: &FileTree,
        path: &str,
    ) -> impl Stream<Item = Result<FileDiff>> + Send + use<> {
        let file = clean_path(path);
        let directory = as_directory(&file);
        let mut range = KeyRange::prefix(directory.as_bytes());
        range.start = file.clone().into();
        compare(old, new, range, DiffScope::FilesBelow { file, directory })
    }

    /// Streams the files and directories that a glob matches and whose hashes differ, sorted by path, a directory
    /// before its contents. Reads the differing nodes below the literal prefix of the glob, and all files of each
    /// directory that it returns. Ends with [`StoreError::CostlyGlob`] when matching takes too many steps.
    ///
    /// [`StoreError::CostlyGlob`]: crate::StoreError::CostlyGlob
    pub fn glob_diff(
        old: &FileTree,
        new: &FileTree,
        glob: &Glob,
    ) -> impl Stream<Item = Result<FileDiff>> + Send + use<> {
        let range = KeyRange::prefix(glob.literal_prefix().as_bytes());
        compare(old, new, range, DiffScope::Matches(NameMatcher::new(glob)))
    }
}

fn compare(
    old: &FileTree,
    new: &FileTree,
    range: KeyRange,
    scope: DiffScope,
) -> impl Stream<Item = Result<FileDiff>> + Send + use<> {
    let comparison = FileComparison {
        old: old.clone(),
        new: new.clone(),
        scope,
        changes: Tree::diff(old.tree(), new.tree(), range).boxed(),
        passed: String::new(),
        ready: VecDeque::new(),
    };
    stream::try_unfold(comparison, |mut comparison| async move {
        let next = comparison.next().await?;
        Ok(next.map(|next| (next, comparison)))
    })
}

/// Which differences are returned.
enum DiffScope {
    /// Those at or below a path.
    Below { file: String, directory: String },
    /// Those of files at or below a path.
    FilesBelow { file: String, directory: String },
    /// Those at paths that a glob matches.
    Matches(NameMatcher),
}

impl DiffScope {
    /// Tells whether a changed file is in the scope, or may be in a directory that is.
    fn concerns(&self, path: &str) -> bool {
        match self {
            DiffScope::Below { file, directory } | DiffScope::FilesBelow { file, directory } => {
                path == file || path.starts_with(directory)
            }
            DiffScope::Matches(_) => true,
        }
    }

    async fn shows_file(&mut self, path: &str) -> Result<bool> {
        match self {
            DiffScope::Below { .. } | DiffScope::FilesBelow { .. } => Ok(true),
            DiffScope::Matches(matcher) => matcher.is_match(path).await,
        }
    }

    async fn shows_directory(&mut self, path: &str) -> Result<bool> {
        match self {
            DiffScope::Below { directory, .. } => Ok(path.len() >= directory.len()),
            DiffScope::FilesBelow { .. } => Ok(false),
            DiffScope::Matches(matcher) => matcher.is_match(without_slash(path)).await,
        }
    }

    /// Returns how many directories above a file can be in the scope at most.
    fn deepest(&self) -> usize {
        match self {
            DiffScope::Below { .. } => usize::MAX,
            DiffScope::FilesBelow { .. } => 0,
            DiffScope::Matches(matcher) => matcher
                .glob()
                .max_depth()
                .map_or(usize::MAX, |depth| depth.saturating_add(1)),
        }
    }
}

struct FileComparison {
    old: FileTree,
    new: FileTree,
    scope: DiffScope,
    changes: stream::BoxStream<'static, Result<DiffItem>>,
    /// The last changed file. Its directories have been returned.
    passed: String,
    /// Found, but not yet returned.
    ready: VecDeque<FileDiff>,
}

impl FileComparison {
    async fn next(&mut self) -> Result<Option<FileDiff>> {
        while self.ready.is_empty() {
            let Some(DiffItem { key, old, new }) = self.changes.try_next().await? else {
                return Ok(None);
            };
            let path = path_of(&key)?;
            if !self.scope.concerns(path) || same_bytes(&old, &new) {
                continue;
            }
            for directory in directories(path).take(self.scope.deepest()) {
                if !self.passed.starts_with(directory) && self.scope.shows_directory(directory).await? {
                    let (old, new) = tokio::try_join!(self.old.directory(directory), self.new.directory(directory))?;
                    self.ready.push_back(FileDiff { old, new });
                }
            }
            path.clone_into(&mut self.passed);
            if !self.scope.shows_file(path).await? {
                continue;
            }
            let node = |value: Option<TreeValue>| {
                let decoded = value.map(|value| {
                    decode_file(&TreeEntry {
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

/// Tells whether two values differ only in the datum that wrote the file.
fn same_bytes(old: &Option<TreeValue>, new: &Option<TreeValue>) -> bool {
    let hash = |value: &Option<TreeValue>| {
        value
            .as_ref()
            .and_then(|value| decode_identity(&value.data).ok())
            .map(|(_, hash, _)| hash)
    };
    old.is_some() && new.is_some() && hash(old).is_some() && hash(old) == hash(new)
}
