//! Properties: random command sequences keep the invariants.

#![expect(
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, print what helps, and are not hot"
)]
#![allow(clippy::unwrap_used)]

mod support;

use howdah_model::*;
use proptest::prelude::*;
use support::*;

/// Random numbers that choose the command of a step.
#[derive(Clone, Debug)]
struct Dice {
    op: u8,
    draws: [u16; 4],
}

fn dice() -> impl Strategy<Value = Dice> {
    (any::<u8>(), any::<[u16; 4]>()).prop_map(|(op, draws)| Dice { op, draws })
}

fn pick<T: Clone>(items: &[T], draw: u16) -> Option<T> {
    (!items.is_empty()).then(|| items[draw as usize % items.len()].clone())
}

const REPOS: [&str; 4] = ["a", "b", "c", "p/a"];
const PIPELINES: [&str; 4] = ["x", "y", "z", "p/x"];
const BRANCHES: [&str; 3] = ["master", "master", "dev"];

fn any_repo(draw: u16) -> &'static str {
    let all: Vec<_> = REPOS.into_iter().chain(PIPELINES).collect();
    pick(&all, draw).unwrap()
}

fn any_branch(draw: u16) -> String {
    format!("{}@{}", any_repo(draw), pick(&BRANCHES, draw >> 8).unwrap())
}

/// Returns a command for an open commit: new content, staged edits, or folding of staged edits.
fn write_open(open: &Commit, number: u16, way: u16) -> Command {
    let (commit, expected) = (open.key.clone(), open.content);
    let last = open.staged.last().map(|staged| staged.id);
    match (way % 4, pick(&open.staged, number)) {
        (0 | 1, _) => Command::StageEdits {
            commit,
            expected,
            // Sometimes another writer was faster.
            after: last.filter(|_| !number.is_multiple_of(8)),
            staged: staged(number.into()),
        },
        (2, Some(through)) => Command::SettleEdits {
            commit,
            expected,
            through: through.id,
            content: content(number.into()),
        },
        _ => Command::SetContent {
            commit,
            expected,
            content: content(number.into()),
        },
    }
}

