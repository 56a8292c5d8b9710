//! A folder of files named by content hash, bounded in bytes, least recently used first out.
//!
//! Knows which files there are, not what is in them: callers write and verify. What it finds when
//! it is opened counts as unverified, since the machine may have lost power while it was written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use howdah_model::ids::ContentHash;
use lru::LruCache;

/// How often the time of a file's last use is written to it, to be known after a restart.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// The folder and its index.
pub struct DiskLru {
    folder: PathBuf,
    limit_bytes: u64,
    state: Mutex<State>,
}

struct State {
    /// All files, least recently used last.
    files: LruCache<ContentHash, Known>,
    bytes: u64,
    next_temporary: u64,
}

/// A file that is being written. Whoever drops it last removes it, whatever went wrong; one that has
/// been adopted is not there any more.
pub struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// What is known of a file.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its size.
    pub size: u64,
    /// Whether its bytes have been compared with its hash since this process started.
    pub verified: bool,
    touched: SystemTime,
}

impl DiskLru {
    /// Opens a folder, makes it if it is new, and shrinks it to the limit.
    pub fn open(folder: &Path, limit_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut found = Vec::new();
        for shard in fs::read_dir(folder)?.flatten() {
            if !shard.file_type()?.is_dir() {
                // An unfinished file of an earlier process.
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
            state: Mutex::new(State {
                files: LruCache::unbounded(),
                bytes: 0,
                next_temporary: 0,
            }),
        };
        for (touched, hash, size) in found {
            let mut state = lru.lock();
            state.bytes += size;
            let known = Known {
                size,
                verified: false,
                touched,
            };
            state.files.put(hash, known);
        }
        lru.shrink(None);
        Ok(lru)
    }

    /// Returns where a file is, or would be.
    pub fn path(&self, hash: &ContentHash) -> PathBuf {
        let name = hash.to_string();
        self.folder.join(&name[..2]).join(name)
    }

    /// Returns a fresh place for a file that is being written.
    pub fn temporary(&self) -> Temporary {
        let mut state = self.lock();
        state.next_temporary += 1;
        let path = self.folder.join(format!("unfinished-{}", state.next_temporary));
        Temporary { path }
    }

    /// Returns what is known of a file and marks it as used now.
    pub fn used(&self, hash: &ContentHash) -> Option<Known> {
        let mut state = self.lock();
        let known = state.files.get_mut(hash)?;
        let answer = *known;
        let now = SystemTime::now();
        let due = now.duration_since(known.touched).is_ok_and(|age| age > TOUCH_EVERY);
        if due {
            known.touched = now;
        }
        drop(state);
        if due && let Ok(file) = fs::File::open(self.path(hash)) {
            // Only the order of eviction after a restart depends on it.
            let _ = file.set_modified(now);
        }
        Some(answer)
    }

    /// Remembers that a file's bytes have been compared with its hash.
    pub fn verified(&self, hash: &ContentHash) {
        if let Some(known) = self.lock().files.peek_mut(hash) {
            known.verified = true;
        }
    }

    /// Removes a file, for instance because its bytes are wrong.
    pub fn remove(&self, hash: &ContentHash) {
        let mut state = self.lock();
        if let Some(known) = state.files.pop(hash) {
            state.bytes -= known.size;
        }
        drop(state);
        let _ = fs::remove_file(self.path(hash));
    }

    /// Moves a finished, verified file to its place and makes room by removing others.
    pub fn adopt(&self, temporary: &Temporary, hash: &ContentHash, size: u64) -> io::Result<()> {
        let temporary = temporary.path();
        let path = self.path(hash);
        if let Err(error) = fs::rename(temporary, &path) {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            if let Some(shard) = path.parent() {
                fs::create_dir_all(shard)?;
            }
            fs::rename(temporary, &path)?;
        }
        let mut state = self.lock();
        let known = Known {
            size,
            verified: true,
            touched: SystemTime::now(),
        };
        if let Some(before) = state.files.put(*hash, known) {
            state.bytes -= before.size;
        }
        state.bytes += size;
        drop(state);
        self.shrink(Some(hash));
        Ok(())
    }

    /// Returns the bytes kept.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Says whether a file of this size may be kept at all.
    pub fn fits(&self, size: u64) -> bool {
        size <= self.limit_bytes
    }

    /// Removes files, least recently used first, until the limit is met. Hard links that a running
    /// datum has keep its bytes alive.
    fn shrink(&self, spare: Option<&ContentHash>) {
        while self.bytes() > self.limit_bytes && self.remove_oldest(spare).is_some() {}
    }

    /// Removes files, least recently used first, until so many bytes are gone or none is left;
    /// returns the bytes that are gone.
    pub fn evict(&self, bytes: u64) -> u64 {
        let mut gone = 0;
        while gone < bytes
            && let Some(size) = self.remove_oldest(None)
        {
            gone += size;
        }
        gone
    }

    /// Removes the least recently used file and returns its size; `None` if there is none, or if
    /// it is the one to be spared.
    fn remove_oldest(&self, spare: Option<&ContentHash>) -> Option<u64> {
        let mut state = self.lock();
        let oldest = *state.files.peek_lru()?.0;
        if spare == Some(&oldest) {
            return None;
        }
        let known = state.files.pop(&oldest)?;
        state.bytes -= known.size;
        drop(state);
        let _ = fs::remove_file(self.path(&oldest));
        Some(known.size)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every update leaves the index usable, even one cut short by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(lru: &DiskLru, number: u8, size: usize) -> ContentHash {
        let hash = ContentHash::new([number; 32]);
        let temporary = lru.temporary();
        fs::write(temporary.path(), vec![number; size]).unwrap();
        lru.adopt(&temporary, &hash, size as u64).unwrap();
        hash
    }

    #[test]
    fn the_least_recently_used_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let lru = DiskLru::open(folder.path(), 100).unwrap();
        let (a, b) = (put(&lru, 1, 40), put(&lru, 2, 40));
        lru.used(&a).unwrap();
        let c = put(&lru, 3, 40);
        assert!(lru.used(&b).is_none() && !lru.path(&b).exists());
        assert!(lru.used(&a).is_some() && lru.path(&a).exists());
        assert!(lru.used(&c).is_some());
        assert_eq!(lru.bytes(), 80);
        assert_eq!(lru.evict(1), 40);
        assert!(lru.used(&a).is_none() && lru.used(&c).is_some());
        assert_eq!((lru.evict(1000), lru.evict(1), lru.bytes()), (40, 0, 0));
    }

    #[test]
    fn what_is_not_finished_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let lru = DiskLru::open(folder.path(), 100).unwrap();
        let temporary = lru.temporary();
        fs::write(temporary.path(), "torn").unwrap();
        drop(temporary);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn files_survive_a_restart_unverified_and_rubbish_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = {
            let lru = DiskLru::open(folder.path(), 1000).unwrap();
            let (old, new) = (put(&lru, 1, 40), put(&lru, 2, 50));
            let past = SystemTime::now() - Duration::from_secs(3600);
            fs::File::open(lru.path(&old)).unwrap().set_modified(past).unwrap();
            let torn = lru.temporary();
            fs::write(torn.path(), "torn").unwrap();
            // As when the process is killed.
            std::mem::forget(torn);
            (old, new)
        };
        let lru = DiskLru::open(folder.path(), 80).unwrap();
        assert!(lru.used(&old).is_none(), "the older one had to go");
        let known = lru.used(&new).unwrap();
        assert!(!known.verified);
        assert_eq!(known.size, 50);
        assert_eq!(
            fs::read_dir(folder.path())
                .unwrap()
                .filter(|e| { e.as_ref().unwrap().file_type().unwrap().is_file() })
                .count(),
            0
        );
    }
}
