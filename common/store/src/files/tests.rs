//! Files compared with a map of paths.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use howdah_glob::{Glob, MatchSteps};
use howdah_model::{Content, GlobalId};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::files::FileEntry;
use crate::format::content::FileContent;
use crate::pack::PackWriter;
use crate::store::Store;
use crate::testing::run;

type Model = BTreeMap<String, Vec<u8>>;

async fn store_bytes(store: &Store, bytes: &[u8]) -> FileContent {
    let mut writer = PackWriter::new(store);
    writer.begin(()).await.unwrap();
    writer.write(bytes).await.unwrap();
    writer.finish().await.unwrap().remove(0).1
}

#[derive(Debug, Clone)]
enum Step {
    Put(String, Vec<u8>),
    Append(String, Vec<u8>),
    Delete(String),
    DeleteRecursive(String),
    Copy(String, String, bool),
}

fn path() -> impl Strategy<Value = String> {
    // Few names, with characters on both sides of the slash in byte order.
    vec(prop::sample::select(vec!["a", "b", "a-", "a.b", "a0"]), 1..4)
        .prop_map(|elements| format!("/{}", elements.join("/")))
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || vec(any::<u8>(), 0..8);
    let place = || prop_oneof![8 => path(), 1 => Just("/".to_owned())];
    let target = || prop_oneof![6 => path(), 2 => path().prop_map(|path| path + "/"), 1 => Just("/".to_owned())];
    prop_oneof![
        6 => (path(), bytes()).prop_map(|(path, bytes)| Step::Put(path, bytes)),
        3 => (path(), bytes()).prop_map(|(path, bytes)| Step::Append(path, bytes)),
        2 => path().prop_map(Step::Delete),
        1 => path().prop_map(|path| Step::Delete(path + "/")),
        1 => place().prop_map(Step::DeleteRecursive),
        2 => (place(), target(), any::<bool>()).prop_map(|(from, to, append)| Step::Copy(from, to, append)),
    ]
}

fn below(path: &str, directory: &str) -> bool {
    path.starts_with(&format!("{}/", directory.trim_end_matches('/')))
}

/// The meaning of steps, as simply as possible. Copies read from `source`.
fn apply_to_model(model: &mut Model, source: &Model, step: &Step) {
    match step {
        Step::Put(path, bytes) => {
            model.insert(path.clone(), bytes.clone());
        }
        Step::Append(path, bytes) => model.entry(path.clone()).or_default().extend(bytes),
        Step::Delete(path) => match path.strip_suffix('/') {
            Some(directory) => model.retain(|path, _| !below(path, directory)),
            None => drop(model.remove(path)),
        },
        Step::DeleteRecursive(path) => model.retain(|other, _| other != path && !below(other, path)),
        Step::Copy(from, to, append) => {
            let found: Vec<_> = source
                .iter()
                .filter(|(path, _)| *path == from || below(path, from))
                .collect();
            for (path, bytes) in found {
                let inside = path.strip_prefix(from.trim_end_matches('/')).unwrap();
                let target = match to.strip_suffix('/') {
                    // A file goes into the directory.
                    Some(directory) if inside.is_empty() => format!("{directory}/{}", path.rsplit_once('/').unwrap().1),
                    directory => format!("{}{inside}", directory.unwrap_or(to)),
                };
                let step = if *append { Step::Append } else { Step::Put };
                apply_to_model(model, source, &step(target, bytes.clone()));
            }
        }
    }
}

fn collides(model: &Model) -> bool {
    model.keys().any(|file| model.keys().any(|other| below(other, file)))
}

async fn add(store: &Store, edits: &mut FileEdits, source: &FileTree, step: &Step) {
    match step {
        Step::Put(path, bytes) => edits.put(path, store_bytes(store, bytes).await).unwrap(),
        Step::Append(path, bytes) => edits.append(path, store_bytes(store, bytes).await).unwrap(),
        Step::Delete(path) => edits.delete(path),
        Step::DeleteRecursive(path) => {
            edits.delete(&format!("{path}/"));
            edits.delete(path);
        }
        Step::Copy(from, to, append) => {
            edits.copy(source, from, to, *append).await.unwrap();
        }
    }
}

