//! Changes the owner of the work directories, from inside the container.
//!
//! The worker cannot do this from outside: it knows neither the user names of the image nor the
//! user ids inside the container, which a rootless engine or user-namespace remapping shifts.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

/// Error number of "read-only file system".
const EROFS: i32 = 30;

/// Makes a user and group the owner of `path` and everything below it.
///
/// Symbolic links are changed, not followed. Read-only mounts (the inputs) and files that have this
/// owner already are skipped.
pub fn give(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if (meta.uid(), meta.gid()) != (uid, gid) {
        match lchown(path, Some(uid), Some(gid)) {
            Err(e) if e.raw_os_error() == Some(EROFS) => return Ok(()),
            other => other?,
        }
    }
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}
