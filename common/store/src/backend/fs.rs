//! Objects as files of a local folder. An acknowledged object survives a loss of power.
//!
//! ```text
//! <root>/<key>            an object
//! <root>/.tmp/<process>/  objects being written, one folder for each open store, locked while in use
//! ```
//!
//! A write has four steps, and a crash between any two of them leaves the object whole or absent:
//! ```text
//! 1 write a temporary file            crash: a file in .tmp, removed by the next process that opens the store
//! 2 fsync the file                    crash: the same
//! 3 link or rename to the final name  crash: the name may not be there yet, but if it is, the file has all bytes (by 2)
//! 4 fsync the folder                  crash: nothing is lost
//! ```
//! Step 3 is a hard link for `put_if_absent`, which fails if the name exists, and a rename for `put`. The call returns
//! after step 4. Folders are made durable in the same way, from the root down, before an object is put into them.
//!
//! Several processes may share a folder. `direct` writes the bytes of large files.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::direct::DirectWriter;
use super::{Backend, ObjectMeta, PutOutcome};
use crate::error::BackendError;
use crate::private::make_private_folder;

const TEMPORARY: &str = ".tmp";
const LOCK: &str = "lock";

/// A local folder that keeps objects as files.
#[derive(Debug, Clone)]
pub struct FsBackend {
    folder: Arc<StoreFolder>,
}

/// The folder; all clones of a backend share it.
#[derive(Debug)]
struct StoreFolder {
    root: PathBuf,
    /// The folder of this open store for objects being written.
    temporary: PathBuf,
    /// Locked as long as the store is open: other processes then do not remove `temporary`.
    _lock: File,
    next_temporary: AtomicU64,
    writer: DirectWriter,
    /// Directories that exist durably: made or found, and their parents synced.
    directories: Mutex<HashSet<PathBuf>>,
}

impl FsBackend {
    /// Opens a folder, makes it if it is missing, and removes temporary files of crashed processes.
    pub fn open(root: &Path) -> io::Result<Self> {
        let mut missing = Vec::new();
        let mut at = root;
        while !at.exists() {
            missing.push(at);
            at = at.parent().unwrap_or(Path::new("/"));
        }
        make_private_folder(root, &[TEMPORARY, "meta"])?;
        for made in missing {
            sync_directory(made.parent().unwrap_or(Path::new("/")))?;
        }
        let all = root.join(TEMPORARY);
        fs::create_dir_all(&all)?;
        remove_abandoned(&all)?;
        let (temporary, lock) = loop {
            if let Some(claimed) = claim_temporary(&all)? {
                break claimed;
            }
        };
        Ok(FsBackend {
            folder: Arc::new(StoreFolder {
                root: root.to_owned(),
                temporary,
                _lock: lock,
                next_temporary: AtomicU64::new(0),
                writer: DirectWriter::default(),
                directories: Mutex::default(),
            }),
        })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&StoreFolder) -> io::Result<T> + Send + 'static,
    ) -> Result<T, BackendError> {
        let folder = Arc::clone(&self.folder);
        tokio::task::spawn_blocking(move || act(&folder))
            .await
            .map_err(|error| BackendError::Io(io::Error::other(error)))?
            .map_err(BackendError::Io)
    }
}

impl Drop for StoreFolder {
    fn drop(&mut self) {
        // A failure is harmless: the next process that opens the store removes what remains.
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

impl StoreFolder {
    fn path(&self, key: &str) -> io::Result<PathBuf> {
        // Keys contain names that users choose. An element such as `..` would read and write outside of the folder.
        let legal = !key.is_empty()
            && !key.starts_with(TEMPORARY)
            && key
                .split('/')
                .all(|part| !part.is_empty() && part != "." && part != "..")
            && !key.contains('\0');
        if legal {
            Ok(self.root.join(key))
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("illegal object key {key:?}"),
            ))
        }
    }

