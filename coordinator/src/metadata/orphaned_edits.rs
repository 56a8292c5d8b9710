//! Orphaned edits: objects of staged edits that no commit mentions.
//!
//! They come from a crash between storing an object and logging it, or between logging a fold and deleting the objects;
//! from a call that was dropped while its command was being logged; from an append in doubt that was not written; from
//! edits that were staged while their commit was being cleared; and from commits that were deleted while open.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use howdah_model::GlobalId;
use howdah_store::StoreError;

use super::core::Core;

/// Younger objects stay: a coordinator that has not been fenced yet may be about to log them.
const MIN_ORPHAN_AGE: Duration = Duration::from_secs(24 * 3600);

/// Lists staged edits that the state does not mention and that were written more than a day before `opened`.
///
/// `opened` is the time before the log was read. The state contains everything that was logged until then, so objects
/// that are a day older and not mentioned are not about to be logged either.
///
/// # Errors
/// When the store fails.
pub async fn orphaned_edits(core: &Core, opened: SystemTime) -> Result<Vec<GlobalId>, StoreError> {
    let state = core.state();
    let oldest_kept = opened.checked_sub(MIN_ORPHAN_AGE);
    let mentioned = state.commits().flat_map(|commit| &commit.staged);
    let mentioned: HashSet<GlobalId> = mentioned.map(|staged| staged.id).collect();
    let found = core.store().list_staged().await?;
    let is_old = |modified: Option<SystemTime>| modified.zip(oldest_kept).is_some_and(|(at, kept)| at < kept);
    let orphans = found.into_iter().filter(|(_, modified)| is_old(*modified));
    let orphans = orphans.map(|(id, _)| id).filter(|id| !mentioned.contains(id));
    Ok(orphans.collect())
}
