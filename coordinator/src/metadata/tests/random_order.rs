//! Random writes and folds over a loop that accepts, refuses and delays at random: a commit has the files that the log
//! says, in the order of the log.

use std::cell::RefCell;
use std::collections::HashMap;

use howdah_model::{Command, CommitKey, Content, ContentHash, Rejection, RejectionKind};
use howdah_store::{ClosedEdits, EditError};
use proptest::collection::vec;
use proptest::prelude::*;

use super::pausing_backend::yield_times;
use super::support::{Files, ScriptedLoop, Step, World, append, put, read_files, soon};
use crate::metadata::commands::QueuedCommand;
use crate::metadata::{EditStager, Staging, StagingError, StagingOutcome, SubmitError};

/// What the loop does with a command.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    /// It decides and answers.
    Decide,
    /// It refuses, as if the commit had changed.
    Refuse,
    /// It answers that the append is in doubt. The record may be written.
    InDoubt { written: bool },
    /// It drops the answer. The record may be written.
    NoAnswer { written: bool },
}

/// How the loop takes one command.
#[derive(Debug, Clone, Copy)]
struct Turn {
    /// How often it yields first, so that more commands wait.
    delay: u8,
    /// Chooses one of the commands that wait.
    choice: usize,
    verdict: Verdict,
}

/// After the random turns.
const PLAIN_TURN: Turn = Turn {
    delay: 0,
    choice: 0,
    verdict: Verdict::Decide,
};

#[derive(Debug, Clone)]
struct Case {
    /// The writes of two writers, each a list of steps.
    writers: [Vec<Vec<Step>>; 2],
    /// How often a reader yields before each of its folds.
    folds: Vec<u8>,
    turns: Vec<Turn>,
    /// Around requests to the store.
    pauses: Vec<u8>,
    /// Whether the writers share locks and cached paths.
    shared: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let path = || prop::sample::select(vec!["/a", "/a/b", "/a/b/c", "/d", "/e/f", "/e/g"]);
    let text = || prop::sample::select(vec!["", "x", "yz"]);
    prop_oneof![
        4 => (path(), text()).prop_map(|(path, text)| put(path, text)),
        4 => (path(), text()).prop_map(|(path, text)| append(path, text)),
        2 => path().prop_map(|path| Step::Delete(path.to_owned())),
        1 => Just(Step::Delete("/a/".to_owned())),
    ]
}

fn turn() -> impl Strategy<Value = Turn> {
    let verdict = prop_oneof![
        8 => Just(Verdict::Decide),
        3 => Just(Verdict::Refuse),
        1 => any::<bool>().prop_map(|written| Verdict::InDoubt { written }),
        1 => any::<bool>().prop_map(|written| Verdict::NoAnswer { written }),
    ];
    (0u8..12, 0usize..4, verdict).prop_map(|(delay, choice, verdict)| Turn { delay, choice, verdict })
}

fn case() -> impl Strategy<Value = Case> {
    let writes = || vec(vec(step(), 1..4), 0..7);
    let folds = vec(0u8..30, 0..4);
    let pauses = vec(0u8..4, 1..6);
    ([writes(), writes()], folds, vec(turn(), 0..40), pauses, any::<bool>()).prop_map(
        |(writers, folds, turns, pauses, shared)| Case {
            writers,
            folds,
            turns,
            pauses,
            shared,
        },
    )
}

/// The meaning of steps, as simply as possible.
fn apply_to_model(model: &mut Files, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Put(path, text) => {
                model.insert(path.clone(), text.clone());
            }
            Step::Append(path, text) => model.entry(path.clone()).or_default().push_str(text),
            Step::Delete(path) if path.ends_with('/') => model.retain(|file, _| !file.starts_with(path)),
            Step::Delete(path) => {
                model.remove(path);
            }
        }
    }
}

/// What the clients and the loop have done.
#[derive(Default)]
struct History {
    /// The steps of edits that may be staged, by the hash of the edits.
    staged: HashMap<ContentHash, Vec<Step>>,
    /// The steps of edits that were applied, with the content before and after.
    applied: Vec<(Content, Content, Vec<Step>)>,
    /// The steps of each write that is in the log, in the order of the log.
    logged: Vec<Vec<Step>>,
    acknowledged: usize,
    /// Writes that are in the log while their writer has not learned of it.
    logged_silently: usize,
    /// Commands of all kinds that were not answered, or with an error that leaves open what became of them.
    unknown: usize,
}

impl History {
    fn steps_of(&self, command: &Command) -> Option<Vec<Step>> {
        match command {
            Command::StageEdits { staged, .. } => self.staged.get(&staged.hash).cloned(),
            Command::SetContent { expected, content, .. } => {
                let mut applied = self.applied.iter();
                let found = applied.find(|(before, after, _)| (before, after) == (expected, content));
                found.map(|(_, _, steps)| steps.clone())
            }
            _ => None,
        }
    }

    /// Returns the files after so many writes of the log.
    fn model(&self, writes: usize) -> Files {
        let mut model = Files::new();
        for steps in &self.logged[..writes] {
            apply_to_model(&mut model, steps);
        }
        model
    }
}

/// Takes commands for ever.
async fn run_loop(
    commands: &mut ScriptedLoop,
    key: &CommitKey,
    history: &RefCell<History>,
    mut turns: impl Iterator<Item = Turn>,
) {
    loop {
        let mut queue = vec![commands.next_command().await];
        while !queue.is_empty() {
            let turn = turns.next().unwrap_or(PLAIN_TURN);
            yield_times(turn.delay).await;
            queue.extend(commands.waiting_commands());
            // Commands that wait at the same time may come in any order: each is of another client.
            let queued = queue.swap_remove(turn.choice % queue.len());
            take_command(commands, key, history, queued, turn.verdict).await;
        }
    }
}

