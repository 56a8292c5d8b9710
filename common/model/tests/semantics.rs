//! Examples of the rules: commits, sets, propagation, pipelines, jobs.
#![allow(clippy::unwrap_used)]

mod support;

use howdah_model::*;
use support::*;

fn names(commits: &[CommitKey]) -> Vec<String> {
    commits.iter().map(|commit| commit.repo.to_string()).collect()
}

#[test]
fn one_write_makes_a_set_of_five_and_lists_seven() {
    let mut world = images_edges_montage();
    let id = world.write("images", 10);

    let members = query::set_members(&world.state, id);
    assert_eq!(
        names(&members),
        [
            "default/images",
            "default/edges",
            "default/edges.meta",
            "default/montage",
            "default/montage.meta"
        ]
    );
    let listed = query::commit_set(&world.state, id);
    assert_eq!(listed.len(), 7);
    let others: Vec<_> = listed
        .iter()
        .filter(|commit| commit.id != id)
        .map(|c| c.repo.to_string())
        .collect();
    assert_eq!(others, ["default/edges.spec", "default/montage.spec"]);
    for (place, commit) in listed.iter().enumerate() {
        for upstream in &world.state.commit(commit).unwrap().provenance {
            assert!(listed[..place].contains(upstream), "{commit} before {upstream}");
        }
    }
    assert_eq!(query::jobs_of_set(&world.state, id).len(), 2);
    assert!(world.commit("images", id).finished.is_some());
    assert_eq!(world.commit("edges", id).origin, CommitOrigin::Auto);
    assert_eq!(world.job_state("montage", id), JobState::Created);
}

#[test]
fn events_of_a_one_file_commit_stay_small() {
    let mut world = World::new();
    world.repo("images");
    world.pipeline("edges", &["images"]);
    let before = world.log.len();
    world.write("images", 10);
    let text = serde_json::to_string(&world.log[before..]).unwrap();
    assert!(text.len() < 600, "{} bytes: {text}", text.len());
}

#[test]
fn a_repo_without_a_commit_in_the_set_is_readable_at_its_id() {
    let mut world = World::new();
    for name in ["images", "labels"] {
        world.repo(name);
    }
    world.pipeline("train", &["images", "labels"]);
    let labels = world.write("labels", 5);
    let id = world.write("images", 10);
    assert_eq!(
        world.resolve("labels", &id.to_string()).unwrap(),
        repo("labels").commit(labels)
    );
    world.repo("lonely");
    let text = world.resolve("lonely", &id.to_string()).unwrap_err().to_string();
    assert_eq!(text, format!("commit default/lonely@{id} not found"));
}

#[test]
fn ancestry() {
    let mut world = World::new();
    world.repo("images");
    let ids: Vec<_> = (1..=4).map(|size| world.write("images", size)).collect();
    let at = |text: &str| world.resolve("images", text).map(|commit| commit.id);
    assert_eq!(at("master"), Ok(ids[3]));
    assert_eq!(at("master^"), Ok(ids[2]));
    assert_eq!(at("master~2"), Ok(ids[1]));
    assert_eq!(at("master^^^"), Ok(ids[0]));
    assert_eq!(at("master.1"), Ok(ids[0]));
    assert_eq!(at("master.3^2"), Ok(ids[0]));
    assert_eq!(at("master.-1"), Ok(ids[2]));
    assert_eq!(at(&format!("{}^", ids[1])), Ok(ids[0]));
    for past in ["master^4", "master.5", "master.-4"] {
        let rejection = at(past).unwrap_err();
        assert_eq!(rejection.kind(), RejectionKind::NotFound, "{past}");
        assert!(
            rejection
                .to_string()
                .starts_with(&format!("commit default/images@{past} not found"))
        );
    }
    assert!(at("master~^").is_err());
    assert_eq!(
        at("dev").unwrap_err().to_string(),
        "branch \"dev\" not found in repo default/images"
    );
}

