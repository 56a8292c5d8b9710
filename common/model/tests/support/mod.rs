//! A state that tests change by commands. Each step checks that the events lead to the same state.

#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod invariants;

use howdah_model::*;
use howdah_spec::{Input, PfsInput, PipelineSpec};
use jiff::Timestamp;

/// A state and all events that led to it.
pub(crate) struct World {
    pub state: State,
    pub log: Vec<Event>,
    pub clock: i64,
}

impl World {
    pub(crate) fn new() -> Self {
        World {
            state: State::new(),
            log: Vec::new(),
            clock: 0,
        }
    }

    /// Sends a command with the next id and the next second as its time.
    pub(crate) fn send(&mut self, command: Command) -> Result<(GlobalId, Reply), Rejection> {
        self.clock += 1;
        let id = GlobalId::from_number(self.clock as u64);
        let at = Timestamp::from_second(1_800_000_000 + self.clock).unwrap();
        let envelope = Envelope { at, id, command };
        let decision = decide(&self.state, &envelope)?;
        let mut replayed = self.state.clone();
        for event in &decision.events {
            apply(&mut replayed, event);
        }
        assert!(
            replayed == decision.state,
            "replay differs after {:?}",
            envelope.command
        );
        self.state = decision.state;
        self.log.extend(decision.events);
        Ok((id, decision.reply))
    }

    /// Sends a command that must be accepted. Returns the id of its envelope.
    pub(crate) fn ok(&mut self, command: Command) -> GlobalId {
        let shown = format!("{command:?}");
        match self.send(command) {
            Ok((id, _)) => id,
            Err(rejection) => panic!("{shown}: {rejection}"),
        }
    }

    /// Sends a command that must be rejected. Returns the text.
    pub(crate) fn refused(&mut self, command: Command) -> String {
        let shown = format!("{command:?}");
        match self.send(command) {
            Ok(_) => panic!("accepted: {shown}"),
            Err(rejection) => rejection.to_string(),
        }
    }

    pub(crate) fn repo(&mut self, name: &str) {
        self.ok(Command::CreateRepo {
            repo: repo(name),
            description: String::new(),
            update: false,
        });
    }

    /// Adds a finished commit with a content of this size to a branch.
    pub(crate) fn write(&mut self, name: &str, size: u64) -> GlobalId {
        let command = self.write_command(name, size);
        self.ok(command)
    }

    pub(crate) fn write_command(&self, name: &str, size: u64) -> Command {
        let branch = branch(name);
        let expected_head = self.state.branch(&branch).and_then(|b| b.head);
        Command::WriteCommit {
            branch,
            expected_head,
            content: content(size),
            description: String::new(),
        }
    }

    pub(crate) fn start(&mut self, name: &str) -> GlobalId {
        self.ok(start_command(name))
    }

    pub(crate) fn finish(&mut self, name: &str, id: GlobalId) {
        self.ok(finish_command(name, id));
    }

    pub(crate) fn pipeline(&mut self, name: &str, inputs: &[&str]) -> GlobalId {
        self.ok(pipeline_command(name, inputs))
    }

    pub(crate) fn update(&mut self, name: &str, inputs: &[&str]) -> GlobalId {
        self.ok(update_command(name, inputs))
    }

    /// Runs a job to success.
    pub(crate) fn succeed(&mut self, pipeline: &str, id: GlobalId, size: u64) {
        self.plan(pipeline, id);
        self.ok(finish_job(pipeline, id, JobOutcome::Success, Some(content(size))));
    }

    /// Brings a job to RUNNING.
    pub(crate) fn plan(&mut self, pipeline: &str, id: GlobalId) {
        let job = job(pipeline, id);
        self.ok(Command::StartJob { job: job.clone() });
        let counts = DatumCounts {
            total: 1,
            ..DatumCounts::default()
        };
        self.ok(Command::PlanJob {
            job,
            plan: "jobs/plan".to_owned(),
            counts,
        });
    }

    pub(crate) fn fail(&mut self, pipeline: &str, id: GlobalId) {
        self.plan(pipeline, id);
        let outcome = JobOutcome::Failure("datum failed".to_owned());
        self.ok(finish_job(pipeline, id, outcome, Some(content(1))));
    }

    pub(crate) fn job_state(&self, pipeline: &str, id: GlobalId) -> JobState {
        self.state.job(&job(pipeline, id)).expect("no such job").state
    }

    pub(crate) fn commit(&self, name: &str, id: GlobalId) -> &Commit {
        self.state.commit(&repo(name).commit(id)).expect("no such commit")
    }

    pub(crate) fn head(&self, name: &str) -> GlobalId {
        self.state
            .branch(&branch(name))
            .expect("no such branch")
            .head
            .expect("no head")
    }

