//! Locks of open commits, made when they are needed.
//!
//! They reduce conflicts between writers and share work between readers. Correctness does not depend on them: the
//! command loop checks every change against the commit as it is then.
//!
//! Lock order: a write permit first, the fold lock last. A task takes at most one of each for a commit. Two shared
//! permits of one task can deadlock: the lock is fair, so the second request queues behind a task that waits for the
//! exclusive permit, and that task waits for the first shared permit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use howdah_model::CommitKey;
use tokio::sync::{OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Permission to write to a commit; ends when dropped.
#[derive(Debug)]
pub enum WritePermit {
    /// Other writers may have one at the same time.
    Shared(OwnedRwLockReadGuard<()>),
    /// No other writer has one: for a writer that would lose against the others again and again.
    Exclusive(OwnedRwLockWriteGuard<()>),
}

/// The locks of one commit.
#[derive(Debug, Clone, Default)]
struct CommitLock {
    writing: Arc<RwLock<()>>,
    folding: Arc<tokio::sync::Mutex<()>>,
}

impl CommitLock {
    fn is_in_use(&self) -> bool {
        // The table itself has one reference to each. Guards and waiting tasks have the others.
        Arc::strong_count(&self.writing) > 1 || Arc::strong_count(&self.folding) > 1
    }
}

/// The locks of all commits that a task waits for or works on.
#[derive(Debug, Default)]
pub(super) struct CommitLocks {
    commits: Mutex<HashMap<CommitKey, CommitLock>>,
}

impl CommitLocks {
    fn of(&self, commit: &CommitKey) -> CommitLock {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        // References are only made under this mutex, so a lock without users cannot get one while it is removed: two
        // tasks never have different locks for the same commit.
        commits.retain(|_, lock| lock.is_in_use());
        commits.entry(commit.clone()).or_default().clone()
    }

    /// Waits for a permit to write to a commit.
    pub(super) async fn write_permit(&self, commit: &CommitKey, exclusive: bool) -> WritePermit {
        let lock = self.of(commit).writing;
        match exclusive {
            true => WritePermit::Exclusive(lock.write_owned().await),
            false => WritePermit::Shared(lock.read_owned().await),
        }
    }

    /// Waits for the fold lock of a commit, which is held while its staged edits are folded into its tree, so that
    /// concurrent readers share one fold.
    pub(super) async fn fold_lock(&self, commit: &CommitKey) -> OwnedMutexGuard<()> {
        self.of(commit).folding.lock_owned().await
    }
}
