//! Looking at single paths: files, directories, their hashes.

use std::sync::PoisonError;

use futures::{Stream, StreamExt, TryStreamExt};
use howdah_model::{Content, ContentHash, TreeRoot};

use super::path::{as_directory, clean_path, directories};
use crate::error::{Result, StoreError};
use crate::format::content::{FileEntry, decode_identity};
use crate::store::Store;
use crate::tree::{Cursor, Entry, KeyRange, Tree};

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// It has bytes.
    File,
    /// It has files below it.
    Directory,
}

/// A file or directory, with what users see of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNode {
    /// The clean path; that of a directory ends with a slash.
    pub path: String,
    /// File or directory.
    pub kind: FileKind,
    /// Number of bytes; for a directory, of all files below it.
    pub size: u64,
    /// Number of files: 1, or those below the directory.
    pub files: u64,
    /// Hash of the bytes; for a directory, of the names and hashes of what it contains.
    pub hash: ContentHash,
    /// Where the bytes are and who made them; `None` for a directory.
    pub entry: Option<FileEntry>,
}

impl FileNode {
    /// Tells whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }

    pub(super) fn of_file(path: String, entry: FileEntry) -> Self {
        FileNode {
            path,
            kind: FileKind::File,
            size: entry.content.size,
            files: 1,
            hash: entry.content.hash,
            entry: Some(entry),
        }
    }
}

/// A path that is both a file and a directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "file / directory path collision: {file:?} cannot be a file while {member:?} lies in a folder of that name: \
     delete one of them first"
)]
pub struct Collision {
    /// The file.
    pub file: String,
    /// A file below it.
    pub member: String,
}

/// The files of a commit.
#[derive(Debug, Clone)]
pub struct FileTree {
    tree: Tree,
}

impl FileTree {
    /// Names the files of a root; nothing is read yet.
    #[must_use]
    pub fn new(store: &Store, root: Option<TreeRoot>) -> Self {
        FileTree {
            tree: Tree::new(store, root),
        }
    }

    /// Names the files of a commit's content.
    #[must_use]
    pub fn of(store: &Store, content: &Content) -> Self {
        FileTree::new(store, content.root)
    }

    /// Returns the tree: path to encoded [`FileEntry`].
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Adds up root, number of files and bytes.
    pub async fn content(&self) -> Result<Content> {
        let total = self.tree.total().await?;
        Ok(Content {
            root: self.tree.root(),
            files: total.count,
            bytes: total.weight,
        })
    }

    /// Returns the file of a path; `None` if there is none or it is a directory.
    pub async fn file(&self, path: &str) -> Result<Option<FileEntry>> {
        let key = clean_path(path);
        match self.tree.get(key.as_bytes()).await? {
            None => Ok(None),
            Some(value) => decode(Entry { key: key.into(), value }).map(|(_, entry)| Some(entry)),
        }
    }

    /// Returns the file or directory of a path, whether or not it is written with a slash.
    pub async fn inspect(&self, path: &str) -> Result<Option<FileNode>> {
        let path = clean_path(path);
        if let Some(entry) = self.file(&path).await? {
            return Ok(Some(FileNode::of_file(path, entry)));
        }
        self.directory(&as_directory(&path)).await
    }

    /// Returns a directory, given with its slash.
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
            hash: self.directory_hash(path).await?,
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
                Ok(Entry {
                    key: clean.into(),
                    value,
                })
            });
            Ok::<_, StoreError>(futures::stream::iter(own).chain(tree.prefix(directory.as_bytes())))
        })
        .try_flatten()
        .and_then(async |entry| decode(entry))
    }

    /// Computes the hash of a directory that is not empty.
    ///
    /// It covers names and hashes of its children, sorted by name, and so of everything below, but
    /// not the directory's own name. All directories below are computed on the way and remembered.
    async fn directory_hash(&self, path: &str) -> Result<ContentHash> {
        let Some(root) = self.tree.root() else {
            return Ok(DirectoryHasher::default().finish());
        };
        let memory = &self.tree.store().inner.directories;
        let lookup = |path: &str| {
            let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.get(&(root.0, path.to_owned())).copied()
        };
        let remember = |path: &str, hash: ContentHash| {
            let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.put((root.0, path.to_owned()), hash);
        };
        if let Some(hash) = lookup(path) {
            return Ok(hash);
        }
        // Directories whose files are being gone through, outermost first, each with its path.
        let mut open = vec![(path.to_owned(), DirectoryHasher::default())];
        let mut files = std::pin::pin!(self.tree.prefix(path.as_bytes()));
        while let Some(Entry { key, value }) = files.try_next().await? {
            let file = path_of(&key)?;
            let (_, hash, _) = decode_identity(&value.data).map_err(|reason| damaged(file, &reason))?;
            close_directories(&mut open, |directory| file.starts_with(directory), &remember);
            let inner = open.last().map_or(0, |(directory, _)| directory.len());
            for (at, _) in file[inner..].match_indices('/') {
                open.push((file[..=inner + at].to_owned(), DirectoryHasher::default()));
            }
            if let Some((directory, hasher)) = open.last_mut() {
                hasher.add(&file[directory.len()..], FileKind::File, &hash);
            }
        }
        close_directories(&mut open, |directory| directory == path, &remember);
        let hash = open.pop().unwrap_or_default().1.finish();
        remember(path, hash);
        Ok(hash)
    }
}

