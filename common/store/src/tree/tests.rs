//! Trees compared with a `BTreeMap`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::{TryStreamExt, stream};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::backend::MemoryBackend;
use crate::error::{Result, StoreError};
use crate::objects::config::Limits;
use crate::store::Store;
use crate::testing::{counted, run};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;
type ModelEdit = (Vec<u8>, Option<Vec<u8>>);

fn value(data: &[u8]) -> TreeValue {
    TreeValue {
        data: Bytes::copy_from_slice(data),
        placement: Bytes::from_static(b"there"),
        weight: data.len() as u64,
    }
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-c/]{0,5}".prop_map(String::into_bytes),
        (0u16..400).prop_map(|n| format!("/files/{n:03}").into_bytes()),
        vec(any::<u8>(), 0..4),
    ]
}

fn steps(most: usize) -> impl Strategy<Value = Vec<ModelEdit>> {
    vec(
        (key(), proptest::option::weighted(0.7, vec(any::<u8>(), 0..30))),
        0..most,
    )
}

/// Applies steps to the model and turns them into edits: the last step on a key counts.
fn edits(model: &mut Model, steps: &[ModelEdit]) -> Vec<TreeEdit> {
    let mut edits = BTreeMap::new();
    for (key, data) in steps {
        match data {
            Some(data) => model.insert(key.clone(), data.clone()),
            None => model.remove(key),
        };
        edits.insert(key.clone(), data.as_ref().map(|data| value(data)));
    }
    edits
        .into_iter()
        .map(|(key, value)| TreeEdit { key: key.into(), value })
        .collect()
}

async fn build(store: &Store, model: &Model) -> Tree {
    let entries = model.iter().map(|(key, data)| {
        Ok(TreeEntry {
            key: key.clone().into(),
            value: value(data),
        })
    });
    Tree::build(store, stream::iter(entries.collect::<Vec<_>>()))
        .await
        .unwrap()
}

async fn content(tree: &Tree, range: KeyRange) -> Vec<(Vec<u8>, Vec<u8>)> {
    let entries: Vec<TreeEntry> = tree.range(range).try_collect().await.unwrap();
    entries
        .into_iter()
        .map(|entry| (entry.key.to_vec(), entry.value.data.to_vec()))
        .collect()
}

