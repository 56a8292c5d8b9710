//! Examples of the rules: creation, update, stop and deletion of pipelines.
#![allow(clippy::unwrap_used)]

mod support;

use howdah_model::*;
use support::*;

#[test]
fn creation_makes_repos_wiring_and_the_first_job() {
    let mut world = World::new();
    world.repo("images");
    world.write("images", 7);
    world.write("images", 8);
    let id = world.pipeline("edges", &["images"]);
    for name in ["edges", "edges.meta", "edges.spec"] {
        assert!(world.state.repo(&repo(name)).is_some(), "{name}");
    }
    let output = world.state.branch(&branch("edges")).unwrap();
    assert_eq!(output.direct_provenance, [branch("images"), branch("edges.spec")]);
    let spec_commit = world.commit("edges.spec", id);
    assert_eq!(
        (spec_commit.origin, spec_commit.content),
        (CommitOrigin::User, content(99))
    );
    assert!(spec_commit.finished.is_some());
    assert_eq!(world.jobs("edges"), [id], "one job, for the present head only");
    let pipeline = world.state.pipeline(&pipeline_key("edges")).unwrap();
    assert_eq!((pipeline.version(), pipeline.state), (1, PipelineState::Starting));
    assert_eq!(&*pipeline.current().salt, "salt");
}

#[test]
fn missing_input_branches_are_created_empty() {
    let mut world = World::new();
    world.repo("images");
    let id = world.pipeline("edges", &["images@dev"]);
    let commit = world.commit("images", id);
    assert_eq!((commit.origin, commit.content), (CommitOrigin::Auto, Content::EMPTY));
    assert!(commit.finished.is_some());
    assert_eq!(
        query::job_ready(&world.state, &job("edges", id)),
        query::Readiness::Ready
    );
}

#[test]
fn creation_is_checked() {
    let mut world = World::new();
    world.repo("images");
    world.repo("edges");
    let refused = |world: &mut World, command| world.send(command).unwrap_err();
    let taken = refused(&mut world, pipeline_command("edges", &["images"]));
    assert_eq!(
        (taken.to_string().as_str(), taken.kind()),
        ("repo default/edges already exists", RejectionKind::AlreadyExists)
    );
    let missing = refused(&mut world, pipeline_command("x", &["nothing"]));
    assert_eq!(
        (missing.to_string().as_str(), missing.kind()),
        ("repo default/nothing not found", RejectionKind::NotFound)
    );
    let missing = refused(&mut world, pipeline_command("p/x", &["images"]));
    assert_eq!(missing.to_string(), "project \"p\" not found");
    assert!(world.refused(pipeline_command("x", &["x"])).contains("its own output"));
    assert!(world.refused(pipeline_command("x", &[])).contains("no input set"));
    world.pipeline("x", &["images"]);
    let twice = refused(&mut world, pipeline_command("x", &["images"]));
    assert_eq!(
        (twice.to_string().as_str(), twice.kind()),
        ("pipeline \"default/x\" already exists", RejectionKind::AlreadyExists)
    );
    world.pipeline("y", &["x"]);
    let cycle = world.refused(update_command("x", &["images", "y"]));
    assert!(cycle.contains("cannot be in its own provenance"), "{cycle}");
}

#[test]
fn two_branches_of_one_repo_cannot_be_in_one_graph() {
    let mut world = World::new();
    world.repo("images");
    let text = world.refused(pipeline_command("x", &["images", "images@dev"]));
    assert_eq!(
        text,
        "multiple branches from the same repo, \"default/images\", cannot participate in a DAG"
    );
    world.pipeline("x", &["images"]);
    assert!(
        world
            .refused(pipeline_command("y", &["x", "images@dev"]))
            .starts_with("multiple branches")
    );
    world.pipeline("y", &["x", "images"]);
}

#[test]
fn the_same_branch_may_be_an_input_twice() {
    let mut world = World::new();
    world.repo("images");
    let id = world.pipeline("x", &["images", "images"]);
    assert_eq!(query::job_inputs(&world.state, &job("x", id)).len(), 2);
    assert_eq!(world.commit("x", id).provenance.len(), 2);
}

#[test]
fn update_kills_jobs_and_makes_one() {
    let mut world = images_edges_montage();
    let before = world.write("images", 1);
    let id = world.update("edges", &["images"]);
    assert_eq!(world.job_state("edges", before), JobState::Killed);
    assert_eq!(
        world.commit("edges", before).error.as_deref(),
        Some("all jobs killed because pipeline was updated")
    );
    assert_eq!(world.job_state("montage", before), JobState::Unrunnable);
    assert_eq!(world.job_state("edges", id), JobState::Created);
    assert_eq!(world.job_state("montage", id), JobState::Created);
    let pipeline = world.state.pipeline(&pipeline_key("edges")).unwrap();
    assert_eq!(pipeline.version(), 2);
    assert_eq!(pipeline.at_version(1).unwrap().spec, pipeline.current().spec);
    assert_eq!(world.state.job(&job("edges", before)).unwrap().pipeline_version, 1);
    assert_eq!(world.state.job(&job("edges", id)).unwrap().pipeline_version, 2);
}