/// Looks for paths that are both file and directory, among all files of a tree.
pub(super) struct CollisionFinder {
    cursor: Option<Cursor>,
    /// Directory whose own path is known to be no file.
    checked: Option<String>,
}

impl CollisionFinder {
    pub(super) async fn new(files: &FileTree) -> Result<Self> {
        Ok(CollisionFinder {
            cursor: files.tree.cursor().await?,
            checked: None,
        })
    }

    /// Checks one path that was written. Sorted paths are fastest.
    pub(super) async fn check(&mut self, path: &str) -> Result<Option<Collision>> {
        let Some(cursor) = &mut self.cursor else {
            return Ok(None);
        };
        if let Some(member) = member_of(cursor, path).await? {
            // It may have been removed again in the same go.
            cursor.seek(path.as_bytes()).await?;
            if cursor.key() == Some(path.as_bytes()) {
                let file = path.to_owned();
                return Ok(Some(Collision { file, member }));
            }
        }
        self.check_parents(path).await
    }

    /// Checks one path that will be written, though nothing else of the tree changes. Sorted paths are fastest.
    pub(super) async fn check_coming(&mut self, path: &str) -> Result<Option<Collision>> {
        let Some(cursor) = &mut self.cursor else {
            return Ok(None);
        };
        if let Some(member) = member_of(cursor, path).await? {
            let file = path.to_owned();
            return Ok(Some(Collision { file, member }));
        }
        self.check_parents(path).await
    }

    async fn check_parents(&mut self, path: &str) -> Result<Option<Collision>> {
        let Some(cursor) = &mut self.cursor else {
            return Ok(None);
        };
        let Some(parent) = directories(path).next_back().filter(|parent| parent.len() > 1) else {
            return Ok(None);
        };
        if self.checked.as_deref() == Some(parent) {
            return Ok(None);
        }
        for directory in directories(path).skip(1) {
            let file = &directory[..directory.len() - 1];
            cursor.seek(file.as_bytes()).await?;
            if cursor.key() == Some(file.as_bytes()) {
                return Ok(Some(Collision {
                    file: file.to_owned(),
                    member: path.to_owned(),
                }));
            }
        }
        self.checked = Some(parent.to_owned());
        Ok(None)
    }
}

/// Finds a file below a path.
async fn member_of(cursor: &mut Cursor, path: &str) -> Result<Option<String>> {
    let prefix = format!("{path}/");
    cursor.seek(prefix.as_bytes()).await?;
    let member = cursor.key().filter(|key| key.starts_with(prefix.as_bytes()));
    Ok(member.map(path_of).transpose()?.map(str::to_owned))
}

/// Finishes directories from the innermost out, as long as the path does not lie in them.
fn close_directories(
    open: &mut Vec<(String, DirectoryHasher)>,
    stays: impl Fn(&str) -> bool,
    remember: &impl Fn(&str, ContentHash),
) {
    while open.len() > 1 && open.last().is_some_and(|(directory, _)| !stays(directory)) {
        let Some((directory, hasher)) = open.pop() else { break };
        let hash = hasher.finish();
        remember(&directory, hash);
        if let Some((parent, hasher)) = open.last_mut() {
            let name = &directory[parent.len()..directory.len() - 1];
            hasher.add(name, FileKind::Directory, &hash);
        }
    }
}

/// Hashes a directory child by child; lengths go first, so that no two lists feed the same bytes.
#[derive(Debug)]
struct DirectoryHasher(blake3::Hasher);

impl Default for DirectoryHasher {
    fn default() -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"howdah directory 1\n");
        DirectoryHasher(hasher)
    }
}

impl DirectoryHasher {
    fn add(&mut self, name: &str, kind: FileKind, hash: &ContentHash) {
        self.0.update(&(name.len() as u64).to_le_bytes());
        self.0.update(name.as_bytes());
        self.0.update(&[match kind {
            FileKind::File => 0,
            FileKind::Directory => 1,
        }]);
        self.0.update(hash.as_bytes());
    }

    fn finish(&self) -> ContentHash {
        ContentHash::new(*self.0.finalize().as_bytes())
    }
}

/// Reads a path from a key.
pub(super) fn path_of(key: &[u8]) -> Result<&str> {
    std::str::from_utf8(key).map_err(|_| StoreError::BadKey {
        key: String::from_utf8_lossy(key).into_owned(),
        reason: "it is not text, so this is not a tree of files",
    })
}

fn damaged(path: &str, reason: &crate::format::codec::DecodeError) -> StoreError {
    StoreError::corrupt(format!("of the tree entry {path:?}"), reason.to_string())
}

/// Reads a file from an entry of the tree.
pub(super) fn decode(entry: Entry) -> Result<(String, FileEntry)> {
    let path = path_of(&entry.key)?.to_owned();
    let file = FileEntry::decode(&entry.value).map_err(|reason| damaged(&path, &reason))?;
    Ok((path, file))
}
