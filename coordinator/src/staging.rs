//! Edits of open commits that wait to be applied.
//!
//! A commit that is written to many times would make a tree each time, most of whose nodes the next write replaces. So a
//! write to an open commit only stores what it writes (see `howdah_store::StagedEdits`) and adds that to the commit's
//! list. Whoever needs the commit's tree settles it: all that waits is sorted and applied together.
//!
//! ```text
//!  write --check against content and staged paths--> object --> StageEdits        (commit.staged grows)
//!  read, finish, a write that may not fit --> apply all --> SettleEdits --> objects go  (commit.staged shrinks)
//! ```
//!
//! Edits never have to be taken back: they are checked against everything they will meet before they are staged, and
//! `StageEdits` is refused when anything has come between. An object is removed when its edits have been applied or
//! cleared, and that is logged. What a crash leaves behind, and what commits had that were deleted while open, is found
//! when the coordinator starts again, see [`strays`].

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures::{StreamExt, TryStreamExt, stream};
use howdah_model::{Command, Commit, CommitKey, Content, GlobalId, Rejection, RejectionKind, Reply, Staged, TreeRoot};
use howdah_store::{
    ClosedEdits, EditError, FileEdits, FileTree, PathRules, StagedEdits, StagedObject, StagedPaths, StoreError,
};
use lru::LruCache;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::core::{Core, SubmitError};
use crate::fresh_id::fresh_id;
use howdah_telemetry::error_chain;

/// A commit with so many staged edits is settled before more are staged: each is an object to read.
const MAX_WAITING: usize = 64;
/// Most bytes of staged edits that a commit has: that much is read and sorted to settle it.
const MAX_WAITING_BYTES: u64 = 32 << 20;
/// Objects read ahead when a commit is settled.
const READ_AHEAD: usize = 4;
/// Memory for the paths of staged edits: as much as those of a commit take, if names are not unusually long.
const PATHS_BYTES: usize = 24 << 20;
/// If the paths of more staged edits would have to be read, they are applied instead.
const MAX_READ_AGAIN: usize = 8;
/// Staged edits that no state mentions are removed when they are so old that nobody can still be about to.
const STRAY_AGE: Duration = Duration::from_secs(24 * 3600);

/// Why a write or a settlement had no effect.
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

/// What the coordinator remembers of staged edits. All of it can be found out again.
#[derive(Debug, Default)]
pub struct Staging {
    paths: Mutex<Paths>,
    commits: Mutex<HashMap<CommitKey, Gates>>,
}

/// Who may do what to one commit at a time. For speed and fairness alone: right is what the command loop accepts.
#[derive(Debug, Clone, Default)]
struct Gates {
    /// Shared by those who write; held alone by who would otherwise lose to them again and again.
    writing: Arc<RwLock<()>>,
    /// Held by who settles, so that many readers do it once. Who holds it waits for nobody else here.
    settling: Arc<tokio::sync::Mutex<()>>,
}

/// Leave to write to a commit; ends when dropped.
#[derive(Debug)]
pub enum Leave {
    /// While others do, too.
    Shared(OwnedRwLockReadGuard<()>),
    /// While nobody else does.
    Alone(OwnedRwLockWriteGuard<()>),
}

#[derive(Debug)]
struct Paths {
    known: LruCache<GlobalId, Arc<StagedPaths>>,
    bytes: usize,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            known: LruCache::unbounded(),
            bytes: 0,
        }
    }
}

impl Staging {
    fn remember(&self, id: GlobalId, paths: Arc<StagedPaths>) {
        let mut all = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        all.bytes += paths.memory();
        if let Some(before) = all.known.put(id, paths) {
            all.bytes -= before.memory();
        }
        while all.bytes > PATHS_BYTES
            && let Some((_, oldest)) = all.known.pop_lru()
        {
            all.bytes -= oldest.memory();
        }
    }

    fn recall(&self, id: &GlobalId) -> Option<Arc<StagedPaths>> {
        let mut all = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        all.known.get(id).cloned()
    }

    fn forget(&self, id: &GlobalId) {
        let mut all = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(paths) = all.known.pop(id) {
            all.bytes -= paths.memory();
        }
    }

    fn gates(&self, commit: &CommitKey) -> Gates {
        let in_use = |gates: &Gates| Arc::strong_count(&gates.writing) > 1 || Arc::strong_count(&gates.settling) > 1;
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        commits.retain(|_, gates| in_use(gates));
        commits.entry(commit.clone()).or_default().clone()
    }

    /// Waits for leave to write to a commit.
    pub async fn leave(&self, commit: &CommitKey, alone: bool) -> Leave {
        let gate = self.gates(commit).writing;
        match alone {
            true => Leave::Alone(gate.write_owned().await),
            false => Leave::Shared(gate.read_owned().await),
        }
    }
}

