//! The command loop: the one place where metadata changes.
//!
//! One task owns the state and the log. Commands that arrive during an append are decided together and share the next
//! append (group commit). So throughput does not depend on the latency of the object store, and the order of commands
//! is the order of the log.
//!
//! ```text
//!  services, scheduler --submit--> [queue] --decide--> events --append--> log
//!                                              |                           | durable
//!                                              +---- new state ------------+--> publish --> readers
//!                                                                          +--> answer  --> submitters
//! ```
//!
//! Nothing is published or answered before its events are durable. Readers take a clone of the published state, which
//! is O(1); they never wait for writers.
//!
//! **In doubt.** An append that failed may still have been written. The loop decides no further command until the log
//! has resolved the append. If the record was written, the state after it is published. If not, that state is dropped,
//! and the record can never appear later.
//!
//! **Two coordinators.** A coordinator that starts claims the log; the one before it finds the number of its next record
//! taken, however late it tries, and ends with [`LoopError::Fenced`]. `howdah_store::MetaLog` describes this. On a store
//! without conditional writes there is no fence: stop the old coordinator before a new one starts.

use std::time::{Duration, Instant};

use howdah_model::{State, decide};
use howdah_store::{AppendError, AppendOutcome, Leadership, MetaLog, Store};
use tokio::sync::watch;

use super::commands::{CommandSource, QueuedCommand, SubmitError};
use super::logged_event::LoggedEvent;
use super::snapshot::SnapshotWriter;
use crate::metrics;
use crate::panics::catch_panic;

/// How many commands may share one append of the log.
const MAX_GROUP: usize = 512;
/// Pause between two attempts to resolve a doubt while no command comes.
const RESOLVE_PAUSE: Duration = Duration::from_secs(1);

/// Why the command loop ended.
#[derive(Debug, thiserror::Error)]
pub enum LoopError {
    /// Another coordinator has written the log: the state of this one is out of date, so it must end.
    #[error("another coordinator has taken over the store, this one stops: {0}")]
    Fenced(String),
}

/// What became of an append that was in doubt.
enum Resolution {
    /// It was written; its state is published.
    Written,
    /// It was not written and never will be, or nothing was in doubt.
    NotWritten,
    /// The store cannot tell yet, for this reason.
    Unknown(String),
}

/// The log, as the command loop sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStatus {
    /// Number of the last record that this coordinator has written.
    pub last: u64,
    /// Why nothing can be written now; `None` if nothing is in doubt.
    pub in_doubt: Option<String>,
}

/// The task that owns state and log. Ends when every handle is gone or another coordinator has written the log.
pub struct CommandLoop {
    source: CommandSource,
    state: State,
    log: MetaLog,
    /// State after an append whose outcome is unknown.
    in_doubt: Option<State>,
    status: watch::Sender<LogStatus>,
    snapshots: SnapshotWriter,
}

impl CommandLoop {
    /// Makes the loop. `state` is what the log contains; `replayed` of its records came after the newest snapshot.
    pub(super) fn new(source: CommandSource, state: State, log: MetaLog, store: Store, replayed: u64) -> Self {
        let status = LogStatus {
            last: log.last(),
            in_doubt: None,
        };
        Self {
            source,
            state,
            log,
            in_doubt: None,
            status: watch::Sender::new(status),
            snapshots: SnapshotWriter::new(store, replayed),
        }
    }

    /// Returns what shows whether the log can be written.
    pub(super) fn status(&self) -> watch::Receiver<LogStatus> {
        self.status.subscribe()
    }

    /// Returns what finds out whether this coordinator still leads.
    pub fn leadership(&self) -> Leadership {
        self.log.leadership()
    }

    /// Runs until every handle is gone, which is a clean end, or until another coordinator has written the log.
    pub async fn run(mut self) -> Result<(), LoopError> {
        loop {
            // Cancel safe: a group that `recv` has not returned stays in the queue.
            let first = tokio::select! {
                first = self.source.submissions.recv() => first,
                () = tokio::time::sleep(RESOLVE_PAUSE), if self.in_doubt.is_some() => {
                    self.resolve_doubt().await?;
                    continue;
                }
            };
            let Some(first) = first else { return Ok(()) };
            let mut group = first;
            // Takes only what is queued already: a wait for more commands would delay the first one, and under load the
            // queue has filled during the append before.
            while group.len() < MAX_GROUP {
                match self.source.submissions.try_recv() {
                    Ok(commands) => group.extend(commands),
                    Err(_) => break,
                }
            }
            self.run_group(group).await?;
        }
    }

