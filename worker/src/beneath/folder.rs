//! [`Folder`]: an open folder, and what can be done below it.

use std::ffi::{CStr, OsString};
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, mkdirat, openat, readlinkat, symlinkat, unlinkat};
use rustix::io::Errno;

use super::entries::{DirBuffer, EntryKind, for_each_entry};
use super::open::{invalid, is_file_name, open_beneath};

/// An open folder. Clones share it. Paths of its functions begin below it and contain no links.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    file: Arc<File>,
    /// Its path when it was opened, for messages only.
    shown: Arc<Path>,
}

impl Folder {
    /// Opens a folder of the worker by its path, whose elements no command can replace.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let file = openat(CWD, path, flags, Mode::empty())?;
        Ok(Self {
            file: Arc::new(file.into()),
            shown: path.into(),
        })
    }

    /// Returns the path that it had when it was opened, for messages.
    pub(crate) fn shown(&self) -> &Path {
        &self.shown
    }

    /// Returns the open folder itself.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Opens a folder below it.
    pub(crate) fn folder(&self, path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let file = open_beneath(&self.file, path, flags, Mode::empty())?;
        Ok(Self {
            file: Arc::new(file),
            shown: self.shown.join(path).into(),
        })
    }

    /// Opens a file below it for reading. Does not wait if it is a pipe; the caller must look at what was opened.
    pub(crate) fn open_file(&self, path: &Path) -> io::Result<File> {
        open_beneath(&self.file, path, READ, Mode::empty())
    }

    /// Opens a file of this folder, by its name in a listing, as [`Folder::open_file`] does.
    pub(crate) fn open_entry(&self, name: &CStr) -> io::Result<File> {
        let flags = READ | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.file, name, flags, Mode::empty())?.into())
    }

    /// Opens a file of this folder for writing, unless it is a link. Does not wait if it is a pipe.
    pub(crate) fn open_to_write(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        open_beneath(&self.file, Path::new(name), flags, Mode::empty())
    }

    /// Opens whatever is at a path only to look at it: a link itself, not its target.
    pub(crate) fn look_at(&self, path: &Path) -> io::Result<File> {
        open_beneath(&self.file, path, OFlags::PATH, Mode::empty())
    }

    /// Returns the target of a link of this folder.
    pub(crate) fn read_link(&self, name: &str) -> io::Result<OsString> {
        target_of(readlinkat(&self.file, one(name)?, Vec::new()))
    }

    /// Calls a function with the name and the kind of each entry, until it fails.
    pub(crate) fn for_each_entry<E: From<io::Error>>(
        &self,
        buffer: &mut DirBuffer,
        each: impl FnMut(&CStr, EntryKind) -> Result<(), E>,
    ) -> Result<(), E> {
        for_each_entry(&self.file, buffer, each)
    }

    /// Makes a folder in this one, unless it exists.
    pub(crate) fn make_folder(&self, name: &str, access: Access) -> io::Result<()> {
        make_folder(&self.file, Path::new(one(name)?), access).map(drop)
    }

    /// Makes a symbolic link in this folder.
    pub(crate) fn make_link(&self, name: &str, target: &str) -> io::Result<()> {
        Ok(symlinkat(target, &self.file, one(name)?)?)
    }

    /// Makes a new file and the folders above it that do not exist.
    pub(crate) fn create(&self, path: &Path, access: Access) -> io::Result<File> {
        let file = self.with_parents(path, access, || {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            open_beneath(&self.file, path, flags, access.file_mode())
        })?;
        if access == Access::All {
            // The umask of the process has removed write permission for others.
            file.set_permissions(Permissions::from_mode(0o666))?;
        }
        Ok(file)
    }

    /// Makes a hard link to a file of the worker, and the folders above it that do not exist.
    pub(crate) fn link_file(&self, from: &Path, path: &Path) -> io::Result<()> {
        let name = path.file_name().ok_or_else(|| invalid(path))?;
        let above = path.parent().unwrap_or(Path::new(""));
        self.with_parents(path, Access::ReadOnly, || {
            let folder = self.parent(above)?;
            Ok(linkat(CWD, from, &folder, name, AtFlags::empty())?)
        })
    }

    /// Removes a file, in a folder that no command can write to: its elements are not checked for links.
    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        Ok(unlinkat(&self.file, path, AtFlags::empty())?)
    }

    /// Removes an empty folder, as [`Folder::remove_file`] does.
    pub(crate) fn remove_folder(&self, path: &Path) -> io::Result<()> {
        Ok(unlinkat(&self.file, path, AtFlags::REMOVEDIR)?)
    }

    /// Removes a file or a link of this folder by its name in a listing.
    pub(crate) fn remove_entry(&self, name: &CStr) -> io::Result<()> {
        Ok(unlinkat(&self.file, name, AtFlags::empty())?)
    }

    fn parent(&self, path: &Path) -> io::Result<File> {
        open_beneath(&self.file, path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
    }

    /// Repeats a step after the folders above a path have been made, if it finds that they are missing.
    fn with_parents<T>(&self, path: &Path, access: Access, step: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match step() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(above) = path.parent() {
                    self.make_folders(above, access)?;
                }
                step()
            }
            other => other,
        }
    }

    fn make_folders(&self, path: &Path, access: Access) -> io::Result<()> {
        // Refuses a path that climbs before anything is made.
        match open_beneath(&self.file, path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other.map(drop),
        }
        let mut above: Option<File> = None;
        for element in path.components() {
            let folder = above.as_ref().unwrap_or(&self.file);
            above = Some(make_folder(folder, Path::new(element.as_os_str()), access)?);
        }
        Ok(())
    }
}

