//! The difference of input trees gives the same datums as a comparison of all datums, for any input and any change.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use howdah_model::{Content, DatumHash, DatumId, DatumIndex, GlobalId};
use howdah_protocol::objects::{Datum, DatumSet, JobPlan, PlanId, SetConcurrency, plan_key};
use howdah_spec::{Input, PfsInput};
use howdah_store::{FileEdits, PathRules, Store, StoreConfig};
use proptest::prelude::*;

use super::*;

type Files = BTreeMap<String, u8>;

/// Two repositories, `a` and `b`.
type Repos = [Files; 2];

fn files() -> impl Strategy<Value = Files> {
    let path = prop::sample::select(vec!["/x", "/y", "/d/1", "/d/2", "/e/f/3", "/e/4", "/z1", "/z2"]);
    prop::collection::btree_map(path.prop_map(str::to_owned), 0u8..3, 0..7)
}

fn leaf() -> impl Strategy<Value = Input> {
    let glob = prop::sample::select(vec!["/", "/*", "/**", "/d/*", "/e/", "/z?", "/*/*", "/d"]);
    let repo = prop::sample::select(vec!["a", "b"]);
    (repo, glob, any::<bool>()).prop_map(|(repo, glob, reference)| {
        Input::Pfs(PfsInput {
            project: "default".to_owned(),
            name: repo.to_owned(),
            repo: repo.to_owned(),
            branch: "master".to_owned(),
            glob: glob.to_owned(),
            // The same repository twice is either with or without its content.
            reference: reference && repo == "b",
            ..PfsInput::default()
        })
    })
}

fn input() -> impl Strategy<Value = Input> {
    leaf().prop_recursive(2, 6, 3, |inner| {
        let inputs = prop::collection::vec(inner, 1..3);
        (inputs, any::<bool>()).prop_map(|(inputs, union)| {
            if union {
                Input::Union(inputs)
            } else {
                Input::Cross(inputs)
            }
        })
    })
}

/// Tells whether two file inputs of one repository differ in `reference`: the same datum would have two hashes.
fn mixes_references(input: &Input) -> bool {
    let mut kinds = BTreeSet::new();
    for leaf in input.leaves() {
        if let Input::Pfs(pfs) = leaf {
            kinds.insert((pfs.repo.clone(), pfs.reference));
        }
    }
    kinds.iter().filter(|(repo, _)| repo == "b").count() > 1
}

async fn commit(store: &Store, files: &Files) -> InputCommit {
    let mut writer = howdah_store::PackWriter::new(store);
    for (path, byte) in files {
        writer.begin(path).await.unwrap();
        writer.write(&[*byte]).await.unwrap();
        writer.end().await.unwrap();
    }
    let mut edits = FileEdits::new(PathRules::default());
    for (path, content) in writer.finish().await.unwrap() {
        edits.put(path, content).unwrap();
    }
    InputCommit {
        id: GlobalId::from_number(files.len() as u64),
        content: edits.apply(store, &Content::default()).await.unwrap(),
    }
}

async fn files_lie_where_datums_say(store: &Store, datums: &[Datum]) {
    for (input, content) in datums.iter().flat_map(Datum::files) {
        assert_eq!(content.is_none(), input.is_dir, "{}", input.path);
        if let Some(content) = content {
            let tree = howdah_store::FileTree::new(store, Some(input.root));
            let in_tree = tree.file(&input.path).await.unwrap().unwrap().content;
            assert_eq!(content.single_slice(), in_tree.single_slice(), "{}", input.path);
            assert_eq!(content, in_tree, "{}", input.path);
        }
    }
}

#[derive(Debug, PartialEq)]
struct Differences {
    added: BTreeMap<DatumId, DatumHash>,
    removed: BTreeSet<DatumId>,
}