/// Applies the staged edits.
async fn settle(store: &Store, base: &Content, waiting: &mut Vec<(GlobalId, StagedEdits)>) -> Content {
    let mut edits = FileEdits::with_memory(PathRules::default(), 100);
    for (id, staged) in waiting.drain(..) {
        let object = store.staged(&id, &staged.hash()).await.unwrap().unwrap();
        assert_eq!(
            format!("{:?}", object.paths().unwrap()),
            format!("{:?}", **staged.paths())
        );
        edits.add_staged(&object).await.unwrap();
        store.delete_staged(&id).await.unwrap();
        assert!(store.staged(&id, &staged.hash()).await.unwrap().is_none());
    }
    edits.apply(store, base).await.unwrap()
}

async fn read_all(store: &Store, content: &Content) -> Model {
    let mut found = Model::new();
    let mut files = std::pin::pin!(FileTree::of(store, content).files("/"));
    while let Some((path, entry)) = files.try_next().await.unwrap() {
        let bytes = store.read_file_all(&entry.content).await.unwrap();
        assert_eq!(entry.content.hash.as_bytes(), blake3::hash(&bytes).as_bytes(), "{path}");
        found.insert(path, bytes.to_vec());
    }
    found
}

/// Every file and directory, in order.
fn expected_walk(model: &Model) -> Vec<String> {
    let mut all: BTreeSet<String> = model.keys().cloned().collect();
    for file in model.keys() {
        all.extend(super::path::directories(file).map(str::to_owned));
    }
    all.into_iter().collect()
}

/// Keeps the paths that do not collide with earlier ones.
fn harmless(paths: Vec<(String, Vec<u8>)>) -> Model {
    let mut model = Model::new();
    for (path, bytes) in paths {
        let mut candidate = model.clone();
        candidate.insert(path, bytes);
        if !collides(&candidate) {
            model = candidate;
        }
    }
    model
}

async fn commit(store: &Store, model: &Model) -> FileTree {
    let mut edits = FileEdits::default();
    for (path, bytes) in model {
        edits.put(path, store_bytes(store, bytes).await).unwrap();
    }
    FileTree::of(store, &edits.apply(store, &Content::EMPTY).await.unwrap())
}

