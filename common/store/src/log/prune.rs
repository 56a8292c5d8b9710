//! Pruning: removes snapshots and records that no start needs.

use std::time::SystemTime;

use super::claim::Claims;
use super::snapshot;
use crate::error::Result;
use crate::objects::{ObjectStore, keys};

/// Removes all but the newest `keep` snapshots (at least one stays), and the records that no kept snapshot needs, except
/// claims. Returns the number of objects removed.
pub(super) async fn prune(store: &ObjectStore, keep: usize) -> Result<usize> {
    let snapshots = snapshot::numbers(store).await?;
    let surplus = snapshots.len().saturating_sub(keep.max(1));
    let Some(oldest_kept) = snapshots.get(surplus).copied() else {
        return Ok(0);
    };
    let records = store.list(keys::LOG).await?;
    let claims = Claims::list(store, SystemTime::now()).await?;
    let old_snapshots = snapshots[..surplus].iter().map(|seq| keys::snapshot(*seq));
    let covered = keys::log_record(oldest_kept);
    let is_old = |key: &String| *key <= covered && keys::trailing_number(key).is_some_and(|seq| !claims.keep(seq));
    let old_records = records.into_iter().map(|object| object.key).filter(is_old);
    // A mark goes after its claim: a claim without a mark would lie between pruned records.
    let old_marks = claims.expired().iter().filter(|seq| **seq <= oldest_kept);
    // Snapshots go before their records: a snapshot whose following records are gone cannot be opened. Records go from
    // the front: after a crash in the middle the remaining ones are still consecutive. All of them are covered by the
    // oldest kept snapshot, so reading the log never needs an object that this removes.
    let mut removed = 0;
    for key in old_snapshots
        .chain(old_records)
        .chain(old_marks.map(|seq| keys::claim(*seq)))
    {
        store.delete(&key).await?;
        removed += 1;
    }
    Ok(removed)
}
