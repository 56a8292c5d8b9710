//! Listing what a command left in `/pfs/out`.
//!
//! [`collect`] walks the folder and returns a [`CollectedFile`] per output file. Links are followed as the container
//! sees them (`links`). A link into an unmodified input becomes a reference to the file's stored content, so that
//! moving or regrouping files stores no bytes. Files that are not small are only named here and read when they are
//! stored. Pipes, sockets and devices have no content: they are counted, so that the datum's log can name them.
//!
//! What can go wrong: output that cannot be accepted is [`OutputError::Rejected`] and fails the try; links that only
//! the container can follow are returned as [`OutputError::Outside`]; failures of this machine are
//! [`OutputError::Infra`]. All functions block.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use howdah_store::{PathRules, check_path};
use howdah_telemetry::{LeftOut, kind_of_file};

use crate::cache::file_cache::SMALL_FILE_BYTES;
use crate::error::InfraError;
use crate::pfs::layout::PfsLayout;
use crate::pfs::links::{LinkError, LinkResolver, LinkTarget};

/// Total size of small files that are read while walking; further files are read when they are stored.
const READ_AHEAD_BYTES: u64 = 8 << 20;

/// What a command left in `/pfs/out`.
#[derive(Debug, Default)]
pub struct CollectedOutput {
    /// The files, sorted by path.
    pub files: Vec<CollectedFile>,
    /// Pipes, sockets and devices.
    pub left_out: LeftOut,
}

/// One output file.
#[derive(Debug)]
pub struct CollectedFile {
    /// Path in the output, beginning with `/`.
    pub path: String,
    /// Where its content is.
    pub content: ContentSource,
}

/// Where the content of an output file is.
#[derive(Debug)]
pub enum ContentSource {
    /// In memory: a small file that is read already.
    Memory(Vec<u8>),
    /// In this file on the worker's disk, to be opened with [`open`]. Not held open here: there may be more such files
    /// than a process can open.
    Disk(PathBuf),
    /// In the store already: an unmodified file of an input.
    Input {
        /// Name of the input.
        input: String,
        /// Path in its commit.
        path: String,
    },
}

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The output is not acceptable; the try fails with this text.
    #[error("{0}")]
    Rejected(String),
    /// These links, as paths of the container, lead into its own file system.
    #[error("links of the output lead out of /pfs: {0:?}")]
    Outside(Vec<String>),
    /// This machine failed.
    #[error(transparent)]
    Infra(#[from] InfraError),
}

/// Collects everything below `/pfs/out`.
pub fn collect(layout: &PfsLayout) -> Result<CollectedOutput, OutputError> {
    let out = layout.out();
    let mut walk = OutputWalk {
        links: LinkResolver::new(layout),
        files: Vec::new(),
        outside: Vec::new(),
        left_out: LeftOut::default(),
        read_ahead: 0,
        above: Vec::new(),
    };
    match fs::symlink_metadata(&out) {
        Ok(meta) if meta.is_dir() => walk.folder(&out, "", &meta)?,
        Ok(_) => return Err(rejected("/pfs/out is no longer a directory: write files into it")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(rejected("/pfs/out has been removed: leave it and write files into it"));
        }
        Err(error) => return Err(InfraError::io("look at", &out)(error).into()),
    }
    if !walk.outside.is_empty() {
        return Err(OutputError::Outside(walk.outside));
    }
    let mut files = walk.files;
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(CollectedOutput {
        files,
        left_out: walk.left_out,
    })
}

fn rejected(text: impl Into<String>) -> OutputError {
    OutputError::Rejected(text.into())
}

/// A walk through the output folder.
struct OutputWalk {
    links: LinkResolver,
    files: Vec<CollectedFile>,
    /// Links that lead into the container's own file system.
    outside: Vec<String>,
    /// What has no content.
    left_out: LeftOut,
    /// Bytes of small files that have been read.
    read_ahead: u64,
    /// Device and inode of the folders around the current one. A link to one of them would make the walk endless.
    above: Vec<(u64, u64)>,
}

impl OutputWalk {
    /// Walks a real folder; `path` is its path in the output.
    fn folder(&mut self, folder: &Path, path: &str, meta: &Metadata) -> Result<(), OutputError> {
        let identity = (meta.dev(), meta.ino());
        if self.above.contains(&identity) {
            return Err(rejected(format!(
                "link at /pfs/out{path} leads back to a folder above it"
            )));
        }
        self.above.push(identity);
        for name in names_in(folder, path)? {
            let real = folder.join(&name);
            let path = child_path(path, name)?;
            let meta = fs::symlink_metadata(&real).map_err(|error| unreadable("file", &path, error))?;
            self.entry(&real, path, &meta)?;
        }
        self.above.pop();
        Ok(())
    }

    fn entry(&mut self, real: &Path, path: String, meta: &Metadata) -> Result<(), OutputError> {
        let kind = meta.file_type();
        if kind.is_dir() {
            self.folder(real, &path, meta)
        } else if kind.is_file() {
            self.file(real, path)
        } else if kind.is_symlink() {
            self.link(path)
        } else {
            self.left_out.add(&format!("/pfs/out{path}"), kind_of_file(kind));
            Ok(())
        }
    }

