//! Examples of the rules: branches, squash, drop, transactions, cost.
#![allow(clippy::unwrap_used)]

mod support;

use howdah_model::*;
use support::*;

fn squash(id: GlobalId) -> Command {
    Command::SquashCommitSet { id }
}

fn drop_set(id: GlobalId) -> Command {
    Command::DropCommitSet { id }
}

/// Returns three commit sets over images and edges, with all jobs finished.
fn three_sets() -> (World, Vec<GlobalId>) {
    let mut world = World::new();
    world.repo("images");
    let first = world.pipeline("edges", &["images"]);
    world.succeed("edges", first, 0);
    let ids: Vec<_> = (1..=3)
        .map(|size| {
            let id = world.write("images", size);
            world.succeed("edges", id, 10 + size);
            id
        })
        .collect();
    (world, ids)
}

#[test]
fn squash_joins_parent_and_child() {
    let (mut world, ids) = three_sets();
    world.ok(squash(ids[1]));
    assert_eq!(world.commit("images", ids[2]).parent, Some(ids[0]));
    assert!(world.commit("edges", ids[0]).children.contains(&ids[2]));
    assert_eq!(world.commit("images", ids[2]).content, content(3));
    assert!(world.state.job(&job("edges", ids[1])).is_none());
    let text = world.resolve("images", &ids[1].to_string()).unwrap_err().to_string();
    assert_eq!(text, format!("commit default/images@{} not found", ids[1]));
    assert_eq!(
        world.refused(squash(ids[1])),
        format!("no commits found for commitset {}", ids[1])
    );
}

#[test]
fn squash_is_refused() {
    let (mut world, ids) = three_sets();
    let text = world.refused(squash(ids[2]));
    assert!(
        text.starts_with("cannot squash a commit that has no children"),
        "{text}"
    );
    let created = world.jobs("edges")[0];
    let dependants = world.refused(squash(created));
    assert!(dependants.contains("has subvenant commit sets"), "{dependants}");
    let open = world.start("images");
    assert!(world.refused(squash(ids[2])).contains("has not been finished"));
    world.finish("images", open);
    world.succeed("edges", open, 20);
    world.ok(squash(ids[2]));
}

#[test]
fn a_set_that_updated_a_pipeline_stays() {
    let mut world = World::new();
    world.repo("images");
    let id = world.pipeline("edges", &["images"]);
    let text = world.refused(drop_set(id));
    assert_eq!(
        text,
        format!("cannot drop commit default/edges.spec@{id} because it updated a pipeline")
    );
}

#[test]
fn drop_goes_back_to_the_parent() {
    let (mut world, ids) = three_sets();
    let text = world.refused(drop_set(ids[1]));
    assert_eq!(
        text,
        format!("cannot drop a commit that has children: default/images@{}", ids[1])
    );
    let sets = world.state.set_ids().count();
    world.ok(drop_set(ids[2]));
    assert_eq!((world.head("images"), world.head("edges")), (ids[1], ids[1]));
    assert_eq!(
        world.state.set_ids().count(),
        sets - 1,
        "what was there already is enough"
    );
    assert!(world.state.job(&job("edges", ids[2])).is_none());
}

#[test]
fn drop_of_the_only_commit_leaves_an_empty_one() {
    let mut world = World::new();
    world.repo("images");
    let id = world.write("images", 1);
    let empty = world.ok(drop_set(id));
    assert_eq!(world.head("images"), empty);
    let commit = world.commit("images", empty);
    assert_eq!((commit.content, commit.origin), (Content::EMPTY, CommitOrigin::Auto));
}

#[test]
fn drop_stops_running_jobs() {
    let (mut world, ids) = three_sets();
    let id = world.write("images", 9);
    world.plan("edges", id);
    world.ok(drop_set(id));
    assert_eq!(query::open_jobs(&world.state).count(), 0);
    assert_eq!(world.head("edges"), ids[2]);
}