#[test]
fn an_open_commit_makes_jobs_that_wait() {
    let mut world = images_edges_montage();
    let id = world.start("images");
    assert_eq!(world.job_state("edges", id), JobState::Created);
    let images = repo("images").commit(id);
    assert_eq!(
        query::job_ready(&world.state, &job("edges", id)),
        query::Readiness::Waiting(vec![images.clone()])
    );
    assert_eq!(
        query::commit_state(&world.state, world.commit("images", id)),
        CommitState::Ready
    );
    assert_eq!(
        query::commit_state(&world.state, world.commit("edges", id)),
        CommitState::Started
    );
    let refused = world.refused(start_command("images"));
    assert_eq!(refused, format!("parent commit {images} has not been finished"));
    let command = Command::SetContent {
        commit: images,
        expected: Content::EMPTY,
        content: content(3),
    };
    world.ok(command.clone());
    assert!(world.refused(command).contains("has changed meanwhile"));
    world.finish("images", id);
    assert_eq!(
        query::job_ready(&world.state, &job("edges", id)),
        query::Readiness::Ready
    );
    assert!(
        world
            .refused(finish_command("images", id))
            .ends_with("has already finished")
    );
    assert_eq!(world.commit("images", id).content, content(3));
}

#[test]
fn staged_edits_stay_until_they_are_folded() {
    let mut world = World::new();
    world.repo("images");
    let id = world.start("images");
    let images = repo("images").commit(id);
    let ids = |world: &World| {
        let staged = &world.commit("images", id).staged;
        staged.iter().map(|staged| staged.id).collect::<Vec<_>>()
    };
    let stage = |after: Option<u64>, number: u64, expected: Content| Command::StageEdits {
        commit: images.clone(),
        expected,
        after: after.map(|number| staged(number).id),
        staged: staged(number),
    };
    world.ok(stage(None, 1, Content::EMPTY));
    world.ok(stage(Some(1), 2, Content::EMPTY));
    // A writer that does not know the last staged edits cannot know whether its own fit.
    for command in [
        stage(Some(1), 3, Content::EMPTY),
        stage(None, 3, Content::EMPTY),
        stage(Some(2), 3, content(1)),
    ] {
        assert!(world.refused(command).contains("has changed meanwhile"));
    }
    assert!(world.refused(stage(Some(2), 1, Content::EMPTY)).contains("is in use"));
    assert_eq!(ids(&world), [staged(1).id, staged(2).id]);

    let set = Command::SetContent {
        commit: images.clone(),
        expected: Content::EMPTY,
        content: content(9),
    };
    for command in [set, finish_command("images", id)] {
        assert!(world.refused(command).contains("not part of its content yet"));
    }

    let settle = |through: u64, expected: Content, size: u64| Command::SettleEdits {
        commit: images.clone(),
        expected,
        through: staged(through).id,
        content: content(size),
    };
    world.ok(stage(Some(2), 3, Content::EMPTY));
    world.ok(settle(2, Content::EMPTY, 5));
    assert_eq!(ids(&world), [staged(3).id], "what came later stays");
    assert_eq!(world.commit("images", id).content, content(5));
    assert!(
        world
            .refused(settle(2, content(5), 6))
            .contains("has changed meanwhile")
    );
    assert!(
        world
            .refused(settle(3, Content::EMPTY, 6))
            .contains("has changed meanwhile")
    );
    world.ok(settle(3, content(5), 6));
    world.ok(stage(None, 4, content(6)));
    world.ok(Command::ClearCommit { commit: images.clone() });
    assert_eq!(ids(&world), []);
    assert_eq!(world.commit("images", id).content, Content::EMPTY);
    world.finish("images", id);
    assert!(
        world
            .refused(stage(None, 5, Content::EMPTY))
            .contains("already finished")
    );
}

