//! [`Core`], the handle through which all parts of the coordinator reach state, store, commands, staging and live
//! status; and [`open`] and [`lead`], which make it. Commands are decided and appended by the command loop, not here.

use std::sync::Arc;
use std::time::Instant;

use howdah_model::{Command, GlobalId, Reply, State};
use howdah_store::{MetaLog, OpenedLog, Store};
use tokio::sync::watch;

use super::command_loop::{CommandLoop, LogStatus};
use super::commands::{CommandHandle, SubmitError, command_channel};
use super::log_tail::LogTail;
use super::staging::Staging;
use crate::installation;
use crate::live::LiveStatus;
use crate::sealing::Sealer;

/// Cheap handle to the coordinator's state, store, command loop and live facts.
#[derive(Clone)]
pub struct Core(Arc<CoreParts>);

struct CoreParts {
    commands: CommandHandle,
    store: Store,
    live: LiveStatus,
    staging: Staging,
    log: watch::Receiver<LogStatus>,
    cluster_id: String,
    sealer: Sealer,
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

    /// Returns what shows how far the log is, and whether it can be written.
    pub fn log_status(&self) -> LogStatus {
        self.0.log.borrow().clone()
    }

    /// Returns the id of this installation: made with its store, stable from then on.
    pub fn cluster_id(&self) -> &str {
        &self.0.cluster_id
    }

    /// Returns what seals and opens the values of secrets.
    pub fn sealer(&self) -> &Sealer {
        &self.0.sealer
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

/// As [`open_with`], without a key for secrets.
///
/// # Errors
/// As [`open_with`].
pub async fn open(store: Store, live: LiveStatus) -> anyhow::Result<(Core, CommandLoop)> {
    open_with(store, live, Sealer::default()).await
}

/// Reads the log of `store`, claims it, and returns the handle, and the loop that the caller spawns.
///
/// # Errors
/// When the log or the snapshot is damaged or has a gap, or the store fails, or another coordinator claims the log at the
/// same time again and again.
pub async fn open_with(store: Store, live: LiveStatus, sealer: Sealer) -> anyhow::Result<(Core, CommandLoop)> {
    let started = Instant::now();
    let OpenedLog { log, contents } = MetaLog::open(&store).await?;
    lead(LogTail::of(store, contents, started).await?, log, live, sealer).await
}

/// Returns the handle of a coordinator that has claimed the log, and the loop that the caller spawns. `tail` is what was
/// claimed.
///
/// # Errors
/// When the store fails.
pub async fn lead(
    tail: LogTail,
    log: MetaLog,
    live: LiveStatus,
    sealer: Sealer,
) -> anyhow::Result<(Core, CommandLoop)> {
    let (store, state, replayed) = tail.into_parts();
    let cluster_id = installation::ensure_id(&store).await?;
    let (commands, source) = command_channel(state.clone());
    let command_loop = CommandLoop::new(source, state, log, store.clone(), replayed);
    let core = Core(Arc::new(CoreParts {
        staging: Staging::new(commands.clone(), store.clone()),
        commands,
        store,
        live,
        log: command_loop.status(),
        cluster_id,
        sealer,
    }));
    Ok((core, command_loop))
}