/// Makes everything that is staged in an open commit now part of its content, which it returns; more may have been staged
/// when it returns. Returns the content of a commit that has nothing staged as it is, and `None` without the commit.
///
/// # Errors
/// When objects are lost or damaged, or the store or the log fails. Nothing has changed then.
pub async fn settle(core: &Core, key: &CommitKey) -> Result<Option<Content>, StagingError> {
    let state = core.state();
    let Some(commit) = state.commit(key) else {
        return Ok(None);
    };
    let Some(goal) = commit.last_staged() else {
        return Ok(Some(commit.content));
    };
    let gate = core.staging().gates(key).settling;
    let _alone = gate.lock().await;
    loop {
        let state = core.state();
        let Some(commit) = state.commit(key) else {
            return Ok(None);
        };
        // Whoever was here before may have done it.
        let Some(through) = commit.last_staged().filter(|_| commit.has_staged(goal)) else {
            return Ok(Some(commit.content));
        };
        let Some(content) = apply(core, commit).await? else {
            continue;
        };
        let command = Command::SettleEdits {
            commit: key.clone(),
            expected: commit.content,
            through,
            content,
        };
        match core.submit(command).await {
            Ok(_) => {
                remove(core, commit.staged.iter().map(|staged| staged.id).collect());
                return Ok(Some(content));
            }
            // The commit has been cleared, finished or removed.
            Err(SubmitError::Rejected(rejection)) if is_of_the_moment(&rejection) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_of_the_moment(rejection: &Rejection) -> bool {
    use Rejection as R;
    rejection.kind() == RejectionKind::Conflict
        || matches!(rejection, R::CommitFinished(_) | R::NoCommit(_) | R::NoRepo(_))
}

/// Applies what a commit has staged; `None` if that has changed meanwhile.
async fn apply(core: &Core, commit: &Commit) -> Result<Option<Content>, StagingError> {
    let store = core.store();
    let memory = store.limits().sort_buffer_bytes;
    // Their paths have been checked before they were staged.
    let mut edits = FileEdits::with_memory(PathRules::Relaxed, memory);
    let objects = stream::iter(commit.staged.clone()).map(|staged| read(core, &commit.key, staged));
    let mut objects = objects.buffered(READ_AHEAD);
    while let Some(object) = objects.try_next().await? {
        match object {
            Some(object) => edits.add_staged(&object).await?,
            None => return Ok(None),
        }
    }
    Ok(Some(edits.apply(store, &commit.content).await?))
}

/// Reads staged edits; `None` if the commit does not have them any more.
async fn read(core: &Core, commit: &CommitKey, staged: Staged) -> Result<Option<StagedObject>, StagingError> {
    let found = core.store().staged(&staged.id, &staged.hash).await?;
    let state = core.state();
    let is_wanted = |commit: &Arc<Commit>| commit.has_staged(staged.id);
    if found.is_none() && state.commit(commit).is_some_and(is_wanted) {
        let object = howdah_store::keys::staged(staged.id);
        return Err(StagingError::Lost(object, commit.clone()));
    }
    Ok(found)
}

/// Submits a command, settling commits that it needs settled.
///
/// # Errors
/// Those of the command, or of a settlement.
pub async fn submit_settled(core: &Core, id: GlobalId, command: Command) -> Result<Reply, StagingError> {
    let mut done = core.submit_with_id(id, command.clone()).await;
    while let Err(SubmitError::Rejected(Rejection::UnfoldedEdits(commit))) = done {
        // Else others could stage more edits every time.
        let _leave = core.staging().leave(&commit, true).await;
        settle(core, &commit).await?;
        done = core.submit_with_id(id, command.clone()).await;
    }
    Ok(done?)
}

/// Removes staged edits that nobody will look for again, in the background.
pub fn remove(core: &Core, ids: Vec<GlobalId>) {
    let core = core.clone();
    tokio::spawn(async move {
        for id in ids {
            core.staging().forget(&id);
            // It costs space until a coordinator starts, more than a day from now.
            if let Err(error) = core.store().delete_staged(&id).await {
                tracing::warn!(
                    error = error_chain(&error),
                    "edits that are not needed any more could not be removed"
                );
            }
        }
    });
}

/// What came of an attempt to stage edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// They are staged, and durable.
    Done,
    /// The commit has changed meanwhile: look again.
    Moved,
    /// They may not fit what is there, which only applying them tells for certain.
    Apply,
}

/// A write to an open commit, as often as it has to be tried.
pub struct Stager<'a> {
    core: &'a Core,
    edits: StagedEdits,
    staged: Staged,
    /// The object may be there, and nobody else knows of it.
    stored: bool,
    /// Staged edits, and the tree, that the new ones are known to fit.
    fits: HashSet<GlobalId>,
    fits_tree: Option<Option<TreeRoot>>,
}

impl<'a> Stager<'a> {
    /// Begins to stage edits; `None` if they are too many.
    ///
    /// # Errors
    /// When temporary files fail.
    pub async fn new(core: &'a Core, edits: &ClosedEdits) -> Result<Option<Self>, StagingError> {
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
            core,
            edits,
            staged,
            stored: false,
            fits: HashSet::new(),
            fits_tree: None,
        }))
    }

    /// Stages the edits in an open commit, with leave to write to it.
    ///
    /// # Errors
    /// When the store or the log fails.
    pub async fn stage(&mut self, commit: &Commit) -> Result<Stage, StagingError> {
        if self.edits.is_empty() {
            return Ok(Stage::Done);
        }
        let waiting: u64 = commit.staged.iter().map(|staged| staged.size).sum();
        if commit.staged.len() >= MAX_WAITING || waiting + self.staged.size > MAX_WAITING_BYTES {
            settle(self.core, &commit.key).await?;
            return Ok(Stage::Moved);
        }
        if let Some(otherwise) = self.check(commit).await? {
            return Ok(otherwise);
        }
        let core = self.core;
        if !self.stored {
            self.stored = true;
            core.store().put_staged(&self.staged.id, &self.edits).await?;
        }
        // From here on the log may mention it, also when nobody waits for the answer any more.
        self.stored = false;
        let command = Command::StageEdits {
            commit: commit.key.clone(),
            expected: commit.content,
            after: commit.last_staged(),
            staged: self.staged,
        };
        match core.submit(command).await {
            Ok(_) => {
                core.staging().remember(self.staged.id, Arc::clone(self.edits.paths()));
                Ok(Stage::Done)
            }
            Err(SubmitError::Rejected(rejection)) => {
                self.stored = true;
                match rejection.kind() {
                    RejectionKind::Conflict => Ok(Stage::Moved),
                    _ => Err(SubmitError::from(rejection).into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Looks whether the edits fit each other and all they will meet; if not, or if that cannot be told, says what to do.
    async fn check(&mut self, commit: &Commit) -> Result<Option<Stage>, StagingError> {
        let paths = self.edits.paths();
        if paths.collision_with(paths).is_some() {
            return Ok(Some(Stage::Apply));
        }
        let mut read_again = 0;
        for staged in &commit.staged {
            if self.fits.contains(&staged.id) {
                continue;
            }
            let others = match self.core.staging().recall(&staged.id) {
                Some(known) => known,
                None if read_again == MAX_READ_AGAIN => {
                    settle(self.core, &commit.key).await?;
                    return Ok(Some(Stage::Moved));
                }
                None => {
                    read_again += 1;
                    let Some(object) = read(self.core, &commit.key, *staged).await? else {
                        return Ok(Some(Stage::Moved));
                    };
                    let others = Arc::new(blocking(move || object.paths()).await??);
                    self.core.staging().remember(staged.id, Arc::clone(&others));
                    others
                }
            };
            if paths.collision_with(&others).is_some() {
                return Ok(Some(Stage::Apply));
            }
            self.fits.insert(staged.id);
        }
        if self.fits_tree != Some(commit.content.root) {
            let files = FileTree::of(self.core.store(), &commit.content);
            if paths.collision_in(&files).await?.is_some() {
                return Ok(Some(Stage::Apply));
            }
            self.fits_tree = Some(commit.content.root);
        }
        Ok(None)
    }
}

impl Drop for Stager<'_> {
    /// What has been stored and not been staged is of no use.
    fn drop(&mut self) {
        if self.stored {
            remove(self.core, vec![self.staged.id]);
        }
    }
}

/// Lists staged edits that the state of a log that has just been read does not mention, and that were written more than
/// a day before `opened`, the time when reading it began: nobody can be about to log them any more.
///
/// # Errors
/// When the store fails.
pub async fn strays(core: &Core, opened: SystemTime) -> Result<Vec<GlobalId>, StoreError> {
    let state = core.state();
    let old = opened.checked_sub(STRAY_AGE);
    let mentioned = state.commits().flat_map(|commit| &commit.staged);
    let mentioned: HashSet<GlobalId> = mentioned.map(|staged| staged.id).collect();
    let found = core.store().list_staged().await?;
    let is_old = |modified: Option<SystemTime>| modified.zip(old).is_some_and(|(modified, old)| modified < old);
    let strays = found.into_iter().filter(|(_, modified)| is_old(*modified));
    let strays = strays.map(|(id, _)| id).filter(|id| !mentioned.contains(id));
    Ok(strays.collect())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StagingError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| SubmitError::ShuttingDown.into())
}
