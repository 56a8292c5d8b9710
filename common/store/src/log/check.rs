//! Every stored record and snapshot compared with its hash.

use futures::{FutureExt, StreamExt, stream};

use super::{record, snapshot};
use crate::error::{Result, StoreError};
use crate::objects::{ObjectStore, keys};

/// Objects that are read at the same time.
const PARALLEL_READS: usize = 8;

/// Returns the damage of all records and snapshots.
///
/// # Errors
/// When the store does not answer.
pub(crate) async fn check(store: &ObjectStore) -> Result<Vec<StoreError>> {
    let listed = store.list(keys::LOG).await?;
    let mut records = Vec::with_capacity(listed.len());
    for object in listed {
        records.push(check_record(store.clone(), object.key).boxed());
    }
    let mut found: Vec<_> = stream::iter(records).buffered(PARALLEL_READS).collect().await;
    for object in store.list(keys::SNAPSHOTS).await? {
        found.push(check_snapshot(store, &object.key).await);
    }
    let mut damage = Vec::new();
    for error in found.into_iter().filter_map(Result::err) {
        match error {
            // It was listed, so it has been pruned since.
            StoreError::Missing { .. } => {}
            error if error.is_damage() || matches!(error, StoreError::ObjectFormat { .. }) => damage.push(error),
            error => return Err(error),
        }
    }
    Ok(damage)
}

async fn check_record(store: ObjectStore, key: String) -> Result<()> {
    record::read(&store, number_of(&key)?).await.map(drop)
}

async fn check_snapshot(store: &ObjectStore, key: &str) -> Result<()> {
    snapshot::read(store, number_of(key)?).await.map(drop)
}

fn number_of(key: &str) -> Result<u64> {
    keys::trailing_number(key).ok_or_else(|| StoreError::corrupt(key, "its name has no number"))
}
