//! Listing a folder.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;

use rustix::fs::{AtFlags, FileType, RawDir, SeekFrom, seek, statat};

/// Bytes of a buffer for entries.
const BUFFER_BYTES: usize = 32 << 10;

/// What neither the listing nor the file system can name.
const UNKNOWN: EntryKind = EntryKind::Special("special file");

/// Memory for listing folders, used again for each of them.
pub(crate) struct DirBuffer(Box<[MaybeUninit<u8>]>);

impl DirBuffer {
    /// Makes a buffer.
    pub(crate) fn new() -> Self {
        Self(Box::new_uninit_slice(BUFFER_BYTES))
    }

    /// Makes a buffer without memory, which cannot be used.
    pub(crate) fn empty() -> Self {
        Self(Box::default())
    }
}

/// What an entry of a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A named pipe, a socket or a device, with the name of its kind.
    Special(&'static str),
}

impl EntryKind {
    fn of(kind: FileType) -> Option<Self> {
        match kind {
            FileType::RegularFile => Some(Self::File),
            FileType::Directory => Some(Self::Folder),
            FileType::Symlink => Some(Self::Link),
            FileType::Unknown => None,
            FileType::Fifo => Some(Self::Special("named pipe")),
            FileType::Socket => Some(Self::Special("socket")),
            FileType::BlockDevice => Some(Self::Special("block device")),
            FileType::CharacterDevice => Some(Self::Special("character device")),
        }
    }
}

/// Calls a function with the name and the kind of each entry of a folder, from the first one on, until it fails.
pub(super) fn for_each_entry<E: From<io::Error>>(
    folder: &File,
    buffer: &mut DirBuffer,
    mut each: impl FnMut(&CStr, EntryKind) -> Result<(), E>,
) -> Result<(), E> {
    seek(folder, SeekFrom::Start(0)).map_err(io::Error::from)?;
    let mut entries = RawDir::new(folder, &mut buffer.0);
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(io::Error::from)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match EntryKind::of(entry.file_type()) {
            Some(kind) => kind,
            // The file system does not say it in the listing.
            None => match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => EntryKind::of(FileType::from_raw_mode(stat.st_mode)).unwrap_or(UNKNOWN),
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => return Err(io::Error::from(error).into()),
            },
        };
        each(name, kind)?;
    }
    Ok(())
}
