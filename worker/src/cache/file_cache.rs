//! Input files on the worker's disk, by content hash.
//!
//! A file bigger than [`SMALL_FILE_BYTES`] is fetched once, checked against its hash while it is
//! written, and from then on hard-linked into the inputs of every datum that needs it. The links
//! are safe because stages see their inputs read-only.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::TryStreamExt;
use howdah_model::ids::ContentHash;
use howdah_store::{ChunkSource, FileContent, read_file_from};

use crate::cache::chunks::not_as_promised;
use crate::cache::disk_lru::{DiskLru, Temporary};
use crate::error::Trouble;
use crate::metrics::Metrics;

/// Files up to this size are written directly: a hard link would save nothing.
pub const SMALL_FILE_BYTES: u64 = 64 * 1024;

/// How a file is put into a datum's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As a hard link, for inputs that nobody can write to.
    Link,
    /// As a copy of its own that anybody may write to.
    Copy,
}

/// The cache. Shared by all slots.
pub struct FileCache {
    disk: Arc<DiskLru>,
    /// One lock per file that is being placed, so that two datums that need it fetch it once.
    /// An entry is removed by whoever was the last to hold it.
    busy: Mutex<HashMap<ContentHash, Arc<tokio::sync::Mutex<()>>>>,
    metrics: Arc<Metrics>,
}

impl FileCache {
    /// Keeps files in an opened folder.
    pub fn new(disk: Arc<DiskLru>, metrics: Arc<Metrics>) -> Self {
        Self {
            disk,
            busy: Mutex::new(HashMap::new()),
            metrics,
        }
    }

    /// Says whether a file is here.
    pub fn has(&self, hash: &ContentHash) -> bool {
        self.disk.used(hash).is_some()
    }

    /// Puts a file at `target`, making its folder, fetching it first where it is not here yet.
    pub async fn place(
        &self,
        source: &Arc<dyn ChunkSource>,
        content: &FileContent,
        target: PathBuf,
        manner: Manner,
    ) -> Result<(), Trouble> {
        if !self.disk.fits(content.size) {
            self.metrics.file_cache_misses.inc();
            make_parent(target.clone()).await?;
            return fetch(source, content, target, None, permissions(manner)).await;
        }
        let lock = self.lock_for(&content.hash);
        let guard = lock.lock().await;
        let result = self.place_locked(source, content, target, manner).await;
        drop(guard);
        self.release(&content.hash, lock);
        result
    }

    async fn place_locked(
        &self,
        source: &Arc<dyn ChunkSource>,
        content: &FileContent,
        target: PathBuf,
        manner: Manner,
    ) -> Result<(), Trouble> {
        let (disk, wanted, there) = (Arc::clone(&self.disk), content.clone(), target.clone());
        let known = blocking(move || from_cache(&disk, &wanted, &there, manner)).await??;
        if known {
            self.metrics.file_cache_hits.inc();
            return Ok(());
        }
        self.metrics.file_cache_misses.inc();
        let temporary = Arc::new(self.disk.temporary());
        let path = temporary.path().to_owned();
        fetch(source, content, path, Some(Arc::clone(&temporary)), 0o444).await?;
        let (disk, wanted) = (Arc::clone(&self.disk), content.clone());
        blocking(move || {
            disk.adopt(&temporary, &wanted.hash, wanted.size)
                .map_err(Trouble::io("keep in the cache", temporary.path()))?;
            put(&disk.path(&wanted.hash), &target, manner)
        })
        .await?
    }

    fn lock_for(&self, hash: &ContentHash) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(busy.entry(*hash).or_default())
    }

    fn release(&self, hash: &ContentHash, lock: Arc<tokio::sync::Mutex<()>>) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        // The map's own and ours: nobody else waits.
        if Arc::strong_count(&lock) == 2 {
            busy.remove(hash);
        }
    }
}

