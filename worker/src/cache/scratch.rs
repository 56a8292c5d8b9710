//! The worker's folder on the local disk.
//!
//! ```text
//! <scratch>/lock                     held while a worker uses the folder
//! <scratch>/slots/<slot>-<number>/   pfs, inputs, run: what a stage container sees; another number for each container
//! <scratch>/receipts/<n>             receipts of running datum sets (see `delivery_journal`)
//! <scratch>/cache/files/             whole input files by content hash, hard-linked into inputs
//! <scratch>/cache/chunks/            chunks of a remote store
//! <scratch>/trash/                   folders that are being removed in the background
//! ```
//!
//! Everything except caches and receipts is removed when a worker starts, so that no datum sees files of an earlier
//! worker, whichever way it ended. A folder that cannot be used is a [`WorkerError`] at start.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use nix::fcntl::{Flock, FlockArg};

use crate::error::WorkerError;
use crate::runtime::SlotDirs;

/// Entries that are removed at once. A larger folder is renamed aside and removed in the background, so that the next
/// datum does not wait for it.
const INLINE_REMOVALS: usize = 32;

/// The folder, locked for this worker. Clones share it.
#[derive(Clone)]
pub struct Scratch {
    inner: Arc<LockedScratch>,
}

struct LockedScratch {
    root: PathBuf,
    /// Excludes other workers; released with the last clone.
    _lock: Flock<File>,
    /// Makes names in `trash` and `slots` unique.
    counter: AtomicU64,
    /// Paths for the remover thread. Unbounded: an entry is one path, and a full queue would block the datum whose
    /// folder must go.
    trash: mpsc::Sender<PathBuf>,
}

impl Scratch {
    /// Locks the folder and removes what an earlier worker left.
    ///
    /// # Errors
    /// If another worker uses the folder, or it cannot be written.
    pub fn open(root: &Path) -> Result<Self, WorkerError> {
        fs::create_dir_all(root).map_err(|e| WorkerError::scratch(root, "cannot be made", e))?;
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
        let trash_folder = root.join("trash");
        fs::create_dir_all(&trash_folder).map_err(failed("no trash folder can be made"))?;
        let (trash, paths) = mpsc::channel::<PathBuf>();
        std::thread::Builder::new()
            .name("scratch-remover".to_owned())
            .spawn(move || {
                for path in paths {
                    remove_forcibly(&path);
                }
            })
            .map_err(failed("no thread can be started for it"))?;
        let scratch = Self {
            inner: Arc::new(LockedScratch {
                root: root.clone(),
                _lock: lock,
                counter: AtomicU64::new(0),
                trash,
            }),
        };
        let left = fs::read_dir(&trash_folder).map_err(failed("its trash cannot be read"))?;
        for old in left.flatten() {
            scratch.send_to_remover(old.path());
        }
        let slots = root.join("slots");
        if slots.exists() {
            scratch
                .discard(&slots)
                .map_err(failed("what an earlier worker left cannot be moved away"))?;
        }
        fs::create_dir_all(&slots).map_err(failed("no folder for slots can be made"))?;
        Ok(scratch)
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
        dirs.pfs.parent().map_or(Ok(()), |folder| self.discard(folder))
    }

    /// Removes a file or folder: at once if it is small, else by renaming it aside for the remover thread.
    pub fn discard(&self, path: &Path) -> io::Result<()> {
        let mut budget = INLINE_REMOVALS;
        match remove_within(path, &mut budget) {
            Ok(true) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // Too large, or something in it cannot be removed yet: renamed as a whole below.
            Ok(false) | Err(_) => {}
        }
        let number = self.inner.counter.fetch_add(1, Ordering::Relaxed);
        let aside = self
            .root()
            .join("trash")
            .join(format!("{}-{number}", std::process::id()));
        fs::rename(path, &aside)?;
        self.send_to_remover(aside);
        Ok(())
    }

    fn send_to_remover(&self, path: PathBuf) {
        if self.inner.trash.send(path.clone()).is_err() {
            tracing::warn!(path = %path.display(), "left in the trash: the remover thread has ended");
        }
    }

    /// Returns the free bytes on the disk of the folder.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(self.root()).map_err(io::Error::from)?;
        Ok(stat.blocks_available() as u64 * stat.fragment_size() as u64)
    }
}

/// Removes a tree of at most `budget` entries. Returns `false` if it is larger; a part of it is removed then.
fn remove_within(path: &Path, budget: &mut usize) -> io::Result<bool> {
    if *budget == 0 {
        return Ok(false);
    }
    *budget -= 1;
    if !fs::symlink_metadata(path)?.is_dir() {
        fs::remove_file(path)?;
        return Ok(true);
    }
    for entry in fs::read_dir(path)? {
        if !remove_within(&entry?.path(), budget)? {
            return Ok(false);
        }
    }
    fs::remove_dir(path)?;
    Ok(true)
}

/// Removes a tree, after changing the modes of folders that user code has closed.
fn remove_forcibly(path: &Path) {
    let removed = if path.is_dir() && !path.is_symlink() {
        fs::remove_dir_all(path).or_else(|_| {
            open_up(path);
            fs::remove_dir_all(path)
        })
    } else {
        fs::remove_file(path)
    };
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot be removed");
    }
}

fn open_up(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for count in [3, 200] {
            let discarded = folder.path().join("discarded");
            fs::create_dir_all(discarded.join("sub")).unwrap();
            for n in 0..count {
                fs::write(discarded.join(format!("sub/{n}")), "x").unwrap();
            }
            scratch.discard(&discarded).unwrap();
            assert!(!discarded.exists());
        }
        scratch.discard(&folder.path().join("absent")).unwrap();
    }
}
