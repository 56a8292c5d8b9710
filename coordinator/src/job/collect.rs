//! Gathers the results of a job's datum sets, whatever becomes of messages.
//!
//! A notice makes a result known at once; looking at the store finds those whose notice was lost; an empty
//! queue with results missing means that sets were lost, and they are published again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt};
use howdah_model::{DatumCounts, JobStats, PipelineState};
use howdah_protocol::messages::{SetEvent, SetMessage};
use howdah_protocol::objects::{DatumSet, SetResult, result_key, results_prefix, set_of_result_key};
use howdah_protocol::wire;
use tokio::sync::{mpsc, oneshot, watch};

use super::drive::{DriveError, View};
use super::planner::Published;
use super::publish::Publisher;
use crate::job::merge::{MergeError, Merger};
use crate::job::plan::MergePlan;
use crate::metrics;
use crate::scheduler::{Context, image};

/// How soon results are looked for when no notice comes; doubles up to [`MAX_LOOK`].
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// How many sets are read and published at a time.
const PUBLISH_WINDOW: usize = 256;
/// How many sets, each with its result, are read at once.
const READS_AT_ONCE: usize = 16;
/// Longest pause between two looks for results.
const MAX_LOOK: Duration = Duration::from_secs(30);

/// Gathers the results of one job.
pub struct Collector<'a> {
    context: &'a Context,
    view: &'a View,
    publisher: &'a Publisher<'a>,
    notices: mpsc::UnboundedReceiver<SetEvent>,
    /// Connections to the queue since this collector was made.
    stream_epoch: watch::Receiver<u64>,
    /// Sets whose results are in.
    done: BTreeSet<u32>,
    /// Number of sets, once the plan is final.
    sets: Option<u32>,
    /// Whether results were heard of that could not be taken in yet.
    ignored: bool,
}

impl<'a> Collector<'a> {
    /// Makes a collector; `notices` are those of its job.
    pub fn new(
        context: &'a Context,
        view: &'a View,
        publisher: &'a Publisher<'a>,
        notices: mpsc::UnboundedReceiver<SetEvent>,
    ) -> Self {
        let mut stream_epoch = context.queue.stream_epoch();
        stream_epoch.mark_unchanged();
        Self {
            context,
            view,
            publisher,
            notices,
            stream_epoch,
            done: BTreeSet::new(),
            sets: None,
            ignored: false,
        }
    }

    /// Gathers results while the plan is still being made and until the result of every set is in.
    pub async fn collect(
        mut self,
        planning: impl Future<Output = Result<Published, DriveError>>,
        merger: Merger,
    ) -> Result<(MergePlan, Merger), DriveError> {
        let (planned, over) = oneshot::channel();
        let planning = async {
            let published = planning.await;
            // Nobody listens when gathering has failed.
            let _ = planned.send(());
            published
        };
        // Side by side, so that neither waits while the other works.
        let (plan, merger) = tokio::try_join!(planning, self.gather_until(over, merger))?;
        self.sets = Some(plan.merge.sets);
        let merger = if self.ignored {
            self.look_for_results(merger).await?
        } else {
            merger
        };
        self.complete(plan.merge, merger, plan.lost).await
    }

    async fn gather_until(
        &mut self,
        mut over: oneshot::Receiver<()>,
        mut merger: Merger,
    ) -> Result<Merger, DriveError> {
        loop {
            tokio::select! {
                _ = &mut over => return Ok(merger),
                notice = self.notices.recv() => merger = self.take_notice(notice, merger).await?.0,
            }
        }
    }

    /// Gathers the results of a plan that is final, some of which may be stored already.
    pub async fn resume(mut self, merge: MergePlan, merger: Merger) -> Result<(MergePlan, Merger), DriveError> {
        self.sets = Some(merge.sets);
        let merger = self.look_for_results(merger).await?;
        self.complete(merge, merger, true).await
    }