/// How a file is opened for reading.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Who may change what is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// No process; every user may read.
    ReadOnly,
    /// The worker; every user may read.
    Owner,
    /// Every user, because commands may run as any user.
    All,
}

impl Access {
    fn file_mode(self) -> Mode {
        Mode::from_raw_mode(match self {
            Self::ReadOnly => 0o444,
            Self::Owner => 0o644,
            Self::All => 0o666,
        })
    }
}

/// Makes a folder, unless it exists, and opens it.
fn make_folder(above: &File, name: &Path, access: Access) -> io::Result<File> {
    let is_new = match mkdirat(above, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    let folder = open_beneath(above, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    if is_new && access == Access::All {
        folder.set_permissions(Permissions::from_mode(0o777))?;
    }
    Ok(folder)
}

/// Returns the target of an opened link.
pub(crate) fn read_opened_link(link: &File) -> io::Result<OsString> {
    target_of(readlinkat(link, "", Vec::new()))
}

fn target_of(read: rustix::io::Result<std::ffi::CString>) -> io::Result<OsString> {
    Ok(OsString::from_vec(read?.into_bytes()))
}

/// Refuses what is not the name of one entry.
fn one(name: &str) -> io::Result<&str> {
    if is_file_name(name) {
        Ok(name)
    } else {
        Err(invalid(Path::new(name)))
    }
}

/// A file below an open folder, which exists or is to be made.
#[derive(Clone, Debug)]
pub(crate) struct FileBeneath {
    /// The folder.
    pub folder: Folder,
    /// Its path from there.
    pub path: PathBuf,
}

impl FileBeneath {
    /// Returns its path for messages.
    pub(crate) fn shown(&self) -> PathBuf {
        self.folder.shown().join(&self.path)
    }

    /// Makes the file and the folders above it that do not exist.
    pub(crate) fn create(&self, access: Access) -> io::Result<File> {
        self.folder.create(&self.path, access)
    }

    /// Makes it a hard link to a file of the worker.
    pub(crate) fn link_from(&self, from: &Path) -> io::Result<()> {
        self.folder.link_file(from, &self.path)
    }
}
