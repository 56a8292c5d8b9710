//! Snapshots of the state, which bound the replay of a restart, and pruning of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use howdah_model::State;
use howdah_store::{MetaLog, Store, StoreError};

/// A snapshot is written after this many log records.
const RECORDS_PER_SNAPSHOT: u64 = 2_000;

/// Snapshots that stay: the newest, and the one before it. A start reads only the newest and fails if it is damaged; it
/// never falls back by itself. The older one, with the records after it, allows a repair by hand: removing the newest.
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
            let bytes = tokio::task::spawn_blocking(move || encode(&state)).await;
            let result = match bytes {
                Ok(Ok(bytes)) => write_and_prune(&store, seq, &bytes)
                    .await
                    .map_err(|e| howdah_telemetry::error_chain(&e)),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match result {
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

fn encode(state: &State) -> anyhow::Result<Vec<u8>> {
    Ok(serde_json::to_vec(state)?)
}

/// Decodes the state of a snapshot.
pub(super) fn decode(bytes: &[u8]) -> anyhow::Result<State> {
    Ok(serde_json::from_slice(bytes)?)
}
