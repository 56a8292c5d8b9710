//! The worker's folder on the local disk.
//!
//! ```text
//! <scratch>/lock                     held while a worker uses the folder
//! <scratch>/slots/<slot>-<number>/   pfs, inputs, run: what a stage container sees; another number for each container
//! <scratch>/receipts/                receipts of running datum sets (see `delivery_journal`)
//! <scratch>/logs/<n>                 log lines that are not in the store yet (see `log_spool`)
//! <scratch>/cache/files/             whole input files by content hash, hard-linked into inputs
//! <scratch>/cache/chunks/            chunks of a remote store
//! <scratch>/trash/                   folders that are being removed in the background
//! ```
//!
//! Everything except caches, receipts and log lines is removed when a worker starts, so that no datum sees files of an
//! earlier worker, whichever way it ended. A folder that cannot be used is a [`WorkerError`] at start.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use howdah_store::make_private_folder;
use nix::fcntl::{Flock, FlockArg};
use rustix::fs::renameat;

use crate::beneath::{Folder, Quota, Removal, remove};
use crate::error::WorkerError;
use crate::runtime::SlotDirs;

/// Entries that are removed at once. A larger folder is renamed aside and removed in the background, so that the next
/// datum does not wait for it.
const INLINE_REMOVALS: usize = 32;
/// Time after which the remover thread turns to the next folder. A process that adds files to a folder again and again
/// must not keep others from being removed.
const REMOVER_TURN: Duration = Duration::from_secs(30);

/// The folder, locked for this worker. Clones share it.
#[derive(Clone)]
pub struct Scratch {
    inner: Arc<LockedScratch>,
}

struct LockedScratch {
    root: PathBuf,
    /// The folder of all slots, open.
    slots: Folder,
    trash: Trash,
    /// Excludes other workers; released with the last clone.
    _lock: Flock<File>,
    /// Makes names in `slots` unique.
    counter: AtomicU64,
}

impl Scratch {
    /// Locks the folder and removes what an earlier worker left.
    ///
    /// # Errors
    /// If another worker uses the folder, or it cannot be written.
    pub fn open(root: &Path) -> Result<Self, WorkerError> {
        // Closed to other users: it holds files of pipelines, perhaps with the set-uid bit. Containers reach what is in it
        // through mounts, which do not depend on the modes of the folders above.
        make_private_folder(root, &["lock"]).map_err(|e| WorkerError::scratch(root, "cannot be made", e))?;
        let root = fs::canonicalize(root).map_err(|e| WorkerError::scratch(root, "cannot be found again", e))?;
        let failed = |text: &'static str| {
            let root = root.clone();
            move |e| WorkerError::scratch(&root, text, e)
        };
        let lock = File::create(root.join("lock")).map_err(failed("no lock file can be made"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| WorkerError::Scratch {
            folder: root.clone(),
            text: "another worker uses it; give each worker its own --scratch".to_owned(),
            source: (errno != nix::errno::Errno::EWOULDBLOCK).then(|| errno.into()),
        })?;
        let trash = Trash::open(&root.join("trash")).map_err(failed("no trash folder can be made"))?;
        let opened = Folder::open(&root).map_err(failed("it cannot be opened"))?;
        trash
            .take(&opened, c"slots")
            .map_err(failed("what an earlier worker left cannot be moved away"))?;
        let slots = root.join("slots");
        let slots = fs::create_dir_all(&slots)
            .and_then(|()| Folder::open(&slots))
            .map_err(failed("no folder for slots can be made"))?;
        Ok(Self {
            inner: Arc::new(LockedScratch {
                root,
                slots,
                trash,
                _lock: lock,
                counter: AtomicU64::new(0),
            }),
        })
    }

    /// Returns the folder.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Makes new folders for a stage.
    pub fn slot_dirs(&self, slot: usize) -> io::Result<SlotDirs> {
        let number = self.inner.counter.fetch_add(1, Ordering::Relaxed);
        let folder = self.root().join("slots").join(format!("{slot}-{number}"));
        let dirs = SlotDirs {
            pfs: folder.join("pfs"),
            inputs: folder.join("inputs"),
            run: folder.join("run"),
        };
        // The mount point of the inputs must exist before the container starts.
        fs::create_dir_all(dirs.pfs.join(".scratch"))?;
        fs::create_dir_all(&dirs.inputs)?;
        fs::create_dir_all(&dirs.run)?;
        // User code may run as any user.
        fs::set_permissions(&dirs.pfs, fs::Permissions::from_mode(0o777))?;
        Ok(dirs)
    }

    /// Removes the folders of a stage.
    pub fn discard_slot(&self, dirs: &SlotDirs) -> io::Result<()> {
        match dirs.pfs.parent().and_then(Path::file_name) {
            Some(name) => self.discard(&self.inner.slots, &CString::new(name.as_bytes())?),
            None => Ok(()),
        }
    }

    /// Removes a file or folder: at once if it is small, else by moving it aside for the remover thread.
    pub(crate) fn discard(&self, folder: &Folder, name: &CStr) -> io::Result<()> {
        let mut quota = Quota {
            entries: INLINE_REMOVALS,
            until: None,
        };
        match remove(folder, name, &mut quota, None) {
            Ok(Removal::Complete) => Ok(()),
            // Too large, or something in it cannot be removed yet: moved as a whole.
            Ok(Removal::Partial) | Err(_) => self.inner.trash.take(folder, name),
        }
    }

    /// Returns the free bytes on the disk of the folder.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(self.root()).map_err(io::Error::from)?;
        Ok(stat.blocks_available() as u64 * stat.fragment_size() as u64)
    }
}

