//! Staged edits: what was written to open commits and is not in their trees yet.
//!
//! A tree for each write to an open commit would be waste: the next write replaces most of its nodes. So a write stores
//! only its edits (see `howdah_store::StagedEdits`) and adds their id to the commit's list. The first operation that
//! needs the commit's tree folds them in: it sorts all staged edits and applies them together.
//!
//! ```text
//!  write --check against content and staged paths--> put object --> StageEdits         (commit.staged grows)
//!  read, finish, a write that may not fit --> apply all --> SettleEdits --> delete objects  (commit.staged shrinks)
//! ```
//!
//! Staged edits are never undone. Before edits are staged, they are compared with the commit's content and with all
//! edits that are staged already. The command loop rejects `StageEdits` if the commit has changed since the check. An
//! object is deleted after the log says that its edits were folded in or cleared. A crash in between leaves an object
//! that no commit mentions, and so does the deletion of an open commit: see [`super::orphaned_edits`].
//!
//! This file holds what the parts share. They reach the command loop through a [`CommandHandle`] only.

use std::sync::Arc;

use howdah_model::{CommitKey, GlobalId, Staged, State};
use howdah_store::{EditError, StagedObject, StagedPathsCache, Store, StoreError};
use howdah_telemetry::error_chain;

use super::commands::{CommandHandle, SubmitError};
use super::commit_locks::{CommitLocks, WritePermit};
use crate::panics::{Panic, catch_task_panic};

/// Memory for the paths of staged edits: enough for those of one commit, if their names have a usual length.
const PATHS_BYTES: usize = 24 << 20;

/// Why edits could not be staged or folded.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// The edits do not fit what is there, or the store failed.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The command was refused, or the log failed.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// An object that the state mentions is gone.
    #[error("object {0} is missing: it holds files that were written to commit {1}")]
    Lost(String, CommitKey),
}

impl From<StoreError> for StagingError {
    fn from(error: StoreError) -> Self {
        Self::Edit(error.into())
    }
}

/// Cheap handle that stages edits in open commits and folds them into their trees.
///
/// What it keeps in memory is a cache and locks; all of it can be built again.
#[derive(Clone)]
pub struct Staging(Arc<StagingParts>);

struct StagingParts {
    commands: CommandHandle,
    store: Store,
    locks: CommitLocks,
    paths: StagedPathsCache,
}

impl Staging {
    /// Makes the handle over a command loop and a store.
    pub fn new(commands: CommandHandle, store: Store) -> Self {
        Self(Arc::new(StagingParts {
            commands,
            store,
            locks: CommitLocks::default(),
            paths: StagedPathsCache::new(PATHS_BYTES),
        }))
    }

    /// Waits for a permit to write to a commit. Take it before anything that may fold, and once: see the lock order in
    /// `commit_locks.rs`.
    pub async fn write_permit(&self, commit: &CommitKey, exclusive: bool) -> WritePermit {
        self.0.locks.write_permit(commit, exclusive).await
    }

    /// Deletes staged edits that no commit mentions any more, in the background.
    pub fn remove(&self, ids: Vec<GlobalId>) {
        let staging = self.clone();
        let removing = async move {
            for id in ids {
                staging.paths().remove(&id);
                // An object that stays costs space until a coordinator starts more than a day from now.
                if let Err(error) = staging.store().delete_staged(&id).await {
                    tracing::warn!(
                        error = error_chain(&error),
                        "staged edits that are no longer needed could not be removed"
                    );
                }
            }
        };
        tokio::spawn(async { catch_task_panic("removal of staged edits", removing).await });
    }

    pub(super) fn commands(&self) -> &CommandHandle {
        &self.0.commands
    }

    pub(super) fn state(&self) -> State {
        self.0.commands.state()
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn locks(&self) -> &CommitLocks {
        &self.0.locks
    }

    pub(super) fn paths(&self) -> &StagedPathsCache {
        &self.0.paths
    }

    /// Reads staged edits of a commit; `None` if the commit does not have them any more.
    pub(super) async fn read(&self, commit: &CommitKey, staged: Staged) -> Result<Option<StagedObject>, StagingError> {
        let found = self.store().staged(&staged.id, &staged.hash).await?;
        // The state is read after the object was looked for. A commit that mentions the edits even then has lost them;
        // with the state from before, a fold that ended in between would be reported as a loss.
        if found.is_none()
            && self
                .state()
                .commit(commit)
                .is_some_and(|commit| commit.has_staged(staged.id))
        {
            let object = howdah_store::keys::staged(staged.id);
            return Err(StagingError::Lost(object, commit.clone()));
        }
        Ok(found)
    }
}

/// Runs `work` off the runtime's threads.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StagingError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| match error.try_into_panic() {
        Ok(payload) => SubmitError::from(Panic::caught("staged edits", &*payload)).into(),
        Err(_) => SubmitError::ShuttingDown.into(),
    })
}
