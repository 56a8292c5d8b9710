//! The handle to the command loop: submits commands and reads the published state.

use crate::caller::Caller;
use crate::fresh_id::fresh_id;
use crate::panics::Panic;
use howdah_model::{Command, Envelope, GlobalId, Rejection, Reply, State};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

/// How many submissions may wait before submitters have to wait themselves.
const QUEUE_LENGTH: usize = 4096;

/// Why a command had no effect.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The command is not allowed in the present state.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The metadata log could not be written. The text says either that nothing was changed or that this is in doubt.
    #[error("the metadata log could not be written: {0}")]
    Unavailable(String),
    /// The command made the program panic; nothing was changed.
    #[error("{0}")]
    Panicked(#[from] Panic),
    /// The coordinator is shutting down.
    #[error("the coordinator is shutting down; try again in a moment")]
    ShuttingDown,
}

/// A command on its way to the loop, with the channel for its answer.
pub(super) struct QueuedCommand {
    pub(super) envelope: Envelope,
    /// Who has submitted it.
    pub(super) by: Caller,
    pub(super) answer: oneshot::Sender<Result<Reply, SubmitError>>,
}

fn queued(id: GlobalId, command: Command) -> (QueuedCommand, oneshot::Receiver<Result<Reply, SubmitError>>) {
    let (answer, reply) = oneshot::channel();
    let envelope = Envelope {
        at: Timestamp::now(),
        id,
        command,
    };
    let by = Caller::current();
    (QueuedCommand { envelope, by, answer }, reply)
}

/// The loop's end of a [`CommandHandle`].
pub(super) struct CommandSource {
    /// Submissions, in the order in which they are decided. The commands of one submission stay together.
    pub(super) submissions: mpsc::Receiver<Vec<QueuedCommand>>,
    /// Where the state is published once its events are durable.
    pub(super) published: watch::Sender<State>,
}

/// Makes a handle and the loop's end of it; `state` is the first that is published.
pub(super) fn command_channel(state: State) -> (CommandHandle, CommandSource) {
    let (published, state) = watch::channel(state);
    let (sender, submissions) = mpsc::channel(QUEUE_LENGTH);
    let handle = CommandHandle {
        submissions: sender,
        state,
    };
    (handle, CommandSource { submissions, published })
}

/// Submits commands to the command loop and reads the state that it has published.
#[derive(Debug, Clone)]
pub struct CommandHandle {
    submissions: mpsc::Sender<Vec<QueuedCommand>>,
    state: watch::Receiver<State>,
}

impl CommandHandle {
    /// Returns the present state. A clone is O(1); it does not follow later changes.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Returns a receiver that is notified of every change of the state.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Decides `command` now, under a fresh id, and returns when its events are durable.
    ///
    /// A caller that drops this future does not take the command back: it may still have its effect.
    pub async fn submit(&self, command: Command) -> Result<Reply, SubmitError> {
        self.submit_with_id(fresh_id(), command).await
    }

    /// Like [`CommandHandle::submit`], with the id that a commit set made by the command will have.
    pub async fn submit_with_id(&self, id: GlobalId, command: Command) -> Result<Reply, SubmitError> {
        let (queued, reply) = queued(id, command);
        self.send(vec![queued]).await?;
        reply.await.map_err(|_| SubmitError::ShuttingDown)?
    }

    /// Decides commands one after the other, and returns when the events of all are durable: they share one append.
    ///
    /// # Errors
    /// The first error of a single command. The other commands may have had their effect.
    pub async fn submit_together(&self, commands: impl IntoIterator<Item = Command>) -> Result<(), SubmitError> {
        let commands = commands.into_iter();
        let (submission, replies): (Vec<_>, Vec<_>) = commands.map(|command| queued(fresh_id(), command)).unzip();
        self.send(submission).await?;
        for reply in replies {
            reply.await.map_err(|_| SubmitError::ShuttingDown)??;
        }
        Ok(())
    }

    async fn send(&self, submission: Vec<QueuedCommand>) -> Result<(), SubmitError> {
        let sent = self.submissions.send(submission).await;
        sent.map_err(|_| SubmitError::ShuttingDown)
    }

    /// Waits until `ready` returns something for the state, and returns that.
    ///
    /// Returns `None` when the coordinator shuts down first.
    pub async fn wait_for<T>(&self, mut ready: impl FnMut(&State) -> Option<T>) -> Option<T> {
        let mut watch = self.watch();
        loop {
            // The version is marked as seen while it is looked at, so a change right after this wakes the wait below.
            let found = ready(&watch.borrow_and_update());
            if found.is_some() {
                return found;
            }
            watch.changed().await.ok()?;
        }
    }
}
