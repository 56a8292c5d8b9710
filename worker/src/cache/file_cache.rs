//! Input files on the worker's disk, by content hash.
//!
//! A file larger than [`SMALL_FILE_BYTES`] is fetched once, checked against its hash while it is written, and then
//! hard-linked into the inputs of every datum that needs it. The links are safe because containers see their inputs
//! read-only. A file larger than the whole cache is fetched directly into the inputs.
//!
//! Errors of the store or the disk are [`InfraError`]s. A cached file with wrong bytes is fetched again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::TryStreamExt;
use howdah_model::ids::ContentHash;
use howdah_store::{ChunkSource, FileContent, read_file_from};

use crate::beneath::{Access, FileBeneath};
use crate::blocking::blocking;
use crate::cache::disk_lru::{DiskLru, UnfinishedFile};
use crate::error::InfraError;
use crate::metrics::Metrics;

/// Files up to this size are not cached but written directly: a hard link would save nothing.
pub(crate) const SMALL_FILE_BYTES: u64 = 64 * 1024;

/// How a file is placed in a datum's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlacementMode {
    /// As a hard link, for inputs that are read-only in the container.
    Link,
    /// As a private copy that every user may write to.
    Copy,
}

impl PlacementMode {
    fn access(self) -> Access {
        match self {
            Self::Link => Access::ReadOnly,
            Self::Copy => Access::All,
        }
    }
}

/// The cache. Shared by all slots.
pub(crate) struct FileCache {
    disk: Arc<DiskLru>,
    /// One lock per file that is being placed, so that two datums that need it fetch it once. The last holder removes
    /// the entry; one that a cancelled placement leaves behind is removed by the next placement of the same file. The
    /// map is locked for lookups only, never while a task waits for one of the locks in it.
    placing: Mutex<HashMap<ContentHash, Arc<tokio::sync::Mutex<()>>>>,
    metrics: Arc<Metrics>,
}

impl FileCache {
    /// Keeps files in an opened folder.
    pub(crate) fn new(disk: Arc<DiskLru>, metrics: Arc<Metrics>) -> Self {
        Self {
            disk,
            placing: Mutex::new(HashMap::new()),
            metrics,
        }
    }

    /// Returns whether a file is cached, and marks it as used.
    pub(crate) fn has(&self, hash: &ContentHash) -> bool {
        self.disk.get(hash).is_some()
    }

    /// Places a file at `target`, making its folder if necessary and fetching the file if it is not cached.
    pub(crate) async fn place(
        &self,
        source: &Arc<dyn ChunkSource>,
        content: &FileContent,
        target: FileBeneath,
        mode: PlacementMode,
    ) -> Result<(), InfraError> {
        if !self.disk.fits(content.size) {
            self.metrics.file_cache_misses.inc();
            let path = target.shown();
            let create = move || target.create(mode.access());
            return match fetch(source, content, path, create, None, permissions(mode)).await {
                // Two matches of one datum overlap: the other one writes it.
                Err(error) if error.is_file_there() => Ok(()),
                other => other,
            };
        }
        self.one_at_a_time(&content.hash, async {
            let (disk, wanted, path) = (Arc::clone(&self.disk), content.clone(), target.clone());
            let cached = blocking(move || place_cached(&disk, &wanted, &path, mode)).await??;
            if cached {
                self.metrics.file_cache_hits.inc();
                return Ok(());
            }
            self.metrics.file_cache_misses.inc();
            let file = Arc::new(self.disk.new_file());
            let path = file.path().to_owned();
            let new = path.clone();
            fetch(
                source,
                content,
                path,
                move || File::create(new),
                Some(Arc::clone(&file)),
                0o444,
            )
            .await?;
            let (disk, wanted) = (Arc::clone(&self.disk), content.clone());
            blocking(move || {
                disk.adopt(&file, &wanted.hash, wanted.size)
                    .map_err(InfraError::io("keep in the cache", file.path()))?;
                put(&disk.path(&wanted.hash), &target, mode)
            })
            .await?
        })
        .await
    }

    /// Runs a placement while no other task places the same file.
    async fn one_at_a_time<T>(&self, hash: &ContentHash, placement: impl Future<Output = T>) -> T {
        let lock = self.lock_for(hash);
        let guard = lock.lock().await;
        let result = placement.await;
        drop(guard);
        self.release(hash, &lock);
        result
    }

