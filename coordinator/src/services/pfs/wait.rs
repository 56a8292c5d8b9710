//! Waiting for commits, and the streams that report commits as they progress.
//!
//! Every wait looks at the published state and then waits for its next change; nothing polls. A wait ends with an error
//! when the commit is deleted or the coordinator shuts down, and without a reply when its client disconnects.

use std::sync::Arc;

use howdah_api::pfs_v2 as pfs;
use howdah_model::query::{self, CommitQuery};
use howdah_model::{Commit, CommitKey, CommitRef, State};
use tonic::Status;

use super::convert::{commit_info, reached};
use crate::metadata::Core;
use crate::services::find;
use crate::services::reply::{ReplySender, StreamError};
use crate::services::status::{IntoStatus, shutting_down};

/// Newest commits that a subscription looks at first. If that is not enough, it looks at [`MORE_NEWEST`] times as many.
const NEWEST_COMMITS: u64 = 16;
/// Factor by which a subscription looks at more commits.
const MORE_NEWEST: u64 = 8;

/// Why a wait ended before the commit reached the state.
#[derive(Debug)]
enum CommitWaitError {
    /// The commit does not exist any more.
    Deleted(CommitKey),
    /// The coordinator shuts down.
    ShuttingDown,
}

impl IntoStatus for CommitWaitError {
    fn into_status(self) -> Status {
        match self {
            Self::Deleted(key) => Status::unknown(format!("commit {key} was deleted")),
            Self::ShuttingDown => shutting_down(),
        }
    }
}

/// Waits until a commit has reached a state (`pfs::CommitState`), and returns it.
///
/// # Errors
/// When the reference names no commit, the commit is deleted meanwhile, or the coordinator shuts down.
pub(super) async fn wait_for_commit(core: &Core, reference: &CommitRef, wanted: i32) -> Result<Arc<Commit>, Status> {
    // Resolved once: the branch of the reference may move meanwhile, and the caller asked for the head of now.
    let key = find::commit_key(&core.state(), reference)?;
    wait_for_key(core, &key, wanted).await.map_err(IntoStatus::into_status)
}

async fn wait_for_key(core: &Core, key: &CommitKey, wanted: i32) -> Result<Arc<Commit>, CommitWaitError> {
    let found = core.wait_for(|state| match state.commit(key) {
        // Without this, the wait for a deleted commit would never end.
        None => Some(Err(CommitWaitError::Deleted(key.clone()))),
        Some(commit) => reached(state, commit, wanted).then(|| Ok(commit.clone())),
    });
    found.await.unwrap_or(Err(CommitWaitError::ShuttingDown))
}

/// Sends commits as they finish, those that are finished already first.
pub(super) async fn send_as_they_finish(
    core: Core,
    mut pending: Vec<CommitKey>,
    sender: ReplySender<pfs::CommitInfo>,
) -> Result<(), StreamError> {
    let mut watch = core.watch();
    while !pending.is_empty() {
        // Marks the state as seen before it is looked at: a change that comes while messages are sent wakes `changed`.
        let state = watch.borrow_and_update().clone();
        let mut still_pending = Vec::new();
        for key in pending {
            match state.commit(&key) {
                None => return Err(CommitWaitError::Deleted(key).into_status().into()),
                Some(commit) if commit.finished.is_none() => still_pending.push(key),
                Some(commit) => sender.send(commit_info(commit)).await?,
            }
        }
        pending = still_pending;
        if !pending.is_empty() {
            tokio::select! {
                changed = watch.changed() => changed.map_err(|_| shutting_down())?,
                () = sender.client_gone() => return Err(StreamError::ClientGone),
            }
        }
    }
    Ok(())
}

/// Sends commits of a repo in the order in which they were made, each when it has reached a state, until the client
/// disconnects. `after` is the sequence number of the last commit that the client has.
pub(super) async fn send_new_commits(
    core: Core,
    query: CommitQuery,
    mut after: u64,
    wanted: i32,
    sender: ReplySender<pfs::CommitInfo>,
) -> Result<(), StreamError> {
    let mut watch = core.watch();
    loop {
        let state = watch.borrow_and_update().clone();
        for commit in newer_commits(&state, &query, after)? {
            after = commit.seq;
            // One after the other: a later commit that finishes first would otherwise overtake, and a client that
            // continues from the last commit it has seen would miss this one. Commits made during the wait are not
            // lost, because the next round asks for all after `after`.
            let reached = wait_for_key(&core, &commit.key, wanted);
            tokio::select! {
                reached = reached => match reached {
                    Ok(commit) => sender.send(commit_info(&commit)).await?,
                    // It will never reach the state, and it is no reason to end the subscription.
                    Err(CommitWaitError::Deleted(_)) => {}
                    Err(error) => return Err(error.into_status().into()),
                },
                () = sender.client_gone() => return Err(StreamError::ClientGone),
            }
        }
        tokio::select! {
            changed = watch.changed() => changed.map_err(|_| shutting_down())?,
            () = sender.client_gone() => return Err(StreamError::ClientGone),
        }
    }
}

/// Returns the commits made after a given one, oldest first.
fn newer_commits(state: &State, query: &CommitQuery, after: u64) -> Result<Vec<Arc<Commit>>, Status> {
    // Every change of the state comes here. Listing the whole history each time would cost more with each commit, so
    // the newest few are listed, and more only if all of them are new.
    let mut number = NEWEST_COMMITS;
    loop {
        let query = CommitQuery {
            number,
            ..query.clone()
        };
        let commits = query::list_commits(state, &query).map_err(IntoStatus::into_status)?;
        let complete = (commits.len() as u64) < number;
        if complete || commits.last().is_some_and(|oldest| oldest.seq <= after) {
            let mut newer: Vec<_> = commits.into_iter().take_while(|commit| commit.seq > after).collect();
            newer.reverse();
            return Ok(newer);
        }
        number *= MORE_NEWEST;
    }
}
