//! Files and directories as users see them.

use howdah_model::ContentHash;

use super::entry::FileEntry;

/// Whether a path is a file or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A file: it has bytes.
    File,
    /// A directory: it has files below it.
    Directory,
}

/// A file or directory with its properties.
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
    /// Slices and datum of a file; `None` for a directory.
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