#[test]
fn one_commit_is_removed_with_those_derived_from_it() {
    let (mut world, ids) = three_sets();
    let single = |recursive| Command::DropCommit {
        commit: repo("images").commit(ids[2]),
        recursive,
    };
    let text = world.refused(single(false));
    assert!(
        text.contains("subvenant commits") && text.contains("recursive"),
        "{text}"
    );
    let (_, reply) = world.send(single(true)).unwrap();
    let Reply::Removed(removed) = reply else { panic!() };
    assert_eq!(removed.len(), 3);
    assert_eq!(world.head("images"), ids[1]);
}

#[test]
fn dropping_output_alone_makes_it_again() {
    let (mut world, ids) = three_sets();
    let again = world.ok(Command::DropCommit {
        commit: repo("edges").commit(ids[2]),
        recursive: false,
    });
    assert!(world.state.commit(&repo("edges.meta").commit(ids[2])).is_none());
    assert_eq!(world.job_state("edges", again), JobState::Created);
    assert!(
        world
            .commit("edges", again)
            .provenance
            .contains(&repo("images").commit(ids[2]))
    );
}

#[test]
fn moving_a_head_propagates() {
    let (mut world, ids) = three_sets();
    let id = world.ok(branch_command("images", Some(&ids[0].to_string()), &[]));
    assert_eq!(world.head("images"), ids[0]);
    assert_eq!(world.job_state("edges", id), JobState::Created);
    assert_eq!(world.commit("edges", id).parent, Some(ids[2]));
    let sets = world.state.set_ids().count();
    world.ok(branch_command("images", None, &[]));
    assert_eq!(world.state.set_ids().count(), sets, "nothing new, no commit");
}

#[test]
fn branches_with_provenance_and_their_deletion() {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        world.repo(name);
    }
    let id = world.ok(branch_command("b", None, &["a"]));
    assert_eq!(
        world.commit("a", id).finished.map(|_| ()),
        Some(()),
        "implied, empty, finished"
    );
    assert!(world.commit("b", id).finished.is_none());
    world.ok(branch_command("c", None, &["b"]));
    assert!(
        world
            .refused(branch_command("a", None, &["c"]))
            .contains("its own provenance")
    );
    assert!(
        world
            .refused(branch_command("a", None, &["a"]))
            .contains("its own provenance")
    );
    assert!(
        world
            .state
            .branch(&branch("a"))
            .unwrap()
            .subvenance
            .contains(&branch("c"))
    );
    let delete = |force| Command::DeleteBranch {
        branch: branch("b"),
        force,
    };
    let text = world.refused(delete(false));
    assert!(text.contains("in the direct provenance of default/c@master"), "{text}");
    world.ok(delete(true));
    assert!(world.state.branch(&branch("a")).unwrap().subvenance.is_empty());
    assert!(world.state.branch(&branch("c")).unwrap().provenance.is_empty());
    assert!(world.state.commit(&repo("b").commit(id)).is_some(), "commits stay");
    assert_eq!(
        world.refused(delete(true)),
        "branch \"master\" not found in repo default/b"
    );
}

#[test]
fn triggers_are_checked() {
    let mut world = World::new();
    world.repo("a");
    let triggered = |name: &str, watched: &str, provenance: &[&str]| Command::CreateBranch {
        branch: branch(name),
        head: None,
        provenance: provenance.iter().map(|name| branch(name)).collect(),
        trigger: Some(BranchTrigger {
            branch: BranchName::new(watched).unwrap(),
            all: false,
            rate_limit_spec: String::new(),
            size: String::new(),
            commits: 2,
            cron_spec: String::new(),
        }),
    };
    world.repo("b");
    assert!(
        world
            .refused(triggered("a", "dev", &["b"]))
            .contains("cannot have both")
    );
    world.ok(triggered("a", "dev", &[]));
    world.ok(triggered("a@dev", "next", &[]));
    assert!(
        world
            .refused(triggered("a@next", "master", &[]))
            .contains("cannot form a loop")
    );
    let text = world.refused(Command::DeleteBranch {
        branch: branch("a@dev"),
        force: false,
    });
    assert!(text.contains("the trigger of default/a@master watches it"), "{text}");
    world.ok(Command::DeleteBranch {
        branch: branch("a@dev"),
        force: true,
    });
    assert!(world.state.branch(&branch("a")).unwrap().trigger.is_none());
}

