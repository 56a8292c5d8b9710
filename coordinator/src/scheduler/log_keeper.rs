//! Stores log lines whose worker does not do it any more.
//!
//! A worker stores the lines of a run however the run ends, and says so. If it is lost, or says nothing after the end
//! of the job, the lines that it had sent are in this coordinator's memory only. They are stored here, under the key
//! that the worker uses, and only if it has not stored them: the worker's object has all lines, this one those that
//! came.
//!
//! A worker that comes back later replaces the object by its own.

use std::collections::HashSet;
use std::time::Duration;

use howdah_protocol::wire;

use crate::metadata::Core;

/// Pause between two looks at the lines that are kept.
const PAUSE: Duration = Duration::from_secs(2);
/// Longest pause while the store fails.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Stores the lines of lost workers, for ever.
pub(super) async fn keep_lines(core: Core) {
    let mut pause = PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        pause = if store_abandoned(&core).await {
            PAUSE
        } else {
            (pause * 2).min(MAX_PAUSE)
        };
    }
}

/// Stores what must be stored now. Returns whether the store took it.
pub(super) async fn store_abandoned(core: &Core) -> bool {
    let live = core.live();
    // Until every worker that is alive has had the time to say so, none counts as lost.
    let known = live.workers.is_complete();
    let alive: HashSet<String> = live.workers.list().into_iter().map(|worker| worker.worker).collect();
    for (job, log) in live.logs.abandoned(|worker| known && !alive.contains(worker)) {
        let key = log.key();
        let (lines, left_out) = (log.lines.len(), log.dropped);
        let bytes = wire::encode(&log).into();
        drop(log);
        match core.store().put_if_absent(&key, bytes).await {
            Ok(_) => {
                tracing::debug!(%job, key, lines, left_out, "stored log lines of a run whose worker is gone");
                live.logs.remove_run(&job, &key);
            }
            Err(error) => {
                tracing::warn!(%job, key, error = howdah_telemetry::error_chain(&error), "log lines could not be stored");
                return false;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use howdah_model::{GlobalId, PipelineKey};
    use howdah_protocol::messages::LogBatch;
    use howdah_protocol::objects::{LogLine, LogObject};
    use howdah_store::Store;
    use jiff::Timestamp;

    use super::*;
    use crate::live::LiveStatus;
    use crate::metadata;

    /// Receives one line of a run; returns the key of its log.
    fn receive(core: &Core, worker: &str) -> String {
        let pipeline: PipelineKey = "default/edges".parse().unwrap();
        let batch = LogBatch {
            job: GlobalId::from_number(1),
            set: 0,
            worker: worker.to_owned(),
            run: Some(Timestamp::UNIX_EPOCH),
            stored: false,
            lines: vec![LogLine {
                ts: Timestamp::UNIX_EPOCH,
                datum: None,
                user: true,
                message: "received".to_owned(),
            }],
            pipeline,
        };
        let key = batch.log_key();
        core.live().logs.add(batch.pipeline.job(batch.job), batch, true);
        key
    }

    #[tokio::test(start_paused = true)]
    async fn lines_of_a_job_that_is_over_are_stored_unless_their_worker_has_done_so() {
        let (core, _command_loop) = metadata::open(Store::in_memory().await, LiveStatus::default())
            .await
            .unwrap();
        let silent = receive(&core, "silent");
        let done = receive(&core, "done");
        core.store().put(&done, "of the worker".into()).await.unwrap();
        assert!(store_abandoned(&core).await);
        assert!(core.store().get_opt(&silent).await.unwrap().is_none(), "the job runs");
        let job = "default/edges"
            .parse::<PipelineKey>()
            .unwrap()
            .job(GlobalId::from_number(1));
        core.live().logs.job_over(&job);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(store_abandoned(&core).await);
        let stored = core.store().get(&silent).await.unwrap();
        let stored: LogObject = wire::decode(&stored).unwrap();
        assert_eq!((stored.key(), stored.lines[0].message.as_str()), (silent, "received"));
        assert_eq!(core.store().get(&done).await.unwrap(), "of the worker");
        assert!(core.live().logs.pending(&job).is_empty());
    }
}