/// The folder of what is to be removed, and the thread that removes it.
struct Trash {
    folder: TrashFolder,
    /// Names for the remover thread. Unbounded: an entry is one name, and a full queue would block the datum whose
    /// folder must go.
    remover: mpsc::Sender<CString>,
}

/// The folder, with names that are not used yet. Clones share both.
#[derive(Clone)]
struct TrashFolder {
    folder: Folder,
    next: Arc<AtomicU64>,
}

impl TrashFolder {
    fn new_name(&self) -> CString {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        CString::new(format!("{}-{number}", std::process::id())).unwrap_or_default()
    }
}

impl Trash {
    /// Opens the folder and begins to remove what is in it.
    fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        // A process that had the same number may have left a name that this one would use.
        let first = fs::read_dir(path)?
            .filter_map(|entry| number_of(&entry.ok()?.file_name()))
            .max();
        let folder = TrashFolder {
            folder: Folder::open(path)?,
            next: Arc::new(AtomicU64::new(first.map_or(0, |last| last.saturating_add(1)))),
        };
        let (remover, names) = mpsc::channel::<CString>();
        for old in fs::read_dir(path)? {
            // Cannot fail: the receiver exists.
            let _ = remover.send(CString::new(old?.file_name().as_bytes())?);
        }
        let own = folder.clone();
        std::thread::Builder::new()
            .name("scratch-remover".to_owned())
            .spawn(move || remove_all(&own, &names))?;
        Ok(Self { folder, remover })
    }

    /// Moves a file or folder here. It is no error if it does not exist.
    fn take(&self, folder: &Folder, name: &CStr) -> io::Result<()> {
        let aside = self.folder.new_name();
        match renameat(folder.file(), name, self.folder.folder.file(), &aside) {
            Ok(()) => {}
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if self.remover.send(aside).is_err() {
            let folder = self.folder.folder.shown().display();
            tracing::warn!(%folder, "left in the trash: the remover thread has ended");
        }
        Ok(())
    }
}

/// Returns the number at the end of a name in the trash.
fn number_of(name: &std::ffi::OsStr) -> Option<u64> {
    name.to_str()?.rsplit_once('-')?.1.parse().ok()
}

/// Removes what is named, until the other end is gone and nothing is left.
fn remove_all(trash: &TrashFolder, names: &mpsc::Receiver<CString>) {
    let mut waiting = VecDeque::new();
    loop {
        if waiting.is_empty() {
            match names.recv() {
                Ok(name) => waiting.push_back(name),
                Err(mpsc::RecvError) => return,
            }
        }
        waiting.extend(names.try_iter());
        let Some(name) = waiting.pop_front() else { continue };
        let mut quota = Quota {
            entries: usize::MAX,
            until: Some(Instant::now() + REMOVER_TURN),
        };
        let mut moved_up = Vec::new();
        let mut move_up = || {
            let name = trash.new_name();
            moved_up.push(name.clone());
            (trash.folder.clone(), name)
        };
        let removed = remove(&trash.folder, &name, &mut quota, Some(&mut move_up));
        // Before the others: each of them leaves few names here, and a wide tree would leave all of its folders.
        for name in moved_up {
            waiting.push_front(name);
        }
        match removed {
            Ok(Removal::Complete) => {}
            Ok(Removal::Partial) => waiting.push_back(name),
            Err(error) => {
                let path = trash.folder.shown().join(std::ffi::OsStr::from_bytes(name.to_bytes()));
                tracing::warn!(path = %path.display(), %error, "cannot be removed; the next start tries again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beneath::Access;

    #[test]
    fn one_worker_per_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = Scratch::open(folder.path()).unwrap();
        let second = Scratch::open(folder.path()).err().unwrap();
        assert!(second.to_string().contains("another worker uses it"), "{second}");
        drop(first);
        Scratch::open(folder.path()).unwrap();
    }

    #[test]
    fn folders_of_an_earlier_worker_are_removed_and_the_cache_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join("slots/3-1/pfs/out");
        fs::create_dir_all(&old).unwrap();
        fs::create_dir_all(folder.path().join("cache/files")).unwrap();
        fs::write(folder.path().join("cache/files/kept"), "x").unwrap();
        let _scratch = Scratch::open(folder.path()).unwrap();
        assert!(!old.exists());
        assert!(folder.path().join("cache/files/kept").exists());
    }

    #[test]
    fn large_folders_are_moved_aside_and_small_ones_removed() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(folder.path()).unwrap();
        let top = Folder::open(folder.path()).unwrap();
        for count in [3, 200] {
            let discarded = folder.path().join("discarded");
            fs::create_dir_all(discarded.join("sub")).unwrap();
            for n in 0..count {
                fs::write(discarded.join(format!("sub/{n}")), "x").unwrap();
            }
            scratch.discard(&top, c"discarded").unwrap();
            assert!(!discarded.exists());
        }
        scratch.discard(&top, c"absent").unwrap();
    }

    #[test]
    fn folders_nested_deeper_than_any_path_do_not_end_the_remover() {
        let folder = tempfile::tempdir().unwrap();
        let trash = folder.path().join("trash");
        // As a worker leaves them that was killed while it removed them.
        fs::create_dir_all(&trash).unwrap();
        let mut current = Folder::open(&trash).unwrap();
        for _ in 0..20_000 {
            current.make_folder("1-1", Access::ReadOnly).unwrap();
            current = current.folder("1-1").unwrap();
        }
        drop(current);
        let scratch = Scratch::open(folder.path()).unwrap();
        // Removed after the folders above, by the same thread.
        fs::write(folder.path().join("slots/later"), "x").unwrap();
        scratch.inner.trash.take(&scratch.inner.slots, c"later").unwrap();
        let begun = Instant::now();
        while fs::read_dir(&trash).unwrap().next().is_some() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the trash is not emptied");
            std::thread::yield_now();
        }
    }
}
