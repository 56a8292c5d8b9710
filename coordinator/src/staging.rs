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
//! `StageEdits` is refused when anything has come between. An object is removed once no state mentions it; what a crash
//! leaves behind is found by [`sweep`].

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures::{StreamExt, TryStreamExt, stream};
use howdah_model::{Command, Commit, CommitKey, Content, GlobalId, Rejection, RejectionKind, Reply, Staged, TreeRoot};
use howdah_store::{
    ClosedEdits, EditError, FileEdits, FileTree, PathRules, StagedEdits, StagedObject, StagedPaths, Store, StoreError,
};
use lru::LruCache;

use crate::chain;
use crate::core::{Core, SubmitError};

/// A commit with so many staged edits is settled before more are staged: each is an object to read.
const MAX_WAITING: usize = 64;
/// Most bytes of staged edits that a commit has: that much is read and sorted to settle it.
const MAX_WAITING_BYTES: u64 = 32 << 20;
/// Objects read ahead when a commit is settled.
const READ_AHEAD: usize = 4;
/// Memory for the paths of staged edits.
const PATHS_BYTES: usize = 16 << 20;
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
    /// Commits that are being settled, so that many readers of one do it once.
    settling: Mutex<HashMap<CommitKey, Arc<tokio::sync::Mutex<()>>>>,
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

    fn lock_of(&self, commit: &CommitKey) -> Arc<tokio::sync::Mutex<()>> {
        let mut settling = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody waits for a lock that only the map has.
        settling.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(settling.entry(commit.clone()).or_default())
    }
}

/// Makes everything staged in an open commit part of its content, which it returns. Returns the content of a commit
/// that has nothing staged as it is, and `None` without the commit.
///
/// # Errors
/// When objects are lost or damaged, or the store or the log fails. Nothing has changed then.
pub async fn settle(core: &Core, key: &CommitKey) -> Result<Option<Content>, StagingError> {
    let is_settled = |commit: &Arc<Commit>| commit.staged.is_empty();
    if let Some(commit) = core.state().commit(key).filter(|commit| is_settled(commit)) {
        return Ok(Some(commit.content));
    }
    let lock = core.staging().lock_of(key);
    let _alone = lock.lock().await;
    loop {
        let state = core.state();
        let Some(commit) = state.commit(key) else {
            return Ok(None);
        };
        let Some(last) = commit.staged.last() else {
            return Ok(Some(commit.content));
        };
        let Some(content) = apply(core, commit).await? else {
            continue;
        };
        let command = Command::SettleEdits {
            commit: key.clone(),
            expected: commit.content,
            through: last.id,
            content,
        };
        match core.submit(command).await {
            Ok(_) => {
                remove(core, commit.staged.iter().map(|staged| staged.id).collect());
                return Ok(Some(content));
            }
            Err(SubmitError::Rejected(rejection)) if rejection.kind() == RejectionKind::Conflict => {}
            Err(error) => return Err(error.into()),
        }
    }
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
    if found.is_none() && mentions(core, commit, &staged.id) {
        let object = howdah_store::keys::staged(staged.id);
        return Err(StagingError::Lost(object, commit.clone()));
    }
    Ok(found)
}

fn mentions(core: &Core, commit: &CommitKey, id: &GlobalId) -> bool {
    let state = core.state();
    let commit = state.commit(commit);
    commit.is_some_and(|commit| commit.staged.iter().any(|staged| staged.id == *id))
}

/// Submits a command, settling commits that it needs settled.
///
/// # Errors
/// Those of the command, or of a settlement.
pub async fn submit_settled(core: &Core, id: GlobalId, command: Command) -> Result<Reply, StagingError> {
    loop {
        match core.submit_with_id(id, command.clone()).await {
            Err(SubmitError::Rejected(Rejection::Unsettled(commit))) => drop(settle(core, &commit).await?),
            other => return Ok(other?),
        }
    }
}