async fn take_command(
    commands: &mut ScriptedLoop,
    key: &CommitKey,
    history: &RefCell<History>,
    queued: QueuedCommand,
    verdict: Verdict,
) {
    let QueuedCommand { envelope, answer, .. } = queued;
    let (written, is_answered) = match verdict {
        Verdict::Decide => (true, true),
        Verdict::Refuse => (false, true),
        Verdict::InDoubt { written } | Verdict::NoAnswer { written } => (written, false),
    };
    let decided = match written {
        true => commands.decide(&envelope).await,
        false => Err(Rejection::ContentMoved(key.clone())),
    };
    {
        let mut history = history.borrow_mut();
        if decided.is_ok()
            && let Some(steps) = history.steps_of(&envelope.command)
        {
            history.logged.push(steps);
            history.logged_silently += usize::from(!is_answered);
        }
        history.unknown += usize::from(!is_answered);
    }
    let reply = match verdict {
        Verdict::Decide | Verdict::Refuse => decided.map_err(SubmitError::from),
        Verdict::InDoubt { .. } => Err(SubmitError::Unavailable("the store does not answer".to_owned())),
        Verdict::NoAnswer { .. } => return,
    };
    let _ = answer.send(reply);
}

/// Tells whether an error leaves open what became of a command.
fn leaves_open(error: &StagingError) -> bool {
    matches!(
        error,
        StagingError::Submit(SubmitError::Unavailable(_) | SubmitError::ShuttingDown)
    )
}

/// Writes as the service does: stages edits or, if they may not fit, applies them.
async fn write(world: &World, staging: &Staging, history: &RefCell<History>, steps: &[Step]) {
    let edits = world.edits(steps).await;
    let hash = edits.stage().unwrap().unwrap().hash();
    history.borrow_mut().staged.insert(hash, steps.to_vec());
    let mut stager = EditStager::new(staging, &edits).await.unwrap();
    let mut conflicts = 0;
    loop {
        let exclusive = conflicts >= 2 || stager.is_none();
        let _permit = staging.write_permit(&world.key, exclusive).await;
        let outcome = match &mut stager {
            Some(stager) => stager.stage(&world.commit()).await,
            None => apply(world, staging, history, &edits, steps).await,
        };
        match outcome {
            Ok(StagingOutcome::Staged) => {
                history.borrow_mut().acknowledged += 1;
                break;
            }
            Ok(StagingOutcome::CommitChanged) => conflicts += 1,
            Ok(StagingOutcome::MustApply) => stager = None,
            // The writer gets an error: the edits do not fit, or it is unknown whether they are written.
            Err(StagingError::Edit(EditError::Collision(_))) => break,
            Err(error) if leaves_open(&error) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn apply(
    world: &World,
    staging: &Staging,
    history: &RefCell<History>,
    edits: &ClosedEdits,
    steps: &[Step],
) -> Result<StagingOutcome, StagingError> {
    let base = staging.fold(&world.key).await?.unwrap();
    let content = edits.apply(staging.store(), &base).await?;
    let command = Command::SetContent {
        commit: world.key.clone(),
        expected: base,
        content,
    };
    history.borrow_mut().applied.push((base, content, steps.to_vec()));
    match world.handle.submit(command).await {
        Ok(_) => Ok(StagingOutcome::Staged),
        Err(SubmitError::Rejected(rejection)) if rejection.kind() == RejectionKind::Conflict => {
            Ok(StagingOutcome::CommitChanged)
        }
        Err(error) => Err(error.into()),
    }
}

async fn write_all(world: &World, staging: &Staging, history: &RefCell<History>, writes: &[Vec<Step>]) {
    for steps in writes {
        write(world, staging, history, steps).await;
    }
}

/// Folds some times. A fold has all writes that were in the log when it began, and a part of the later ones.
async fn read_all(world: &World, history: &RefCell<History>, folds: &[u8]) {
    for pause in folds {
        yield_times(*pause).await;
        let before = history.borrow().logged.len();
        match world.staging.fold(&world.key).await {
            Ok(content) => {
                let files = read_files(&world.store, &content.unwrap()).await;
                let history = history.borrow();
                let fits = (before..=history.logged.len()).any(|writes| history.model(writes) == files);
                assert!(fits, "{files:?} after {before} writes of {:?}", history.logged);
            }
            Err(error) if leaves_open(&error) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn run(case: Case) -> Result<(), TestCaseError> {
    let Case {
        writers: [first_writes, second_writes],
        folds,
        turns,
        pauses,
        shared,
    } = case;
    let (world, mut commands) = World::with_pauses(pauses).await;
    let history = RefCell::new(History::default());
    let second = match shared {
        true => world.staging.clone(),
        false => world.second_staging(),
    };
    let clients = async {
        tokio::join!(
            write_all(&world, &world.staging, &history, &first_writes),
            write_all(&world, &second, &history, &second_writes),
            read_all(&world, &history, &folds),
        )
    };
    tokio::select! {
        biased;
        _ = clients => {}
        () = run_loop(&mut commands, &world.key, &history, turns.into_iter()) => unreachable!("it never ends"),
    }

    let content = commands.serve(world.staging.fold(&world.key)).await.unwrap().unwrap();
    let history = history.into_inner();
    let files = read_files(&world.store, &content).await;
    prop_assert_eq!(files, history.model(history.logged.len()), "log: {:?}", history.logged);
    prop_assert_eq!(history.logged.len(), history.acknowledged + history.logged_silently);
    prop_assert!(world.commit().staged.is_empty());
    if history.unknown == 0 {
        // Without doubts, every object is folded or removed in the end.
        while !world.objects().await.is_empty() {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_commit_has_the_files_that_the_log_says(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(soon(run(case)))?;
    }
}
