//! Comparing the files of two commits, directories included.

use std::collections::VecDeque;

use futures::{Stream, StreamExt, TryStreamExt, stream};

use super::path::{as_directory, clean_path, directories};
use super::view::{FileNode, FileTree, decode, path_of};
use crate::error::Result;
use crate::file::decode_identity;
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
        let changes = Tree::diff(old.tree(), new.tree(), range);
        let comparison = Comparison {
            old: old.clone(),
            new: new.clone(),
            file,
            directory,
            changes: changes.boxed(),
            passed: String::new(),
            ready: VecDeque::new(),
        };
        stream::try_unfold(comparison, |mut comparison| async move {
            let next = comparison.next().await?;
            Ok(next.map(|next| (next, comparison)))
        })
    }
}

struct Comparison {
    old: FileTree,
    new: FileTree,
    file: String,
    directory: String,
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
            let wanted = path == self.file || path.starts_with(&self.directory);
            if !wanted || same_bytes(&old, &new) {
                continue;
            }
            for directory in directories(path) {
                if directory.len() >= self.directory.len() && !self.passed.starts_with(directory) {
                    let (old, new) = tokio::try_join!(self.old.directory(directory), self.new.directory(directory))?;
                    self.ready.push_back(FileDiff { old, new });
                }
            }
            self.passed = path.to_owned();
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