#[test]
fn salt_changes_with_reprocess_only() {
    let mut world = World::new();
    world.repo("images");
    let salted = |update, reprocess, salt: &str, own: Option<&str>| {
        let mut spec = spec("x", &["images"]);
        spec.salt = own.map(str::to_owned);
        let mut command = create_command(spec, update);
        if let Command::CreatePipeline {
            reprocess: r, salt: s, ..
        } = &mut command
        {
            (*r, *s) = (reprocess, salt.to_owned());
        }
        command
    };
    let salt = |world: &World| {
        world
            .state
            .pipeline(&pipeline_key("x"))
            .unwrap()
            .current()
            .salt
            .to_string()
    };
    world.ok(salted(false, false, "1", Some("own")));
    assert_eq!(salt(&world), "own");
    world.ok(salted(true, false, "2", Some("other")));
    assert_eq!(salt(&world), "own");
    world.ok(salted(true, true, "3", Some("other")));
    assert_eq!(salt(&world), "3");
    world.ok(Command::RerunPipeline {
        pipeline: pipeline_key("x"),
        reprocess: false,
        salt: "4".to_owned(),
    });
    assert_eq!(salt(&world), "3");
    assert_eq!(world.state.pipeline(&pipeline_key("x")).unwrap().version(), 4);
}

#[test]
fn a_former_output_branch_becomes_a_plain_one() {
    let mut world = images_edges_montage();
    let mut staged = spec("edges", &["images"]);
    staged.output_branch = "staging".to_owned();
    let id = world.ok(create_command(staged, true));
    assert_eq!(world.head("edges@staging"), id);
    assert!(
        world
            .state
            .branch(&branch("edges"))
            .unwrap()
            .direct_provenance
            .is_empty()
    );
    let old = world.head("edges");
    assert_ne!(old, id);
    // Deferred processing: a pipeline that reads master sees the result when the head of master is moved.
    world.succeed("edges", id, 5);
    let moved = world.ok(branch_command("edges", Some("staging"), &[]));
    assert_eq!(world.head("edges"), id);
    assert_eq!(world.job_state("montage", moved), JobState::Created);
    assert_eq!(
        query::set_members(&world.state, moved).len(),
        2,
        "no new commit in edges"
    );
}

#[test]
fn stop_and_start() {
    let mut world = images_edges_montage();
    let before = world.write("images", 1);
    let stop = Command::StopPipeline {
        pipeline: pipeline_key("edges"),
        must_exist: true,
    };
    world.ok(stop.clone());
    world.ok(stop);
    assert_eq!(
        world.commit("edges", before).error.as_deref(),
        Some("all jobs killed because pipeline was stopped")
    );
    let pipeline = world.state.pipeline(&pipeline_key("edges")).unwrap();
    assert_eq!((pipeline.stopped, pipeline.state), (true, PipelineState::Paused));
    let jobs = world.jobs("edges").len();
    world.write("images", 2);
    let missed = world.write("images", 3);
    assert_eq!(world.jobs("edges").len(), jobs, "no jobs while stopped");
    assert_eq!(
        world.job_state("montage", missed),
        JobState::Unrunnable,
        "its other input failed"
    );
    world.update("edges", &["images"]);
    assert_eq!(world.jobs("edges").len(), jobs, "an update does not start it");
    let start = Command::StartPipeline {
        pipeline: pipeline_key("edges"),
    };
    let id = world.ok(start.clone());
    assert_eq!(
        world.jobs("edges").len(),
        jobs + 1,
        "one job, not one per missed commit"
    );
    assert_eq!(world.job_state("edges", id), JobState::Created);
    assert!(
        world
            .commit("edges", id)
            .provenance
            .contains(&repo("images").commit(missed))
    );
    world.ok(start);
    assert_eq!(world.jobs("edges").len(), jobs + 1);
    let missing = Command::StopPipeline {
        pipeline: pipeline_key("nothing"),
        must_exist: true,
    };
    assert_eq!(world.refused(missing), "pipeline \"default/nothing\" not found");
}

#[test]
fn a_failed_pipeline_ends_its_jobs_until_it_is_updated() {
    let mut world = images_edges_montage();
    let id = world.write("images", 1);
    let set = |version, state| Command::SetPipelineState {
        pipeline: pipeline_key("edges"),
        version,
        state,
        reason: "no command".to_owned(),
    };
    assert!(
        world
            .refused(set(7, PipelineState::Running))
            .contains("is at version 1, not 7")
    );
    world.ok(set(1, PipelineState::Failure));
    assert_eq!(world.job_state("edges", id), JobState::Killed);
    let next = world.write("images", 2);
    assert_eq!(world.job_state("edges", next), JobState::Killed);
    assert!(world.refused(set(1, PipelineState::Running)).contains("only an update"));
    let id = world.update("edges", &["images"]);
    assert_eq!(world.job_state("edges", id), JobState::Created);
}