/// Returns a command that may be accepted in the state.
fn command(world: &World, dice: &Dice) -> Option<Command> {
    let [d0, d1, d2, d3] = dice.draws;
    let state = &world.state;
    let sets: Vec<_> = state.set_ids().collect();
    let commits: Vec<_> = state.commits().map(|commit| commit.key.clone()).collect();
    let open_commits: Vec<_> = state.commits().filter(|c| c.is_open()).map(|c| c.key.clone()).collect();
    let jobs: Vec<_> = state.jobs().cloned().collect();
    let open_jobs: Vec<_> = query::open_jobs(state).cloned().collect();
    let pipelines: Vec<_> = state.pipelines().cloned().collect();
    let force = d3 % 2 == 0;
    Some(match dice.op % 64 {
        0 => Command::CreateProject {
            name: "p".parse().unwrap(),
            description: String::new(),
            update: force,
        },
        1..=3 => Command::CreateRepo {
            repo: repo(any_repo(d0)),
            description: d3.to_string(),
            update: force,
        },
        4 => Command::DeleteRepo {
            repo: repo(any_repo(d0)),
            force,
        },
        5..=12 => world.write_command(&any_branch(d0), d1.into()),
        13..=15 => start_command(&any_branch(d0)),
        16 => {
            let parent = pick(&commits, d1)?;
            let branch = BranchName::new(pick(&BRANCHES, d2).unwrap()).ok();
            Command::StartCommit {
                repo: parent.repo.clone(),
                branch,
                parent: Some(parent.into()),
                description: String::new(),
            }
        }
        17 => {
            let commit = pick(&open_commits, d0)?;
            write_open(state.commit(&commit)?, d1, d2)
        }
        18..=20 => Command::FinishCommit {
            commit: pick(&open_commits, d0)?,
            description: String::new(),
            error: (d1 % 4 == 0).then(|| "bad".to_owned()),
            force: d2 % 4 == 0,
        },
        21 => Command::ClearCommit {
            commit: pick(&open_commits, d0)?,
        },
        22..=25 => {
            let inputs: Vec<String> = [d1, d2].iter().map(|d| any_branch(*d)).collect();
            let inputs: Vec<&str> = inputs.iter().map(String::as_str).take(1 + d3 as usize % 2).collect();
            let mut spec = spec(pick(&PIPELINES, d0).unwrap(), &inputs);
            if d3 % 5 == 0 {
                spec.output_branch = "staging".to_owned();
            }
            create_command(spec, d3 % 3 == 0)
        }
        26 => Command::StopPipeline {
            pipeline: pick(&pipelines, d0)?.key.clone(),
            must_exist: true,
        },
        27..=29 => Command::StartPipeline {
            pipeline: pick(&pipelines, d0)?.key.clone(),
        },
        30 => Command::RerunPipeline {
            pipeline: pick(&pipelines, d0)?.key.clone(),
            reprocess: force,
            salt: d1.to_string(),
        },
        31 => Command::DeletePipeline {
            pipeline: pick(&pipelines, d0)?.key.clone(),
            force,
            keep_repo: d1 % 2 == 0,
            must_exist: true,
        },
        32 => {
            let pipeline = pick(&pipelines, d0)?;
            let state = pick(
                &[PipelineState::Running, PipelineState::Crashing, PipelineState::Failure],
                d1,
            )?;
            Command::SetPipelineState {
                pipeline: pipeline.key.clone(),
                version: pipeline.version(),
                state,
                reason: "reason".to_owned(),
            }
        }
        33..=46 => step(pick(&open_jobs, d0)?.as_ref(), d1, d2),
        47 => Command::StopJob {
            job: pick(&jobs, d0)?.key.clone(),
            reason: String::new(),
        },
        48 => Command::DeleteJob {
            job: pick(&jobs, d0)?.key.clone(),
        },
        49 => Command::StopJobSet {
            id: pick(&sets, d0)?,
            reason: String::new(),
        },
        50 => Command::SquashCommitSet { id: pick(&sets, d0)? },
        51 => Command::DropCommitSet { id: pick(&sets, d0)? },
        52 => Command::SquashCommit {
            commit: pick(&commits, d0)?,
            recursive: force,
        },
        53 => Command::DropCommit {
            commit: pick(&commits, d0)?,
            recursive: force,
        },
        54..=56 => {
            let mut key = branch(&any_branch(d0));
            if d3 % 3 == 0 {
                key.name = BranchName::new("other").ok()?;
            }
            let provenance = if d1 % 2 == 0 {
                vec![]
            } else {
                vec![branch(&any_branch(d2))]
            };
            let head = pick(&commits, d3).filter(|c| c.repo == key.repo).map(CommitRef::from);
            let trigger = (d1 % 8 == 0).then(|| BranchTrigger {
                branch: BranchName::master(),
                all: false,
                rate_limit_spec: String::new(),
                size: "1".to_owned(),
                commits: 0,
                cron_spec: String::new(),
            });
            Command::CreateBranch {
                branch: key,
                head,
                provenance,
                trigger,
            }
        }
        57 => Command::DeleteBranch {
            branch: branch(&any_branch(d0)),
            force,
        },
        58 => Command::StartTransaction,
        59 | 60 => {
            let transactions: Vec<_> = state.transactions().map(|t| t.id).collect();
            let inner = command(
                world,
                &Dice {
                    op: (d1 % 58) as u8,
                    draws: [d2, d1, d0, d3],
                },
            )?;
            Command::AppendTransaction {
                id: pick(&transactions, d0)?,
                command: Box::new(inner),
            }
        }
        61 => {
            let transactions: Vec<_> = state.transactions().map(|t| t.id).collect();
            Command::FinishTransaction {
                id: pick(&transactions, d0)?,
            }
        }
        62 => {
            let first = command(
                world,
                &Dice {
                    op: (d1 % 58) as u8,
                    draws: [d2, d1, d0, d3],
                },
            )?;
            let second = command(
                world,
                &Dice {
                    op: (d2 % 58) as u8,
                    draws: [d3, d0, d1, d2],
                },
            )?;
            Command::Batch {
                commands: vec![first, second],
            }
        }
        _ => match d0 % 12 {
            0 => Command::DeleteAll {
                scope: DeletionScope::Pps,
            },
            1 => Command::DeleteAll {
                scope: DeletionScope::Pfs,
            },
            2 => Command::DeleteProject {
                name: "p".parse().unwrap(),
                force,
            },
            3 => Command::DeleteRepos { projects: None, force },
            4 => Command::DeletePipelines {
                projects: None,
                force,
                keep_repo: d1 % 2 == 0,
            },
            _ => world.write_command(&any_branch(d1), d2.into()),
        },
    })
}