#[test]
fn two_inputs_in_one_transaction_make_one_job() {
    let mut world = World::new();
    for name in ["a", "b"] {
        world.repo(name);
    }
    let first = world.pipeline("x", &["a", "b"]);
    world.succeed("x", first, 0);
    let id = world.ok(Command::StartTransaction);
    let append = |command| Command::AppendTransaction {
        id,
        command: Box::new(command),
    };
    let (_, reply) = world.send(append(start_command("a"))).unwrap();
    assert_eq!(
        reply,
        Reply::Commit(repo("a").commit(id)),
        "the commit has the transaction's id"
    );
    assert!(
        world.state.commit(&repo("a").commit(id)).is_none(),
        "it has no effect yet"
    );
    world.ok(append(start_command("b")));
    let twice = world.send(append(start_command("b@dev"))).unwrap_err();
    assert!(twice.to_string().contains("already has a commit in this transaction"));
    assert_eq!(twice.kind(), RejectionKind::AlreadyExists);
    assert_eq!(
        world.state.transaction(id).unwrap().requests.len(),
        2,
        "the bad request is not kept"
    );
    let write = world.write_command("a", 1);
    assert!(world.refused(append(write)).contains("cannot be part of a transaction"));

    let (_, reply) = world.send(Command::FinishTransaction { id }).unwrap();
    let Reply::TransactionFinished { steps, .. } = reply else {
        panic!()
    };
    assert_eq!(steps.len(), 2);
    assert_eq!(world.jobs("x"), [first, id]);
    world.finish("a", id);
    world.finish("b", id);
    assert_eq!(query::job_ready(&world.state, &job("x", id)), query::Readiness::Ready);
    assert_eq!(world.jobs("x").len(), 2);
    let text = world.refused(Command::FinishTransaction { id });
    assert_eq!(text, format!("transactions {id} not found"));
}

#[test]
fn a_transaction_fails_when_the_state_has_changed() {
    let mut world = World::new();
    let id = world.ok(Command::StartTransaction);
    let create = Command::CreateRepo {
        repo: repo("a"),
        description: String::new(),
        update: false,
    };
    world.ok(Command::AppendTransaction {
        id,
        command: Box::new(create.clone()),
    });
    world.ok(create);
    assert_eq!(
        world.refused(Command::FinishTransaction { id }),
        "repo default/a already exists"
    );
    world.ok(Command::DeleteTransaction { id });
    assert_eq!(world.state.transactions().count(), 0);
}

#[test]
fn pipelines_of_one_transaction_may_build_on_each_other() {
    let mut world = World::new();
    world.repo("images");
    let id = world.ok(Command::StartTransaction);
    for command in [pipeline_command("x", &["images"]), pipeline_command("y", &["x"])] {
        world.ok(Command::AppendTransaction {
            id,
            command: Box::new(command),
        });
    }
    world.ok(Command::FinishTransaction { id });
    assert_eq!((world.jobs("x"), world.jobs("y")), (vec![id], vec![id]));
}

#[test]
fn a_batch_is_all_or_nothing() {
    let mut world = World::new();
    let create = |name: &str| Command::CreateRepo {
        repo: repo(name),
        description: String::new(),
        update: false,
    };
    world.refused(Command::Batch {
        commands: vec![create("a"), create("a")],
    });
    assert!(world.state.repo(&repo("a")).is_none());
    let id = world.ok(Command::Batch {
        commands: vec![
            create("a"),
            start_command("a"),
            finish_command("a", GlobalId::from_number(2)),
        ],
    });
    assert!(world.commit("a", id).finished.is_some());
}