    fn lock_for(&self, hash: &ContentHash) -> Arc<tokio::sync::Mutex<()>> {
        let mut placing = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(placing.entry(*hash).or_default())
    }

    fn release(&self, hash: &ContentHash, lock: &Arc<tokio::sync::Mutex<()>>) {
        let mut placing = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        // One reference is the map's, one is ours: no other task holds the lock or waits for it.
        if Arc::strong_count(lock) == 2 {
            placing.remove(hash);
        }
    }
}

/// Places a file from the cache. Returns `false` if it is not cached or has wrong bytes.
fn place_cached(
    disk: &DiskLru,
    content: &FileContent,
    target: &FileBeneath,
    mode: PlacementMode,
) -> Result<bool, InfraError> {
    let Some(cached) = disk.get(&content.hash) else {
        return Ok(false);
    };
    let path = disk.path(&content.hash);
    if !cached.verified {
        if cached.size != content.size || !has_hash(&path, &content.hash) {
            tracing::warn!(path = %path.display(), "cached file is damaged: fetching it again");
            disk.remove(&content.hash);
            return Ok(false);
        }
        disk.set_verified(&content.hash);
    }
    match put(&path, target, mode) {
        Ok(()) => Ok(true),
        // Evicted between the lookup and the link.
        Err(InfraError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            disk.remove(&content.hash);
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn has_hash(path: &Path, hash: &ContentHash) -> bool {
    let mut hasher = blake3::Hasher::new();
    let read = File::open(path).and_then(|file| hasher.update_reader(file).map(|_| ()));
    read.is_ok() && hasher.finalize().as_bytes() == hash.as_bytes()
}

fn put(from: &Path, to: &FileBeneath, mode: PlacementMode) -> Result<(), InfraError> {
    match try_put(from, to, mode) {
        // Two matches of one datum overlap: the same file of the same commit.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(InfraError::io("place the input file", to.shown())),
    }
}

fn try_put(from: &Path, to: &FileBeneath, mode: PlacementMode) -> std::io::Result<()> {
    if mode == PlacementMode::Link {
        match to.link_from(from) {
            // The file has as many links as the file system allows.
            Err(error) if error.kind() == std::io::ErrorKind::TooManyLinks => {}
            other => return other,
        }
    }
    let mut source = File::open(from)?;
    let mut copy = to.create(mode.access())?;
    // Shares the blocks where the file system can.
    std::io::copy(&mut source, &mut copy)?;
    Ok(())
}

fn permissions(mode: PlacementMode) -> u32 {
    match mode {
        PlacementMode::Link => 0o444,
        PlacementMode::Copy => 0o666,
    }
}

/// Writes a file from the store, which checks its hash. `target` is its path for messages.
///
/// Every step on a blocking thread holds `hold`. If the fetch is cancelled, the step that runs then still finishes;
/// without the reference, it could write to an unfinished file after its removal and leave it behind.
async fn fetch(
    source: &Arc<dyn ChunkSource>,
    content: &FileContent,
    target: PathBuf,
    create: impl FnOnce() -> std::io::Result<File> + Send + 'static,
    hold: Option<Arc<UnfinishedFile>>,
    mode: u32,
) -> Result<(), InfraError> {
    let (path, held) = (target.clone(), hold.clone());
    let create = move || {
        let _held = held;
        create().map_err(InfraError::io("write the input file", path))
    };
    let mut file = blocking(create).await??;
    // Ends with an error, before the last piece, if the bytes do not have the hash of the file.
    let mut bytes = std::pin::pin!(read_file_from(Arc::clone(source), content, 0));
    while let Some(piece) = bytes
        .try_next()
        .await
        .map_err(InfraError::store("cannot read an input file"))?
    {
        let (path, held) = (target.clone(), hold.clone());
        file = blocking(move || {
            let _held = held;
            file.write_all(&piece)
                .map_err(InfraError::io("write the input file", &path))?;
            Ok(file)
        })
        .await??;
    }
    file.set_permissions(fs::Permissions::from_mode(mode))
        .map_err(InfraError::io("set the mode of", &target))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use howdah_store::{PackWriter, Store};

    use super::*;
    use crate::beneath::Folder;

    struct CacheBench {
        store: Store,
        source: Arc<dyn ChunkSource>,
        folder: tempfile::TempDir,
        metrics: Arc<Metrics>,
    }

    impl CacheBench {
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

        async fn place(&self, cache: &FileCache, content: &FileContent, to: &str, how: PlacementMode) {
            let target = self.target(to);
            cache.place(&self.source, content, target, how).await.unwrap();
        }

        fn target(&self, path: &str) -> FileBeneath {
            FileBeneath {
                folder: Folder::open(self.folder.path()).unwrap(),
                path: path.into(),
            }
        }

        fn counts(&self) -> (u64, u64) {
            (self.metrics.file_cache_hits.get(), self.metrics.file_cache_misses.get())
        }
    }

    #[tokio::test]
    async fn a_file_is_fetched_once_and_linked_afterwards() {
        let bench = CacheBench::new().await;
        let cache = bench.cache(1 << 20);
        let content = bench.file(7, 100_000).await;
        bench.place(&cache, &content, "a/b/one", PlacementMode::Link).await;
        bench.place(&cache, &content, "a/two", PlacementMode::Link).await;
        bench.place(&cache, &content, "three", PlacementMode::Copy).await;
        assert_eq!(bench.counts(), (2, 1));
        let meta = |name: &str| fs::metadata(bench.folder.path().join(name)).unwrap();
        assert_eq!(meta("a/b/one").ino(), meta("a/two").ino());
        assert_ne!(meta("a/two").ino(), meta("three").ino());
        assert_eq!(meta("a/two").mode() & 0o777, 0o444);
        assert_eq!(meta("three").mode() & 0o777, 0o666);
        assert_eq!(fs::read(bench.folder.path().join("three")).unwrap(), vec![7; 100_000]);
    }

    #[tokio::test]
    async fn the_cache_is_bounded_and_a_file_that_does_not_fit_is_not_cached() {
        let bench = CacheBench::new().await;
        let cache = bench.cache(250_000);
        for number in 0..5 {
            let content = bench.file(number, 100_000).await;
            bench
                .place(&cache, &content, &format!("f{number}"), PlacementMode::Link)
                .await;
        }
        assert_eq!(cache.disk.bytes(), 200_000);
        let big = bench.file(9, 300_000).await;
        bench.place(&cache, &big, "big", PlacementMode::Link).await;
        assert_eq!(cache.disk.bytes(), 200_000);
        assert_eq!(fs::read(bench.folder.path().join("big")).unwrap().len(), 300_000);
        assert_eq!(fs::read(bench.folder.path().join("f0")).unwrap(), vec![0; 100_000]);
    }

    #[tokio::test]
    async fn a_fetch_that_fails_leaves_nothing_behind() {
        let bench = CacheBench::new().await;
        let cache = bench.cache(1 << 20);
        let content = bench.file(7, 100_000).await;
        let empty: Arc<dyn ChunkSource> = Arc::new(Store::in_memory().await);
        let failed = cache
            .place(&empty, &content, bench.target("one"), PlacementMode::Link)
            .await;
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(bench.folder.path().join("cache")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_file_cached_by_an_earlier_worker_is_checked_before_it_is_used() {
        let bench = CacheBench::new().await;
        let (good, bad) = (bench.file(1, 100_000).await, bench.file(2, 100_000).await);
        let damaged = {
            let cache = bench.cache(1 << 20);
            bench.place(&cache, &good, "good", PlacementMode::Link).await;
            bench.place(&cache, &bad, "bad", PlacementMode::Copy).await;
            cache.disk.path(&bad.hash)
        };
        fs::remove_file(&damaged).unwrap();
        fs::write(&damaged, vec![0; 100_000]).unwrap();
        let cache = bench.cache(1 << 20);
        bench.place(&cache, &good, "good2", PlacementMode::Link).await;
        bench.place(&cache, &bad, "bad2", PlacementMode::Link).await;
        assert_eq!(bench.counts(), (1, 3));
        assert_eq!(fs::read(bench.folder.path().join("bad2")).unwrap(), vec![2; 100_000]);
    }
}
