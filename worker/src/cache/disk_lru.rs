//! A folder of files named by content hash, bounded in bytes; the least recently used files are evicted.
//!
//! The index knows which files exist, not what is in them: callers write and verify. Files that are found when the
//! folder is opened count as unverified, because the machine may have lost power while they were written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use howdah_model::ids::ContentHash;
use lru::LruCache;

/// Least time between updates of a file's modification time, from which the order of use is read after a restart.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// The folder and its index.
pub(crate) struct DiskLru {
    folder: PathBuf,
    limit_bytes: u64,
    /// Locked for lookups and updates only; files are touched, renamed and removed without it.
    index: Mutex<LruIndex>,
}

struct LruIndex {
    /// All files, least recently used last.
    files: LruCache<ContentHash, CachedFile>,
    bytes: u64,
    next_file: u64,
}

/// A file that is being written. Dropping this value removes the file, unless the cache has adopted it (renamed it).
pub(crate) struct UnfinishedFile {
    path: PathBuf,
}

impl UnfinishedFile {
    /// Returns its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnfinishedFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// What is known about a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CachedFile {
    /// Its size in bytes.
    pub size: u64,
    /// Whether its bytes have been compared with its hash since this process started.
    pub verified: bool,
    /// The modification time that was last written to it.
    touched: SystemTime,
}

impl DiskLru {
    /// Opens a folder, making it if necessary, and evicts files above the limit.
    pub(crate) fn open(folder: &Path, limit_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut found = Vec::new();
        for shard in fs::read_dir(folder)?.flatten() {
            if !shard.file_type()?.is_dir() {
                // Left unfinished by an earlier process.
                fs::remove_file(shard.path())?;
                continue;
            }
            for file in fs::read_dir(shard.path())?.flatten() {
                let name = file.file_name();
                let hash = name.to_str().and_then(|name| name.parse::<ContentHash>().ok());
                let meta = file.metadata()?;
                match hash {
                    Some(hash) => found.push((meta.modified()?, hash, meta.len())),
                    None => fs::remove_file(file.path())?,
                }
            }
        }
        found.sort_unstable_by_key(|(used, hash, _)| (*used, *hash));
        let lru = Self {
            folder: folder.to_owned(),
            limit_bytes,
            index: Mutex::new(LruIndex {
                files: LruCache::unbounded(),
                bytes: 0,
                next_file: 0,
            }),
        };
        for (touched, hash, size) in found {
            let mut index = lru.lock();
            index.bytes += size;
            let file = CachedFile {
                size,
                verified: false,
                touched,
            };
            index.files.put(hash, file);
        }
        lru.shrink(None);
        Ok(lru)
    }

    /// Returns the path of a file, whether it exists or not.
    pub(crate) fn path(&self, hash: &ContentHash) -> PathBuf {
        let name = hash.to_string();
        self.folder.join(&name[..2]).join(name)
    }

    /// Returns a new path at which a file can be written.
    pub(crate) fn new_file(&self) -> UnfinishedFile {
        let mut index = self.lock();
        index.next_file += 1;
        let path = self.folder.join(format!("unfinished-{}", index.next_file));
        UnfinishedFile { path }
    }

    /// Looks a file up and marks it as used now.
    pub(crate) fn get(&self, hash: &ContentHash) -> Option<CachedFile> {
        let mut index = self.lock();
        let file = index.files.get_mut(hash)?;
        let found = *file;
        let now = SystemTime::now();
        let due = now.duration_since(file.touched).is_ok_and(|age| age > TOUCH_EVERY);
        if due {
            file.touched = now;
        }
        drop(index);
        if due && let Ok(file) = fs::File::open(self.path(hash)) {
            // An error only affects the order of eviction after a restart.
            let _ = file.set_modified(now);
        }
        Some(found)
    }

    /// Records that a file's bytes match its hash.
    pub(crate) fn set_verified(&self, hash: &ContentHash) {
        if let Some(file) = self.lock().files.peek_mut(hash) {
            file.verified = true;
        }
    }

    /// Removes a file, for instance because its bytes are wrong.
    pub(crate) fn remove(&self, hash: &ContentHash) {
        let mut index = self.lock();
        if let Some(file) = index.files.pop(hash) {
            index.bytes -= file.size;
        }
        drop(index);
        let _ = fs::remove_file(self.path(hash));
    }