/// Removes staged edits that nobody will look for again, in the background.
pub fn remove(core: &Core, ids: Vec<GlobalId>) {
    let core = core.clone();
    tokio::spawn(async move {
        for id in ids {
            core.staging().forget(&id);
            // It costs space, until the next sweep.
            if let Err(error) = core.store().delete_staged(&id).await {
                tracing::warn!(
                    error = chain(&error),
                    "edits that have been applied could not be removed"
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

enum Fit {
    Fits,
    MayCollide,
    Moved,
}

/// A write to an open commit, as often as it has to be tried.
pub struct Stager<'a> {
    core: &'a Core,
    edits: StagedEdits,
    staged: Staged,
    /// The object is there, and nobody else knows of it.
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
    pub fn new(core: &'a Core, edits: &ClosedEdits) -> Result<Option<Self>, StagingError> {
        let Some(edits) = edits.stage()? else {
            return Ok(None);
        };
        let staged = Staged {
            id: GlobalId::random(),
            hash: edits.hash(),
            size: edits.size(),
            files: edits.files,
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

    /// Stages the edits in an open commit.
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
        match self.check(commit).await? {
            Fit::Fits => {}
            Fit::MayCollide => return Ok(Stage::Apply),
            Fit::Moved => return Ok(Stage::Moved),
        }
        let core = self.core;
        if !self.stored {
            core.store().put_staged(&self.staged.id, &self.edits).await?;
        }
        // From here on the log may mention it, also when nobody waits for the answer any more.
        self.stored = false;
        let command = Command::StageEdits {
            commit: commit.key.clone(),
            expected: commit.content,
            after: commit.staged.last().map(|last| last.id),
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

    /// Looks whether the edits fit each other and all they will meet.
    async fn check(&mut self, commit: &Commit) -> Result<Fit, StagingError> {
        let paths = self.edits.paths();
        if paths.collision_with(paths).is_some() {
            return Ok(Fit::MayCollide);
        }
        for staged in &commit.staged {
            if self.fits.contains(&staged.id) {
                continue;
            }
            let others = match self.core.staging().recall(&staged.id) {
                Some(known) => known,
                None => match read(self.core, &commit.key, *staged).await? {
                    Some(object) => Arc::new(object.paths()?),
                    None => return Ok(Fit::Moved),
                },
            };
            self.core.staging().remember(staged.id, Arc::clone(&others));
            if paths.collision_with(&others).is_some() {
                return Ok(Fit::MayCollide);
            }
            self.fits.insert(staged.id);
        }
        if self.fits_tree != Some(commit.content.root) {
            let files = FileTree::of(self.core.store(), &commit.content);
            if paths.collision_in(&files).await?.is_some() {
                return Ok(Fit::MayCollide);
            }
            self.fits_tree = Some(commit.content.root);
        }
        Ok(Fit::Fits)
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

/// Removes staged edits that nobody has mentioned for a day, now and every day, until the program ends.
pub async fn sweep(core: Core) {
    let mut days = tokio::time::interval(STRAY_AGE);
    loop {
        days.tick().await;
        match strays(&core).await {
            Ok(ids) => remove(&core, ids),
            Err(error) => tracing::warn!(error = chain(&error), "stray edits could not be looked for"),
        }
    }
}

async fn strays(core: &Core) -> Result<Vec<GlobalId>, StoreError> {
    let old = SystemTime::now().checked_sub(STRAY_AGE);
    let mut ids = staged_before(core.store(), old).await?;
    let state = core.state();
    let mentioned = state.commits().flat_map(|commit| &commit.staged);
    let mentioned: HashSet<GlobalId> = mentioned.map(|staged| staged.id).collect();
    ids.retain(|id| !mentioned.contains(id));
    Ok(ids)
}

async fn staged_before(store: &Store, time: Option<SystemTime>) -> Result<Vec<GlobalId>, StoreError> {
    let found = store.list_staged().await?;
    let is_old = |modified: &Option<SystemTime>| modified.zip(time).is_some_and(|(modified, time)| modified < time);
    let old = found.into_iter().filter(|(_, modified)| is_old(modified));
    Ok(old.map(|(id, _)| id).collect())
}
