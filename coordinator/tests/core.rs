//! The command loop with a real store: a command that was answered is durable, and a second coordinator fences the
//! first.

use std::sync::Arc;

use howdah_coordinator::live::LiveStatus;
use howdah_coordinator::metadata::{self, Core, LoopError, SubmitError};
use howdah_model::{Command, Content, ProjectName, Reply, RepoKey, RepoName};
use howdah_store::backend::MemoryBackend;
use howdah_store::backend::fault::{Fault, FaultBackend, Operation};
use howdah_store::{Limits, Store, StoreConfig, keys};
use tokio::task::JoinHandle;

async fn open(store: &Store) -> (Core, JoinHandle<Result<(), LoopError>>) {
    let (core, command_loop) = metadata::open(store.clone(), LiveStatus::default())
        .await
        .expect("the log can be read");
    (core, tokio::spawn(command_loop.run()))
}

fn repo(name: &str) -> RepoKey {
    RepoKey::user(
        ProjectName::default_project(),
        RepoName::new(name).expect("a legal name"),
    )
}

fn create(name: &str) -> Command {
    Command::CreateRepo {
        repo: repo(name),
        description: String::new(),
        update: false,
    }
}

#[tokio::test]
async fn answered_commands_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = StoreConfig::new(format!("file://{}", folder.path().display()));
    let first_id = {
        let store = Store::open(&config).await.expect("a store");
        let (core, running) = open(&store).await;
        core.submit(create("images")).await.expect("made");
        let branch = repo("images").branch(howdah_model::BranchName::master());
        let write = Command::WriteCommit {
            branch,
            expected_head: None,
            content: Content::EMPTY,
            description: "first".into(),
        };
        let Reply::Commit(commit) = core.submit(write).await.expect("written") else {
            panic!("a commit is answered")
        };
        running.abort();
        commit
    };
    let store = Store::open(&config).await.expect("the same store");
    let (core, _running) = open(&store).await;
    let state = core.state();
    assert!(state.commit(&first_id).is_some(), "the commit survived");
    let refused = core.submit(create("images")).await;
    assert!(
        matches!(refused, Err(SubmitError::Rejected(_))),
        "the repository survived too"
    );
}

#[tokio::test]
async fn commands_of_one_group_are_all_answered() {
    let store = Store::in_memory().await;
    let (core, _running) = open(&store).await;
    let names: Vec<String> = (0..200).map(|n| format!("r{n}")).collect();
    let all = names.iter().map(|name| core.submit(create(name)));
    for result in futures::future::join_all(all).await {
        result.expect("each is made");
    }
    assert_eq!(core.state().repos().count(), names.len());
    let again = names.iter().map(|name| core.submit(create(name)));
    for result in futures::future::join_all(again).await {
        assert!(matches!(result, Err(SubmitError::Rejected(_))), "each exists already");
    }
}

#[tokio::test]
async fn commands_submitted_together_share_a_record_and_the_first_refusal_is_returned() {
    let store = Store::in_memory().await;
    let (core, _running) = open(&store).await;
    let records = async || store.list(keys::LOG).await.expect("listed").len();
    let before = records().await;
    core.submit_together(["a", "b", "c"].map(create)).await.expect("made");
    assert_eq!(records().await, before + 1);
    let refused = core.submit_together(["d", "a", "e"].map(create)).await;
    assert!(matches!(refused, Err(SubmitError::Rejected(_))), "{refused:?}");
    assert_eq!(core.state().repos().count(), 5, "the others have had their effect");
}

#[tokio::test]
async fn a_second_coordinator_fences_the_first() {
    let store = Store::in_memory().await;
    let (first, first_running) = open(&store).await;
    first.submit(create("before")).await.expect("alone, it can write");
    let (second, _second_running) = open(&store).await;
    second.submit(create("taken")).await.expect("the newer one writes");
    let refused = first.submit(create("late")).await;
    assert!(refused.is_err(), "the older one must not");
    let ended = first_running.await.expect("the loop does not panic");
    assert!(
        matches!(ended, Err(LoopError::Fenced(_))),
        "it says why it stops: {ended:?}"
    );
    let (third, _third_running) = open(&store).await;
    let names: Vec<String> = third.state().repos().map(|repo| repo.key.name.to_string()).collect();
    assert_eq!(names, ["before", "taken"], "nothing of the fenced one is in the log");
}

#[tokio::test(start_paused = true)]
async fn a_failed_append_is_answered_with_what_became_of_it() {
    let memory = Arc::new(MemoryBackend::default());
    let faults = Arc::new(FaultBackend::new(memory, |_, _| Fault::None));
    let store = Store::with_backend(faults.clone(), Limits::default()).await;
    let (core, _running) = open(&store.expect("a store")).await;
    let fail_creations = |mut failures: u32| {
        faults.set_plan(move |operation, _| {
            if operation != Operation::PutIfAbsent || failures == 0 {
                return Fault::None;
            }
            failures -= 1;
            Fault::Before
        });
    };
    let refused = async || {
        let answer = core.submit(create("images")).await;
        answer.expect_err("the record is not written").to_string()
    };
    // Four attempts to create the record. The void record is created at once.
    fail_creations(4);
    let text = refused().await;
    assert!(text.contains(": nothing was changed: "), "{text}");
    assert!(!text.contains("may"), "{text}");
    // Four attempts to create the record, and four to create the void record.
    fail_creations(8);
    let text = refused().await;
    assert!(text.contains("may or may not be written"), "{text}");
    assert!(!text.contains("nothing was changed"), "{text}");
    // A command that meets an append in doubt was not tried itself.
    fail_creations(4);
    let text = refused().await;
    assert!(
        text.contains(": nothing was changed, because an earlier append is in doubt: "),
        "{text}"
    );
    core.submit(create("images")).await.expect("it resolves the doubt");
}

#[tokio::test]
async fn the_state_survives_snapshots_and_pruned_records() {
    const COMMANDS: usize = 6_500;
    let store = Store::in_memory().await;
    let (core, running) = open(&store).await;
    for number in 0..COMMANDS {
        let describe = Command::CreateRepo {
            repo: repo("images"),
            description: format!("version {number}"),
            update: true,
        };
        core.submit(describe).await.expect("updated");
    }
    // Snapshots are written in the background: wait for the one that lets old records go.
    let pruned = async {
        while store.get_opt(&keys::log_record(1)).await.expect("a list").is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let limit = std::time::Duration::from_secs(60);
    tokio::time::timeout(limit, pruned)
        .await
        .expect("old records are removed");
    running.abort();

    let (core, _running) = open(&store).await;
    let state = core.state();
    let described = state.repo(&repo("images")).expect("the repository survived");
    assert_eq!(*described.description, *format!("version {}", COMMANDS - 1));
    core.submit(create("more")).await.expect("the log goes on");
}