/// Places a file from the cache; `false` if it is not there, or not what it should be.
fn from_cache(disk: &DiskLru, content: &FileContent, target: &Path, manner: Manner) -> Result<bool, Trouble> {
    let Some(known) = disk.used(&content.hash) else {
        return Ok(false);
    };
    let path = disk.path(&content.hash);
    if !known.verified {
        if known.size != content.size || !holds(&path, &content.hash) {
            tracing::warn!(path = %path.display(), "damaged file in the cache, fetching it again");
            disk.remove(&content.hash);
            return Ok(false);
        }
        disk.verified(&content.hash);
    }
    match put(&path, target, manner) {
        Ok(()) => Ok(true),
        Err(Trouble::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            disk.remove(&content.hash);
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn holds(path: &Path, hash: &ContentHash) -> bool {
    let mut hasher = blake3::Hasher::new();
    let read = File::open(path).and_then(|file| hasher.update_reader(file).map(|_| ()));
    read.is_ok() && hasher.finalize().as_bytes() == hash.as_bytes()
}

fn put(from: &Path, to: &Path, manner: Manner) -> Result<(), Trouble> {
    match put_once(from, to, manner) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder).map_err(Trouble::io("make the folder", folder))?;
            }
            put_once(from, to, manner).map_err(Trouble::io("place the input file", to))
        }
        other => other.map_err(Trouble::io("place the input file", to)),
    }
}

fn put_once(from: &Path, to: &Path, manner: Manner) -> std::io::Result<()> {
    if manner == Manner::Link {
        match fs::hard_link(from, to) {
            // The file has as many links as the file system allows.
            Err(error) if error.kind() == std::io::ErrorKind::TooManyLinks => {}
            // Two matches of one datum overlap: the same file of the same commit.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
            other => return other,
        }
    }
    // Shares the blocks where the file system can.
    fs::copy(from, to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(permissions(manner)))
}

fn permissions(manner: Manner) -> u32 {
    match manner {
        Manner::Link => 0o444,
        Manner::Copy => 0o666,
    }
}

async fn make_parent(target: PathBuf) -> Result<(), Trouble> {
    blocking(move || match target.parent() {
        Some(folder) => fs::create_dir_all(folder).map_err(Trouble::io("make the folder", folder)),
        None => Ok(()),
    })
    .await?
}

/// Writes a file from the store and checks it against its hash.
///
/// Every step on a blocking thread holds `hold`: when the fetch is given up meanwhile, a temporary
/// file must not be removed before the last step has written to it.
async fn fetch(
    source: &Arc<dyn ChunkSource>,
    content: &FileContent,
    target: PathBuf,
    hold: Option<Arc<Temporary>>,
    mode: u32,
) -> Result<(), Trouble> {
    let (path, held) = (target.clone(), hold.clone());
    let create = move || {
        let _held = held;
        File::create(&path).map_err(Trouble::io("write the input file", &path))
    };
    let mut file = blocking(create).await??;
    let mut hasher = blake3::Hasher::new();
    let mut bytes = std::pin::pin!(read_file_from(Arc::clone(source), content, 0));
    while let Some(piece) = bytes
        .try_next()
        .await
        .map_err(Trouble::store("cannot read an input file"))?
    {
        let (path, held) = (target.clone(), hold.clone());
        (file, hasher) = blocking(move || {
            let _held = held;
            hasher.update(&piece);
            file.write_all(&piece)
                .map_err(Trouble::io("write the input file", &path))?;
            Ok((file, hasher))
        })
        .await??;
    }
    if hasher.finalize().as_bytes() != content.hash.as_bytes() {
        return Err(Trouble::Store {
            doing: "cannot read an input file",
            source: not_as_promised(content),
        });
    }
    file.set_permissions(fs::Permissions::from_mode(mode))
        .map_err(Trouble::io("set the mode of", &target))
}