fn pairs<'a>(model: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
    model.map(|(key, data)| (key.clone(), data.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn edits_in_any_batches_give_the_content_and_root_of_the_model(batches in vec(steps(60), 1..6)) {
        run(async {
            let store = Store::in_memory().await;
            let (mut model, mut tree) = (Model::new(), Tree::empty(&store));
            let mut one_by_one = Tree::empty(&store);
            for batch in &batches {
                let edits = edits(&mut model, batch);
                for edit in edits.iter().rev() {
                    one_by_one = one_by_one.apply_all([edit.clone()]).await.unwrap();
                }
                tree = tree.apply_all(edits).await.unwrap();
                prop_assert_eq!(content(&tree, KeyRange::all()).await, pairs(model.iter()));
                prop_assert_eq!(tree.root(), build(&store, &model).await.root());
                prop_assert_eq!(one_by_one.root(), tree.root());
                prop_assert_eq!(tree.root().is_none(), model.is_empty());
            }
            Ok(())
        })?;
    }

    #[test]
    fn ranges_and_totals_are_those_of_the_model(
        steps in steps(300),
        bounds in vec((key(), proptest::option::of(key())), 1..12),
    ) {
        run(async {
            let store = Store::in_memory().await;
            let mut model = Model::new();
            let tree = Tree::empty(&store).apply_all(edits(&mut model, &steps)).await.unwrap();
            for (start, end) in bounds {
                let range = KeyRange { start: start.clone().into(), end: end.map(Bytes::from) };
                let expected = pairs(model.iter().filter(|(key, _)| range.contains(key)));
                prop_assert_eq!(&content(&tree, range.clone()).await, &expected);
                let backwards: Vec<TreeEntry> = tree.range_rev(range.clone()).try_collect().await.unwrap();
                let backwards = backwards.iter().rev().map(|entry| (entry.key.to_vec(), entry.value.data.to_vec()));
                prop_assert_eq!(backwards.collect::<Vec<_>>(), expected.clone());
                let total = tree.aggregate(&range).await.unwrap();
                prop_assert_eq!(total.count, expected.len() as u64);
                prop_assert_eq!(total.weight, expected.iter().map(|(_, data)| data.len() as u64).sum::<u64>());
                let prefix = content(&tree, KeyRange::prefix(&start)).await;
                prop_assert_eq!(prefix, pairs(model.iter().filter(|(key, _)| key.starts_with(&start))));
                let next = tree.first_at_or_after(&start).await.unwrap().map(|entry| entry.key.to_vec());
                prop_assert_eq!(next.as_ref(), model.range(start.clone()..).next().map(|(key, _)| key));
                let last = tree.last_before(&start).await.unwrap().map(|entry| entry.key.to_vec());
                prop_assert_eq!(last.as_ref(), model.range(..start.clone()).next_back().map(|(key, _)| key));
                let got = tree.get(&start).await.unwrap().map(|value| value.data.to_vec());
                prop_assert_eq!(got.as_ref(), model.get(&start));
            }
            for (index, (key, _)) in model.iter().enumerate() {
                prop_assert_eq!(&tree.nth(index as u64).await.unwrap().unwrap().key, key);
            }
            prop_assert_eq!(tree.nth(model.len() as u64).await.unwrap(), None);
            Ok(())
        })?;
    }

    #[test]
    fn a_diff_is_the_difference_of_the_models(first in steps(300), second in steps(40), start in key(), end in key()) {
        run(async {
            let store = Store::in_memory().await;
            let mut model = Model::new();
            let old = Tree::empty(&store).apply_all(edits(&mut model, &first)).await.unwrap();
            let old_model = model.clone();
            let new = old.apply_all(edits(&mut model, &second)).await.unwrap();
            for range in [KeyRange::all(), KeyRange::between(start, end)] {
                let found: Vec<DiffItem> = Tree::diff(&old, &new, range.clone()).try_collect().await.unwrap();
                let found: Vec<_> = found
                    .into_iter()
                    .map(|item| (item.key.to_vec(), item.old.map(|v| v.data.to_vec()), item.new.map(|v| v.data.to_vec())))
                    .collect();
                let keys: BTreeSet<_> = old_model.keys().chain(model.keys()).collect();
                let expected: Vec<_> = keys
                    .into_iter()
                    .filter(|key| range.contains(key) && old_model.get(*key) != model.get(*key))
                    .map(|key| (key.clone(), old_model.get(key).cloned(), model.get(key).cloned()))
                    .collect();
                prop_assert_eq!(found, expected);
            }
            let back = new.apply_difference(&new, &old).await.unwrap();
            prop_assert_eq!(back.root(), old.root());
            Ok(())
        })?;
    }
}

fn many(count: usize) -> Model {
    (0..count)
        .map(|n| (format!("/files/{n:06}").into_bytes(), n.to_string().into_bytes()))
        .collect()
}

#[test]
fn a_small_change_of_a_large_tree_touches_few_nodes() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let (store, requests) = counted(&backend).await;
        let tree = build(&store, &many(20_000)).await;
        let nodes = requests.writes();
        assert!(nodes > 1000, "{nodes}");

        let (cold, requests) = counted(&backend).await;
        let cold_tree = Tree::new(&cold, tree.root());
        let changed = cold_tree
            .apply_all([TreeEdit::put("/files/012345", value(b"new"))])
            .await
            .unwrap();
        let height = store.node(tree.root().unwrap().0).await.unwrap().level() as usize + 1;
        assert!(height >= 4, "{height}");
        assert!(requests.writes() <= 3 * height, "{} writes", requests.writes());
        assert!(requests.reads() <= 3 * height, "{} reads", requests.reads());

        let (cold, requests) = counted(&backend).await;
        let (old, new) = (Tree::new(&cold, tree.root()), Tree::new(&cold, changed.root()));
        let diff: Vec<_> = Tree::diff(&old, &new, KeyRange::all()).try_collect().await.unwrap();
        assert_eq!(diff.len(), 1);
        assert!(requests.reads() <= 4 * height, "{} reads", requests.reads());

        let (cold, requests) = counted(&backend).await;
        let range = KeyRange::between("/files/000100", "/files/019000");
        let total = Tree::new(&cold, tree.root()).aggregate(&range).await.unwrap();
        assert_eq!(total.count, 18_900);
        assert!(requests.reads() <= 2 * height, "{} reads", requests.reads());
    });
}

