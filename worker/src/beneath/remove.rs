//! Removing trees of any depth.
//!
//! A command may leave folders nested so deeply that their path is longer than the system allows, and that a function
//! which calls itself for each of them would overflow its stack. [`remove`] keeps a list of at most [`MAX_LEVELS`] open
//! folders. A folder below the last of them is moved up, beside the tree that is removed, and becomes a tree of its
//! own.
//!
//! No link is followed: a link in a tree is removed, never its target.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Instant;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, chmodat, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::entries::{DirBuffer, EntryKind, for_each_entry};
use super::folder::Folder;

/// Folders that are open at a time.
const MAX_LEVELS: usize = 32;
/// Entries of one folder that are listed before they are removed.
const BATCH: usize = 4096;

/// How much may be removed at once.
pub(crate) struct Quota {
    /// Entries that may still be removed.
    pub entries: usize,
    /// When to pause.
    pub until: Option<Instant>,
}

/// How a removal ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// Nothing is left.
    Complete,
    /// The quota is used up. A part is removed.
    Partial,
}

/// Removes a file, or a folder with all that is in it. It is no error if it does not exist.
///
/// `move_up` is called for folders that are nested too deeply: it returns a new name in a folder, to which they are
/// moved. Without it, a removal ends there as if the quota were used up.
pub(crate) fn remove<'a>(
    folder: &Folder,
    name: &CStr,
    quota: &'a mut Quota,
    move_up: Option<&'a mut dyn FnMut() -> (Folder, CString)>,
) -> io::Result<Removal> {
    let mut removal = TreeRemoval {
        top: folder.clone(),
        levels: Vec::new(),
        buffer: DirBuffer::new(),
        quota,
        move_up,
    };
    removal.run(name)
}

/// One open folder of a tree.
struct Level {
    name: CString,
    folder: File,
    /// Entries that are listed and not removed yet.
    listed: Vec<(CString, EntryKind)>,
}

struct TreeRemoval<'a> {
    /// The folder that the tree is in.
    top: Folder,
    levels: Vec<Level>,
    buffer: DirBuffer,
    quota: &'a mut Quota,
    move_up: Option<&'a mut dyn FnMut() -> (Folder, CString)>,
}

/// How the removal of one entry ended.
enum Step {
    Removed,
    /// It is a folder, whose entries come first.
    Entered,
    OutOfQuota,
}

