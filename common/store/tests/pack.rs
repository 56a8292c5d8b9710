//! Writing files and reading them back.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]
#![allow(missing_docs)]

mod support;

use std::ops::Range;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use howdah_model::{Content, ContentHash};
use howdah_store::backend::fault::{Fault, FaultBackend, Operation};
use howdah_store::backend::{Backend, MemoryBackend, ObjectMeta, PutOutcome};
use howdah_store::{
    BackendError, ChunkHash, ChunkSource, FileContent, FileEdits, FileEntry, FileTree, Limits, ObjectRepair,
    PackWriter, Slice, Store, StoreError, Tree, TreeEdit, read_file_from,
};
use proptest::collection::vec;
use proptest::prelude::*;
use support::noise::noise;
use support::{run, write_files};

/// A store that remembers which objects were sent to it.
async fn recording(backend: &Arc<MemoryBackend>) -> (Store, Arc<Mutex<Vec<String>>>) {
    let sent: Arc<Mutex<Vec<String>>> = Arc::default();
    let record = Arc::clone(&sent);
    let faulty = FaultBackend::new(Arc::clone(backend) as _, move |operation, key| {
        if matches!(operation, Operation::Put | Operation::PutIfAbsent) {
            record.lock().unwrap().push(key.to_owned());
        }
        Fault::None
    });
    let store = Store::with_backend(Arc::new(faulty), Default::default()).await.unwrap();
    sent.lock().unwrap().clear();
    (store, sent)
}

fn count(sent: &Mutex<Vec<String>>, prefix: &str) -> usize {
    sent.lock()
        .unwrap()
        .iter()
        .filter(|key| key.starts_with(prefix))
        .count()
}

