//! Changes of ownership of the working area, from inside the container.
//!
//! Only here are both sides known: the user names of the image, and the numbers as this container
//! sees them (a rootless engine or user-namespace remapping shifts them).

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

/// Error number of "read-only file system".
const EROFS: i32 = 30;

/// Makes `path` and everything below it belong to the user.
///
/// Symbolic links are changed, not followed. Read-only mounts (the inputs) are left alone, and so
/// is what belongs to the user already.
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