impl TreeRemoval<'_> {
    fn run(&mut self, name: &CStr) -> io::Result<Removal> {
        // The kind is not known yet; removing it as a file fails for a folder.
        if let Step::OutOfQuota = self.entry(name.to_owned(), EntryKind::File)? {
            return Ok(Removal::Partial);
        }
        while let Some(level) = self.levels.last_mut() {
            let step = match level.listed.pop() {
                Some((name, kind)) => self.entry(name, kind)?,
                None => self.next_batch()?,
            };
            if let Step::OutOfQuota = step {
                return Ok(Removal::Partial);
            }
        }
        Ok(Removal::Complete)
    }

    /// Returns the folder that is being emptied, or the one that the tree is in.
    fn current(&self) -> &File {
        self.levels.last().map_or(self.top.file(), |level| &level.folder)
    }

    fn take_quota(&mut self) -> bool {
        let in_time = self.quota.until.is_none_or(|until| Instant::now() < until);
        let left = self.quota.entries.checked_sub(1).filter(|_| in_time);
        self.quota.entries = left.unwrap_or(self.quota.entries);
        left.is_some()
    }

    /// Removes an entry of the current folder, or enters it.
    fn entry(&mut self, name: CString, kind: EntryKind) -> io::Result<Step> {
        if !self.take_quota() {
            return Ok(Step::OutOfQuota);
        }
        if kind != EntryKind::Folder {
            match self.unlink(&name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => return Ok(Step::Removed),
                // A folder after all.
                Err(Errno::ISDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.enter(name)
    }

    fn enter(&mut self, name: CString) -> io::Result<Step> {
        if self.levels.len() >= MAX_LEVELS {
            return self.move_up(&name);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |above: &File| openat(above, &name, flags, Mode::empty());
        let opened = match open(self.current()) {
            // A worker that is not root cannot read what a command has closed.
            Err(Errno::ACCESS) => {
                make_accessible(self.current(), &name)?;
                open(self.current())
            }
            other => other,
        };
        match opened {
            Ok(folder) => {
                self.levels.push(Level {
                    name,
                    folder: folder.into(),
                    listed: Vec::new(),
                });
                Ok(Step::Entered)
            }
            Err(Errno::NOENT) => Ok(Step::Removed),
            // A link or a file took its place.
            Err(Errno::LOOP | Errno::NOTDIR) => match self.unlink(&name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => Ok(Step::Removed),
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Moves a folder of the current folder out of the tree.
    fn move_up(&mut self, name: &CStr) -> io::Result<Step> {
        let Some(place) = &mut self.move_up else {
            return Ok(Step::OutOfQuota);
        };
        let (folder, new_name) = place();
        let current = self.levels.last().map_or(self.top.file(), |level| &level.folder);
        let rename = || renameat(current, name, folder.file(), &new_name);
        match rename() {
            // Moving a folder changes its entry `..`, for which a worker that is not root needs access.
            Err(Errno::ACCESS) => {
                make_accessible(current, name)?;
                rename()?;
            }
            Err(Errno::NOENT) => {}
            other => other?,
        }
        Ok(Step::Removed)
    }

    /// Lists more of the current folder; leaves and removes the folder if it is empty.
    fn next_batch(&mut self) -> io::Result<Step> {
        let Some(level) = self.levels.last_mut() else {
            return Ok(Step::Removed);
        };
        let listed = &mut level.listed;
        let full = for_each_entry(&level.folder, &mut self.buffer, |name, kind| {
            listed.push((name.to_owned(), kind));
            if listed.len() < BATCH {
                Ok(())
            } else {
                Err(BatchEnd::Full)
            }
        });
        match full {
            Ok(()) | Err(BatchEnd::Full) => {}
            Err(BatchEnd::Failed(error)) => return Err(error),
        }
        if !level.listed.is_empty() {
            return Ok(Step::Entered);
        }
        let Some(Level { name, .. }) = self.levels.pop() else {
            return Ok(Step::Removed);
        };
        match self.unlink(&name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(Step::Removed),
            // Something was added meanwhile. The quota ends this if it happens again and again.
            Err(Errno::NOTEMPTY | Errno::EXIST) => self.entry(name, EntryKind::Folder),
            Err(error) => Err(error.into()),
        }
    }

    fn unlink(&self, name: &CStr, flags: AtFlags) -> rustix::io::Result<()> {
        let current = self.current();
        match unlinkat(current, name, flags) {
            // A worker that is not root cannot remove from a folder that a command has closed.
            Err(Errno::ACCESS) if !self.levels.is_empty() => {
                rustix::fs::fchmod(current, Mode::RWXU)?;
                unlinkat(current, name, flags)
            }
            other => other,
        }
    }
}

/// Why listing a folder ended early.
enum BatchEnd {
    Full,
    Failed(io::Error),
}

impl From<io::Error> for BatchEnd {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Gives the owner access to a folder that cannot be opened, without following a link.
fn make_accessible(above: &File, name: &CStr) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = File::from(openat(above, name, flags, Mode::empty())?);
    // A descriptor of this kind allows no change of the mode itself. Its entry in /proc leads to the same folder.
    let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
    Ok(chmodat(CWD, path, Mode::RWXU, AtFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::*;

    fn unlimited() -> Quota {
        Quota {
            entries: usize::MAX,
            until: None,
        }
    }

    /// Makes folders nested `depth` levels deep, with a file and a link in each tenth.
    fn make_nested(folder: &Path, depth: usize) {
        fs::create_dir(folder).unwrap();
        let mut current = File::open(folder).unwrap();
        for level in 0..depth {
            if level % 10 == 0 {
                let flags = OFlags::WRONLY | OFlags::CREATE;
                openat(&current, "file", flags, Mode::RUSR).unwrap();
                rustix::fs::symlinkat("..", &current, "link").unwrap();
            }
            rustix::fs::mkdirat(&current, "d", Mode::RWXU).unwrap();
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            current = openat(&current, "d", flags, Mode::empty()).unwrap().into();
        }
    }

    #[test]
    fn trees_deeper_than_any_path_are_removed_with_few_open_folders() {
        let folder = tempfile::tempdir().unwrap();
        make_nested(&folder.path().join("deep"), 30_000);
        let top = Folder::open(folder.path()).unwrap();
        let mut names = vec![c"deep".to_owned()];
        let mut moved = 0;
        while let Some(name) = names.pop() {
            let mut move_up = || {
                moved += 1;
                let name = CString::new(format!("moved-{moved}")).unwrap();
                names.push(name.clone());
                (top.clone(), name)
            };
            let done = remove(&top, &name, &mut unlimited(), Some(&mut move_up)).unwrap();
            assert_eq!(done, Removal::Complete);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(moved >= 30_000 / MAX_LEVELS - 1, "{moved}");
    }

    #[test]
    fn a_removal_stops_at_its_quota_and_can_go_on() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..1_500 {
            fs::create_dir_all(folder.path().join(format!("tree/{}", number % 7))).unwrap();
            fs::write(folder.path().join(format!("tree/{}/{number}", number % 7)), "x").unwrap();
        }
        let top = Folder::open(folder.path()).unwrap();
        let mut quota = Quota {
            entries: 700,
            until: None,
        };
        assert_eq!(remove(&top, c"tree", &mut quota, None).unwrap(), Removal::Partial);
        assert!(folder.path().join("tree").exists());
        let mut past = Quota {
            entries: 700,
            until: Some(Instant::now()),
        };
        assert_eq!(remove(&top, c"tree", &mut past, None).unwrap(), Removal::Partial);
        assert_eq!(
            remove(&top, c"tree", &mut unlimited(), None).unwrap(),
            Removal::Complete
        );
        assert!(!folder.path().join("tree").exists());
        assert_eq!(
            remove(&top, c"tree", &mut unlimited(), None).unwrap(),
            Removal::Complete,
            "nothing is there"
        );
    }

    #[test]
    fn links_are_removed_and_their_targets_stay() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "kept").unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tree")).unwrap();
        symlink(outside.path(), folder.path().join("tree/link")).unwrap();
        symlink(outside.path(), folder.path().join("link")).unwrap();
        let top = Folder::open(folder.path()).unwrap();
        for name in [c"tree", c"link"] {
            let done = remove(&top, name, &mut unlimited(), None).unwrap();
            assert_eq!(done, Removal::Complete);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(outside.path().join("kept").exists());
    }

    #[test]
    fn closed_folders_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("tree/closed/deep")).unwrap();
        fs::write(folder.path().join("tree/closed/file"), "x").unwrap();
        for mode in [0o000, 0o500] {
            let closed = folder.path().join("tree/closed");
            fs::create_dir_all(&closed).unwrap();
            fs::set_permissions(&closed, Permissions::from_mode(mode)).unwrap();
            let top = Folder::open(folder.path()).unwrap();
            let done = remove(&top, c"tree", &mut unlimited(), None).unwrap();
            assert_eq!(done, Removal::Complete, "{mode:o}");
        }
    }
}