fn hash_of(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn files_survive_a_round_trip_for_all_sizes_and_write_patterns(
        sizes in vec(prop_oneof![Just(0usize), 1usize..50, 1usize..5_000, 1usize..900_000], 0..25),
        step in 1usize..300_000,
        offset in 0u64..1_000_000,
    ) {
        run(async {
            let store = Store::in_memory().await;
            let files: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(n, size)| noise(n as u64, *size)).collect();
            let mut writer = PackWriter::new(&store);
            for (n, bytes) in files.iter().enumerate() {
                writer.begin(n).await.unwrap();
                for part in bytes.chunks(step) {
                    writer.write(part).await.unwrap();
                }
            }
            let written = writer.finish().await.unwrap();
            prop_assert_eq!(written.len(), files.len());
            // In another order, so that chunks are read more than once.
            for (n, content) in written.iter().rev() {
                prop_assert_eq!(content.size, files[*n].len() as u64);
                prop_assert_eq!(content.hash.as_bytes(), &hash_of(&files[*n]));
                prop_assert_eq!(store.read_file_all(content).await.unwrap(), &files[*n]);
                let pieces: Vec<Bytes> = store.read_file(content, offset).try_collect().await.unwrap();
                let expected = files[*n].get(offset as usize..).unwrap_or_default();
                prop_assert_eq!(pieces.concat(), expected);
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_writer_that_succeeds_under_faults_has_stored_everything(
        sizes in vec(1usize..700_000, 1..8),
        faults in vec(prop_oneof![6 => Just(Fault::None), 1 => Just(Fault::Before), 1 => Just(Fault::After)], 0..12),
    ) {
        run(async {
            let backend = Arc::new(MemoryBackend::default());
            let mut plan = faults.into_iter();
            let faulty = FaultBackend::new(Arc::clone(&backend) as _, move |_, key| {
                if key.starts_with("meta/") { Fault::None } else { plan.next().unwrap_or(Fault::None) }
            });
            let store = Store::with_backend(Arc::new(faulty), Default::default()).await.unwrap();
            let files: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(n, size)| noise(n as u64, *size)).collect();
            // Repeating after a failure must end well, as the faults run out.
            let content = loop {
                let attempt = async {
                    let contents = write_files(&store, &files).await?;
                    let mut edits = FileEdits::default();
                    for (n, content) in contents.into_iter().enumerate() {
                        edits.put(&format!("/{n}"), content).unwrap();
                    }
                    edits.apply(&store, &Content::EMPTY).await.map_err(|error| match error {
                        howdah_store::EditError::Store(error) => error,
                        other => panic!("{other}"),
                    })
                };
                if let Ok(content) = attempt.await { break content; }
            };
            let fresh = Store::with_backend(backend as _, Default::default()).await.unwrap();
            let tree = FileTree::of(&fresh, &content);
            for (n, bytes) in files.iter().enumerate() {
                let entry = tree.file(&format!("/{n}")).await.unwrap().unwrap();
                prop_assert_eq!(&fresh.read_file_all(&entry.content).await.unwrap(), bytes);
            }
            Ok(())
        })?;
    }
}

#[test]
fn a_commit_of_one_small_file_costs_one_chunk_and_one_node() {
    run(async {
        let (store, sent) = recording(&Arc::default()).await;
        let content = write_files(&store, &[b"hello".to_vec()]).await.unwrap().remove(0);
        let mut edits = FileEdits::default();
        edits.put("/hello", content).unwrap();
        edits.apply(&store, &Content::EMPTY).await.unwrap();
        assert_eq!((count(&sent, "chunks/"), count(&sent, "nodes/")), (1, 1));
        assert_eq!(sent.lock().unwrap().len(), 2);
    });
}

#[test]
fn contents_can_be_taken_before_the_end_also_of_tiny_files() {
    run(async {
        let (store, sent) = recording(&Arc::default()).await;
        // Nothing, and up to four bytes.
        let bytes = |n: u32| n.to_le_bytes()[..n as usize % 5].to_vec();
        let mut writer = PackWriter::new(&store);
        let (mut taken, mut waiting) = (Vec::new(), 0);
        for n in 0..300_000 {
            writer.begin(n).await.unwrap();
            writer.write(&bytes(n)).await.unwrap();
            taken.extend(writer.take_stored().await.unwrap());
            waiting = waiting.max(n as usize + 1 - taken.len());
        }
        // One chunk being filled, two on their way, and what is handed over at a time.
        assert!(waiting < 4 << 15, "{waiting}");
        taken.extend(writer.finish().await.unwrap());
        assert!(count(&sent, "chunks/") <= 10, "{}", count(&sent, "chunks/"));
        assert!(taken.iter().map(|(n, _)| *n).eq(0..300_000));
        for (n, content) in taken.iter().step_by(997) {
            assert_eq!(store.read_file_all(content).await.unwrap(), bytes(*n));
        }
    });
}

#[test]
fn many_small_files_share_few_objects() {
    run(async {
        let (store, sent) = recording(&Arc::default()).await;
        let files: Vec<Vec<u8>> = (0..20_000).map(|n| noise(n, 1024)).collect();
        let contents = write_files(&store, &files).await.unwrap();
        assert!(count(&sent, "chunks/") <= 20, "{}", count(&sent, "chunks/"));
        for n in [0, 1, 9_999, 19_999] {
            assert_eq!(store.read_file_all(&contents[n]).await.unwrap(), files[n]);
        }
    });
}

#[test]
fn holes_are_stored_as_the_zeros_that_they_are() {
    run(async {
        let store = Store::in_memory().await;
        let data = noise(1, 300_000);
        for hole in [1_000_usize, 70_000, 3 << 20, 20 << 20] {
            let bytes = [&data[..], &vec![0; hole], &data].concat();
            let mut writer = PackWriter::new(&store);
            writer.begin("holes").await.unwrap();
            writer.write(&data).await.unwrap();
            writer.write_zeros(hole as u64).await.unwrap();
            writer.write(&data).await.unwrap();
            writer.begin("plain").await.unwrap();
            writer.write(&bytes).await.unwrap();
            let written = writer.finish().await.unwrap();
            let [(_, holes), (_, plain)] = &written[..] else {
                panic!("{written:?}");
            };
            assert_eq!(
                (holes.size, holes.hash),
                (plain.size, plain.hash),
                "a hole of {hole} bytes"
            );
            assert_eq!(store.read_file_all(holes).await.unwrap(), bytes);
        }
    });
}

async fn chunks(store: &Store, content: &FileContent) -> Vec<ChunkHash> {
    store
        .slices(content)
        .await
        .unwrap()
        .iter()
        .map(|slice| slice.chunk)
        .collect()
}

#[test]
fn a_large_file_has_the_same_chunks_next_to_any_files() {
    run(async {
        let (store, sent) = recording(&Arc::default()).await;
        let large = noise(1, (17 << 20) + 12345);
        let alone = write_files(&store, std::slice::from_ref(&large))
            .await
            .unwrap()
            .remove(0);
        assert!(chunks(&store, &alone).await.len() > 3);
        for neighbour in [1usize, 100_000, 3 << 20, 5 << 20, 7 << 20] {
            let small = noise(neighbour as u64, neighbour);
            sent.lock().unwrap().clear();
            let mut written = write_files(&store, &[small.clone(), Vec::new(), large.clone(), small.clone()])
                .await
                .unwrap();
            let last = written.pop().unwrap();
            let beside = written.pop().unwrap();
            assert_eq!(
                chunks(&store, &beside).await,
                chunks(&store, &alone).await,
                "{neighbour}"
            );
            assert_eq!(store.read_file_all(&last).await.unwrap(), small);
            let new_bytes = count(&sent, "chunks/");
            assert!(
                new_bytes <= 2 * neighbour.div_ceil(1 << 19),
                "{new_bytes} objects beside {neighbour}"
            );
        }
    });
}

#[test]
fn a_change_in_the_middle_of_a_large_file_stores_little() {
    run(async {
        let (store, sent) = recording(&Arc::default()).await;
        let mut bytes = noise(5, 40 << 20);
        write_files(&store, std::slice::from_ref(&bytes)).await.unwrap();
        sent.lock().unwrap().clear();
        write_files(&store, std::slice::from_ref(&bytes)).await.unwrap();
        assert_eq!(sent.lock().unwrap().len(), 0, "the same again stores nothing");
        bytes.splice(20 << 20..(20 << 20) + 10, *b"something of another length");
        let changed = write_files(&store, std::slice::from_ref(&bytes))
            .await
            .unwrap()
            .remove(0);
        assert!(count(&sent, "chunks/") <= 4, "{}", count(&sent, "chunks/"));
        assert_eq!(store.read_file_all(&changed).await.unwrap(), bytes);
    });
}

#[test]
fn equal_files_give_equal_roots_however_they_were_packed() {
    run(async {
        let store = Store::in_memory().await;
        let files: Vec<Vec<u8>> = (0..200).map(|n| noise(n, 3000)).collect();
        let mut roots = Vec::new();
        for group in [1, 7, 200] {
            let mut edits = FileEdits::default();
            for (number, some) in files.chunks(group).enumerate() {
                for (n, content) in write_files(&store, some).await.unwrap().into_iter().enumerate() {
                    edits.put(&format!("/{}", number * group + n), content).unwrap();
                }
            }
            roots.push(edits.apply(&store, &Content::EMPTY).await.unwrap());
        }
        assert_eq!(roots[0], roots[1]);
        assert_eq!(roots[0], roots[2]);
    });
}

#[test]
fn appended_files_are_one_file() {
    run(async {
        let (store, sent) = recording(&Arc::default()).await;
        let first = noise(1, 3 << 20);
        let content = write_files(&store, std::slice::from_ref(&first))
            .await
            .unwrap()
            .remove(0);
        sent.lock().unwrap().clear();
        let mut writer = PackWriter::new(&store);
        writer.begin_append("log", &content).await.unwrap();
        writer.write(b"one more line\n").await.unwrap();
        let longer = writer.finish().await.unwrap().remove(0).1;
        let expected = [&first[..], b"one more line\n"].concat();
        assert_eq!(longer.hash.as_bytes(), &hash_of(&expected));
        assert_eq!(store.read_file_all(&longer).await.unwrap(), expected);
        assert_eq!(count(&sent, "chunks/"), 1);
        // Nothing appended is the same file.
        let mut writer = PackWriter::new(&store);
        writer.begin_append("log", &longer).await.unwrap();
        assert_eq!(writer.finish().await.unwrap().remove(0).1, longer);
    });
}

#[test]
fn files_of_very_many_slices_work_like_others() {
    run(async {
        let store = Store::in_memory().await;
        let mut edits = FileEdits::default();
        let mut expected = Vec::new();
        for n in 0..700 {
            let bytes = noise(n, 40);
            edits
                .append(
                    "/log",
                    write_files(&store, std::slice::from_ref(&bytes))
                        .await
                        .unwrap()
                        .remove(0),
                )
                .unwrap();
            expected.extend(bytes);
        }
        let content = edits.apply(&store, &Content::EMPTY).await.unwrap();
        let tree = FileTree::of(&store, &content);
        let entry = tree.file("/log").await.unwrap().unwrap();
        assert!(entry.content.encode_placement().len() < 1000, "the list is kept apart");
        assert_eq!(store.read_file_all(&entry.content).await.unwrap(), expected);
        assert_eq!(store.slices(&entry.content).await.unwrap().len(), 700);
        assert!(store.chunks_of(&entry.content).await.unwrap().len() > 700);
        let mut edits = FileEdits::default();
        edits
            .append("/log", write_files(&store, &[b"end".to_vec()]).await.unwrap().remove(0))
            .unwrap();
        let content = edits.apply(&store, &content).await.unwrap();
        let entry = FileTree::of(&store, &content).file("/log").await.unwrap().unwrap();
        expected.extend(b"end");
        assert_eq!(store.read_file_all(&entry.content).await.unwrap(), expected);
    });
}

#[test]
fn damaged_and_missing_chunks_are_named() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let (store, sent) = recording(&backend).await;
        for bytes in [noise(1, 100_000), b"text ".repeat(20_000)] {
            sent.lock().unwrap().clear();
            let content = write_files(&store, &[bytes]).await.unwrap().remove(0);
            let key = sent.lock().unwrap()[0].clone();
            let mut stored = store.get(&key).await.unwrap().to_vec();
            let middle = stored.len() / 2;
            stored[middle] ^= 1;
            for damage in [
                Some(stored.clone()),
                Some(stored[..middle].to_vec()),
                Some(Vec::new()),
                None,
            ] {
                match damage {
                    Some(bytes) => store.put(&key, bytes.into()).await.unwrap(),
                    None => store.delete(&key).await.unwrap(),
                }
                let fresh = Store::with_backend(Arc::clone(&backend) as Arc<dyn Backend>, Default::default());
                let error = fresh.await.unwrap().read_file_all(&content).await.unwrap_err();
                assert!(error.is_damage() && error.to_string().contains(&key), "{error}");
            }
        }
    });
}

