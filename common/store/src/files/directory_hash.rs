//! Hashes of directories, computed on demand.

use std::sync::PoisonError;

use futures::TryStreamExt;
use howdah_model::ContentHash;

use super::entry::{damaged_entry, decode_identity, path_of};
use super::file_node::FileKind;
use crate::error::Result;
use crate::tree::{Tree, TreeEntry};

/// Computes the hash of a directory that is not empty.
///
/// It covers names and hashes of the children, sorted by name, and so of everything below, but not the name of the
/// directory itself. The hashes of all directories below are computed as well and kept in memory.
pub(super) async fn directory_hash(tree: &Tree, path: &str) -> Result<ContentHash> {
    let Some(root) = tree.root() else {
        return Ok(DirectoryHasher::default().finish());
    };
    let memory = &tree.store().shared.directories;
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
    // Directories that contain the current file, outermost first. Files ascend by path, so a directory is complete when
    // a file comes that is not in it.
    let mut open = vec![(path.to_owned(), DirectoryHasher::default())];
    let mut files = std::pin::pin!(tree.prefix(path.as_bytes()));
    while let Some(TreeEntry { key, value }) = files.try_next().await? {
        let file = path_of(&key)?;
        let (_, hash, _) = decode_identity(&value.data).map_err(|reason| damaged_entry(file, &reason))?;
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

/// Finishes directories, the innermost first, until one stays open.
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

/// Hashes a directory child by child. The length of each name comes first: two different lists of children must not
/// feed the same bytes.
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
