//! One suite for every backend: the contract in the head of `howdah_store::backend`.

#![allow(clippy::unwrap_used, reason = "a panic with a line number is how a test fails")]
#![allow(missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use howdah_model::Content;
use howdah_store::backend::{Backend, FsBackend, MemoryBackend};
use howdah_store::{
    FileEdits, FileTree, KeyRange, MetaLog, PutOutcome, Store, StoreConfig, StoreError, Tree, TreeEdit, TreeValue,
};
use support::noise::noise;
use support::{S3Server, run, write_files};

/// Runs the whole suite. `open` opens the same place again, as another process does.
async fn conforms(open: impl AsyncFn() -> Store) {
    let store = open().await;
    assert!(
        store.capabilities().put_if_absent,
        "{} must have put-if-absent",
        store.describe()
    );
    objects_come_back(&store).await;
    parts_of_objects(&store).await;
    listing(&store).await;
    conditional_writes(&store).await;
    overwriting_is_whole(&store).await;
    other_handles_see_everything(&store, &open().await).await;
    the_upper_layers_work(&open).await;
}

async fn objects_come_back(store: &Store) {
    assert_eq!(store.get_opt("objects/none").await.unwrap(), None);
    assert_eq!(store.stat("objects/none").await.unwrap(), None);
    let missing = store.get("objects/none").await.unwrap_err();
    assert!(
        matches!(&missing, StoreError::Missing { key } if key == "objects/none"),
        "{missing}"
    );
    for (key, length) in [
        ("objects/empty", 0),
        ("objects/small", 5),
        ("objects/large", 8 << 20),
        ("objects/a b+c%d@e=f", 3),
        ("top", 1),
    ] {
        let bytes = Bytes::from(noise(length as u64, length));
        store.put(key, bytes.clone()).await.unwrap();
        assert_eq!(store.get(key).await.unwrap(), bytes, "{key}");
        let meta = store.stat(key).await.unwrap().unwrap();
        assert_eq!((meta.key.as_str(), meta.size), (key, length as u64));
        assert!(meta.modified.is_some(), "{key}");
        store.put(key, Bytes::from_static(b"other")).await.unwrap();
        assert_eq!(store.get(key).await.unwrap(), "other", "{key}");
        store.delete(key).await.unwrap();
        store.delete(key).await.unwrap();
        assert_eq!(store.get_opt(key).await.unwrap(), None, "{key}");
    }
}

async fn parts_of_objects(store: &Store) {
    store
        .put("parts/object", Bytes::from_static(b"0123456789"))
        .await
        .unwrap();
    for (range, expected) in [
        (0..4, "0123"),
        (8..10, "89"),
        (8..99, "89"),
        (10..12, ""),
        (3..3, ""),
        (50..60, ""),
    ] {
        assert_eq!(
            store.get_range("parts/object", range.clone()).await.unwrap(),
            expected,
            "{range:?}"
        );
    }
    assert!(store.get_range("parts/none", 0..1).await.unwrap_err().is_damage());
}

async fn listing(store: &Store) {
    assert_eq!(store.list("list/").await.unwrap(), []);
    let keys: Vec<String> = (0..1100)
        .map(|n| format!("list/many/{n:05}"))
        .chain(["list/a/b/c", "list/a-b", "list/az"].map(String::from))
        .collect();
    for some in keys.chunks(50) {
        join_all(some.iter().map(|key| store.put(key, Bytes::from_static(b"xy")))).await;
    }
    let list = async |prefix: &str, after: Option<&str>| -> Vec<String> {
        let listed = store.list_after(prefix, after).await.unwrap();
        assert!(listed.iter().all(|object| object.size == 2));
        listed.into_iter().map(|object| object.key).collect()
    };
    assert_eq!(list("list/a", None).await, ["list/a-b", "list/a/b/c", "list/az"]);
    assert_eq!(list("list/a/", None).await, ["list/a/b/c"]);
    assert_eq!(list("list/none", None).await, [""; 0]);
    assert_eq!(list("list/many/", None).await, keys[..1100]);
    assert_eq!(
        list("list/many/", Some("list/many/01097")).await,
        ["list/many/01098", "list/many/01099"]
    );
    assert_eq!(
        list("list/many/", Some("list/many/010975")).await,
        ["list/many/01098", "list/many/01099"]
    );
    assert_eq!(list("list/many/", Some("list/many/01099")).await, [""; 0]);
    assert_eq!(list("list/", None).await.len(), 1103);
}