/// Runs blocking work; an `Err` only if its thread ended early.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Trouble::Task)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use howdah_store::{PackWriter, Store};

    use super::*;

    struct Bench {
        store: Store,
        source: Arc<dyn ChunkSource>,
        folder: tempfile::TempDir,
        metrics: Arc<Metrics>,
    }

    impl Bench {
        async fn new() -> Self {
            let store = Store::in_memory().await;
            Self {
                source: Arc::new(store.clone()),
                store,
                folder: tempfile::tempdir().unwrap(),
                metrics: Arc::new(Metrics::new()),
            }
        }

        fn cache(&self, limit: u64) -> FileCache {
            let disk = DiskLru::open(&self.folder.path().join("cache"), limit).unwrap();
            FileCache::new(Arc::new(disk), Arc::clone(&self.metrics))
        }

        async fn file(&self, byte: u8, size: usize) -> FileContent {
            let mut pack = PackWriter::new(&self.store);
            pack.begin(()).await.unwrap();
            pack.write(&vec![byte; size]).await.unwrap();
            pack.finish().await.unwrap().remove(0).1
        }

        async fn place(&self, cache: &FileCache, content: &FileContent, to: &str, how: Manner) {
            let target = self.folder.path().join(to);
            cache.place(&self.source, content, target, how).await.unwrap();
        }

        fn counts(&self) -> (u64, u64) {
            (self.metrics.file_cache_hits.get(), self.metrics.file_cache_misses.get())
        }
    }

    #[tokio::test]
    async fn a_file_is_fetched_once_and_linked_afterwards() {
        let bench = Bench::new().await;
        let cache = bench.cache(1 << 20);
        let content = bench.file(7, 100_000).await;
        bench.place(&cache, &content, "a/b/one", Manner::Link).await;
        bench.place(&cache, &content, "a/two", Manner::Link).await;
        bench.place(&cache, &content, "three", Manner::Copy).await;
        assert_eq!(bench.counts(), (2, 1));
        let meta = |name: &str| fs::metadata(bench.folder.path().join(name)).unwrap();
        assert_eq!(meta("a/b/one").ino(), meta("a/two").ino());
        assert_ne!(meta("a/two").ino(), meta("three").ino());
        assert_eq!(meta("a/two").mode() & 0o777, 0o444);
        assert_eq!(meta("three").mode() & 0o777, 0o666);
        assert_eq!(fs::read(bench.folder.path().join("three")).unwrap(), vec![7; 100_000]);
    }

    #[tokio::test]
    async fn the_cache_is_bounded_and_a_file_that_does_not_fit_is_not_kept() {
        let bench = Bench::new().await;
        let cache = bench.cache(250_000);
        for number in 0..5 {
            let content = bench.file(number, 100_000).await;
            bench.place(&cache, &content, &format!("f{number}"), Manner::Link).await;
        }
        assert_eq!(cache.disk.bytes(), 200_000);
        let big = bench.file(9, 300_000).await;
        bench.place(&cache, &big, "big", Manner::Link).await;
        assert_eq!(cache.disk.bytes(), 200_000);
        assert_eq!(fs::read(bench.folder.path().join("big")).unwrap().len(), 300_000);
        assert_eq!(fs::read(bench.folder.path().join("f0")).unwrap(), vec![0; 100_000]);
    }

    #[tokio::test]
    async fn a_fetch_that_fails_leaves_nothing_behind() {
        let bench = Bench::new().await;
        let cache = bench.cache(1 << 20);
        let content = bench.file(7, 100_000).await;
        let empty: Arc<dyn ChunkSource> = Arc::new(Store::in_memory().await);
        let target = bench.folder.path().join("one");
        let failed = cache.place(&empty, &content, target, Manner::Link).await;
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(bench.folder.path().join("cache")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_file_kept_by_an_earlier_worker_is_checked_before_it_is_used() {
        let bench = Bench::new().await;
        let (good, bad) = (bench.file(1, 100_000).await, bench.file(2, 100_000).await);
        let damaged = {
            let cache = bench.cache(1 << 20);
            bench.place(&cache, &good, "good", Manner::Link).await;
            bench.place(&cache, &bad, "bad", Manner::Copy).await;
            cache.disk.path(&bad.hash)
        };
        fs::remove_file(&damaged).unwrap();
        fs::write(&damaged, vec![0; 100_000]).unwrap();
        let cache = bench.cache(1 << 20);
        bench.place(&cache, &good, "good2", Manner::Link).await;
        bench.place(&cache, &bad, "bad2", Manner::Link).await;
        assert_eq!(bench.counts(), (1, 3));
        assert_eq!(fs::read(bench.folder.path().join("bad2")).unwrap(), vec![2; 100_000]);
    }
}
