//! Snapshots of the state, which bound the replay of a restart, and pruning of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use howdah_model::State;
use howdah_store::{MetaLog, Snapshot, Store, StoreError};

use crate::panics::catch_task_panic;

/// A snapshot is written after this many log records.
const RECORDS_PER_SNAPSHOT: u64 = 2_000;

/// Snapshots that stay: the newest, and the one before it, which a start uses if the newest is damaged.
const KEPT_SNAPSHOTS: usize = 2;

/// Decides when a snapshot is due and writes it in the background, one at a time.
pub(super) struct SnapshotWriter {
    store: Store,
    /// Records that the newest snapshot does not contain.
    records_since: u64,
    /// Whether a background task writes a snapshot. It is also the task's permission: set by the loop, cleared by the task.
    running: Arc<AtomicBool>,
}

impl SnapshotWriter {
    /// Makes a writer; `replayed` records were read after the newest snapshot.
    pub(super) fn new(store: Store, replayed: u64) -> Self {
        Self {
            store,
            records_since: replayed,
            running: Arc::default(),
        }
    }

    /// Counts one record. `state` is the state after record `seq`, the last one.
    pub(super) fn record_appended(&mut self, state: &State, seq: u64) {
        self.records_since += 1;
        if self.records_since < RECORDS_PER_SNAPSHOT || self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        self.records_since = 0;
        let (state, store, running) = (state.clone(), self.store.clone(), self.running.clone());
        // Encoding a large state takes long. Appends continue meanwhile: the clone stays the state after `seq`.
        tokio::spawn(async move {
            let writing = async {
                let bytes = tokio::task::spawn_blocking(move || encode(&state)).await;
                match bytes {
                    Ok(Ok(bytes)) => write_and_prune(&store, seq, &bytes)
                        .await
                        .map_err(|e| howdah_telemetry::error_chain(&e)),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            };
            // `running` must be cleared below, or no snapshot would be written any more.
            let written = catch_task_panic("a snapshot", writing).await;
            match written.unwrap_or_else(|panic| Err(panic.to_string())) {
                Ok(()) => tracing::info!(seq, "metadata snapshot written"),
                // The log is complete without it; only the next start takes longer.
                Err(error) => tracing::warn!(seq, %error, "metadata snapshot could not be written"),
            }
            running.store(false, Ordering::Release);
        });
    }
}

/// Writes a snapshot and removes what only older ones needed.
///
/// The order matters: the records that the snapshot covers are removed after it is durable, so a crash in between
/// leaves records that are not needed, never a gap.
async fn write_and_prune(store: &Store, seq: u64, bytes: &[u8]) -> Result<(), StoreError> {
    MetaLog::write_snapshot(store, seq, bytes).await?;
    MetaLog::prune(store, KEPT_SNAPSHOTS).await?;
    Ok(())
}

/// Encodes the state for a snapshot of version 2: MessagePack with field names, so that fields may be added.
fn encode(state: &State) -> anyhow::Result<Vec<u8>> {
    Ok(rmp_serde::to_vec_named(state)?)
}

/// Decodes the state of a snapshot. Version 1 is JSON.
///
/// # Errors
/// When the bytes are not a state.
pub(super) fn decode(snapshot: &Snapshot) -> anyhow::Result<State> {
    match snapshot.version {
        1 => Ok(serde_json::from_slice(&snapshot.bytes)?),
        _ => Ok(rmp_serde::from_slice(&snapshot.bytes)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_of_the_first_version_is_read() {
        let state = State::new();
        let snapshot = Snapshot {
            seq: 1,
            version: 1,
            bytes: serde_json::to_vec(&state).unwrap().into(),
        };
        assert_eq!(decode(&snapshot).unwrap(), state);
        let snapshot = Snapshot {
            seq: 1,
            version: 2,
            bytes: encode(&state).unwrap().into(),
        };
        assert_eq!(decode(&snapshot).unwrap(), state);
    }
}