#[test]
fn whole_chunks_that_are_not_those_of_the_file_are_refused() {
    run(async {
        let store = Store::in_memory().await;
        let files = [
            b"tiny".to_vec(),
            noise(1, 100_000),
            noise(2, 3 << 20),
            noise(3, 20 << 20),
        ];
        let written = write_files(&store, &files).await.unwrap();
        for (content, bytes) in written.iter().zip(&files) {
            let mut forged = content.clone();
            forged.hash = ContentHash::new([7; 32]);
            let error = store.read_file_all(&forged).await.unwrap_err();
            assert!(
                error.is_damage() && matches!(error, StoreError::WrongFile { .. }),
                "{error}"
            );
            assert!(store.read_scattered(&forged).await.unwrap_err().is_damage());
            if let Some(slice) = content.single_slice() {
                assert!(store.read_in_chunk(&forged, &slice).await.unwrap_err().is_damage());
                assert_eq!(store.read_in_chunk(content, &slice).await.unwrap(), bytes);
            }
            // A reader never has all bytes before it has the error.
            let mut read = 0;
            let mut pieces = pin!(read_file_from(Arc::new(store.clone()), &forged, 0));
            while let Some(Ok(piece)) = pieces.next().await {
                read += piece.len();
            }
            assert!(read < bytes.len(), "{read} bytes");
            // A part is checked by its chunks.
            let part: Vec<Bytes> = store.read_file(&forged, 1).try_collect().await.unwrap();
            assert_eq!(part.concat(), &bytes[1..]);
        }
        // The hash of a chunk, with fewer bytes than the chunk has.
        let slice = store.slices(&written[3]).await.unwrap().remove(0);
        let short = Slice {
            len: slice.len - 1,
            ..slice
        };
        let cut = FileContent::in_one_slice(short.len.into(), slice.chunk.0, Some(short)).unwrap();
        assert!(store.read_file_all(&cut).await.unwrap_err().is_damage());
    });
}