async fn both_ways(old: &Repos, new: &Repos, input: &Input) -> (Differences, Differences) {
    let store = Store::open(&StoreConfig::new("memory://")).await.unwrap();
    let mut commits = Vec::new();
    for files in old.iter().chain(new) {
        commits.push(commit(&store, files).await);
    }
    let find = |first: usize| {
        let commits = commits.clone();
        move |repo: &howdah_model::RepoKey, _: &howdah_model::BranchName| {
            let index = first + usize::from(repo.name.as_str() == "b");
            Some(commits[index].clone())
        }
    };
    let (old, new) = (find(0), find(2));

    let mut all = Vec::new();
    for lookup in [&old as &CommitLookup<'_>, &new] {
        let datums = enumerate(&store, input, lookup, "".into()).await.unwrap();
        let datums: Vec<Datum> = datums.try_collect().await.unwrap();
        files_lie_where_datums_say(&store, &datums).await;
        let count = datums.len();
        let hashes: BTreeMap<_, _> = datums.into_iter().map(|datum| (datum.id, datum.hash)).collect();
        assert_eq!(hashes.len(), count, "each datum once");
        all.push(hashes);
    }
    let mut expected = Differences {
        added: all[1].clone(),
        removed: all[0].keys().filter(|id| !all[1].contains_key(id)).copied().collect(),
    };
    expected.added.retain(|id, hash| all[0].get(id) != Some(hash));

    let lookups = CommitLookups { old: &old, new: &new };
    let changes = difference(&store, input, &lookups, "".into()).await.unwrap();
    let mut found = Differences {
        added: BTreeMap::new(),
        removed: BTreeSet::new(),
    };
    for change in changes.try_collect::<Vec<_>>().await.unwrap() {
        match change {
            DatumChange::New(datum) => {
                assert!(!all[0].contains_key(&datum.id), "really new");
                assert!(found.added.insert(datum.id, datum.hash).is_none(), "each change once");
            }
            DatumChange::NewOrChanged(datum) => {
                assert!(found.added.insert(datum.id, datum.hash).is_none(), "each change once")
            }
            DatumChange::Gone(id) => assert!(found.removed.insert(id), "each change once"),
        }
    }
    (found, expected)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn the_difference_of_trees_is_the_difference_of_datums(
        old in [files(), files()], new in [files(), files()], same in any::<[bool; 2]>(), input in input(),
    ) {
        prop_assume!(!mixes_references(&input));
        let mut new = new;
        for (index, same) in same.into_iter().enumerate() {
            if same {
                new[index] = old[index].clone();
            }
        }
        // Paths that are a file and a directory at once cannot be stored; there are none among those above.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (found, expected) = runtime.block_on(both_ways(&old, &new, &input));
        prop_assert_eq!(found, expected);
    }
}

fn job_plan() -> JobPlan {
    let stage = serde_json::json!({
        "image": {"reference": "image:1", "digest": "sha256:1"}, "cmd": ["run"], "datum_tries": 1, "cpus": 1.5,
    });
    JobPlan {
        pipeline: "default/edges".parse().unwrap(),
        version: 1,
        job: GlobalId::from_number(1),
        id: PlanId::from_random(3),
        output_commit: GlobalId::from_number(1),
        spec_commit: None,
        file_set: None,
        salt: "salt".to_owned(),
        stage: serde_json::from_value(stage).unwrap(),
        concurrency: SetConcurrency::default(),
        single_object: None,
    }
}

fn merge_plan() -> MergePlan {
    MergePlan {
        base: Some(BaseJob {
            job: GlobalId::from_number(7),
            datums: DatumIndex::default(),
            output: Content::EMPTY,
        }),
        dropped: vec![DatumId::new([9; 32])],
        skipped: u64::MAX,
        to_do: 1,
        sets: 1,
    }
}

#[tokio::test]
async fn a_single_object_plan_is_final_and_has_its_set() {
    let store = Store::in_memory().await;
    let (plan, merge) = (job_plan(), merge_plan());
    let datum = Datum {
        id: DatumId::new([1; 32]),
        hash: DatumHash::new([2; 32]),
        inputs: Vec::new(),
        slices: Vec::new(),
    };
    let set = DatumSet {
        set: 0,
        datums: vec![datum],
    };
    write_single_object(&store, &plan, Some(set.clone()), &merge)
        .await
        .unwrap();
    let key = plan_key(&plan.pipeline, &plan.job);
    let (read_plan, read_merge) = read(&store, &key).await.unwrap().expect("it is final");
    assert_eq!((read_merge, &read_plan.stage), (merge, &plan.stage));
    assert_eq!(read_set(&store, &read_plan, 0).await.unwrap(), set);
    assert_eq!(store.list("jobs/").await.unwrap().len(), 1, "it is one object");
    discard(&store, &plan.pipeline, &plan.job).await.unwrap();
    assert_eq!(read(&store, &key).await.unwrap(), None);
}

#[tokio::test]
async fn a_plan_of_several_objects_is_final_with_the_last() {
    let store = Store::in_memory().await;
    let (plan, merge) = (job_plan(), merge_plan());
    let set = DatumSet {
        set: 0,
        datums: Vec::new(),
    };
    let key = plan_key(&plan.pipeline, &plan.job);
    write_job(&store, &plan).await.unwrap();
    write_set(&store, &plan, &set).await.unwrap();
    assert_eq!(read(&store, &key).await.unwrap(), None);
    write_merge(&store, &plan, &merge).await.unwrap();
    assert_eq!(read(&store, &key).await.unwrap(), Some((plan.clone(), merge)));
    assert_eq!(read_set(&store, &plan, 0).await.unwrap(), set);
}