async fn paths(nodes: impl futures::Stream<Item = crate::Result<FileNode>>) -> Vec<String> {
    nodes.map_ok(|node| node.path).try_collect().await.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn edits_do_what_the_model_does(batches in vec(vec(step(), 1..12), 1..5), memory in 1usize..1000) {
        run(async {
            let store = Store::in_memory().await;
            let (mut model, mut content) = (Model::new(), Content::EMPTY);
            for batch in &batches {
                let source = FileTree::of(&store, &content);
                // Often so little memory that steps go to temporary files.
                let mut edits = FileEdits::with_memory(PathRules::default(), memory);
                let mut expected = model.clone();
                for step in batch {
                    add(&store, &mut edits, &source, step).await;
                    edits.make_room().await.unwrap();
                    apply_to_model(&mut expected, &model, step);
                }
                match edits.apply(&store, &content).await {
                    Ok(applied) => {
                        prop_assert!(!collides(&expected), "{expected:?}");
                        prop_assert_eq!(read_all(&store, &applied).await, expected.clone());
                        prop_assert_eq!(applied.files, expected.len() as u64);
                        prop_assert_eq!(applied.bytes, expected.values().map(|b| b.len() as u64).sum::<u64>());
                        (model, content) = (expected, applied);
                    }
                    Err(EditError::Collision(Collision { file, member })) => {
                        prop_assert!(expected.contains_key(&file) && expected.contains_key(&member));
                        prop_assert!(below(&member, &file));
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn staged_edits_have_the_effect_of_edits_applied_at_once(batches in vec(vec(step(), 1..4), 1..8)) {
        run(async {
            let store = Store::in_memory().await;
            let (mut at_once, mut settled) = (Content::EMPTY, Content::EMPTY);
            let mut waiting: Vec<(GlobalId, StagedEdits)> = Vec::new();
            for (number, batch) in (0..).zip(&batches) {
                let source = FileTree::of(&store, &at_once);
                let mut edits = FileEdits::default();
                for step in batch {
                    add(&store, &mut edits, &source, step).await;
                }
                let edits = edits.close().await.unwrap();
                let applied = match edits.apply(&store, &at_once).await {
                    Ok(applied) => Some(applied),
                    Err(EditError::Collision(_)) => None,
                    Err(error) => panic!("{error}"),
                };
                let staged = edits.stage().unwrap().unwrap();
                let may_collide = {
                    let paths = staged.paths();
                    let others = waiting.iter().map(|(_, other)| other.paths()).chain([paths]);
                    let found = { others }.find_map(|other| paths.collision_with(other));
                    let found = match found {
                        None => paths.collision_in(&FileTree::of(&store, &settled)).await.unwrap(),
                        found => found,
                    };
                    if let Some(Collision { file, member }) = &found {
                        prop_assert!(below(member, file));
                    }
                    let removed = |step: &Step| matches!(step, Step::Delete(_) | Step::DeleteRecursive(_));
                    if !batches[..=number as usize].iter().flatten().any(removed) {
                        prop_assert_eq!(found.is_some(), applied.is_none(), "{:?}", found);
                    }
                    found.is_some()
                };
                if may_collide {
                    settled = settle(&store, &settled, &mut waiting).await;
                    let applied_now = edits.apply(&store, &settled).await.ok();
                    prop_assert_eq!(applied_now, applied);
                    settled = applied.unwrap_or(settled);
                } else {
                    prop_assert!(applied.is_some(), "a collision that the paths do not show");
                    let id = GlobalId::from_number(number);
                    store.put_staged(&id, &staged).await.unwrap();
                    waiting.push((id, staged));
                }
                at_once = applied.unwrap_or(at_once);
            }
            prop_assert_eq!(settle(&store, &settled, &mut waiting).await, at_once);
            Ok(())
        })?;
    }

    #[test]
    fn walks_and_lists_are_complete_and_in_order(
        files in vec((path(), vec(any::<u8>(), 0..4)), 0..30),
        start in path(),
        marker in path(),
        slash: bool,
        limit in 1usize..6,
    ) {
        run(async {
            let store = Store::in_memory().await;
            let model = harmless(files);
            let tree = commit(&store, &model).await;
            let marker = if slash { marker + "/" } else { marker };
            let all = expected_walk(&model);
            for start in ["/".to_owned(), start] {
                let directory = super::path::as_directory(&start);
                let inside = |path: &&String| **path == start || path.starts_with(&directory);
                let walk: Vec<String> = all.iter().filter(inside).cloned().collect();
                let own = |path: &&String| **path == directory;
                let depth = super::path::depth(&directory);
                let list: Vec<String> = walk
                    .iter()
                    .filter(|path| !own(path) && (super::path::depth(path) == depth + 1 || **path == start))
                    .cloned()
                    .collect();
                let page = |marker: Option<&String>, limit, reverse| ListingPage { marker: marker.cloned(), limit, reverse };
                for (expected, listed) in [(walk, false), (list, true)] {
                    let get = async |page: ListingPage| if listed {
                        paths(tree.list(&start, &page)).await
                    } else {
                        paths(tree.walk(&start, &page)).await
                    };
                    prop_assert_eq!(&get(ListingPage::all()).await, &expected);
                    let after: Vec<_> = expected.iter().filter(|path| **path > marker).take(limit).cloned().collect();
                    prop_assert_eq!(get(page(Some(&marker), Some(limit), false)).await, after);
                    let before: Vec<_> =
                        expected.iter().rev().filter(|path| **path < marker).take(limit).cloned().collect();
                    prop_assert_eq!(get(page(Some(&marker), Some(limit), true)).await, before);
                    let last: Vec<_> = expected.iter().rev().take(limit).cloned().collect();
                    prop_assert_eq!(get(page(None, Some(limit), true)).await, last);
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn globs_find_exactly_what_matches(
        files in vec((path(), Just(Vec::new())), 0..30),
        pattern in prop_oneof![
            Just("/".to_owned()), Just("/*".to_owned()), Just("/**".to_owned()), Just("/*/*".to_owned()),
            Just("/a*".to_owned()), Just("/a/{a,b}*".to_owned()), Just("/a/**".to_owned()),
            Just("/a?b".to_owned()), Just("/*/a/*".to_owned()), path(),
        ],
    ) {
        run(async {
            let store = Store::in_memory().await;
            let model = harmless(files);
            let tree = commit(&store, &model).await;
            let glob = Glob::new(&pattern).unwrap();
            let matches = |path: &&String| {
                let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
                glob.is_match(path, &mut MatchSteps::default()).unwrap()
            };
            let expected: Vec<String> = expected_walk(&model).iter().filter(matches).cloned().collect();
            prop_assert_eq!(paths(tree.glob(&glob)).await, expected, "{}", pattern);
            Ok(())
        })?;
    }

    #[test]
    fn diffs_and_hashes_report_exactly_what_changed(
        old in vec((path(), vec(0u8..3, 0..2)), 0..20),
        new in vec((path(), vec(0u8..3, 0..2)), 0..20),
        start in path(),
    ) {
        run(async {
            let store = Store::in_memory().await;
            let (old, new) = (harmless(old), harmless(new));
            let (old_tree, new_tree) = (commit(&store, &old).await, commit(&store, &new).await);
            // A directory's content, with names relative to it.
            let seen = |model: &Model, path: &str| -> Option<Vec<(String, Vec<u8>)>> {
                let inside: Vec<_> = model
                    .iter()
                    .filter_map(|(file, bytes)| {
                        let name = if file == path { Some("") } else { file.strip_prefix(path).filter(|_| path.ends_with('/')) };
                        name.map(|name| (name.to_owned(), bytes.clone()))
                    })
                    .collect();
                (!inside.is_empty()).then_some(inside)
            };
            let everything: BTreeSet<String> =
                expected_walk(&old).into_iter().chain(expected_walk(&new)).collect();
            for path in &everything {
                let (a, b) = (old_tree.inspect(path).await.unwrap(), new_tree.inspect(path).await.unwrap());
                let same_kind = a.as_ref().is_some_and(|a| a.path == *path) && b.as_ref().is_some_and(|b| b.path == *path);
                if same_kind {
                    prop_assert_eq!(a.unwrap().hash == b.unwrap().hash, seen(&old, path) == seen(&new, path));
                }
            }
            for start in ["/".to_owned(), start] {
                let directory = super::path::as_directory(&start);
                let expected: Vec<&String> = everything
                    .iter()
                    .filter(|path| **path == start || path.starts_with(&directory))
                    .filter(|path| seen(&old, path) != seen(&new, path))
                    .collect();
                let diffs: Vec<FileDiff> = FileTree::diff(&old_tree, &new_tree, &start).try_collect().await.unwrap();
                let found: Vec<&String> =
                    diffs.iter().map(|diff| &diff.old.as_ref().or(diff.new.as_ref()).unwrap().path).collect();
                prop_assert_eq!(found, expected);
                let files: Vec<FileDiff> =
                    FileTree::changed_files(&old_tree, &new_tree, &start).try_collect().await.unwrap();
                let is_file = |diff: &&FileDiff| {
                    [&diff.old, &diff.new].into_iter().flatten().all(|node| !node.is_directory())
                };
                prop_assert_eq!(files, diffs.iter().filter(is_file).cloned().collect::<Vec<_>>());
                for FileDiff { old: a, new: b } in &diffs {
                    let path = &a.as_ref().or(b.as_ref()).unwrap().path;
                    prop_assert_eq!(a.is_some(), seen(&old, path).is_some());
                    prop_assert_eq!(b.is_some(), seen(&new, path).is_some());
                }
            }
            Ok(())
        })?;
    }
}

#[test]
fn collisions_are_found_however_other_paths_sort_between() {
    run(async {
        let store = Store::in_memory().await;
        let content = store_bytes(&store, b"x").await;
        // "/a-b" and "/a.c" sort between "/a" and "/a/b".
        for (first, second) in [("/a", "/a/b/c"), ("/a/b/c", "/a")] {
            let mut edits = FileEdits::default();
            for path in ["/a-b", "/a.c", first] {
                edits.put(path, content.clone()).unwrap();
            }
            let base = edits.apply(&store, &Content::EMPTY).await.unwrap();
            let mut edits = FileEdits::default();
            edits.put(second, content.clone()).unwrap();
            let error = edits.apply(&store, &base).await.unwrap_err().to_string();
            assert!(
                error.contains("file / directory path collision") && error.contains("/a/b/c"),
                "{error}"
            );
            // No collision if the same edits remove the other one.
            let mut edits = FileEdits::default();
            edits.delete(first);
            edits.put(second, content.clone()).unwrap();
            edits.apply(&store, &base).await.unwrap();
        }
    });
}

#[test]
fn equal_directories_have_equal_hashes_wherever_they_are() {
    run(async {
        let store = Store::in_memory().await;
        let model = |files: &[(&str, &str)]| -> Model {
            files
                .iter()
                .map(|(path, bytes)| ((*path).to_owned(), bytes.as_bytes().to_vec()))
                .collect()
        };
        let tree = commit(
            &store,
            &model(&[
                ("/a/x/1", "one"),
                ("/a/y", "two"),
                ("/b/c/x/1", "one"),
                ("/b/c/y", "two"),
                ("/d/x/2", "one"),
                ("/d/y", "two"),
            ]),
        )
        .await;
        let hash = async |path: &str| tree.inspect(path).await.unwrap().unwrap().hash;
        assert_eq!(hash("/a").await, hash("/b/c").await);
        assert_ne!(hash("/a").await, hash("/d").await);
        assert_eq!(tree.inspect("/b").await.unwrap().unwrap().size, 6);
        assert_eq!(tree.inspect("/b/").await.unwrap().unwrap().files, 2);
        assert!(tree.inspect("/nothing").await.unwrap().is_none());
        assert!(FileTree::new(&store, None).inspect("/").await.unwrap().is_none());
    });
}

#[test]
fn staged_edits_that_are_damaged_are_refused_by_name() {
    run(async {
        let store = Store::in_memory().await;
        let mut edits = FileEdits::default();
        for number in 0..300 {
            let path = format!("/d{}/{number}", number % 7);
            edits.append(&path, store_bytes(&store, b"some bytes").await).unwrap();
        }
        let staged = edits.close().await.unwrap().stage().unwrap().unwrap();
        assert_eq!(staged.bytes, 3000);
        let (id, hash) = (GlobalId::from_number(5), staged.hash());
        store.put_staged(&id, &staged).await.unwrap();
        assert_eq!(store.list_staged().await.unwrap()[0].0, id);
        let key = format!("staged/{id}");
        let good = store.get(&key).await.unwrap();
        for at in [0, 1, 5, good.len() / 2, good.len() - 1] {
            let mut bad = good.to_vec();
            bad[at] ^= 0x10;
            store.put(&key, bad.into()).await.unwrap();
            let error = store.staged(&id, &hash).await.unwrap_err();
            assert!(error.is_damage() && error.to_string().contains(&key), "{error}");
        }
    });
}

#[test]
fn refused_paths_leave_edits_as_they_were() {
    let mut edits = FileEdits::new(PathRules::Strict);
    assert!(edits.put("/a*", FileContent::empty()).is_err());
    assert!(edits.append("/a/../b", FileContent::empty()).is_err());
    assert!(edits.put_entry("/", &FileEntry::new(FileContent::empty())).is_err());
    assert!(edits.is_empty());
    let mut edits = FileEdits::new(PathRules::Relaxed);
    edits.put("/a*", FileContent::empty()).unwrap();
    assert!(!edits.is_empty());
}