#[test]
fn nodes_after_a_range_are_not_read_ahead() {
    let backend = Arc::new(MemoryBackend::default());
    run(async {
        let model = many(3000);
        let root = build(
            &Store::with_backend(backend.clone(), Limits::default()).await.unwrap(),
            &model,
        )
        .await
        .root();
        let (whole, some): (Vec<_>, Vec<_>) = (model.keys().collect(), model.keys().take(30).collect());
        let reads = async |keys: &[&Vec<u8>]| {
            let (store, requests) = counted(&backend).await;
            let end = [&keys[keys.len() - 1][..], b"\0"].concat();
            let found = content(&Tree::new(&store, root), KeyRange::between(vec![], end)).await;
            assert_eq!(found.len(), keys.len());
            // Reads ahead have ended when no other task is ready.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            requests.reads()
        };
        let (few, all) = (reads(&some).await, reads(&whole).await);
        assert!(few * 20 < all, "{few} reads for 30 entries, {all} for all");
    });
}

#[test]
fn edits_without_effect_write_nothing() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let (store, requests) = counted(&backend).await;
        let model = many(2_000);
        let tree = build(&store, &model).await;
        requests.reset();
        let same = model.iter().map(|(key, data)| TreeEdit::put(key.clone(), value(data)));
        let absent = TreeEdit::remove("/no/such/file");
        assert_eq!(
            tree.apply_all(same.collect::<Vec<_>>()).await.unwrap().root(),
            tree.root()
        );
        assert_eq!(tree.apply_all([absent]).await.unwrap().root(), tree.root());
        assert_eq!(requests.writes(), 0);
    });
}

#[test]
fn placements_do_not_change_the_root_and_the_first_one_stays() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let (first, _) = counted(&backend).await;
        let (second, _) = counted(&backend).await;
        let place = |place: &'static str| TreeValue {
            placement: Bytes::from_static(place.as_bytes()),
            ..value(b"v")
        };
        let a = Tree::empty(&first)
            .apply_all([TreeEdit::put("k", place("here"))])
            .await
            .unwrap();
        let b = Tree::empty(&second)
            .apply_all([TreeEdit::put("k", place("there"))])
            .await
            .unwrap();
        assert_eq!(a.root(), b.root());
        for tree in [a, b] {
            assert_eq!(tree.get(b"k").await.unwrap().unwrap().placement, "here");
        }
    });
}

#[test]
fn edits_must_ascend_and_keys_have_a_limit() {
    run(async {
        let store = Store::in_memory().await;
        let put = |key: &str| TreeEdit::put(key.to_owned(), value(b""));
        for wrong in [[put("b"), put("a")], [put("a"), put("a")]] {
            for tree in [Tree::empty(&store), build(&store, &many(10)).await] {
                let error = tree.apply_all(wrong.clone()).await.unwrap_err();
                assert!(matches!(error, StoreError::Unsorted { .. }), "{error}");
            }
        }
        let error = Tree::empty(&store)
            .apply_all([put(&"x".repeat(MAX_KEY_BYTES + 1))])
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::BadKey { .. }), "{error}");
    });
}

#[test]
fn damaged_and_missing_nodes_are_named() {
    run(async {
        let backend = Arc::new(MemoryBackend::default());
        let (store, requests) = counted(&backend).await;
        let tree = build(&store, &many(500)).await;
        let written = requests.written.lock().unwrap().clone();
        let victim = written.iter().find(|key| key.starts_with("nodes/")).unwrap();
        let mut bytes = store.get(victim).await.unwrap().to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        for damage in [Some(bytes), None] {
            match damage {
                Some(bytes) => store.put(victim, bytes.into()).await.unwrap(),
                None => store.delete(victim).await.unwrap(),
            }
            let (cold, _) = counted(&backend).await;
            let read: Result<Vec<TreeEntry>> = Tree::new(&cold, tree.root()).range(KeyRange::all()).try_collect().await;
            let error = read.unwrap_err();
            assert!(error.is_damage() && error.to_string().contains(victim), "{error}");
        }
    });
}
