//! Folding: all staged edits of an open commit become part of its tree at once.

use futures::{StreamExt, TryStreamExt, stream};
use howdah_model::{Command, Commit, CommitKey, Content, GlobalId, Rejection, RejectionKind, Reply};
use howdah_store::{FileEdits, PathRules};

use super::commands::SubmitError;
use super::staging::{Staging, StagingError};

/// Objects of staged edits that are read ahead.
const READ_AHEAD: usize = 4;

impl Staging {
    /// Folds everything that is staged in an open commit now into its content, which it returns.
    ///
    /// More may have been staged by the time this returns. The content of a commit that has nothing staged is returned
    /// as it is; `None` means that there is no such commit.
    ///
    /// # Errors
    /// When objects are lost or damaged, or the store or the log fails. Nothing has changed then.
    pub async fn fold(&self, key: &CommitKey) -> Result<Option<Content>, StagingError> {
        let state = self.state();
        let Some(commit) = state.commit(key) else {
            return Ok(None);
        };
        // The goal is fixed here. Without it, writers that continue to stage could keep this call in its loop for ever.
        let Some(goal) = commit.last_staged() else {
            return Ok(Some(commit.content));
        };
        // Last in the lock order: until it is released, only the store and the command loop are waited for.
        let _folding = self.locks().fold_lock(key).await;
        loop {
            // Read again under the lock: the task that held it before may have folded up to the goal.
            let state = self.state();
            let Some(commit) = state.commit(key) else {
                return Ok(None);
            };
            let Some(through) = commit.last_staged().filter(|_| commit.has_staged(goal)) else {
                return Ok(Some(commit.content));
            };
            let Some(content) = self.apply_staged(commit).await? else {
                continue;
            };
            // Compare-and-swap: refused unless the content is still the one that the edits were applied to. Edits that
            // were staged after `through` stay staged; they were checked against these edits, so they still fit.
            let command = Command::SettleEdits {
                commit: key.clone(),
                expected: commit.content,
                through,
                content,
            };
            match self.commands().submit(command).await {
                Ok(_) => {
                    // Only after the fold is in the log: a crash before that needs the objects for the next attempt.
                    self.remove(commit.staged.iter().map(|staged| staged.id).collect());
                    return Ok(Some(content));
                }
                // The commit has been cleared, finished or removed: the next round looks at what it is now.
                Err(SubmitError::Rejected(rejection)) if commit_has_changed(&rejection) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Applies what a commit has staged to its content; `None` if objects are gone because the commit has changed.
    async fn apply_staged(&self, commit: &Commit) -> Result<Option<Content>, StagingError> {
        let memory = self.store().limits().sort_buffer_bytes;
        // Their paths were checked before they were staged. Stricter rules of today must not make a commit unreadable.
        let mut edits = FileEdits::with_memory(PathRules::Relaxed, memory);
        let objects = stream::iter(commit.staged.clone()).map(|staged| self.read(&commit.key, staged));
        // In the order of staging: of two edits of one path the later one wins.
        let mut objects = objects.buffered(READ_AHEAD);
        while let Some(object) = objects.try_next().await? {
            match object {
                Some(object) => edits.add_staged(&object).await?,
                None => return Ok(None),
            }
        }
        Ok(Some(edits.apply(self.store(), &commit.content).await?))
    }

    /// Submits a command; before it is tried again, folds the staged edits of each commit that the command needs folded.
    ///
    /// # Errors
    /// Those of the command, or of a fold.
    pub async fn submit_folding_first(&self, id: GlobalId, command: Command) -> Result<Reply, StagingError> {
        let mut done = self.commands().submit_with_id(id, command.clone()).await;
        while let Err(SubmitError::Rejected(Rejection::UnfoldedEdits(commit))) = done {
            // Keeps writers out until the command is decided. Otherwise they could stage more edits after each fold, and
            // the command would be refused every time.
            let _permit = self.write_permit(&commit, true).await;
            self.fold(&commit).await?;
            done = self.commands().submit_with_id(id, command.clone()).await;
        }
        Ok(done?)
    }
}

/// Tells whether a fold was refused because the commit is not what it was when the fold began.
fn commit_has_changed(rejection: &Rejection) -> bool {
    rejection.kind() == RejectionKind::Conflict
        || matches!(
            rejection,
            Rejection::CommitFinished(_) | Rejection::NoCommit(_) | Rejection::NoRepo(_)
        )
}