    fn read(&self, key: &str, range: Option<Range<u64>>) -> io::Result<Option<Bytes>> {
        let mut file = match File::open(self.path(key)?) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Ok(None);
        }
        let length = metadata.len();
        let (start, end) = range.map_or((0, length), |r| (r.start.min(length), r.end.min(length)));
        let wanted = end.saturating_sub(start);
        if start > 0 {
            file.seek(SeekFrom::Start(start))?;
        }
        let mut bytes = Vec::with_capacity(wanted as usize);
        file.take(wanted).read_to_end(&mut bytes)?;
        Ok(Some(bytes.into()))
    }

    fn stat(&self, key: &str) -> io::Result<Option<ObjectMeta>> {
        match fs::metadata(self.path(key)?) {
            Ok(metadata) if metadata.is_file() => Ok(Some(ObjectMeta {
                key: key.to_owned(),
                size: metadata.len(),
                modified: metadata.modified().ok(),
            })),
            Ok(_) => Ok(None),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes and syncs a temporary file.
    fn write_temporary(&self, bytes: &[u8]) -> io::Result<TemporaryFile> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = TemporaryFile(self.temporary.join(number.to_string()));
        // Synced before it gets its final name: file systems may write the name before the bytes, and a loss of power
        // would then leave an empty or half-written object under its final name.
        self.writer.write_new(&temporary.0, bytes)?.sync_all()?;
        Ok(temporary)
    }

    fn put(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(key)?;
        let directory = self.make_directory(&path)?;
        let temporary = self.write_temporary(bytes)?;
        fs::rename(&temporary.0, &path)?;
        sync_directory(&directory)
    }

    fn put_if_absent(&self, key: &str, bytes: &[u8]) -> io::Result<PutOutcome> {
        let path = self.path(key)?;
        let directory = self.make_directory(&path)?;
        // Looking first saves the write of an object that exists. It does not decide: between this look and the link,
        // another process may create the object. Only the link is atomic.
        let outcome = if path.try_exists()? {
            PutOutcome::Exists
        } else {
            let temporary = self.write_temporary(bytes)?;
            match fs::hard_link(&temporary.0, &path) {
                Ok(()) => PutOutcome::Created,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => PutOutcome::Exists,
                Err(error) => return Err(error),
            }
        };
        // Also if the object existed: the process that created it may have crashed before it synced the folder. The
        // caller takes "exists" for durable and will refer to the object.
        sync_directory(&directory)?;
        Ok(outcome)
    }

    fn delete(&self, key: &str) -> io::Result<()> {
        // Not synced: after a loss of power the object may exist again. Callers delete objects that are not referred
        // to, so such an object costs space only.
        match fs::remove_file(self.path(key)?) {
            Ok(()) => Ok(()),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes the directory of an object durable and returns it.
    fn make_directory(&self, path: &Path) -> io::Result<PathBuf> {
        let directory = path.parent().unwrap_or(&self.root).to_owned();
        self.make_durable(&directory)?;
        Ok(directory)
    }

    fn make_durable(&self, directory: &Path) -> io::Result<()> {
        if directory == self.root || self.known(|known| known.contains(directory)) {
            return Ok(());
        }
        let parent = directory.parent().unwrap_or(&self.root);
        self.make_durable(parent)?;
        match DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        // Also if it existed: another process may have crashed between making the directory and syncing its parent.
        // Otherwise the directory could vanish with all objects in it.
        sync_directory(parent)?;
        self.known(|known| known.insert(directory.to_owned()));
        Ok(())
    }

    fn known<T>(&self, act: impl FnOnce(&mut HashSet<PathBuf>) -> T) -> T {
        act(&mut self.directories.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn list(&self, prefix: &str, after: Option<&str>) -> io::Result<Vec<ObjectMeta>> {
        let folder = prefix.rfind('/').map_or("", |slash| &prefix[..=slash]);
        let mut found = Vec::new();
        self.list_folder(folder, prefix, after, &mut found)?;
        found.sort_unstable_by(|a: &ObjectMeta, b| a.key.cmp(&b.key));
        Ok(found)
    }

    fn list_folder(
        &self,
        folder: &str,
        prefix: &str,
        after: Option<&str>,
        found: &mut Vec<ObjectMeta>,
    ) -> io::Result<()> {
        let entries = match fs::read_dir(self.root.join(folder)) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !(folder.is_empty() && *name == TEMPORARY)) else {
                continue;
            };
            let key = format!("{folder}{name}");
            if entry.file_type()?.is_dir() {
                let key = key + "/";
                let common = key.len().min(prefix.len());
                if key.as_bytes()[..common] == prefix.as_bytes()[..common] {
                    self.list_folder(&key, prefix, after, found)?;
                }
            } else if key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after) {
                match entry.metadata() {
                    Ok(metadata) => found.push(ObjectMeta {
                        key,
                        size: metadata.len(),
                        modified: metadata.modified().ok(),
                    }),
                    // Deleted after the directory was read.
                    Err(error) if is_absent(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// A temporary file. Removed when this is dropped, unless it has been renamed.
struct TemporaryFile(PathBuf);

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes and locks a temporary folder. `None` if another process that opens the store at the same moment took it for
/// abandoned before it was locked.
fn claim_temporary(all: &Path) -> io::Result<Option<(PathBuf, File)>> {
    let folder = all.join(format!("{}-{:016x}", std::process::id(), rand::random::<u64>()));
    fs::create_dir(&folder)?;
    let path = folder.join(LOCK);
    let lock = match File::create(&path) {
        Ok(lock) => lock,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    lock.lock()?;
    // The other process may have locked the file first and removed it: then this lock is on a deleted file and protects
    // nothing.
    Ok(path.try_exists()?.then_some((folder, lock)))
}

/// Removes the temporary folders of processes that have ended.
fn remove_abandoned(all: &Path) -> io::Result<()> {
    for entry in fs::read_dir(all)? {
        let folder = entry?.path();
        let lock = match File::open(folder.join(LOCK)) {
            Ok(lock) => lock,
            Err(_) => {
                // Its owner crashed before it made the lock, or is about to make it. In the second case `remove_dir`
                // fails, or the owner finds its folder gone and claims another one.
                let _ = fs::remove_dir(&folder);
                continue;
            }
        };
        if lock.try_lock().is_ok() {
            match fs::remove_dir_all(&folder) {
                Ok(()) => {}
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[async_trait]
impl Backend for FsBackend {
    fn describe(&self) -> String {
        format!("file://{}", self.folder.root.display())
    }

    async fn supports_put_if_absent(&self) -> Result<bool, BackendError> {
        Ok(true)
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, BackendError> {
        let key = key.to_owned();
        self.blocking(move |folder| folder.read(&key, None)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, BackendError> {
        let key = key.to_owned();
        self.blocking(move |folder| folder.read(&key, Some(range))).await
    }

    async fn stat(&self, key: &str) -> Result<Option<ObjectMeta>, BackendError> {
        let key = key.to_owned();
        self.blocking(move |folder| folder.stat(&key)).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BackendError> {
        let key = key.to_owned();
        self.blocking(move |folder| folder.put(&key, &bytes)).await
    }

    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<PutOutcome, BackendError> {
        let key = key.to_owned();
        self.blocking(move |folder| folder.put_if_absent(&key, &bytes)).await
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        let key = key.to_owned();
        self.blocking(move |folder| folder.delete(&key)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>, BackendError> {
        let prefix = prefix.to_owned();
        let after = after.map(str::to_owned);
        self.blocking(move |folder| folder.list(&prefix, after.as_deref()))
            .await
    }
}
