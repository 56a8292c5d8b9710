//! What these tests run in: an open commit, staging over a store that fails on demand, and a command loop whose
//! decisions the test makes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures::TryStreamExt;
use howdah_model::{
    BranchName, Command, Commit, CommitKey, Content, Envelope, GlobalId, ProjectName, Rejection, Reply, RepoKey,
    RepoName, Staged, State, decide,
};
use howdah_store::backend::fault::{Fault, FaultBackend, Operation};
use howdah_store::backend::{Backend, MemoryBackend};
use howdah_store::{ClosedEdits, FileContent, FileEdits, FileTree, Limits, MetaLog, PackWriter, Store};
use jiff::Timestamp;

use super::pausing_backend::PausingBackend;
use crate::fresh_id::fresh_id;
use crate::live::LiveStatus;
use crate::metadata::commands::{CommandSource, QueuedCommand, command_channel};
use crate::metadata::{CommandHandle, Core, EditStager, Staging, StagingOutcome, SubmitError, open, orphaned_edits};

/// Nothing here takes longer, unless it hangs.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Waits for a future; one that hangs fails the test.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, future).await.expect("it hangs")
}

/// The command loop, whose decisions the test makes. What it decides is durable in a log of its own.
pub(super) struct ScriptedLoop {
    source: CommandSource,
    /// Received, and not taken by the test.
    waiting: VecDeque<QueuedCommand>,
    state: State,
    log: MetaLog,
}

impl ScriptedLoop {
    /// Waits for the next command.
    pub(super) async fn next_command(&mut self) -> QueuedCommand {
        loop {
            if let Some(queued) = self.waiting.pop_front() {
                return queued;
            }
            let submission = soon(self.source.submissions.recv()).await;
            self.waiting.extend(submission.expect("the world has a handle"));
        }
    }

    /// Takes all commands that wait.
    pub(super) fn waiting_commands(&mut self) -> Vec<QueuedCommand> {
        while let Ok(submission) = self.source.submissions.try_recv() {
            self.waiting.extend(submission);
        }
        self.waiting.drain(..).collect()
    }

    /// Tells whether no command waits.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.source.submissions.is_empty()
    }

    /// Decides a command as the real loop does: its events are in the log, and the state after it is published. Sends
    /// no answer.
    pub(super) async fn decide(&mut self, envelope: &Envelope) -> Result<Reply, Rejection> {
        let decision = decide(&self.state, envelope)?;
        if !decision.events.is_empty() {
            self.log.append_events(&decision.events).await.unwrap();
        }
        self.state = decision.state;
        self.source.published.send_replace(self.state.clone());
        Ok(decision.reply)
    }

    /// Does with a command all that the real loop does.
    pub(super) async fn answer(&mut self, queued: QueuedCommand) {
        let decided = self.decide(&queued.envelope).await;
        // The submitter may be gone.
        let _ = queued.answer.send(decided.map_err(SubmitError::from));
    }

    /// Waits for one command and answers it.
    pub(super) async fn answer_next(&mut self) {
        let queued = self.next_command().await;
        self.answer(queued).await;
    }

    /// Answers all commands until `work` is done.
    pub(super) async fn serve<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                queued = self.next_command() => self.answer(queued).await,
            }
        }
    }

    /// Runs a command of another client, which must be accepted.
    pub(super) async fn run(&mut self, command: Command) -> Reply {
        let envelope = Envelope {
            at: Timestamp::now(),
            id: fresh_id(),
            command,
        };
        self.decide(&envelope).await.unwrap()
    }

    /// Runs the command of another writer that stages edits in a commit as it is now.
    pub(super) async fn stage(&mut self, key: &CommitKey, staged: Staged) {
        let commit = self.state.commit(key).unwrap();
        let command = Command::StageEdits {
            commit: key.clone(),
            expected: commit.content,
            after: commit.last_staged(),
            staged,
        };
        self.run(command).await;
    }
}

/// One step of a write.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Replaces a file.
    Put(String, String),
    /// Adds text at the end of a file.
    Append(String, String),
    /// Removes a file or, with a slash at the end, everything in a directory.
    Delete(String),
}

/// Returns the step that replaces a file.
pub(super) fn put(path: impl Into<String>, text: &str) -> Step {
    Step::Put(path.into(), text.to_owned())
}

/// Returns the step that adds text at the end of a file.
pub(super) fn append(path: impl Into<String>, text: &str) -> Step {
    Step::Append(path.into(), text.to_owned())
}