    /// Gathers what is missing; `lost` tells that sets may have to be published again.
    async fn complete(
        mut self,
        merge: MergePlan,
        mut merger: Merger,
        lost: bool,
    ) -> Result<(MergePlan, Merger), DriveError> {
        let sets = merge.sets;
        let mut stream_epoch = self.stream_epoch.clone();
        if lost {
            self.publish_lost(sets).await?;
        }
        let mut pause = FIRST_LOOK;
        let mut empty_looks = 0;
        while self.missing(sets) > 0 {
            tokio::select! {
                notice = self.notices.recv() => {
                    let done;
                    (merger, done) = self.take_notice(notice, merger).await?;
                    if done {
                        (pause, empty_looks) = (FIRST_LOOK, 0);
                    }
                }
                changed = stream_epoch.changed() => {
                    if changed.is_err() {
                        return Err(DriveError::Interrupted("the connection to NATS is closed".to_owned()));
                    }
                    merger = self.look_for_results(merger).await?;
                    self.publish_lost(sets).await?;
                }
                () = tokio::time::sleep(pause) => {
                    let before = self.done.len();
                    merger = self.look_for_results(merger).await?;
                    empty_looks = if before == self.done.len() && self.queued().await == Some(0) { empty_looks + 1 } else { 0 };
                    // Once may be a message on its way; twice in a row the sets are lost.
                    if empty_looks >= 2 {
                        metrics::SETS_REPUBLISHED.inc_by(self.missing(sets));
                        self.publish_missing(sets).await?;
                        empty_looks = 0;
                    }
                    pause = (pause * 2).min(MAX_LOOK);
                }
            }
        }
        Ok((merge, merger))
    }

    fn missing(&self, sets: u32) -> u64 {
        u64::from(sets).saturating_sub(self.done.len() as u64)
    }

    /// Takes in what workers say; tells whether it was a result.
    async fn take_notice(&mut self, notice: Option<SetEvent>, merger: Merger) -> Result<(Merger, bool), DriveError> {
        match notice {
            Some(SetEvent::Done(done)) => {
                // What cannot be read is looked up in the store instead.
                let copy = done.result.and_then(|digits| hex::decode(digits).ok());
                let copy = copy.filter(|bytes| wire::decode::<SetResult>(bytes).is_ok());
                Ok((self.take_result(done.set, copy.map(Bytes::from), merger).await?, true))
            }
            Some(SetEvent::Failed(trouble)) => {
                self.show_trouble(&trouble.message, trouble.needs_attention).await;
                Ok((merger, false))
            }
            None => Err(DriveError::Interrupted(
                "another driver has taken over the job".to_owned(),
            )),
        }
    }