    pub(crate) fn jobs(&self, pipeline: &str) -> Vec<GlobalId> {
        query::jobs_of_pipeline(&self.state, &pipeline_key(pipeline))
            .map(|job| job.key.id)
            .collect()
    }

    pub(crate) fn resolve(&self, name: &str, text: &str) -> Result<CommitKey, Rejection> {
        query::resolve_commit(&self.state, &CommitRef::text(repo(name), text))
    }
}

/// `name`, `name.kind` or `project/name`.
pub(crate) fn repo(name: &str) -> RepoKey {
    let full = if name.contains('/') {
        name.to_owned()
    } else {
        format!("default/{name}")
    };
    full.parse().unwrap()
}

/// `repo` for its master, or `repo@branch`.
pub(crate) fn branch(name: &str) -> BranchKey {
    let (name, branch) = name.split_once('@').unwrap_or((name, "master"));
    repo(name).branch(BranchName::new(branch).unwrap())
}

pub(crate) fn pipeline_key(name: &str) -> PipelineKey {
    repo(name).pipeline().unwrap()
}

pub(crate) fn job(pipeline: &str, id: GlobalId) -> JobKey {
    pipeline_key(pipeline).job(id)
}

pub(crate) fn content(size: u64) -> Content {
    if size == 0 {
        return Content::EMPTY;
    }
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&size.to_be_bytes());
    Content {
        root: Some(TreeRoot::new(hash)),
        files: 1,
        bytes: size,
    }
}

/// Staged edits; the number is their id.
pub(crate) fn staged(number: u64) -> Staged {
    Staged {
        id: GlobalId::from_number(number),
        hash: ContentHash::new([7; 32]),
        size: 100,
        bytes: 10,
    }
}

pub(crate) fn spec(name: &str, inputs: &[&str]) -> PipelineSpec {
    let key = pipeline_key(name);
    let mut spec = PipelineSpec::default();
    spec.pipeline.project = key.project.to_string();
    spec.pipeline.name = key.name.to_string();
    let parts: Vec<Input> = inputs.iter().map(|input| Input::Pfs(pfs(input))).collect();
    spec.input = (!parts.is_empty()).then_some(Input::Cross(parts));
    spec
}

fn pfs(name: &str) -> PfsInput {
    let branch = branch(name);
    PfsInput {
        project: branch.repo.project.to_string(),
        name: branch.repo.name.to_string(),
        repo: branch.repo.name.to_string(),
        branch: branch.name.to_string(),
        glob: "/".to_owned(),
        ..PfsInput::default()
    }
}

pub(crate) fn create_command(spec: PipelineSpec, update: bool) -> Command {
    Command::CreatePipeline {
        spec: Box::new(spec),
        user_json: "{}".to_owned(),
        effective_json: "{}".to_owned(),
        update,
        reprocess: false,
        salt: "salt".to_owned(),
        spec_content: content(99),
    }
}

pub(crate) fn pipeline_command(name: &str, inputs: &[&str]) -> Command {
    create_command(spec(name, inputs), false)
}

pub(crate) fn update_command(name: &str, inputs: &[&str]) -> Command {
    create_command(spec(name, inputs), true)
}

pub(crate) fn start_command(name: &str) -> Command {
    let branch = branch(name);
    Command::StartCommit {
        repo: branch.repo,
        branch: Some(branch.name),
        parent: None,
        description: String::new(),
    }
}

pub(crate) fn finish_command(name: &str, id: GlobalId) -> Command {
    Command::FinishCommit {
        commit: repo(name).commit(id),
        description: String::new(),
        error: None,
        force: false,
    }
}

pub(crate) fn finish_job(pipeline: &str, id: GlobalId, outcome: JobOutcome, output: Option<Content>) -> Command {
    Command::FinishJob {
        job: job(pipeline, id),
        datums: (outcome == JobOutcome::Success).then(DatumIndex::default),
        outcome,
        counts: DatumCounts {
            total: 1,
            processed: 1,
            ..DatumCounts::default()
        },
        stats: JobStats::default(),
        output,
    }
}

pub(crate) fn branch_command(name: &str, head: Option<&str>, provenance: &[&str]) -> Command {
    let key = branch(name);
    Command::CreateBranch {
        head: head.map(|text| CommitRef::text(key.repo.clone(), text)),
        branch: key,
        provenance: provenance.iter().map(|name| branch(name)).collect(),
        trigger: None,
    }
}

/// Images, edges on images, montage on both; the jobs of the creation are done.
pub(crate) fn images_edges_montage() -> World {
    let mut world = World::new();
    world.repo("images");
    let first = world.pipeline("edges", &["images"]);
    world.succeed("edges", first, 0);
    let second = world.pipeline("montage", &["images", "edges"]);
    world.succeed("montage", second, 0);
    world
}
