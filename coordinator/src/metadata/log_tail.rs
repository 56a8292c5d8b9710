//! [`LogTail`]: the state that the log contains, kept up to date by reading. A coordinator that does not lead has one, so
//! that it can take over without replaying the whole log.

use std::time::Instant;

use howdah_model::State;
use howdah_store::{LogContents, LogRecord, MetaLog, Store, StoreError};

use super::logged_event::LoggedEvent;
use super::snapshot;

/// The state after some record of the log.
pub struct LogTail {
    store: Store,
    state: State,
    /// Number of that record.
    last: u64,
    /// Records that were read after the newest snapshot.
    replayed: u64,
}

impl LogTail {
    /// Reads the whole log.
    ///
    /// # Errors
    /// When the log or its snapshot is damaged or has a gap, or the store fails.
    pub async fn read(store: Store) -> anyhow::Result<Self> {
        let started = Instant::now();
        let contents = LogContents::read(&store).await?;
        Self::of(store, contents, started).await
    }

    /// Makes the state of what was read of the log. Reading began at `started`.
    ///
    /// # Errors
    /// When the snapshot or a record cannot be decoded.
    pub(super) async fn of(store: Store, contents: LogContents, started: Instant) -> anyhow::Result<Self> {
        let state = match contents.snapshot {
            Some(snapshot) => tokio::task::spawn_blocking(move || snapshot::decode(&snapshot)).await??,
            None => State::new(),
        };
        let mut tail = Self {
            store,
            state,
            last: contents.last,
            replayed: 0,
        };
        tail.apply(&contents.records)?;
        tracing::info!(
            records = tail.replayed,
            commits = tail.state.commits().count(),
            elapsed_ms = started.elapsed().as_millis() as u64,
            "metadata log replayed"
        );
        Ok(tail)
    }

    /// Reads what was appended since.
    ///
    /// # Errors
    /// As [`LogTail::read`].
    pub async fn catch_up(&mut self) -> anyhow::Result<()> {
        match LogContents::read_after(&self.store, self.last).await {
            Ok(contents) => {
                self.apply(&contents.records)?;
                self.last = contents.last;
            }
            // The records between were pruned: a snapshot has them.
            Err(StoreError::LogGap { .. } | StoreError::Missing { .. }) => {
                *self = Self::read(self.store.clone()).await?
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Returns the number of the last record that was read.
    pub fn last(&self) -> u64 {
        self.last
    }

    fn apply(&mut self, records: &[LogRecord]) -> anyhow::Result<()> {
        for record in records {
            let events: Vec<LoggedEvent> = record.events()?;
            for LoggedEvent { event, .. } in &events {
                howdah_model::apply(&mut self.state, event);
            }
        }
        self.replayed += records.len() as u64;
        Ok(())
    }

    /// Claims the log. Returns `None` if something was appended since: catch up, and see who did it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn claim(&self, address: &str) -> Result<Option<MetaLog>, StoreError> {
        MetaLog::claim(&self.store, self.last, address).await
    }

    /// Returns store, state and the number of records after the newest snapshot.
    pub(super) fn into_parts(self) -> (Store, State, u64) {
        (self.store, self.state, self.replayed)
    }
}
