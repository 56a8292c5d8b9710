//! Staging one write to an open commit.

use crate::fresh_id::fresh_id;
use std::collections::HashSet;
use std::sync::Arc;

use howdah_model::{Command, Commit, GlobalId, RejectionKind, Staged, TreeRoot};
use howdah_store::{ClosedEdits, FileTree, StagedEdits};

use super::commands::SubmitError;
use super::staging::{Staging, StagingError, blocking};

/// Most staged edits of a commit: each is an object that a fold reads. At this number they are folded before more are
/// staged.
const MAX_STAGED: usize = 64;
/// Most bytes of staged edits of a commit: a fold reads and sorts that much.
const MAX_STAGED_BYTES: u64 = 32 << 20;
/// If the paths of more staged edits are not in the cache, they are folded instead of being read.
const MAX_PATHS_READ: usize = 8;

/// What came of an attempt to stage edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StagingOutcome {
    /// They are staged, and durable.
    Staged,
    /// The commit has changed in the meantime: try again with the commit as it is now.
    CommitChanged,
    /// They may not fit what is there. Applying them to the tree shows whether they do.
    MustApply,
}

/// What is known about the object of staged edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ObjectState {
    /// It is not in the store.
    Absent,
    /// A put has begun: it may be in the store, or appear there later.
    Begun,
    /// It is in the store, and the log does not mention it.
    Stored,
    /// A command that mentions it was submitted, and not refused: the log may mention it.
    Submitted,
}

/// A write to an open commit. It keeps what it has found out from one attempt to the next.
pub struct EditStager<'a> {
    staging: &'a Staging,
    edits: StagedEdits,
    staged: Staged,
    object: ObjectState,
    /// Staged edits, and the tree, that the new edits are known to fit.
    fits: HashSet<GlobalId>,
    fits_tree: Option<Option<TreeRoot>>,
}

impl<'a> EditStager<'a> {
    /// Prepares to stage edits; `None` if they are too many to be staged.
    ///
    /// # Errors
    /// When temporary files fail.
    pub async fn new(staging: &'a Staging, edits: &ClosedEdits) -> Result<Option<Self>, StagingError> {
        let edits = edits.clone();
        let Some(edits) = blocking(move || edits.stage()).await?? else {
            return Ok(None);
        };
        let staged = Staged {
            id: fresh_id(),
            hash: edits.hash(),
            size: edits.size(),
            bytes: edits.bytes,
        };
        Ok(Some(Self {
            staging,
            edits,
            staged,
            object: ObjectState::Absent,
            fits: HashSet::new(),
            fits_tree: None,
        }))
    }

    /// Tries to stage the edits in an open commit. The caller holds a write permit for it.
    ///
    /// May be called again after [`StagingOutcome::CommitChanged`]. After an error, or after its future was dropped, the
    /// edits may be staged already: another call may then stage them twice.
    ///
    /// # Errors
    /// When the store or the log fails.
    pub async fn stage(&mut self, commit: &Commit) -> Result<StagingOutcome, StagingError> {
        if self.edits.is_empty() {
            return Ok(StagingOutcome::Staged);
        }
        let staged_bytes: u64 = commit.staged.iter().map(|staged| staged.size).sum();
        if commit.staged.len() >= MAX_STAGED || staged_bytes + self.staged.size > MAX_STAGED_BYTES {
            self.staging.fold(&commit.key).await?;
            return Ok(StagingOutcome::CommitChanged);
        }
        if let Some(otherwise) = self.check(commit).await? {
            return Ok(otherwise);
        }
        if self.object == ObjectState::Submitted {
            // Never under the same id: if the log mentions it, the command would be refused as a conflict, and this would
            // take the object for its own.
            self.staged.id = fresh_id();
            self.object = ObjectState::Absent;
        }
        if self.object != ObjectState::Stored {
            // Before the put: it may have stored the object also if it fails, or if this future is dropped meanwhile.
            self.object = ObjectState::Begun;
            self.staging.store().put_staged(&self.staged.id, &self.edits).await?;
        }
        // Before the command is submitted: if this future is dropped while it waits for the answer, the command may
        // still be logged. Removing the object then would lose files of the commit.
        self.object = ObjectState::Submitted;
        // Compare-and-swap on the content and on the last staged edits. Both are what `check` has looked at; if another
        // writer, a fold or a clear came first, the command is refused, and edits that were not compared never meet.
        let command = Command::StageEdits {
            commit: commit.key.clone(),
            expected: commit.content,
            after: commit.last_staged(),
            staged: self.staged,
        };
        match self.staging.commands().submit(command).await {
            Ok(_) => {
                let paths = Arc::clone(self.edits.paths());
                self.staging.paths().put(self.staged.id, paths);
                Ok(StagingOutcome::Staged)
            }
            Err(SubmitError::Rejected(rejection)) => {
                // Definitely not in the log, so the object is this stager's again: the next attempt uses it.
                self.object = ObjectState::Stored;
                match rejection.kind() {
                    RejectionKind::Conflict => Ok(StagingOutcome::CommitChanged),
                    _ => Err(SubmitError::from(rejection).into()),
                }
            }
            // The append may be in doubt: the object stays. If the log does not mention it, it is an orphan.
            Err(error) => Err(error.into()),
        }
    }

    /// Compares the edits with each other, with the commit's staged edits and with its content. Returns what to do
    /// instead of staging them if they collide, or if finding out is expensive.
    async fn check(&mut self, commit: &Commit) -> Result<Option<StagingOutcome>, StagingError> {
        let paths = self.edits.paths();
        if paths.collision_with(paths).is_some() {
            return Ok(Some(StagingOutcome::MustApply));
        }
        let mut paths_read = 0;
        for staged in &commit.staged {
            if self.fits.contains(&staged.id) {
                continue;
            }
            let others = match self.staging.paths().get(&staged.id) {
                Some(known) => known,
                None if paths_read == MAX_PATHS_READ => {
                    self.staging.fold(&commit.key).await?;
                    return Ok(Some(StagingOutcome::CommitChanged));
                }
                None => {
                    paths_read += 1;
                    let Some(object) = self.staging.read(&commit.key, *staged).await? else {
                        return Ok(Some(StagingOutcome::CommitChanged));
                    };
                    let others = Arc::new(blocking(move || object.paths()).await??);
                    self.staging.paths().put(staged.id, Arc::clone(&others));
                    others
                }
            };
            if paths.collision_with(&others).is_some() {
                return Ok(Some(StagingOutcome::MustApply));
            }
            self.fits.insert(staged.id);
        }
        // Also known to fit in later attempts: staged edits and trees never change under their id and root.
        if self.fits_tree != Some(commit.content.root) {
            let files = FileTree::of(self.staging.store(), &commit.content);
            if paths.collision_in(&files).await?.is_some() {
                return Ok(Some(StagingOutcome::MustApply));
            }
            self.fits_tree = Some(commit.content.root);
        }
        Ok(None)
    }
}

impl Drop for EditStager<'_> {
    /// Removes an object that was stored and is not staged.
    fn drop(&mut self) {
        if matches!(self.object, ObjectState::Begun | ObjectState::Stored) {
            self.staging.remove(vec![self.staged.id]);
        }
    }
}