#[test]
fn writing_needs_the_head_that_was_read() {
    let mut world = World::new();
    world.repo("a");
    let stale = world.write_command("a", 1);
    world.write("a", 2);
    let rejection = world.send(stale).unwrap_err();
    assert_eq!(rejection.kind(), RejectionKind::Conflict);
}

#[test]
fn an_id_can_be_used_once() {
    let mut world = World::new();
    world.repo("a");
    world.repo("b");
    let id = world.write("a", 1);
    let envelope = Envelope {
        at: jiff::Timestamp::UNIX_EPOCH,
        id,
        command: world.write_command("b", 1),
    };
    assert_eq!(
        decide(&world.state, &envelope).unwrap_err().kind(),
        RejectionKind::Conflict
    );
}

#[test]
fn secrets_and_defaults() {
    let mut world = World::new();
    let create = Command::CreateSecret {
        name: "key".to_owned(),
        kind: "Opaque".to_owned(),
        data: "{}".to_owned(),
    };
    world.ok(create);
    assert!(!format!("{:?}", world.state.secret("key")).contains("data"));
    let created = world.state.secret("key").unwrap().created;
    let seal = |name: &str, created| SealedSecret {
        name: name.to_owned(),
        created,
        data: "sealed".to_owned(),
    };
    // A secret that was replaced meanwhile is not the one that was sealed.
    let later = created + jiff::SignedDuration::from_secs(1);
    let secrets = vec![seal("gone", created), seal("key", later)];
    world.ok(Command::SealSecrets { secrets });
    assert_eq!(&*world.state.secret("key").unwrap().data, "{}");
    let secrets = vec![seal("key", created)];
    world.ok(Command::SealSecrets { secrets });
    let sealed = world.state.secret("key").unwrap().clone();
    assert_eq!(
        (&*sealed.data, sealed.created, sealed.kind.as_str()),
        ("sealed", created, "Opaque")
    );
    world.ok(Command::DeleteSecret { name: "key".to_owned() });
    assert!(
        world
            .refused(Command::DeleteSecret { name: "key".to_owned() })
            .contains("not found")
    );
    world.ok(Command::SetDefaults {
        project: None,
        json: "{\"a\":1}".to_owned(),
    });
    assert_eq!(world.state.cluster_defaults(), "{\"a\":1}");
    world.refused(Command::SetDefaults {
        project: None,
        json: "[]".to_owned(),
    });
}

/// With a hundred thousand commits, most of them failed, a decision is still fast.
#[test]
fn cost_does_not_grow_with_history() {
    let mut world = World::new();
    world.repo("images");
    world.repo("model");
    world.write("model", 1);
    world.pipeline("x", &["images", "model"]);
    let mut slices = Vec::new();
    for slice in 0..100 {
        let started = std::time::Instant::now();
        for round in slice * 340..(slice + 1) * 340 {
            let id = GlobalId::from_number(1_000_000 + round);
            let at = jiff::Timestamp::from_second(round as i64).unwrap();
            let stop = Command::StopJob {
                job: job("x", id),
                reason: String::new(),
            };
            for command in [world.write_command("images", round + 1), stop] {
                let envelope = Envelope { at, id, command };
                world.state = decide(&world.state, &envelope).unwrap().state;
            }
        }
        slices.push(started.elapsed());
    }
    assert!(world.state.commits().count() > 100_000);
    // Medians, because other processes on the machine slow single slices down.
    let median = |slices: &[std::time::Duration]| {
        let mut slices = slices.to_vec();
        slices.sort();
        slices[slices.len() / 2]
    };
    let (first, last) = (median(&slices[..20]), median(&slices[80..]));
    assert!(
        last < first * 4,
        "340 rounds took {first:?} at first and {last:?} at last"
    );
}