    /// Adds a complete, verified file and evicts others above the limit.
    pub(crate) fn adopt(&self, file: &UnfinishedFile, hash: &ContentHash, size: u64) -> io::Result<()> {
        let unfinished = file.path();
        let path = self.path(hash);
        if let Err(error) = fs::rename(unfinished, &path) {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            if let Some(shard) = path.parent() {
                fs::create_dir_all(shard)?;
            }
            fs::rename(unfinished, &path)?;
        }
        // Indexed after the rename: a lookup that succeeds finds the file, unless it is evicted meanwhile.
        let mut index = self.lock();
        let file = CachedFile {
            size,
            verified: true,
            touched: SystemTime::now(),
        };
        if let Some(before) = index.files.put(*hash, file) {
            index.bytes -= before.size;
        }
        index.bytes += size;
        drop(index);
        self.shrink(Some(hash));
        Ok(())
    }

    /// Returns the bytes kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Returns whether a file of this size fits into the limit.
    pub(crate) fn fits(&self, size: u64) -> bool {
        size <= self.limit_bytes
    }

    /// Removes files, least recently used first, until the limit is met. Hard links that a running
    /// datum has keep its bytes alive.
    fn shrink(&self, spare: Option<&ContentHash>) {
        while self.bytes() > self.limit_bytes && self.remove_oldest(spare).is_some() {}
    }

    /// Removes the least recently used files until their sizes add up to `bytes` or none is left; returns the sum.
    pub(crate) fn evict(&self, bytes: u64) -> u64 {
        let mut evicted = 0;
        while evicted < bytes
            && let Some(size) = self.remove_oldest(None)
        {
            evicted += size;
        }
        evicted
    }

    /// Removes the least recently used file and returns its size; `None` if there is none, or if it is `spare`.
    fn remove_oldest(&self, spare: Option<&ContentHash>) -> Option<u64> {
        let mut index = self.lock();
        let oldest = *index.files.peek_lru()?.0;
        if spare == Some(&oldest) {
            return None;
        }
        let file = index.files.pop(&oldest)?;
        index.bytes -= file.size;
        drop(index);
        let _ = fs::remove_file(self.path(&oldest));
        Some(file.size)
    }

    fn lock(&self) -> MutexGuard<'_, LruIndex> {
        // Every update leaves the index usable, even one that a panic interrupts.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(lru: &DiskLru, number: u8, size: usize) -> ContentHash {
        let hash = ContentHash::new([number; 32]);
        let file = lru.new_file();
        fs::write(file.path(), vec![number; size]).unwrap();
        lru.adopt(&file, &hash, size as u64).unwrap();
        hash
    }

    #[test]
    fn the_least_recently_used_files_are_evicted_first() {
        let folder = tempfile::tempdir().unwrap();
        let lru = DiskLru::open(folder.path(), 100).unwrap();
        let (a, b) = (put(&lru, 1, 40), put(&lru, 2, 40));
        lru.get(&a).unwrap();
        let c = put(&lru, 3, 40);
        assert!(lru.get(&b).is_none() && !lru.path(&b).exists());
        assert!(lru.get(&a).is_some() && lru.path(&a).exists());
        assert!(lru.get(&c).is_some());
        assert_eq!(lru.bytes(), 80);
        assert_eq!(lru.evict(1), 40);
        assert!(lru.get(&a).is_none() && lru.get(&c).is_some());
        assert_eq!((lru.evict(1000), lru.evict(1), lru.bytes()), (40, 0, 0));
    }

    #[test]
    fn unfinished_files_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let lru = DiskLru::open(folder.path(), 100).unwrap();
        let file = lru.new_file();
        fs::write(file.path(), "torn").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn files_survive_a_restart_unverified_and_unfinished_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = {
            let lru = DiskLru::open(folder.path(), 1000).unwrap();
            let (old, new) = (put(&lru, 1, 40), put(&lru, 2, 50));
            let past = SystemTime::now() - Duration::from_secs(3600);
            fs::File::open(lru.path(&old)).unwrap().set_modified(past).unwrap();
            let unfinished = lru.new_file();
            fs::write(unfinished.path(), "torn").unwrap();
            // As if the process were killed.
            std::mem::forget(unfinished);
            (old, new)
        };
        let lru = DiskLru::open(folder.path(), 80).unwrap();
        assert!(lru.get(&old).is_none(), "the older one is evicted");
        let file = lru.get(&new).unwrap();
        assert!(!file.verified);
        assert_eq!(file.size, 50);
        assert_eq!(
            fs::read_dir(folder.path())
                .unwrap()
                .filter(|e| { e.as_ref().unwrap().file_type().unwrap().is_file() })
                .count(),
            0
        );
    }
}