#[test]
fn a_damaged_object_is_taken_away_and_can_be_written_again() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let open = async || {
            Store::with_backend(Arc::clone(&backend) as Arc<dyn Backend>, Default::default())
                .await
                .unwrap()
        };
        let bytes = noise(1, 100_000);
        let store = open().await;
        let content = write_files(&store, std::slice::from_ref(&bytes))
            .await
            .unwrap()
            .remove(0);
        let key = store.list("chunks/").await.unwrap().remove(0).key;
        assert_eq!(store.repair_object(&key).await.unwrap(), ObjectRepair::Whole);
        store.put(&key, Bytes::from_static(b"damaged")).await.unwrap();
        assert!(store.check_object(&key).await.unwrap_err().is_damage());
        assert_eq!(store.repair_object(&key).await.unwrap(), ObjectRepair::Removed);
        assert_eq!(store.get(&format!("damaged/{key}")).await.unwrap(), "damaged");
        assert_eq!(store.repair_object(&key).await.unwrap(), ObjectRepair::Missing);
        // This store has seen the chunk a moment ago, and knows now that it is gone.
        write_files(&store, std::slice::from_ref(&bytes)).await.unwrap();
        assert_eq!(open().await.read_file_all(&content).await.unwrap(), bytes);
        // What the store has in memory is written again.
        assert_eq!(store.read_file_all(&content).await.unwrap(), bytes);
        store.delete(&key).await.unwrap();
        assert_eq!(store.read_file_all(&content).await.unwrap(), bytes);
        assert!(store.with_empty_caches().read_file_all(&content).await.is_err());
        assert_eq!(store.repair_object(&key).await.unwrap(), ObjectRepair::Restored);
        assert_eq!(open().await.read_file_all(&content).await.unwrap(), bytes);
    });
}

