//! Publishes a job's datum sets and gathers their results, whatever becomes of messages.
//!
//! A notice makes a result known at once; looking at the store finds those whose notice was lost; an empty
//! queue with results missing means that sets were lost, and they are published again.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use howdah_model::{DatumCounts, JobStats, PipelineState};
use howdah_queue::job::{JobPlan, SetResult, plan_key, result_key, results_prefix, set_key, set_of_result_key};
use howdah_queue::messages::{Notice, SetMessage};
use howdah_queue::wire;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::drive::{DriveError, View};
use super::{Context, image};
use crate::{merge, metrics};

/// How soon results are looked for when no notice comes; doubles up to [`MAX_LOOK`].
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// How many sets are read and published at a time.
const PUBLISH_WINDOW: usize = 256;
/// Longest pause between two looks for results.
const MAX_LOOK: Duration = Duration::from_secs(30);

/// Publishes a job's sets and gathers their results.
pub struct Collector<'a> {
    context: &'a Context,
    view: &'a View,
    plan: &'a JobPlan,
    plan_key: String,
    notices: mpsc::UnboundedReceiver<Notice>,
    results: BTreeMap<u32, SetResult>,
    attempt: u32,
}

impl<'a> Collector<'a> {
    /// Makes a collector for a plan that is stored; `notices` are those of its job.
    pub fn new(
        context: &'a Context,
        view: &'a View,
        plan: &'a JobPlan,
        notices: mpsc::UnboundedReceiver<Notice>,
    ) -> Self {
        let plan_key = plan_key(&plan.pipeline, &plan.job);
        // Attempts of different drivers of one job must differ, or the server takes them for duplicates.
        let attempt = u32::try_from(Timestamp::now().as_millisecond() & 0x7fff_ffff).unwrap_or(0);
        Self {
            context,
            view,
            plan,
            plan_key,
            notices,
            results: BTreeMap::new(),
            attempt,
        }
    }

    /// Returns when the result of every set is there.
    pub async fn collect(mut self) -> Result<BTreeMap<u32, SetResult>, DriveError> {
        let queue = &self.context.queue;
        let mut generation = queue.generation();
        generation.mark_unchanged();
        self.look_for_results().await?;
        self.publish_lost().await?;
        let mut pause = FIRST_LOOK;
        let mut empty_looks = 0;
        while self.results.len() < self.plan.sets as usize {
            tokio::select! {
                notice = self.notices.recv() => match notice {
                    Some(Notice::Done(done)) => {
                        self.take_result(done.set).await?;
                        (pause, empty_looks) = (FIRST_LOOK, 0);
                    }
                    Some(Notice::Trouble(trouble)) => self.show_trouble(&trouble.message, trouble.needs_attention).await,
                    None => return Err(DriveError::Interrupted("another driver has taken over the job".to_owned())),
                },
                changed = generation.changed() => {
                    if changed.is_err() {
                        return Err(DriveError::Interrupted("the connection to NATS is closed".to_owned()));
                    }
                    self.look_for_results().await?;
                    self.publish_lost().await?;
                }
                () = tokio::time::sleep(pause) => {
                    let before = self.results.len();
                    self.look_for_results().await?;
                    empty_looks = if before == self.results.len() && self.queued().await == Some(0) { empty_looks + 1 } else { 0 };
                    // Once may be a message on its way; twice in a row the sets are lost.
                    if empty_looks >= 2 {
                        metrics::SETS_REPUBLISHED.inc_by(u64::from(self.plan.sets) - self.results.len() as u64);
                        self.publish_missing().await?;
                        empty_looks = 0;
                    }
                    pause = (pause * 2).min(MAX_LOOK);
                }
            }
        }
        Ok(self.results)
    }