    async fn run_group(&mut self, group: Vec<QueuedCommand>) -> Result<(), LoopError> {
        // Before anything is decided: a decision on a state whose last append is in doubt could contradict the log.
        if let Resolution::Unknown(text) = self.resolve_doubt().await? {
            let text = format!("nothing was changed, because an earlier append is in doubt: {text}");
            for queued in group {
                let _ = queued.answer.send(Err(SubmitError::Unavailable(text.clone())));
            }
            return Ok(());
        }
        let mut next = self.state.clone();
        let mut events = Vec::new();
        let mut answers = Vec::with_capacity(group.len());
        for QueuedCommand { envelope, by, answer } in group {
            metrics::COMMANDS.inc();
            // Each command is decided on the state after the ones before it. A rejected one leaves no trace in `next`,
            // so it does not fail the others of its group. Nor does one that panics: `decide` changes a copy.
            match catch_panic(envelope.command.name(), || decide(&next, &envelope)) {
                Ok(Ok(decision)) => {
                    next = decision.state;
                    events.extend(decision.events.into_iter().map(|event| LoggedEvent {
                        event,
                        by: Some(by.to_string()),
                    }));
                    answers.push((answer, Ok(decision.reply)));
                }
                Ok(Err(rejection)) => answers.push((answer, Err(rejection.into()))),
                Err(panic) => answers.push((answer, Err(panic.into()))),
            }
        }
        if !events.is_empty()
            && let Err(text) = self.append(&events, next).await?
        {
            // Also rejections: they were decided on a state that does not exist now.
            for (answer, _) in answers {
                let _ = answer.send(Err(SubmitError::Unavailable(text.clone())));
            }
            return Ok(());
        }
        // After the state is published: a submitter that reads the state right after its answer finds its own change.
        for (answer, result) in answers {
            // The submitter may be gone, for example because its client hung up. That does not undo the command.
            let _ = answer.send(result);
        }
        Ok(())
    }

    /// Makes events durable and publishes the state after them. The inner error is for submitters: this group failed,
    /// the loop continues.
    async fn append(&mut self, events: &[LoggedEvent], next: State) -> Result<Result<(), String>, LoopError> {
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
                // Kept until it is known whether the record exists: dropping it could lose events that the next start
                // replays, publishing it could show events that no start replays.
                self.in_doubt = Some(next);
                let text = howdah_telemetry::error_chain(&error);
                tracing::error!(error = text, "append to the metadata log failed");
                self.status.send_modify(|status| status.in_doubt = Some(text.clone()));
                // If the store answers again by now, submitters learn what became of the append. If not, the text tells
                // them that it is in doubt.
                Ok(match self.resolve_doubt().await? {
                    Resolution::Written => Ok(()),
                    Resolution::NotWritten => Err(format!("nothing was changed: {}", cause_of(&error))),
                    Resolution::Unknown(_) => Err(text),
                })
            }
        }
    }

    /// Finds out what became of an append that failed; publishes its state if it was written.
    async fn resolve_doubt(&mut self) -> Result<Resolution, LoopError> {
        let Some(doubtful) = self.in_doubt.clone() else {
            return Ok(Resolution::NotWritten);
        };
        // This fills the record's number with a void record, so that a delayed write of the failed one can never appear.
        match self.log.resolve_in_doubt().await {
            Ok(AppendOutcome::Written(_)) => {
                self.in_doubt = None;
                self.publish(doubtful);
                Ok(Resolution::Written)
            }
            Ok(AppendOutcome::NotWritten) => {
                self.in_doubt = None;
                self.status.send_replace(LogStatus {
                    last: self.log.last(),
                    in_doubt: None,
                });
                Ok(Resolution::NotWritten)
            }
            Err(error @ AppendError::Fenced { .. }) => Err(LoopError::Fenced(error.to_string())),
            Err(error) => Ok(Resolution::Unknown(howdah_telemetry::error_chain(&error))),
        }
    }

    /// Makes `next` the state that is read and decided on. Its events must be durable.
    fn publish(&mut self, next: State) {
        self.state = next;
        self.source.published.send_replace(self.state.clone());
        self.status.send_replace(LogStatus {
            last: self.log.last(),
            in_doubt: None,
        });
        self.snapshots.record_appended(&self.state, self.log.last());
    }
}

/// Returns why an append failed of which it is known by now that it was not written.
fn cause_of(error: &AppendError) -> String {
    match error {
        // Without the text of the error itself, which says that the record may be written.
        AppendError::InDoubt { source, .. } => howdah_telemetry::error_chain(source),
        other => howdah_telemetry::error_chain(other),
    }
}
