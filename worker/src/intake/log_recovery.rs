//! Storing log lines that wait on the worker's disk: of a process that was killed, or of a time when the store failed.
//!
//! The object of a run may exist already: its worker stored it just before it was killed, or the coordinator stored the
//! lines that it had received. Each of the copies may have lines that the others lack, so they are merged.
//!
//! Runs until the worker stops. What is left then waits for the next start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use howdah_protocol::messages::LogBatch;
use howdah_protocol::objects::{LogLine, LogObject};
use howdah_protocol::wire;
use howdah_store::StoreError;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::blocking::blocking;
use crate::cache::log_spool::read_left;
use crate::context::WorkerContext;
use crate::error::InfraError;
use crate::execute::logs::LOG_LIMITS;
use howdah_telemetry::error_chain;

/// Pause after the store has failed.
const PAUSE: Duration = Duration::from_secs(10);

/// Stores what waits on the disk until `stop` is cancelled.
pub(crate) async fn store_left_logs(context: Arc<WorkerContext>, stop: CancellationToken) {
    loop {
        let failed = tokio::select! {
            failed = store_all(&context) => failed,
            () = stop.cancelled() => return,
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = context.storage.logs.more() => {}
            () = tokio::time::sleep(PAUSE), if failed => {}
        }
    }
}

/// Stores what waits now. Returns whether some of it must be tried again.
async fn store_all(context: &WorkerContext) -> bool {
    let spool = &context.storage.logs;
    let mut failed = false;
    for path in spool.take_left() {
        match store_one(context, path.clone()).await {
            Ok(()) => {
                // An error means that the lines are stored once more after the next start.
                let _ = std::fs::remove_file(&path);
            }
            Err(error) => {
                tracing::debug!(file = %path.display(), error = %error_chain(&error), "log lines not stored yet");
                spool.put_back(path);
                failed = true;
            }
        }
    }
    failed
}

async fn store_one(context: &WorkerContext, path: PathBuf) -> Result<(), InfraError> {
    let shown = path.clone();
    let read = blocking(move || read_left(&path, LOG_LIMITS)).await?;
    let Some(mut log) = read.map_err(InfraError::io("read the log lines in", shown))? else {
        return Ok(());
    };
    let key = log.key();
    let store = &context.storage.store;
    let failed = |error: StoreError| InfraError::store("cannot store the log of a datum set")(error);
    if let Some(stored) = store.get_opt(&key).await.map_err(failed)?
        && let Ok(stored) = wire::decode::<LogObject>(&stored)
    {
        merge(&mut log, stored);
    }
    let lines = log.lines.len();
    store.put(&key, wire::encode(&log).into()).await.map_err(failed)?;
    tracing::info!(job = %log.job, set = log.set, lines, "stored log lines that were left behind");
    let batch = LogBatch {
        pipeline: log.pipeline,
        job: log.job,
        set: log.set,
        worker: log.worker,
        run: log.run,
        stored: true,
        lines: Vec::new(),
    };
    if let Err(error) = context.queue.publish_logs(&batch).await {
        // The coordinator finds the object itself.
        tracing::debug!(%error, "stored log not announced");
    }
    Ok(())
}

/// Adds the lines of another copy of the same log. The lines of a run have times of their own.
fn merge(log: &mut LogObject, other: LogObject) {
    let all = std::mem::take(&mut log.lines).into_iter().chain(other.lines);
    let by_time: BTreeMap<Timestamp, LogLine> = all.map(|line| (line.ts, line)).collect();
    log.lines = by_time.into_values().collect();
    log.dropped = log.dropped.max(other.dropped);
}