#[test]
fn a_node_that_refers_to_lost_chunks_is_replaced_by_the_next_write_of_it() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let open = async || {
            Store::with_backend(Arc::clone(&backend) as Arc<dyn Backend>, Default::default())
                .await
                .unwrap()
        };
        let store = open().await;
        let bytes = noise(1, 1000);
        let tree = async |store: &Store, contents: Vec<FileContent>| {
            let entry = FileEntry::new(contents.into_iter().next().unwrap());
            let edit = TreeEdit::put(b"/file".to_vec(), entry.encode());
            Tree::empty(store).apply_all([edit]).await.unwrap().root()
        };
        let root = tree(&store, write_files(&store, std::slice::from_ref(&bytes)).await.unwrap()).await;
        let chunk = store.list("chunks/").await.unwrap().remove(0).key;
        store.delete(&chunk).await.unwrap();
        let read = async |root| {
            let store = open().await;
            let file = FileTree::new(&store, root).file("/file").await?.unwrap();
            store.read_file_all(&file.content).await
        };
        // The same file in another chunk: the tree has the same root.
        let files = [bytes.clone(), noise(2, 1000)];
        let other = || write_files(&store, &files);
        assert_eq!(tree(&store, other().await.unwrap()).await, root);
        assert!(read(root).await.is_err());
        store.replace_node_when_written(root.unwrap().0);
        assert_eq!(tree(&store, other().await.unwrap()).await, root);
        assert_eq!(read(root).await.unwrap(), bytes);
    });
}

#[test]
fn bytes_without_a_file_are_refused() {
    run(async {
        let store = Store::in_memory().await;
        let mut writer = PackWriter::<()>::new(&store);
        assert!(matches!(writer.write(b"x").await, Err(StoreError::NoOpenFile)));
        assert!(writer.finish().await.unwrap().is_empty());
    });
}

