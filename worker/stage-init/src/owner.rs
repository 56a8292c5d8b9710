//! Changes the owner of the work directories, from inside the container.
//!
//! The worker cannot do this from outside: it knows neither the user names of the image nor the
//! user ids inside the container, which a rootless engine or user-namespace remapping shifts.
//!
//! A command may leave folders nested more deeply than any path reaches, and a thread that it has
//! planted in this program may replace folders meanwhile. So the walk holds one folder open, opens
//! the next one from there without following a link, and goes back through `..`, if that is the
//! folder that it came from.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, lchown};
use std::path::Path;

use crate::folders;

const ENOENT: i32 = 2;
const ENOTDIR: i32 = 20;
/// Error number of "read-only file system".
const EROFS: i32 = 30;
const ELOOP: i32 = 40;

/// A folder on the way from the top to the open folder.
struct Level {
    /// Device and inode number.
    identity: (u64, u64),
    /// Entries that are, or may be, folders and have not been entered.
    folders: Vec<CString>,
}

/// Makes a user and group the owner of `path` and everything below it.
///
/// Symbolic links are changed, not followed. Read-only mounts (the inputs) are skipped.
pub fn give(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if (meta.uid(), meta.gid()) != (uid, gid) {
        match lchown(path, Some(uid), Some(gid)) {
            Err(e) if e.raw_os_error() == Some(EROFS) => return Ok(()),
            other => other?,
        }
    }
    if !meta.is_dir() {
        return Ok(());
    }
    let flags = folders::O_DIRECTORY | folders::O_NOFOLLOW;
    let mut open = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut levels = vec![enter(&open, uid, gid)?];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.folders.pop() {
            match folders::open_folder_at(&open, &name) {
                Ok(below) => {
                    levels.push(enter(&below, uid, gid)?);
                    open = below;
                }
                // No folder, or none any more.
                Err(e) if matches!(e.raw_os_error(), Some(ENOENT | ENOTDIR | ELOOP)) => {}
                Err(e) => return Err(e),
            }
            continue;
        }
        levels.pop();
        if let Some(above) = levels.last() {
            open = folders::open_folder_at(&open, c"..")?;
            if identity(&open)? != above.identity {
                return Err(io::Error::other("a folder was moved while its owner was changed"));
            }
        }
    }
    Ok(())
}

/// Changes the owner of the entries of a folder.
fn enter(folder: &File, uid: u32, gid: u32) -> io::Result<Level> {
    let mut folders = Vec::new();
    folders::list_folder(folder, |name, may_be_folder| {
        match folders::change_owner_at(folder, name, uid, gid) {
            Err(e) if matches!(e.raw_os_error(), Some(ENOENT | EROFS)) => return Ok(()),
            other => other?,
        }
        if may_be_folder {
            folders.push(name.to_owned());
        }
        Ok(())
    })?;
    Ok(Level {
        identity: identity(folder)?,
        folders,
    })
}

fn identity(folder: &File) -> io::Result<(u64, u64)> {
    let meta = folder.metadata()?;
    Ok((meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A temporary folder that is removed by the system's own program: what is in it may be too deep for the standard
    /// library.
    struct OwnedFolders(std::path::PathBuf);

    impl OwnedFolders {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("howdah-owner-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for OwnedFolders {
        fn drop(&mut self) {
            let _ = std::process::Command::new("rm").arg("-rf").arg(&self.0).status();
        }
    }

    /// Returns an owner that this process may give files to: another one for root, else its own.
    fn new_owner() -> (u32, u32) {
        let own = fs::metadata("/proc/self").unwrap();
        if own.uid() == 0 {
            (1234, 4321)
        } else {
            (own.uid(), own.gid())
        }
    }

    #[test]
    fn everything_below_changes_its_owner_and_targets_of_links_do_not() {
        let folders = OwnedFolders::new("links");
        let outside = OwnedFolders::new("outside");
        fs::write(outside.0.join("file"), "x").unwrap();
        fs::create_dir_all(folders.0.join("a/b/c")).unwrap();
        fs::create_dir_all(folders.0.join("a/d")).unwrap();
        fs::write(folders.0.join("a/b/file"), "x").unwrap();
        symlink(&outside.0, folders.0.join("a/b/link")).unwrap();
        let (uid, gid) = new_owner();
        let before = fs::metadata(outside.0.join("file")).unwrap().uid();
        give(&folders.0, uid, gid).unwrap();
        for path in ["", "a", "a/b", "a/b/c", "a/d", "a/b/file", "a/b/link"] {
            let meta = fs::symlink_metadata(folders.0.join(path)).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (uid, gid), "{path}");
        }
        assert_eq!(fs::metadata(outside.0.join("file")).unwrap().uid(), before);
    }

    #[test]
    fn folders_deeper_than_any_path_are_given_with_one_open_folder() {
        let folders = OwnedFolders::new("deep");
        let mut open = File::open(&folders.0).unwrap();
        for _ in 0..3_000 {
            fs::create_dir(format!("/proc/self/fd/{}/d", open.as_raw_fd())).unwrap();
            open = folders::open_folder_at(&open, c"d").unwrap();
        }
        let (uid, gid) = new_owner();
        give(&folders.0, uid, gid).unwrap();
        let mut open = File::open(&folders.0).unwrap();
        for _ in 0..3_000 {
            open = folders::open_folder_at(&open, c"d").unwrap();
            assert_eq!(open.metadata().unwrap().uid(), uid);
        }
    }
}