    /// Returns how many sets the queue holds for the pipeline; `None` when it cannot be asked.
    async fn queued(&self) -> Option<u64> {
        let status = match self.context.queue.consumer_info(&self.view.job.pipeline).await {
            Ok(status) => status.unwrap_or_default(),
            // Unreachable is not empty: the next stream_epoch looks again.
            Err(_) => return None,
        };
        let pipeline = self.view.job.pipeline.to_string();
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
    async fn publish_lost(&mut self, sets: u32) -> Result<(), DriveError> {
        let missing = self.missing(sets);
        if missing == 0 || self.queued().await.is_some_and(|queued| queued >= missing) {
            return Ok(());
        }
        self.publish_missing(sets).await
    }

    async fn publish_missing(&mut self, sets: u32) -> Result<(), DriveError> {
        self.publisher.prepare().await?;
        self.publisher.next_attempt();
        let missing: Vec<u32> = (0..sets).filter(|set| !self.done.contains(set)).collect();
        for window in missing.chunks(PUBLISH_WINDOW) {
            let messages: Vec<SetMessage> = futures::stream::iter(window.to_vec())
                .map(|set| self.publisher.stored_message(set).boxed())
                .buffered(READS_AT_ONCE)
                .try_collect()
                .await?;
            self.publisher.publish(&messages).await?;
        }
        Ok(())
    }

    async fn look_for_results(&mut self, mut merger: Merger) -> Result<Merger, DriveError> {
        let prefix = results_prefix(&self.view.job.pipeline, &self.view.job.id);
        let listed = self.context.core.store().list(&prefix).await?;
        let sets = listed.iter().filter_map(|object| set_of_result_key(&object.key));
        let wanted: Vec<u32> = sets.filter(|set| self.is_wanted(*set)).collect();
        let (context, view, publisher) = (self.context, self.view, self.publisher);
        let mut found = futures::stream::iter(wanted)
            .map(|set| find_result(context, view, publisher, set).boxed())
            .buffered(READS_AT_ONCE);
        while let Some(found) = found.try_next().await? {
            merger = self.take_in(found, merger).await?;
        }
        Ok(merger)
    }

    /// Takes in the result of a set, unless it is known or not there; `copy` is what the worker has stored, if it told.
    async fn take_result(&mut self, set: u32, copy: Option<Bytes>, merger: Merger) -> Result<Merger, DriveError> {
        if !self.is_wanted(set) {
            return Ok(merger);
        }
        let found = match copy {
            Some(stored) => self.publisher.set(set).await?.map(|set| Found { set, stored }),
            None => find_result(self.context, self.view, self.publisher, set).await?,
        };
        self.take_in(found, merger).await
    }

    /// Tells whether the result of a set is missing and belongs to the plan as far as that is known.
    fn is_wanted(&mut self, set: u32) -> bool {
        let beyond = set >= self.sets.unwrap_or_else(|| self.publisher.published());
        let known = self.done.contains(&set);
        self.ignored |= beyond && !known;
        !known && !beyond
    }

    async fn take_in(&mut self, found: Option<Found>, merger: Merger) -> Result<Merger, DriveError> {
        let Some(Found { set, stored }) = found else {
            return Ok(merger);
        };
        let (number, job) = (set.set, &self.view.job);
        let (merger, counts, stats) = tokio::task::spawn_blocking(move || add(merger, &set, &stored))
            .await
            .map_err(|error| DriveError::Interrupted(error.to_string()))??;
        self.context.core.live().progress.update(job, |progress| {
            progress.counts += counts;
            progress.stats += stats;
            progress.infra_failure = None;
        });
        self.context.core.live().logs.remove_set(job, number);
        count_datums(&job.pipeline.to_string(), &counts, &stats);
        self.done.insert(number);
        // A pipeline that was shown as unable to run has just shown that it can.
        let version = &self.view.version;
        image::report(self.context, &job.pipeline, version, PipelineState::Running, "").await;
        Ok(merger)
    }

    async fn show_trouble(&self, message: &str, needs_attention: bool) {
        tracing::warn!(job = %self.view.job, message, "a worker had to hand a datum set back");
        self.context.core.live().progress.update(&self.view.job, |progress| {
            progress.infra_failure = Some(message.to_owned())
        });
        if needs_attention {
            image::report(
                self.context,
                &self.view.job.pipeline,
                &self.view.version,
                PipelineState::Crashing,
                message,
            )
            .await;
        }
    }
}

/// A set and the result that is stored for it.
struct Found {
    set: Arc<DatumSet>,
    stored: Bytes,
}

/// Reads a set and its result, at once; nothing unless both are there.
async fn find_result(
    context: &Context,
    view: &View,
    publisher: &Publisher<'_>,
    set: u32,
) -> Result<Option<Found>, DriveError> {
    let key = result_key(&view.job.pipeline, &view.job.id, set);
    let result = async { Ok(context.core.store().get_opt(&key).await?) };
    let (set, stored) = tokio::try_join!(publisher.set(set), result)?;
    Ok(set.zip(stored).map(|(set, stored)| Found { set, stored }))
}

/// Reads the result of a set and adds it, if it is about the set's datums.
fn add(mut merger: Merger, set: &DatumSet, result: &[u8]) -> Result<(Merger, DatumCounts, JobStats), DriveError> {
    let result: SetResult = wire::decode(result)?;
    let mut pairs = set.datums.iter().zip(&result.datums);
    let same = set.datums.len() == result.datums.len() && pairs.all(|(a, b)| a.id == b.id && a.hash == b.hash);
    if !same {
        return Err(DriveError::Mismatch(format!(
            "the result of set {} is not about the datums of that set",
            set.set
        )));
    }
    let (counts, stats) = merger.add(set, &result).map_err(MergeError::from)?;
    Ok((merger, counts, stats))
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