/// A backend that counts the bytes read from it.
#[derive(Debug)]
struct Metered {
    inner: MemoryBackend,
    read: AtomicUsize,
}

impl Metered {
    fn count(&self, read: Option<Bytes>) -> Option<Bytes> {
        self.read
            .fetch_add(read.as_ref().map_or(0, Bytes::len), Ordering::Relaxed);
        read
    }
}

#[async_trait::async_trait]
impl Backend for Metered {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    async fn supports_put_if_absent(&self) -> Result<bool, BackendError> {
        self.inner.supports_put_if_absent().await
    }
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BackendError> {
        Ok(self.count(self.inner.get(key).await?))
    }
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, BackendError> {
        Ok(self.count(self.inner.get_range(key, range).await?))
    }
    async fn stat(&self, key: &str) -> Result<Option<ObjectMeta>, BackendError> {
        self.inner.stat(key).await
    }
    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BackendError> {
        self.inner.put(key, bytes).await
    }
    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<PutOutcome, BackendError> {
        self.inner.put_if_absent(key, bytes).await
    }
    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.inner.delete(key).await
    }
    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>, BackendError> {
        self.inner.list(prefix, after).await
    }
}

#[test]
fn small_files_in_any_order_do_not_cost_a_chunk_each() {
    run(async {
        let backend = Arc::new(Metered {
            inner: MemoryBackend::default(),
            read: AtomicUsize::new(0),
        });
        let limits = Limits {
            chunk_cache_bytes: 6 << 20,
            ..Limits::default()
        };
        let store = Store::with_backend(Arc::clone(&backend) as _, limits).await.unwrap();
        let files: Vec<Vec<u8>> = (0..6000).map(|number| noise(number, 4000)).collect();
        let contents = write_files(&store, &files).await.unwrap();
        let total: usize = files.iter().map(Vec::len).sum();
        backend.read.store(0, Ordering::Relaxed);
        // Each reads from another chunk than the one before.
        let order = (0..6000).map(|place| place * 2503 % 6000);
        for index in order.clone() {
            let bytes = store.read_file_all(&contents[index]).await.unwrap();
            assert!(bytes == files[index], "file {index}");
        }
        let read = backend.read.load(Ordering::Relaxed);
        assert!(read < 3 * total, "{read} bytes were read for {total} bytes of files");

        // What is read alone is checked as well.
        for chunk in store.list("chunks/").await.unwrap() {
            let mut stored = store.get(&chunk.key).await.unwrap().to_vec();
            stored[5..].iter_mut().for_each(|byte| *byte ^= 1);
            store.put(&chunk.key, stored.into()).await.unwrap();
        }
        let mut refused = 0;
        for index in order.take(200) {
            match store.read_file_all(&contents[index]).await {
                // From a chunk in the cache.
                Ok(bytes) => assert!(bytes == files[index], "file {index}"),
                Err(error) => {
                    assert!(error.is_damage(), "{error}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 50, "{refused} of 200 were refused");
    });
}

/// A cache in front of the store, as a worker has one.
struct Counting {
    store: Store,
    asked: AtomicUsize,
}

#[async_trait::async_trait]
impl ChunkSource for Counting {
    async fn chunk(&self, hash: &ChunkHash) -> howdah_store::Result<Bytes> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.store.chunk(hash).await
    }
}

#[test]
fn files_can_be_read_through_another_source() {
    run(async {
        let store = Store::in_memory().await;
        let bytes = noise(3, 20 << 20);
        let content = write_files(&store, std::slice::from_ref(&bytes))
            .await
            .unwrap()
            .remove(0);
        let source = Arc::new(Counting {
            store: store.clone(),
            asked: AtomicUsize::new(0),
        });
        let pieces: Vec<Bytes> = read_file_from(source.clone(), &content, 5).try_collect().await.unwrap();
        assert_eq!(pieces.concat(), &bytes[5..]);
        assert_eq!(
            source.asked.load(Ordering::Relaxed),
            store.slices(&content).await.unwrap().len()
        );
    });
}