/// Returns a command that changes the state of a job.
fn step(job: &Job, draw: u16, size: u16) -> Command {
    let key = job.key.clone();
    let end = |outcome: JobOutcome| Command::FinishJob {
        job: key.clone(),
        datums: (outcome == JobOutcome::Success).then(DatumIndex::default),
        outcome,
        counts: DatumCounts::default(),
        stats: JobStats::default(),
        output: (!size.is_multiple_of(3)).then(|| content(size.into())),
    };
    match (job.state, draw % 8) {
        (JobState::Created, 0) => Command::StartJob { job: key },
        (JobState::Created, _) => {
            let plan = Command::PlanJob {
                job: key.clone(),
                plan: "plan".to_owned(),
                counts: DatumCounts::default(),
            };
            Command::Batch {
                commands: vec![Command::StartJob { job: key }, plan],
            }
        }
        (JobState::Starting, 0) => end(JobOutcome::Killed("timeout".to_owned())),
        (JobState::Starting, _) => Command::PlanJob {
            job: key,
            plan: "plan".to_owned(),
            counts: DatumCounts::default(),
        },
        (_, 0) => Command::RestartJob {
            job: key,
            reason: "lost".to_owned(),
        },
        (_, 1) => end(JobOutcome::Failure("datum failed".to_owned())),
        (JobState::Running, 2) => Command::SetJobState {
            job: key,
            state: JobState::Finishing,
            reason: String::new(),
            counts: None,
        },
        _ => end(JobOutcome::Success),
    }
}

/// Returns a state with two repositories and a chain of two pipelines, so that most commands have something to change.
fn start() -> World {
    let mut world = World::new();
    for name in ["a", "b"] {
        world.repo(name);
    }
    world.pipeline("x", &["a"]);
    world.pipeline("y", &["x", "b"]);
    world
}

fn run(steps: &[Dice]) -> World {
    let mut world = start();
    for dice in steps {
        let Some(command) = command(&world, dice) else { continue };
        let before = world.state.clone();
        let shown = format!("{command:?}");
        if world.send(command).is_err() {
            continue;
        }
        let after = world.state.clone();
        let checked = std::panic::catch_unwind(|| {
            support::invariants::check(&after);
            support::invariants::check_step(&before, &after);
        });
        if let Err(panic) = checked {
            eprintln!("after {shown}");
            std::panic::resume_unwind(panic);
        }
    }
    world
}

proptest! {
    #[test]
    fn invariants_hold_after_every_step(steps in prop::collection::vec(dice(), 1..80)) {
        let world = run(&steps);

        // The events give the same state, also after serialisation.
        let text = serde_json::to_string(&world.log).unwrap();
        let log: Vec<Event> = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&log, &world.log);
        let mut replayed = State::new();
        for event in &log {
            apply(&mut replayed, event);
        }
        prop_assert!(replayed == world.state);

        // A snapshot gives the same state: MessagePack, and JSON as older programs wrote it.
        let bytes = rmp_serde::to_vec_named(&world.state).unwrap();
        let restored: State = rmp_serde::from_slice(&bytes).unwrap();
        prop_assert!(restored == world.state);
        let text = serde_json::to_string(&world.state).unwrap();
        let restored: State = serde_json::from_str(&text).unwrap();
        prop_assert!(restored == world.state);
    }

    /// Any subset of a log can be applied without a panic.
    #[test]
    fn apply_is_total(steps in prop::collection::vec(dice(), 1..40), keep in any::<u64>()) {
        let world = run(&steps);
        let mut state = State::new();
        for (index, event) in world.log.iter().enumerate() {
            if (keep.rotate_left(index as u32 * 7) & 3) != 0 {
                apply(&mut state, event);
            }
        }
    }
}
