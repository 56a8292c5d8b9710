//! The command loop: the one place where metadata changes.
//!
//! One task owns the state and the log. Commands that arrive while an append is under way are
//! decided together and share the next append (group commit), so throughput does not depend on the
//! latency of the object store and the order of commands is the order of the log.
//!
//! ```text
//!  services, scheduler --submit--> [queue] --decide--> events --append--> log
//!                                              |                           | durable
//!                                              +---- new state ------------+--> watch --> readers
//! ```
//!
//! Readers take a clone of the published state (O(1)); they never wait for writers. Nothing is
//! published or answered before its events are durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use howdah_model::{Command, Envelope, Event, GlobalId, Rejection, Reply, State, decide};
use howdah_store::{AppendError, MetaLog, OpenedLog, Settled, Store, StoreError};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use crate::board::JobBoard;
use crate::fresh_id::fresh_id;
use crate::metrics;
use crate::staging::Staging;

/// How many commands may share one append of the log.
const MAX_GROUP: usize = 512;
/// How many commands may wait before submitters are held back.
const QUEUE_LENGTH: usize = 4096;
/// A snapshot is written after this many log records, to bound the replay of a restart.
const SNAPSHOT_EVERY: u64 = 2_000;

/// Snapshots that stay, with the records after the oldest: one to fall back on.
const KEPT_SNAPSHOTS: usize = 2;

/// Why a command had no effect.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The command is not allowed in the present state.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The metadata log could not be written; unless the text says that this is in doubt, nothing was changed.
    #[error("the metadata log could not be written: {0}")]
    Unavailable(String),
    /// The coordinator is going down.
    #[error("the coordinator is shutting down; try again in a moment")]
    ShuttingDown,
}

struct Request {
    envelope: Envelope,
    answer: oneshot::Sender<Result<Reply, SubmitError>>,
}

fn request(id: GlobalId, command: Command) -> (Request, oneshot::Receiver<Result<Reply, SubmitError>>) {
    let (answer, reply) = oneshot::channel();
    let envelope = Envelope {
        at: Timestamp::now(),
        id,
        command,
    };
    (Request { envelope, answer }, reply)
}

/// Cheap handle to the coordinator's state, store and command loop.
#[derive(Clone)]
pub struct Core(Arc<Inner>);

struct Inner {
    requests: mpsc::Sender<Vec<Request>>,
    state: watch::Receiver<State>,
    store: Store,
    jobs: JobBoard,
    staging: Staging,
    cluster_id: String,
}

impl Core {
    /// Returns the present state. A clone is O(1); it does not follow later changes.
    pub fn state(&self) -> State {
        self.0.state.borrow().clone()
    }

    /// Returns a receiver that is notified of every change of the state.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.0.state.clone()
    }

    /// Returns the store that holds everything.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Returns the live picture of jobs and workers.
    pub fn jobs(&self) -> &JobBoard {
        &self.0.jobs
    }

    /// Returns what is remembered of staged edits.
    pub fn staging(&self) -> &Staging {
        &self.0.staging
    }

    /// Returns the id of this installation: made with its store, stable from then on.
    pub fn cluster_id(&self) -> &str {
        &self.0.cluster_id
    }

    /// Decides `command` now, under a fresh id, and returns when its events are durable.
    pub async fn submit(&self, command: Command) -> Result<Reply, SubmitError> {
        self.submit_with_id(fresh_id(), command).await
    }

    /// Like [`Core::submit`], with the id that a commit set made by the command will have.
    pub async fn submit_with_id(&self, id: GlobalId, command: Command) -> Result<Reply, SubmitError> {
        let (request, reply) = request(id, command);
        self.send(vec![request]).await?;
        reply.await.map_err(|_| SubmitError::ShuttingDown)?
    }

    /// Decides commands one after the other, and returns when the events of all are durable: they share one append.
    ///
    /// # Errors
    /// The first of those that single commands had; the others may have had their effect.
    pub async fn submit_together(&self, commands: impl IntoIterator<Item = Command>) -> Result<(), SubmitError> {
        let commands = commands.into_iter();
        let (requests, replies): (Vec<_>, Vec<_>) = commands.map(|command| request(fresh_id(), command)).unzip();
        self.send(requests).await?;
        for reply in replies {
            reply.await.map_err(|_| SubmitError::ShuttingDown)??;
        }
        Ok(())
    }

    async fn send(&self, requests: Vec<Request>) -> Result<(), SubmitError> {
        let sent = self.0.requests.send(requests).await;
        sent.map_err(|_| SubmitError::ShuttingDown)
    }

    /// Waits until `ready` holds for the state and returns what it returned.
    ///
    /// Returns `None` when the coordinator goes down first.
    pub async fn wait_for<T>(&self, mut ready: impl FnMut(&State) -> Option<T>) -> Option<T> {
        let mut watch = self.watch();
        loop {
            let found = ready(&watch.borrow_and_update());
            if found.is_some() {
                return found;
            }
            watch.changed().await.ok()?;
        }
    }
}