async fn conditional_writes(store: &Store) {
    let put = |bytes: &'static str| store.put_if_absent("conditional/one", Bytes::from_static(bytes.as_bytes()));
    assert_eq!(put("first").await.unwrap(), PutOutcome::Created);
    assert_eq!(put("second").await.unwrap(), PutOutcome::Exists);
    assert_eq!(store.get("conditional/one").await.unwrap(), "first");
    store.delete("conditional/one").await.unwrap();
    assert_eq!(put("third").await.unwrap(), PutOutcome::Created);
}

/// Of many concurrent creations of one object, one succeeds. Not checked with s3s-fs, which looks for the object and
/// writes it in two steps: it refuses later creations, but not concurrent ones.
async fn races_have_one_winner(store: &Store) {
    for round in 0..10 {
        let key = format!("conditional/race-{round}");
        let bytes = |n: u64| Bytes::from(noise(n, 20_000));
        let racers = (0..16).map(|n| {
            let (store, key) = (store.clone(), key.clone());
            tokio::spawn(async move { store.put_if_absent(&key, bytes(n)).await.unwrap() })
        });
        let outcomes: Vec<PutOutcome> = join_all(racers).await.into_iter().map(Result::unwrap).collect();
        let winners: Vec<usize> = (0..16).filter(|n| outcomes[*n] == PutOutcome::Created).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        assert_eq!(store.get(&key).await.unwrap(), bytes(winners[0] as u64));
    }
}

async fn overwriting_is_whole(store: &Store) {
    let versions: Vec<Bytes> = (0..4)
        .map(|n| Bytes::from(noise(n, 300_000 + n as usize * 1000)))
        .collect();
    store.put("whole", versions[0].clone()).await.unwrap();
    let writer = tokio::spawn({
        let (store, versions) = (store.clone(), versions.clone());
        async move {
            for n in 0..24 {
                store.put("whole", versions[n % 4].clone()).await.unwrap();
            }
        }
    });
    let mut reads = 0;
    while !writer.is_finished() || reads == 0 {
        let seen = store.get("whole").await.unwrap();
        assert!(
            versions.contains(&seen),
            "a mixture or a part of {} bytes was read",
            seen.len()
        );
        reads += 1;
    }
    writer.await.unwrap();
}

async fn other_handles_see_everything(one: &Store, other: &Store) {
    for n in 0..20 {
        let key = format!("handles/{n}");
        one.put(&key, Bytes::from_static(b"seen")).await.unwrap();
        assert_eq!(other.get(&key).await.unwrap(), "seen");
        assert_eq!(other.list("handles/").await.unwrap().len(), n + 1);
        assert_eq!(
            other.put_if_absent(&key, Bytes::new()).await.unwrap(),
            PutOutcome::Exists
        );
    }
}

async fn the_upper_layers_work(open: &impl AsyncFn() -> Store) {
    let files: Vec<Vec<u8>> = (0..50).map(|n| noise(n, n as usize * 7919)).collect();
    let (base, content, root);
    {
        let store = open().await;
        let contents = write_files(&store, &files).await.unwrap();
        let mut edits = FileEdits::default();
        for (n, content) in contents.into_iter().enumerate() {
            edits.put(&format!("/dir/{n:03}"), content).unwrap();
        }
        base = edits.apply(&store, &Content::EMPTY).await.unwrap();
        let mut edits = FileEdits::default();
        edits.delete("/dir/007");
        content = edits.apply(&store, &base).await.unwrap();
        let entries = (0..3000).map(|n| TreeEdit::put(format!("{n:05}"), TreeValue::plain(noise(n, 60), n)));
        root = Tree::empty(&store).apply_all(entries).await.unwrap().root();
        let mut log = MetaLog::open(&store).await.unwrap().log;
        // Record 1 is the claim.
        assert_eq!(log.append_events(&["one", "two"]).await.unwrap(), 2);
        log.snapshot(2, b"state").await.unwrap();
        assert_eq!(log.append_events(&["three"]).await.unwrap(), 3);
    }
    let store = open().await;
    assert_eq!((base.files, content.files), (50, 49));
    let tree = FileTree::of(&store, &content);
    assert!(tree.file("/dir/007").await.unwrap().is_none());
    let mut read = BTreeMap::new();
    for n in [0usize, 1, 6, 8, 49] {
        let entry = tree.file(&format!("/dir/{n:03}")).await.unwrap().unwrap();
        read.insert(n, store.read_file_all(&entry.content).await.unwrap());
    }
    assert!(read.iter().all(|(n, bytes)| bytes == &files[*n]));
    let total = Tree::new(&store, root)
        .aggregate(&KeyRange::between("00100", "00200"))
        .await
        .unwrap();
    assert_eq!((total.count, total.weight), (100, (100..200).sum()));
    let opened = MetaLog::open(&store).await.unwrap();
    assert_eq!(opened.contents.snapshot.unwrap().bytes, "state");
    assert_eq!(opened.contents.records[0].events::<String>().unwrap(), ["three"]);
    assert_eq!((opened.contents.last, opened.log.epoch()), (3, 4));
}

