//! Reading the log: a snapshot and every record after it.
//!
//! Another coordinator may write, take snapshots and prune at the same time. Then something that was listed is gone when it
//! is read, and reading starts again. A record is never skipped.

use futures::{StreamExt, TryStreamExt, stream};

use super::record::{self, LogRecord};
use super::snapshot::{self, Snapshot};
use crate::error::{Result, StoreError};
use crate::objects::{ObjectStore, keys};

/// Records that are read at the same time.
const PARALLEL_READS: usize = 16;
/// How often reading starts again because the log was pruned meanwhile.
const MAX_ATTEMPTS: usize = 16;

/// What is needed to rebuild the state.
#[derive(Debug)]
pub struct LogContents {
    /// Where to begin; `None` = with the empty state.
    pub snapshot: Option<Snapshot>,
    /// The records after the snapshot, in order; those without events (void ones and claims) are left out.
    pub records: Vec<LogRecord>,
    /// Number of the last record, also if it has no events; 0 if there is none.
    pub last: u64,
}

impl LogContents {
    /// Reads the newest snapshot that is whole, and all records after it.
    ///
    /// # Errors
    /// When a record is damaged or missing, no snapshot is whole, or the store fails.
    pub async fn read(store: &ObjectStore) -> Result<Self> {
        let mut attempt = 1;
        loop {
            let snapshots = snapshot::numbers(store).await?;
            let error = match read_from(store, &snapshots).await {
                Ok(contents) => return Ok(contents),
                Err(error) => error,
            };
            let lacks_object = matches!(error, StoreError::LogGap { .. } | StoreError::Missing { .. });
            // Only a prune explains a missing object, and a prune comes after a new snapshot.
            let was_pruned = lacks_object && snapshot::numbers(store).await?.last() > snapshots.last();
            if !was_pruned || attempt == MAX_ATTEMPTS {
                return Err(error);
            }
            attempt += 1;
        }
    }

    /// Reads the records after number `last`, of which the caller has read every one up to it.
    ///
    /// # Errors
    /// As [`LogContents::read`]. [`StoreError::LogGap`] also when the records were pruned meanwhile; read all again then.
    pub async fn read_after(store: &ObjectStore, last: u64) -> Result<Self> {
        let (records, last) = records_after(store, last).await?;
        Ok(Self {
            snapshot: None,
            records,
            last,
        })
    }
}

/// Reads the newest whole one of `snapshots`, and all records after it.
async fn read_from(store: &ObjectStore, snapshots: &[u64]) -> Result<LogContents> {
    let (snapshot, damage) = newest_whole(store, snapshots).await?;
    let base = snapshot.as_ref().map_or(0, |snapshot| snapshot.seq);
    match (records_after(store, base).await, damage) {
        (Ok((records, last)), _) => Ok(LogContents {
            snapshot,
            records,
            last,
        }),
        // The records that the older snapshot needs are gone: the damaged snapshot is what must be restored.
        (Err(StoreError::LogGap { .. }), Some(damage)) => Err(damage),
        (Err(error), _) => Err(error),
    }
}

/// Returns the newest snapshot that is whole, and the damage of the newest one.
async fn newest_whole(store: &ObjectStore, snapshots: &[u64]) -> Result<(Option<Snapshot>, Option<StoreError>)> {
    let mut damage = None;
    for seq in snapshots.iter().rev() {
        match snapshot::read(store, *seq).await {
            Ok(snapshot) => return Ok((Some(snapshot), damage)),
            // A snapshot in a format that this program does not know was written by a newer one: going back to an older
            // snapshot would end in records that this program cannot read either, or worse, misreads.
            Err(error) if error.is_damage() && !matches!(error, StoreError::Missing { .. }) => {
                tracing::error!(%error, "a metadata snapshot is damaged: an older one is used");
                damage.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match damage {
        Some(damage) => Err(damage),
        None => Ok((None, None)),
    }
}

/// Reads all records after number `base`. Returns them and the number of the last one.
async fn records_after(store: &ObjectStore, base: u64) -> Result<(Vec<LogRecord>, u64)> {
    let listed = store.list_after(keys::LOG, Some(&keys::log_record(base))).await?;
    // A lost record must stop the start: replaying around it would build a state that never existed, and the next append
    // would make that permanent.
    for (object, expected) in listed.iter().zip(base + 1..) {
        if object.key != keys::log_record(expected) {
            return Err(StoreError::LogGap {
                key: keys::log_record(expected),
            });
        }
    }
    let last = base + listed.len() as u64;
    let reads = (base + 1..=last).map(|seq| record::read(store, seq));
    let records: Vec<Option<LogRecord>> = stream::iter(reads).buffered(PARALLEL_READS).try_collect().await?;
    Ok((records.into_iter().flatten().collect(), last))
}