/// The task that owns state and log. Ends when every [`Core`] handle is gone or the log fails.
pub struct CommandLoop {
    requests: mpsc::Receiver<Vec<Request>>,
    publish: watch::Sender<State>,
    state: State,
    log: MetaLog,
    /// State after an append of which it is not known whether it is in the log.
    in_doubt: Option<State>,
    since_snapshot: u64,
    snapshot_running: Arc<AtomicBool>,
    store: Store,
}

/// Why the command loop ended.
#[derive(Debug, thiserror::Error)]
pub enum LoopError {
    /// Another coordinator has written the log: this one must not go on.
    #[error("another coordinator has taken over the store, this one stops: {0}")]
    Fenced(String),
}

/// Reads the log of `store` and builds the handle and the loop to be spawned.
pub async fn open(store: Store, jobs: JobBoard) -> anyhow::Result<(Core, CommandLoop)> {
    let started = Instant::now();
    let OpenedLog { log, snapshot, records } = MetaLog::open(&store).await?;
    let mut state = match snapshot {
        Some(snapshot) => tokio::task::spawn_blocking(move || decode_snapshot(&snapshot.bytes)).await??,
        None => State::new(),
    };
    let replayed = records.len() as u64;
    for record in &records {
        let events: Vec<Event> = record.events()?;
        for event in &events {
            howdah_model::apply(&mut state, event);
        }
    }
    tracing::info!(
        records = replayed,
        commits = state.commits().count(),
        elapsed_ms = started.elapsed().as_millis() as u64,
        "metadata log replayed"
    );
    let cluster_id = cluster_id(&store).await?;
    let (publish, watch) = watch::channel(state.clone());
    let (sender, requests) = mpsc::channel(QUEUE_LENGTH);
    let core = Core(Arc::new(Inner {
        requests: sender,
        state: watch,
        store: store.clone(),
        jobs,
        staging: Staging::default(),
        cluster_id,
    }));
    let command_loop = CommandLoop {
        requests,
        publish,
        state,
        log,
        in_doubt: None,
        since_snapshot: replayed,
        snapshot_running: Arc::default(),
        store,
    };
    Ok((core, command_loop))
}

/// Returns the id kept in the store, making it first if this store is new.
async fn cluster_id(store: &Store) -> anyhow::Result<String> {
    const KEY: &str = "meta/cluster-id";
    let fresh = fresh_id().to_string();
    if let Some(bytes) = store.get_opt(KEY).await? {
        return Ok(String::from_utf8_lossy(&bytes).trim().to_owned());
    }
    store.put(KEY, fresh.clone().into()).await?;
    Ok(fresh)
}

impl CommandLoop {
    /// Runs until every handle is gone, which is a clean end, or until the log fails.
    pub async fn run(mut self) -> Result<(), LoopError> {
        while let Some(first) = self.requests.recv().await {
            let mut group = first;
            while group.len() < MAX_GROUP {
                match self.requests.try_recv() {
                    Ok(requests) => group.extend(requests),
                    Err(_) => break,
                }
            }
            self.run_group(group).await?;
        }
        Ok(())
    }