#[test]
fn memory() {
    run(async {
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
        conforms(async || {
            Store::with_backend(Arc::clone(&backend), Default::default())
                .await
                .unwrap()
        })
        .await;
        races_have_one_winner(&Store::with_backend(backend, Default::default()).await.unwrap()).await;
    });
}

#[test]
fn local_folder() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig::new(format!("file://{}/deep/store", folder.path().display()));
        conforms(async || Store::open(&config).await.unwrap()).await;
        races_have_one_winner(&Store::open(&config).await.unwrap()).await;
    });
}

#[test]
fn s3() {
    run(async {
        let server = S3Server::start();
        let config = server.config("some/prefix");
        conforms(async || Store::open(&config).await.unwrap()).await;
        // Another prefix of the bucket is another store.
        let other = Store::open(&server.config("some/other")).await.unwrap();
        assert_eq!(other.list("handles/").await.unwrap(), []);
    });
}

fn temporary_folders(root: &Path) -> usize {
    std::fs::read_dir(root.join(".tmp")).unwrap().count()
}

#[test]
fn temporary_files_of_crashed_processes_are_removed_and_those_of_others_are_kept() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let living = FsBackend::open(root).unwrap();
        // What a process leaves that died in the middle of a write, and one that died just before.
        std::fs::create_dir(root.join(".tmp/123-dead")).unwrap();
        std::fs::write(root.join(".tmp/123-dead/lock"), "").unwrap();
        std::fs::write(root.join(".tmp/123-dead/0"), "half an obj").unwrap();
        std::fs::create_dir(root.join(".tmp/124-dead")).unwrap();
        let second = FsBackend::open(root).unwrap();
        assert_eq!(temporary_folders(root), 2);
        for backend in [&living, &second] {
            backend.put("meta/x", Bytes::from_static(b"x")).await.unwrap();
        }
        assert_eq!(living.list("", None).await.unwrap().len(), 1);
        drop((living, second));
        assert_eq!(temporary_folders(root), 0);
    });
}

#[test]
fn keys_cannot_leave_the_folder() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let backend = FsBackend::open(&folder.path().join("store")).unwrap();
        for key in [
            "",
            "/etc/x",
            "../x",
            "a/../../x",
            "a//b",
            "a/./b",
            "a/",
            ".tmp/x",
            "a\0b",
        ] {
            assert!(backend.put(key, Bytes::new()).await.is_err(), "{key:?}");
            assert!(backend.put_if_absent(key, Bytes::new()).await.is_err(), "{key:?}");
            assert!(backend.get(key).await.is_err(), "{key:?}");
            assert!(backend.delete(key).await.is_err(), "{key:?}");
        }
    });
}

#[test]
fn errors_of_opening_name_the_reason() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let url = format!("file://{}/below", file.display());
        let error = Store::open(&StoreConfig::new(&url)).await.unwrap_err();
        assert!(error.to_string().contains(&url), "{error}");

        let store = Store::open(&StoreConfig::new(format!("file://{}", folder.path().display())))
            .await
            .unwrap();
        store
            .put("meta/format", Bytes::from_static(b"{\"howdah_store\":99}"))
            .await
            .unwrap();
        let config = StoreConfig::new(format!("file://{}", folder.path().display()));
        let error = Store::open(&config).await.unwrap_err().to_string();
        assert!(error.contains("format 99"), "{error}");
    });
}
