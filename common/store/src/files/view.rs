//! [`FileTree`]: single files and directories of a commit, by path.

use futures::{Stream, StreamExt, TryStreamExt};
use howdah_model::{Content, TreeRoot};

use super::directory_hash::directory_hash;
use super::entry::{FileEntry, decode_file};
use super::file_node::{FileKind, FileNode};
use super::path::{as_directory, clean_path};
use crate::error::{Result, StoreError};
use crate::store::Store;
use crate::tree::{KeyRange, Tree, TreeEntry};

/// The files of a commit.
#[derive(Debug, Clone)]
pub struct FileTree {
    tree: Tree,
}

impl FileTree {
    /// Returns the files of a root. Nothing is read yet.
    #[must_use]
    pub fn new(store: &Store, root: Option<TreeRoot>) -> Self {
        FileTree {
            tree: Tree::new(store, root),
        }
    }

    /// Returns the files of a commit.
    #[must_use]
    pub fn of(store: &Store, content: &Content) -> Self {
        FileTree::new(store, content.root)
    }

    /// Returns the tree: path to encoded [`FileEntry`].
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Returns root, number of files and number of bytes.
    pub async fn content(&self) -> Result<Content> {
        let total = self.tree.total().await?;
        Ok(Content {
            root: self.tree.root(),
            files: total.count,
            bytes: total.weight,
        })
    }

    /// Returns the file of a path; `None` if it does not exist or is a directory.
    pub async fn file(&self, path: &str) -> Result<Option<FileEntry>> {
        let key = clean_path(path);
        match self.tree.get(key.as_bytes()).await? {
            None => Ok(None),
            Some(value) => decode_file(&TreeEntry { key: key.into(), value }).map(|(_, entry)| Some(entry)),
        }
    }

    /// Returns the file or directory of a path, with or without a slash at the end.
    pub async fn inspect(&self, path: &str) -> Result<Option<FileNode>> {
        let path = clean_path(path);
        if let Some(entry) = self.file(&path).await? {
            return Ok(Some(FileNode::of_file(path, entry)));
        }
        self.directory(&as_directory(&path)).await
    }

    /// Returns a directory; its path ends with a slash.
    pub(super) async fn directory(&self, path: &str) -> Result<Option<FileNode>> {
        let total = self.tree.aggregate(&KeyRange::prefix(path.as_bytes())).await?;
        if total.count == 0 {
            return Ok(None);
        }
        Ok(Some(FileNode {
            path: path.to_owned(),
            kind: FileKind::Directory,
            size: total.weight,
            files: total.count,
            hash: directory_hash(&self.tree, path).await?,
            entry: None,
        }))
    }

    /// Streams the files at or below a path, with their entries. For the root, all files.
    pub fn files(&self, path: &str) -> impl Stream<Item = Result<(String, FileEntry)>> + Send + use<> {
        let clean = clean_path(path);
        let directory = as_directory(&clean);
        let tree = self.tree.clone();
        futures::stream::once(async move {
            let own = tree.get(clean.as_bytes()).await?;
            let own = own.map(|value| {
                Ok(TreeEntry {
                    key: clean.into(),
                    value,
                })
            });
            Ok::<_, StoreError>(futures::stream::iter(own).chain(tree.prefix(directory.as_bytes())))
        })
        .try_flatten()
        .and_then(async |entry| decode_file(&entry))
    }
}