    async fn run_group(&mut self, group: Vec<Request>) -> Result<(), LoopError> {
        if let Err(text) = self.settle_doubt().await? {
            for request in group {
                let _ = request.answer.send(Err(SubmitError::Unavailable(text.clone())));
            }
            return Ok(());
        }
        let mut next = self.state.clone();
        let mut events = Vec::new();
        let mut answers = Vec::with_capacity(group.len());
        for Request { envelope, answer } in group {
            metrics::COMMANDS.inc();
            match decide(&next, &envelope) {
                Ok(decision) => {
                    next = decision.state;
                    events.extend(decision.events);
                    answers.push((answer, Ok(decision.reply)));
                }
                Err(rejection) => answers.push((answer, Err(rejection))),
            }
        }
        if !events.is_empty()
            && let Err(text) = self.append(&events, next).await?
        {
            for (answer, _) in answers {
                let _ = answer.send(Err(SubmitError::Unavailable(text.clone())));
            }
            return Ok(());
        }
        for (answer, result) in answers {
            // A client that went away does not want to know.
            let _ = answer.send(result.map_err(SubmitError::from));
        }
        Ok(())
    }

    /// Makes events durable and publishes the state after them. The inner error is for clients: this group
    /// failed, the loop goes on.
    async fn append(&mut self, events: &[Event], next: State) -> Result<Result<(), String>, LoopError> {
        let started = Instant::now();
        match self.log.append_events(events).await {
            Ok(_) => {
                metrics::LOG_APPEND_SECONDS.observe(started.elapsed().as_secs_f64());
                self.publish(next);
                Ok(Ok(()))
            }
            Err(error @ AppendError::Fenced { .. }) => Err(LoopError::Fenced(error.to_string())),
            Err(error) => {
                metrics::LOG_APPEND_FAILURES.inc();
                self.in_doubt = Some(next);
                let text = howdah_telemetry::error_chain(&error);
                tracing::error!(error = text, "append to the metadata log failed");
                // Most often the store says no for good at once: then clients get a plain answer.
                Ok(match self.settle_doubt().await? {
                    Ok(true) => Ok(()),
                    _ => Err(text),
                })
            }
        }
    }

    /// Finds out what became of an append that failed. The inner value tells whether it had been written
    /// after all; the inner error that the store still cannot tell.
    async fn settle_doubt(&mut self) -> Result<Result<bool, String>, LoopError> {
        let Some(doubtful) = self.in_doubt.clone() else {
            return Ok(Ok(false));
        };
        match self.log.settle().await {
            Ok(Settled::Written(_)) => {
                self.in_doubt = None;
                self.publish(doubtful);
                Ok(Ok(true))
            }
            Ok(Settled::NotWritten) => {
                self.in_doubt = None;
                Ok(Ok(false))
            }
            Err(error @ AppendError::Fenced { .. }) => Err(LoopError::Fenced(error.to_string())),
            Err(error) => Ok(Err(howdah_telemetry::error_chain(&error))),
        }
    }

    fn publish(&mut self, next: State) {
        self.state = next;
        self.publish.send_replace(self.state.clone());
        self.since_snapshot += 1;
        self.snapshot_if_due();
    }

    fn snapshot_if_due(&mut self) {
        if self.since_snapshot < SNAPSHOT_EVERY || self.snapshot_running.swap(true, Ordering::AcqRel) {
            return;
        }
        self.since_snapshot = 0;
        let (state, store, seq) = (self.state.clone(), self.store.clone(), self.log.last());
        let running = self.snapshot_running.clone();
        tokio::spawn(async move {
            let bytes = tokio::task::spawn_blocking(move || encode_snapshot(&state)).await;
            let result = match bytes {
                Ok(Ok(bytes)) => write_and_prune(&store, seq, &bytes)
                    .await
                    .map_err(|e| howdah_telemetry::error_chain(&e)),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match result {
                Ok(()) => tracing::info!(seq, "metadata snapshot written"),
                // The log is complete without it; only the next start takes longer.
                Err(error) => tracing::warn!(seq, %error, "metadata snapshot could not be written"),
            }
            running.store(false, Ordering::Release);
        });
    }
}

/// Writes a snapshot and removes what only older ones needed.
async fn write_and_prune(store: &Store, seq: u64, bytes: &[u8]) -> Result<(), StoreError> {
    MetaLog::write_snapshot(store, seq, bytes).await?;
    MetaLog::prune(store, KEPT_SNAPSHOTS).await?;
    Ok(())
}

fn encode_snapshot(state: &State) -> anyhow::Result<Vec<u8>> {
    Ok(serde_json::to_vec(state)?)
}

fn decode_snapshot(bytes: &[u8]) -> anyhow::Result<State> {
    Ok(serde_json::from_slice(bytes)?)
}