#[test]
fn output_is_written_by_jobs_only() {
    let mut world = images_edges_montage();
    let id = world.write("images", 1);
    let text = world.refused(start_command("edges"));
    assert_eq!(text, "cannot start a commit on an output branch: default/edges@master");
    assert!(
        world
            .refused(finish_command("edges", id))
            .contains("use 'stop job' instead")
    );
    assert!(
        world
            .refused(finish_command("edges.meta", id))
            .contains("use 'stop job' instead")
    );
    let write = world.write_command("edges", 3);
    assert!(
        world
            .refused(write)
            .starts_with("cannot start a commit on an output branch")
    );
    let mut force = finish_command("edges", id);
    if let Command::FinishCommit { force, .. } = &mut force {
        *force = true;
    }
    world.ok(force);
    assert_eq!(world.job_state("edges", id), JobState::Killed);
}

#[test]
fn a_failed_job_makes_downstream_jobs_unrunnable() {
    let mut world = images_edges_montage();
    let good = world.write("images", 1);
    world.succeed("edges", good, 11);
    world.succeed("montage", good, 12);
    let bad = world.write("images", 2);
    world.fail("edges", bad);
    assert_eq!(world.job_state("montage", bad), JobState::Unrunnable);
    let montage = world.commit("montage", bad);
    assert!(
        montage
            .error
            .as_deref()
            .unwrap()
            .contains(&format!("default/edges@{bad}"))
    );
    assert_eq!(
        montage.content,
        content(12),
        "the content is that of the last good ancestor"
    );
    assert!(world.commit("montage.meta", bad).error.is_some());
    assert_eq!(world.head("montage"), bad, "the head is the failed commit");

    // Later commits start from the last good commit, and the base of the job is the last good job.
    let next = world.write("images", 3);
    assert_eq!(
        query::base_content(&world.state, &repo("edges").commit(next)),
        Some(content(11))
    );
    let base = query::job_base(&world.state, &job("edges", next));
    assert!(matches!(base, query::JobBase::Job { job: base, output, .. }
        if base == job("edges", good) && output == content(11)));

    // A commit in another input makes a job that also reads the failed commit: it ends as unrunnable at once.
    world.repo("other");
    let update = world.update("montage", &["edges", "other"]);
    assert_eq!(world.job_state("montage", update), JobState::Created);
    world.fail("edges", next);
    assert_eq!(world.job_state("montage", update), JobState::Unrunnable);
    let later = world.write("other", 1);
    assert_eq!(world.job_state("montage", later), JobState::Unrunnable);
}

#[test]
fn a_job_waits_for_its_base() {
    let mut world = images_edges_montage();
    let first = world.write("images", 1);
    let second = world.write("images", 2);
    let unfinished = query::JobBase::Unfinished(job("edges", first));
    assert_eq!(query::job_base(&world.state, &job("edges", second)), unfinished);
    let order: Vec<_> = query::open_jobs_of(&world.state, &pipeline_key("edges"))
        .map(|job| job.key.id)
        .collect();
    assert_eq!(order, [first, second]);
    let inputs = query::job_inputs(&world.state, &job("montage", second));
    let shown: Vec<_> = inputs.iter().map(|i| (i.name.as_str(), i.commit.id, i.state)).collect();
    assert_eq!(
        shown,
        [
            ("images", second, CommitState::Finished),
            ("edges", second, CommitState::Ready)
        ]
    );
}

#[test]
fn a_user_commit_that_fails_makes_its_jobs_unrunnable() {
    let mut world = images_edges_montage();
    let id = world.start("images");
    world.ok(Command::FinishCommit {
        commit: repo("images").commit(id),
        description: "words".to_owned(),
        error: Some("file / directory path collision".to_owned()),
        force: false,
    });
    assert_eq!(world.job_state("edges", id), JobState::Unrunnable);
    assert_eq!(world.job_state("montage", id), JobState::Unrunnable);
    assert_eq!(&*world.commit("images", id).description, "words");
}