/// Files by path, with their texts.
pub(super) type Files = BTreeMap<String, String>;

/// Returns these files.
pub(super) fn files_of(files: &[(&str, &str)]) -> Files {
    let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
    files.iter().map(owned).collect()
}

/// Reads all files of a content.
pub(super) async fn read_files(store: &Store, content: &Content) -> Files {
    let mut found = Files::new();
    let mut files = pin!(FileTree::of(store, content).files("/"));
    while let Some((path, entry)) = files.try_next().await.unwrap() {
        let bytes = store.read_file_all(&entry.content).await.unwrap();
        found.insert(path, String::from_utf8(bytes.to_vec()).unwrap());
    }
    found
}

/// Stores the text of a file.
async fn store_text(store: &Store, text: &str) -> FileContent {
    let mut writer = PackWriter::new(store);
    writer.begin(()).await.unwrap();
    writer.write(text.as_bytes()).await.unwrap();
    writer.finish().await.unwrap().remove(0).1
}

/// Returns the staged edits that a coordinator which starts in so many hours takes for orphaned.
pub(super) async fn orphans_in(core: &Core, hours: u64) -> BTreeSet<GlobalId> {
    let opened = SystemTime::now() + Duration::from_secs(hours * 3600);
    orphaned_edits(core, opened).await.unwrap().into_iter().collect()
}

/// An open commit without files, and staging.
pub(super) struct World {
    pub(super) staging: Staging,
    /// Submits commands to the scripted loop.
    pub(super) handle: CommandHandle,
    /// The path of `staging` to the store. It has no faults at first.
    faults: Arc<FaultBackend>,
    /// The same objects, through a path without faults: what the test and the log use.
    pub(super) store: Store,
    /// The commit.
    pub(super) key: CommitKey,
}

impl World {
    /// Makes the world, and the loop.
    pub(super) async fn new() -> (Self, ScriptedLoop) {
        let objects = Arc::new(MemoryBackend::default());
        Self::over(Arc::clone(&objects), objects, Limits::default()).await
    }

    /// Makes a world whose staging yields around each request to the store, as often as [`PausingBackend::new`] says.
    pub(super) async fn with_pauses(pauses: Vec<u8>) -> (Self, ScriptedLoop) {
        let objects = Arc::new(MemoryBackend::default());
        let path = Arc::new(PausingBackend::new(Arc::clone(&objects), pauses));
        Self::over(objects, path, Limits::default()).await
    }

    /// Makes a world over objects that staging reaches through `path`.
    pub(super) async fn over(
        objects: Arc<MemoryBackend>,
        path: Arc<dyn Backend>,
        limits: Limits,
    ) -> (Self, ScriptedLoop) {
        let faults = Arc::new(FaultBackend::new(path, |_, _| Fault::None));
        let store = Store::with_backend(objects, Limits::default()).await.unwrap();
        let seen_by_staging = Store::with_backend(faults.clone(), limits).await.unwrap();
        let state = State::new();
        let (handle, source) = command_channel(state.clone());
        let mut commands = ScriptedLoop {
            source,
            waiting: VecDeque::new(),
            state,
            log: MetaLog::open(&store).await.unwrap().log,
        };
        let repo = RepoKey::user(ProjectName::default_project(), RepoName::new("images").unwrap());
        let create = Command::CreateRepo {
            repo: repo.clone(),
            description: String::new(),
            update: false,
        };
        commands.run(create).await;
        let start = Command::StartCommit {
            repo,
            branch: Some(BranchName::master()),
            parent: None,
            description: String::new(),
        };
        let Reply::Commit(key) = commands.run(start).await else {
            panic!("a commit is answered")
        };
        let world = Self {
            staging: Staging::new(handle.clone(), seen_by_staging),
            handle,
            faults,
            store,
            key,
        };
        (world, commands)
    }

    /// Returns a second staging over the same loop and store. It shares neither locks nor cached paths with the first.
    pub(super) fn second_staging(&self) -> Staging {
        Staging::new(self.handle.clone(), self.staging.store().clone())
    }

    /// Returns the commit as it is now.
    pub(super) fn commit(&self) -> Arc<Commit> {
        self.handle.state().commit(&self.key).unwrap().clone()
    }

    /// Returns the command that finishes the commit.
    pub(super) fn finish(&self) -> Command {
        Command::FinishCommit {
            commit: self.key.clone(),
            description: String::new(),
            error: None,
            force: false,
        }
    }