#[test]
fn deleting_pipelines() {
    let mut world = images_edges_montage();
    let delete = |name: &str, force, keep_repo| Command::DeletePipeline {
        pipeline: pipeline_key(name),
        force,
        keep_repo,
        must_exist: true,
    };
    let repo_of = |name: &str| Command::DeleteRepo {
        repo: repo(name),
        force: true,
    };
    assert!(
        world
            .refused(repo_of("edges"))
            .starts_with("cannot delete a repo associated with a pipeline")
    );
    let text = world.refused(delete("edges", false, false));
    assert!(text.contains("in the direct provenance of"), "{text}");
    assert!(text.contains("default/montage@master"));

    // With force, the pipeline that reads it loses its input and does not run any more.
    world.ok(delete("edges", true, false));
    assert!(world.state.repo(&repo("edges")).is_none());
    assert!(world.state.repo(&repo("edges.meta")).is_none());
    let jobs = world.jobs("montage").len();
    world.write("images", 4);
    assert_eq!(world.jobs("montage").len(), jobs);

    // With keep_repo, the commits of the repository stay.
    let id = world.update("montage", &["images"]);
    world.succeed("montage", id, 6);
    world.ok(delete("montage", false, true));
    assert_eq!(world.commit("montage", id).content, content(6));
    assert!(world.state.repo(&repo("montage.spec")).is_none());
    assert!(
        world
            .state
            .branch(&branch("montage"))
            .unwrap()
            .direct_provenance
            .is_empty()
    );
    world.write("montage", 7);
    assert!(
        world
            .refused(pipeline_command("montage", &["images"]))
            .ends_with("already exists")
    );
    world.ok(repo_of("montage"));
}

#[test]
fn deleting_repos_and_projects() {
    let mut world = images_edges_montage();
    let (_, reply) = world
        .send(Command::DeleteRepo {
            repo: repo("nothing"),
            force: false,
        })
        .unwrap();
    assert_eq!(reply, Reply::DeletedRepos(vec![]));
    let text = world.refused(Command::DeleteRepo {
        repo: repo("images"),
        force: false,
    });
    assert!(text.contains("in the direct provenance of"));
    let id = world.write("images", 1);
    world.ok(Command::DeleteRepo {
        repo: repo("images"),
        force: true,
    });
    assert_eq!(world.job_state("edges", id), JobState::Killed);

    let name: ProjectName = "p".parse().unwrap();
    let create = Command::CreateProject {
        name: name.clone(),
        description: String::new(),
        update: false,
    };
    world.ok(create.clone());
    assert_eq!(world.refused(create), "project p already exists");
    world.repo("p/data");
    world.pipeline("p/x", &["p/data"]);
    world.pipeline("x", &["p/x"]);
    let delete = |force| Command::DeleteProject {
        name: name.clone(),
        force,
    };
    assert_eq!(
        world.refused(delete(false)),
        "cannot delete project p: repo p/data still exists"
    );
    world.ok(delete(true));
    assert!(world.state.project(&name).is_none());
    assert_eq!(world.refused(delete(true)), "project \"p\" not found");
    let permanent = Command::DeleteProject {
        name: ProjectName::default_project(),
        force: true,
    };
    assert!(world.refused(permanent).contains("cannot be deleted"));

    world.ok(Command::DeleteAll {
        scope: DeletionScope::Pps,
    });
    assert_eq!(world.state.pipelines().count(), 0);
    world.ok(Command::DeleteAll {
        scope: DeletionScope::Pfs,
    });
    assert_eq!((world.state.repos().count(), world.state.projects().count()), (0, 1));
}

#[test]
fn cron_repos_belong_to_the_pipeline() {
    let mut world = World::new();
    let mut ticking = spec("x", &[]);
    ticking.input = Some(howdah_spec::Input::Cron(howdah_spec::CronInput {
        name: "tick".to_owned(),
        spec: "@daily".to_owned(),
        ..Default::default()
    }));
    let id = world.ok(create_command(ticking, false));
    assert_eq!(world.head("x_tick"), id);
    assert_eq!(query::job_ready(&world.state, &job("x", id)), query::Readiness::Ready);
    world.ok(Command::DeletePipeline {
        pipeline: pipeline_key("x"),
        force: false,
        keep_repo: false,
        must_exist: true,
    });
    assert_eq!(world.state.repos().count(), 0);
}

#[test]
fn an_image_is_pinned_per_version() {
    let mut world = images_edges_montage();
    let pin = ImagePin {
        reference: "busybox".to_owned(),
        digest: "sha256:1".to_owned(),
    };
    let pinning = |version| Command::PinImage {
        pipeline: pipeline_key("edges"),
        version,
        pin: pin.clone(),
    };
    world.ok(pinning(1));
    assert_eq!(
        world.state.pipeline(&pipeline_key("edges")).unwrap().current().image,
        Some(pin.clone())
    );
    assert!(world.refused(pinning(2)).contains("not found"));
    world.update("edges", &["images"]);
    let pipeline = world.state.pipeline(&pipeline_key("edges")).unwrap();
    assert_eq!(
        (
            &pipeline.current().image,
            pipeline.at_version(1).unwrap().image.as_ref()
        ),
        (&None, Some(&pin))
    );
}
