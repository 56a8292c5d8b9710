//! [`Core`], the handle through which all parts of the coordinator reach state, store, commands, staging and live
//! status; and [`open`], which makes it.
//!
//! [`open`] reads the log and fails if it is damaged. Commands are decided and appended by the command loop, not here.

use std::sync::Arc;
use std::time::Instant;

use howdah_model::{Command, Event, GlobalId, Reply, State};
use howdah_store::{MetaLog, OpenedLog, Store, keys};
use tokio::sync::watch;

use super::command_loop::CommandLoop;
use super::commands::{CommandHandle, SubmitError, command_channel};
use super::snapshot;
use super::staging::Staging;
use crate::fresh_id::fresh_id;
use crate::live::LiveStatus;

/// Cheap handle to the coordinator's state, store, command loop and live facts.
#[derive(Clone)]
pub struct Core(Arc<CoreParts>);

struct CoreParts {
    commands: CommandHandle,
    store: Store,
    live: LiveStatus,
    staging: Staging,
    cluster_id: String,
}

impl Core {
    /// Returns the present state. A clone is O(1); it does not follow later changes.
    pub fn state(&self) -> State {
        self.0.commands.state()
    }

    /// Returns a receiver that is notified of every change of the state.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.0.commands.watch()
    }

    /// Returns the store that holds everything.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Returns the live facts about workers and jobs.
    pub fn live(&self) -> &LiveStatus {
        &self.0.live
    }

    /// Returns what stages edits in open commits and folds them.
    pub fn staging(&self) -> &Staging {
        &self.0.staging
    }

    /// Returns the id of this installation: made with its store, stable from then on.
    pub fn cluster_id(&self) -> &str {
        &self.0.cluster_id
    }

    /// Submits a command, see [`CommandHandle::submit`].
    pub async fn submit(&self, command: Command) -> Result<Reply, SubmitError> {
        self.0.commands.submit(command).await
    }

    /// Submits a command with an id, see [`CommandHandle::submit_with_id`].
    pub async fn submit_with_id(&self, id: GlobalId, command: Command) -> Result<Reply, SubmitError> {
        self.0.commands.submit_with_id(id, command).await
    }

    /// Submits commands that share one append, see [`CommandHandle::submit_together`].
    pub async fn submit_together(&self, commands: impl IntoIterator<Item = Command>) -> Result<(), SubmitError> {
        self.0.commands.submit_together(commands).await
    }

    /// Waits for a state, see [`CommandHandle::wait_for`].
    pub async fn wait_for<T>(&self, ready: impl FnMut(&State) -> Option<T>) -> Option<T> {
        self.0.commands.wait_for(ready).await
    }
}

/// Reads the log of `store` and returns the handle, and the loop that the caller spawns.
///
/// # Errors
/// When the log or the snapshot is damaged or has a gap, or the store fails.
pub async fn open(store: Store, live: LiveStatus) -> anyhow::Result<(Core, CommandLoop)> {
    let started = Instant::now();
    let OpenedLog { log, snapshot, records } = MetaLog::open(&store).await?;
    let mut state = match snapshot {
        Some(snapshot) => tokio::task::spawn_blocking(move || snapshot::decode(&snapshot.bytes)).await??,
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
    let (commands, source) = command_channel(state.clone());
    let core = Core(Arc::new(CoreParts {
        staging: Staging::new(commands.clone(), store.clone()),
        commands,
        store: store.clone(),
        live,
        cluster_id,
    }));
    Ok((core, CommandLoop::new(source, state, log, store, replayed)))
}

/// Returns the id kept in the store, making it first if this store is new.
async fn cluster_id(store: &Store) -> anyhow::Result<String> {
    let fresh = fresh_id().to_string();
    if let Some(bytes) = store.get_opt(keys::CLUSTER_ID).await? {
        return Ok(String::from_utf8_lossy(&bytes).trim().to_owned());
    }
    store.put(keys::CLUSTER_ID, fresh.clone().into()).await?;
    Ok(fresh)
}