    /// Makes edits of steps.
    pub(super) async fn edits(&self, steps: &[Step]) -> ClosedEdits {
        let mut edits = FileEdits::default();
        for step in steps {
            match step {
                Step::Put(path, text) => edits.put(path, store_text(&self.store, text).await).unwrap(),
                Step::Append(path, text) => edits.append(path, store_text(&self.store, text).await).unwrap(),
                Step::Delete(path) => edits.delete(path),
            }
        }
        edits.close().await.unwrap()
    }

    /// Prepares to stage edits.
    pub(super) async fn stager(&self, edits: &ClosedEdits) -> EditStager<'_> {
        EditStager::new(&self.staging, edits).await.unwrap().unwrap()
    }

    /// Tries to stage edits in the commit as it is now, while all commands are answered.
    pub(super) async fn attempt(&self, commands: &mut ScriptedLoop, stager: &mut EditStager<'_>) -> StagingOutcome {
        let commit = self.commit();
        commands.serve(stager.stage(&commit)).await.unwrap()
    }

    /// Stages edits at the first attempt.
    pub(super) async fn write(&self, commands: &mut ScriptedLoop, steps: &[Step]) {
        let edits = self.edits(steps).await;
        let mut stager = self.stager(&edits).await;
        let outcome = self.attempt(commands, &mut stager).await;
        assert_eq!(outcome, StagingOutcome::Staged);
    }

    /// Stores the edits of another writer. Their paths are not in the cache of `staging`.
    pub(super) async fn store_elsewhere(&self, steps: &[Step]) -> Staged {
        let edits = self.edits(steps).await.stage().unwrap().unwrap();
        let id = fresh_id();
        self.store.put_staged(&id, &edits).await.unwrap();
        Staged {
            id,
            hash: edits.hash(),
            size: edits.size(),
            bytes: edits.bytes,
        }
    }

    /// Stores and stages the edits of another writer. Returns their id.
    pub(super) async fn write_elsewhere(&self, commands: &mut ScriptedLoop, steps: &[Step]) -> GlobalId {
        let staged = self.store_elsewhere(steps).await;
        commands.stage(&self.key, staged).await;
        staged.id
    }

    /// Tries to stage edits while another writer is faster. Returns the id of the edits of the other.
    pub(super) async fn lose(
        &self,
        commands: &mut ScriptedLoop,
        stager: &mut EditStager<'_>,
        steps_of_other: &[Step],
    ) -> GlobalId {
        let commit = self.commit();
        let script = async {
            let queued = commands.next_command().await;
            let other = self.write_elsewhere(commands, steps_of_other).await;
            commands.answer(queued).await;
            other
        };
        let (outcome, other) = tokio::join!(stager.stage(&commit), script);
        assert_eq!(outcome.unwrap(), StagingOutcome::CommitChanged);
        other
    }

    /// Reads all files that are in the content of the commit, which excludes staged ones.
    pub(super) async fn read(&self) -> Files {
        read_files(&self.store, &self.commit().content).await
    }

    /// Returns the ids of all staged edits that have an object.
    pub(super) async fn objects(&self) -> BTreeSet<GlobalId> {
        let listed = self.store.list_staged().await.unwrap();
        listed.into_iter().map(|(id, _)| id).collect()
    }

    /// Waits until all objects are removed that staging has begun to remove. The store must have no faults.
    pub(super) async fn removals_done(&self) {
        // The tasks of the test's thread run in the order in which they were spawned, so this object is the last one.
        let marker = self.store_elsewhere(&[put("/marker", "")]).await.id;
        self.staging.remove(vec![marker]);
        soon(async {
            while self.objects().await.contains(&marker) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Makes all requests of one kind fail in this way when they come from staging. Returns the list of their keys,
    /// which grows with each request.
    pub(super) fn intercept(&self, kind: Operation, fault: Fault) -> Arc<Mutex<Vec<String>>> {
        let keys = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&keys);
        self.faults.set_plan(move |operation, key| {
            if operation != kind {
                return Fault::None;
            }
            seen.lock().unwrap().push(key.to_owned());
            fault
        });
        keys
    }

    /// Starts a coordinator over the store, with the log that the scripted loop has written.
    pub(super) async fn later_start(&self) -> Core {
        let (core, command_loop) = open(self.store.clone(), LiveStatus::default()).await.unwrap();
        tokio::spawn(command_loop.run());
        core
    }
}