#[test]
fn final_states_do_not_change() {
    let mut world = images_edges_montage();
    let id = world.write("images", 1);
    world.succeed("edges", id, 2);
    let over = format!("job default/edges@{id} has already finished");
    for command in [
        finish_job("edges", id, JobOutcome::Success, None),
        Command::StartJob { job: job("edges", id) },
        Command::RestartJob {
            job: job("edges", id),
            reason: String::new(),
        },
    ] {
        assert_eq!(world.refused(command), over);
    }
    world.ok(Command::StopJob {
        job: job("edges", id),
        reason: String::new(),
    });
    assert_eq!(world.job_state("edges", id), JobState::Success);
    let early = finish_job("montage", id, JobOutcome::Success, None);
    assert!(world.refused(early).contains("cannot go to JOB_SUCCESS"));
}

#[test]
fn stopping_and_deleting_jobs() {
    let mut world = images_edges_montage();
    let id = world.write("images", 1);
    world.ok(Command::StopJobSet {
        id,
        reason: String::new(),
    });
    for pipeline in ["edges", "montage"] {
        assert_eq!(world.job_state(pipeline, id), JobState::Killed);
        assert_eq!(world.commit(pipeline, id).error.as_deref(), Some("job stopped"));
    }
    let id = world.write("images", 2);
    world.ok(Command::DeleteJob { job: job("edges", id) });
    assert!(world.state.job(&job("edges", id)).is_none());
    assert_eq!(world.commit("edges", id).error.as_deref(), Some("job deleted"));
    assert_eq!(world.job_state("montage", id), JobState::Unrunnable);
    let text = world.refused(Command::StopJob {
        job: job("edges", id),
        reason: String::new(),
    });
    assert_eq!(text, format!("jobs default/edges@{id} not found"));
}

#[test]
fn a_restart_forgets_the_plan_and_counts() {
    let mut world = images_edges_montage();
    let id = world.write("images", 1);
    world.plan("edges", id);
    world.ok(Command::RestartJob {
        job: job("edges", id),
        reason: "worker lost".to_owned(),
    });
    let entry = world.state.job(&job("edges", id)).unwrap().clone();
    assert_eq!(
        (entry.state, entry.restart, entry.plan.clone()),
        (JobState::Starting, 1, None)
    );
    assert_eq!((&*entry.reason, entry.counts.total), ("worker lost", 0));
    let counts = DatumCounts {
        total: 2,
        ..DatumCounts::default()
    };
    world.ok(Command::PlanJob {
        job: job("edges", id),
        plan: "again".to_owned(),
        counts,
    });
    let text = world.refused(Command::StartJob { job: job("edges", id) });
    assert!(text.contains("is in state JOB_RUNNING"));
}

#[test]
fn commits_are_listed_newest_first() {
    let mut world = World::new();
    world.repo("images");
    let ids: Vec<_> = (1..=5).map(|size| world.write("images", size)).collect();
    let list = |query: query::CommitQuery| {
        let query = query::CommitQuery {
            repo: Some(repo("images")),
            ..query
        };
        query::list_commits(&world.state, &query)
            .map(|commits| commits.iter().map(|commit| commit.key.id).collect::<Vec<_>>())
    };
    let newest: Vec<_> = ids.iter().rev().copied().collect();
    assert_eq!(list(Default::default()), Ok(newest.clone()));
    assert_eq!(
        list(query::CommitQuery {
            reverse: true,
            number: 2,
            ..Default::default()
        }),
        Ok(ids[..2].to_vec())
    );
    let to = Some(repo("images").commit(ids[3]));
    let from = Some(repo("images").commit(ids[1]));
    let walk = query::CommitQuery {
        to: to.clone(),
        from: from.clone(),
        ..Default::default()
    };
    assert_eq!(list(walk), Ok(vec![ids[3], ids[2]]));
    assert!(
        list(query::CommitQuery {
            from,
            ..Default::default()
        })
        .is_err()
    );
    assert!(
        list(query::CommitQuery {
            to,
            reverse: true,
            ..Default::default()
        })
        .is_err()
    );
}