    /// Returns how many sets the queue holds for the pipeline; `None` when it cannot be asked.
    async fn queued(&self) -> Option<u64> {
        let status = match self.context.queue.consumer_info(&self.plan.pipeline).await {
            Ok(status) => status.unwrap_or_default(),
            // Unreachable is not empty: the next generation looks again.
            Err(_) => return None,
        };
        let pipeline = self.plan.pipeline.to_string();
        let gauge = |state: &str, value: u64| {
            metrics::QUEUE_DEPTH
                .with_label_values(&[pipeline.as_str(), state])
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        gauge("waiting", status.pending);
        gauge("held", status.ack_pending);
        Some(status.pending + status.ack_pending)
    }

    /// Publishes what is missing unless the queue still holds as much: after a reconnection or a restart most
    /// often nothing is lost, and work that is under way must not be done twice.
    async fn publish_lost(&mut self) -> Result<(), DriveError> {
        let missing = u64::from(self.plan.sets) - self.results.len() as u64;
        if self.queued().await.is_some_and(|queued| queued >= missing) {
            return Ok(());
        }
        self.publish_missing().await
    }

    async fn publish_missing(&mut self) -> Result<(), DriveError> {
        let queue = &self.context.queue;
        queue.ensure_streams().await?;
        queue
            .ensure_consumer(&self.plan.pipeline, self.view.version.spec.parallelism)
            .await?;
        self.attempt = self.attempt.wrapping_add(1);
        let missing: Vec<u32> = (0..self.plan.sets)
            .filter(|set| !self.results.contains_key(set))
            .collect();
        for window in missing.chunks(PUBLISH_WINDOW) {
            let messages: Vec<SetMessage> = futures::stream::iter(window)
                .then(|set| self.message(*set))
                .try_collect()
                .await?;
            queue.publish_sets(&messages).await?;
            queue.wake_workers().await?;
        }
        Ok(())
    }

    async fn message(&self, set: u32) -> Result<SetMessage, DriveError> {
        let set_key = set_key(&self.plan.pipeline, &self.plan.job, set);
        let stored = self.context.core.store().get(&set_key).await?;
        let small = stored.len() < howdah_queue::messages::INLINE_LIMIT_BYTES;
        Ok(SetMessage {
            pipeline: self.plan.pipeline.clone(),
            version: self.plan.version,
            job: self.plan.job,
            set,
            attempt: self.attempt,
            plan_key: self.plan_key.clone(),
            inline: if small { Some(wire::decode(&stored)?) } else { None },
            set_key,
        })
    }

    async fn look_for_results(&mut self) -> Result<(), DriveError> {
        let prefix = results_prefix(&self.plan.pipeline, &self.plan.job);
        for object in self.context.core.store().list(&prefix).await? {
            if let Some(set) = set_of_result_key(&object.key) {
                self.take_result(set).await?;
            }
        }
        Ok(())
    }

    async fn take_result(&mut self, set: u32) -> Result<(), DriveError> {
        if set >= self.plan.sets || self.results.contains_key(&set) {
            return Ok(());
        }
        let store = self.context.core.store();
        let Some(bytes) = store
            .get_opt(&result_key(&self.plan.pipeline, &self.plan.job, set))
            .await?
        else {
            return Ok(());
        };
        let result: SetResult = wire::decode(&bytes)?;
        let (counts, stats) = merge::tally(&result);
        self.context.core.jobs().update_progress(&self.view.job, |progress| {
            progress.counts += counts;
            progress.stats += stats;
            progress.trouble = None;
        });
        self.context.core.jobs().lines_stored(&self.view.job, set);
        count_datums(&self.plan.pipeline.to_string(), &counts, &stats);
        self.results.insert(set, result);
        // A pipeline that was shown as unable to run has just shown that it can.
        image::report(
            self.context,
            &self.plan.pipeline,
            &self.view.version,
            PipelineState::Running,
            "",
        )
        .await;
        Ok(())
    }

    async fn show_trouble(&self, message: &str, needs_attention: bool) {
        tracing::warn!(job = %self.view.job, message, "a worker had to hand a datum set back");
        self.context
            .core
            .jobs()
            .update_progress(&self.view.job, |progress| progress.trouble = Some(message.to_owned()));
        if needs_attention {
            image::report(
                self.context,
                &self.plan.pipeline,
                &self.view.version,
                PipelineState::Crashing,
                message,
            )
            .await;
        }
    }
}

fn count_datums(pipeline: &str, counts: &DatumCounts, stats: &JobStats) {
    for (state, count) in [
        ("processed", counts.processed),
        ("failed", counts.failed),
        ("recovered", counts.recovered),
    ] {
        metrics::DATUMS.with_label_values(&[pipeline, state]).inc_by(count);
    }
    metrics::DATUM_BYTES
        .with_label_values(&[pipeline, "down"])
        .inc_by(stats.download_bytes);
    metrics::DATUM_BYTES
        .with_label_values(&[pipeline, "up"])
        .inc_by(stats.upload_bytes);
}