    fn file(&mut self, real: &Path, path: String) -> Result<(), OutputError> {
        check_path(&path, PathRules::Strict).map_err(|error| rejected(error.to_string()))?;
        // Opened now even if it is read later: a file that cannot be read must fail the try, while an error during the
        // later read counts as an error of this machine.
        let mut file = open(real).map_err(|error| unreadable("file", &path, error))?;
        let size = file.metadata().map_err(|error| unreadable("file", &path, error))?.len();
        let content = if size <= SMALL_FILE_BYTES && self.read_ahead + size <= READ_AHEAD_BYTES {
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
            file.read_to_end(&mut bytes)
                .map_err(|error| unreadable("file", &path, error))?;
            self.read_ahead += bytes.len() as u64;
            ContentSource::Memory(bytes)
        } else {
            ContentSource::Disk(real.to_owned())
        };
        self.files.push(CollectedFile { path, content });
        Ok(())
    }

    fn link(&mut self, path: String) -> Result<(), OutputError> {
        let target = match self.links.resolve(&format!("/pfs/out{path}")) {
            Ok(target) => target,
            Err(LinkError::Outside) => {
                self.outside.push(format!("/pfs/out{path}"));
                return Ok(());
            }
            Err(LinkError::Io { source, .. }) => return Err(unreadable("target of the link", &path, source)),
            Err(other) => return Err(rejected(format!("link at /pfs/out{path}: {other}"))),
        };
        let meta =
            fs::symlink_metadata(&target.real).map_err(|error| unreadable("target of the link", &path, error))?;
        if meta.is_dir() {
            return self.linked_folder(&target, &path, &meta);
        }
        self.linked_file(&target, path, &meta)
    }

    fn linked_folder(&mut self, target: &LinkTarget, path: &str, meta: &Metadata) -> Result<(), OutputError> {
        let Some((input, inside)) = target.in_input.clone() else {
            return self.folder(&target.real, path, meta);
        };
        for name in names_in(&target.real, path)? {
            let below = LinkTarget {
                real: target.real.join(&name),
                in_input: Some((input.clone(), child_path(&inside, name.clone())?)),
            };
            let path = child_path(path, name)?;
            let meta = fs::symlink_metadata(&below.real).map_err(|error| unreadable("file", &path, error))?;
            if meta.is_dir() {
                self.linked_folder(&below, &path, &meta)?;
            } else {
                self.linked_file(&below, path, &meta)?;
            }
        }
        Ok(())
    }

    fn linked_file(&mut self, target: &LinkTarget, path: String, meta: &Metadata) -> Result<(), OutputError> {
        if !meta.is_file() {
            return self.entry(&target.real, path, meta);
        }
        let Some((input, inside)) = target.in_input.clone() else {
            return self.file(&target.real, path);
        };
        check_path(&path, PathRules::Strict).map_err(|error| rejected(error.to_string()))?;
        let content = ContentSource::Input { input, path: inside };
        self.files.push(CollectedFile { path, content });
        Ok(())
    }
}

fn child_path(folder: &str, name: OsString) -> Result<String, OutputError> {
    let name = name.into_string().map_err(|name| {
        let shown = name.to_string_lossy().into_owned();
        rejected(format!(
            "path \"{folder}/{shown}\" invalid: only printable ASCII characters allowed, \
             found bytes that are not text"
        ))
    })?;
    Ok(format!("{folder}/{name}"))
}

/// Lists a folder and closes it again, so that a walk through a deep tree does not keep one folder open per level.
fn names_in(folder: &Path, path: &str) -> Result<Vec<OsString>, OutputError> {
    fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect())
        .map_err(|error| unreadable("folder", path, error))
}

/// Opens an output file. If a link or a pipe has replaced it, this fails instead of following or waiting.
pub fn open(real: &Path) -> io::Result<File> {
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(real)
}

/// Classifies why something in the output cannot be read: an error of this machine, or of the output.
fn unreadable(what: &str, path: &str, error: io::Error) -> OutputError {
    if let Some(libc::EMFILE | libc::ENFILE | libc::EIO | libc::ENOMEM) = error.raw_os_error() {
        return InfraError::io("read the output", format!("/pfs/out{path}"))(error).into();
    }
    rejected(format!(
        "cannot read the {what} /pfs/out{path}: {error}{}",
        if error.kind() == io::ErrorKind::PermissionDenied {
            " (the worker does not run as root: files in /pfs/out must be readable for all)"
        } else {
            ""
        }
    ))
}

/// Reads the next piece of an output file; an empty piece is its end.
pub fn read_piece(mut file: File, piece_bytes: usize) -> io::Result<(File, Vec<u8>)> {
    let mut piece = Vec::with_capacity(piece_bytes);
    (&mut file).take(piece_bytes as u64).read_to_end(&mut piece)?;
    Ok((file, piece))
}

#[cfg(test)]
mod tests;
