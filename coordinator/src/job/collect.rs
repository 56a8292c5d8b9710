//! Collects the results of a job's datum sets, also when messages are lost.
//!
//! A result is an object in the store; everything else only tells where to look:
//!
//! - An event of a worker makes a result known at once. Only for a plan of a single object it can also carry a copy.
//! - A scan of the result objects finds those whose event was lost. It runs after a pause without events.
//! - When the queue is empty and results are still missing, sets were lost. They are published again.
//! - A rise of the stream epoch (a reconnection, or streams that were made again) may mean lost sets as well.
//!
//! A set may be run twice because of that. Results are never overwritten, and each is added once, so the output is that
//! of one run.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt};
use howdah_model::PipelineState;
use howdah_protocol::messages::{SetEvent, SetMessage};
use howdah_protocol::objects::{SetResult, results_prefix, set_of_result_key};
use howdah_protocol::wire;
use tokio::sync::{mpsc, oneshot, watch};

use super::context::JobContext;
use super::error::DriveError;
use super::merge::Merger;
use super::pipeline_state::report_pipeline_state;
use super::plan::MergePlan;
use super::plan_publisher::PublishedPlan;
use super::publish::SetPublisher;
use super::set_results::{SetWithResult, add, count_datums, find_result};
use super::view::JobView;
use crate::metrics;

/// Pause without events before the first scan for results; doubles up to [`MAX_SCAN_PAUSE`].
const FIRST_SCAN_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause between two scans for results.
const MAX_SCAN_PAUSE: Duration = Duration::from_secs(30);
/// How many sets are read and published at a time.
const PUBLISH_WINDOW: usize = 256;
/// How many sets, each with its result, are read at once.
const READS_AT_ONCE: usize = 16;
/// Scans in a row that find no new result while the queue is empty, before the missing sets count as lost. One is not
/// enough: a worker may have stored a result and acknowledged its set between the scan and the look at the queue.
const SCANS_BEFORE_REPUBLISH: u32 = 2;

/// Collects the results of one job.
pub struct Collector<'a> {
    context: &'a JobContext,
    view: &'a JobView,
    publisher: &'a SetPublisher<'a>,
    events: mpsc::UnboundedReceiver<SetEvent>,
    /// Rises of the stream epoch since this collector was made.
    stream_epoch: watch::Receiver<u64>,
    /// Sets whose results are added.
    done: BTreeSet<u32>,
    /// Number of sets, once the plan is final.
    sets: Option<u32>,
    /// Whether a result was reported of a set that this driver had not published then.
    ignored: bool,
}

impl<'a> Collector<'a> {
    /// Makes a collector; `events` are those of its job.
    pub fn new(
        context: &'a JobContext,
        view: &'a JobView,
        publisher: &'a SetPublisher<'a>,
        events: mpsc::UnboundedReceiver<SetEvent>,
    ) -> Self {
        let mut stream_epoch = context.queue.stream_epoch();
        stream_epoch.mark_unchanged();
        Self {
            context,
            view,
            publisher,
            events,
            stream_epoch,
            done: BTreeSet::new(),
            sets: None,
            ignored: false,
        }
    }

    /// Collects results while the plan is still being made and until the result of every set is in.
    pub async fn collect(
        mut self,
        planning: impl Future<Output = Result<PublishedPlan, DriveError>>,
        merger: Merger,
    ) -> Result<(MergePlan, Merger), DriveError> {
        let (planned, over) = oneshot::channel();
        let planning = async {
            let published = planning.await;
            // The receiver is gone if collecting has failed; `try_join` below returns that error.
            let _ = planned.send(());
            published
        };
        // At the same time: planning a large job takes long, and its first results are to be merged by then.
        let (plan, merger) = tokio::try_join!(planning, self.collect_until(over, merger))?;
        self.sets = Some(plan.merge.sets);
        // Events of sets beyond what was published then were dropped. Now that the plan is final it is known whether
        // they are of this plan; without a scan, their results would be found only after the first pause.
        let merger = if self.ignored {
            self.scan_results(merger).await?
        } else {
            merger
        };
        self.complete(plan.merge, merger, plan.lost).await
    }

    async fn collect_until(
        &mut self,
        mut over: oneshot::Receiver<()>,
        mut merger: Merger,
    ) -> Result<Merger, DriveError> {
        loop {
            tokio::select! {
                _ = &mut over => return Ok(merger),
                event = self.events.recv() => merger = self.handle_event(event, merger).await?.0,
            }
        }
    }

    /// Collects the results of a plan that is final, some of which may be stored already.
    pub async fn resume(mut self, merge: MergePlan, merger: Merger) -> Result<(MergePlan, Merger), DriveError> {
        self.sets = Some(merge.sets);
        let merger = self.scan_results(merger).await?;
        self.complete(merge, merger, true).await
    }

    /// Collects what is missing; `lost` tells that sets may have to be published again.
    async fn complete(
        mut self,
        merge: MergePlan,
        mut merger: Merger,
        lost: bool,
    ) -> Result<(MergePlan, Merger), DriveError> {
        let sets = merge.sets;
        let mut stream_epoch = self.stream_epoch.clone();
        if lost {
            self.republish_if_lost(sets).await?;
        }
        let mut pause = FIRST_SCAN_PAUSE;
        let mut empty_scans = 0;
        while self.missing(sets) > 0 {
            tokio::select! {
                event = self.events.recv() => {
                    let is_result;
                    (merger, is_result) = self.handle_event(event, merger).await?;
                    if is_result {
                        (pause, empty_scans) = (FIRST_SCAN_PAUSE, 0);
                    }
                }
                changed = stream_epoch.changed() => {
                    if changed.is_err() {
                        return Err(DriveError::Interrupted("the connection to NATS is closed".to_owned()));
                    }
                    // Results first: events were lost during the interruption as well, and sets that are done must not
                    // be published again.
                    merger = self.scan_results(merger).await?;
                    self.republish_if_lost(sets).await?;
                }
                () = tokio::time::sleep(pause) => {
                    let before = self.done.len();
                    merger = self.scan_results(merger).await?;
                    let is_idle = before == self.done.len() && self.queued().await == Some(0);
                    empty_scans = if is_idle { empty_scans + 1 } else { 0 };
                    if empty_scans >= SCANS_BEFORE_REPUBLISH {
                        metrics::SETS_REPUBLISHED.inc_by(self.missing(sets));
                        self.publish_missing(sets).await?;
                        empty_scans = 0;
                    }
                    pause = (pause * 2).min(MAX_SCAN_PAUSE);
                }
            }
        }
        Ok((merge, merger))
    }

    fn missing(&self, sets: u32) -> u64 {
        u64::from(sets).saturating_sub(self.done.len() as u64)
    }

    /// Handles an event of a worker. The flag tells whether it announced a result.
    async fn handle_event(&mut self, event: Option<SetEvent>, merger: Merger) -> Result<(Merger, bool), DriveError> {
        match event {
            Some(SetEvent::Done(done)) => {
                // If the copy cannot be decoded, the stored result is read: it may be intact.
                let copy = done.result.and_then(|digits| hex::decode(digits).ok());
                let copy = copy.filter(|bytes| wire::decode::<SetResult>(bytes).is_ok());
                Ok((self.take_result(done.set, copy.map(Bytes::from), merger).await?, true))
            }
            Some(SetEvent::Failed(failed)) => {
                self.report_failure(&failed.message, failed.needs_attention).await;
                Ok((merger, false))
            }
            // The router has one receiver for each job: this one was replaced.
            None => Err(DriveError::Interrupted(
                "another driver has taken over the job".to_owned(),
            )),
        }
    }

    /// Returns how many sets the queue holds for the pipeline; `None` when the queue cannot be reached.
    async fn queued(&self) -> Option<u64> {
        let status = match self.context.queue.depth(&self.view.job.pipeline).await {
            Ok(status) => status.unwrap_or_default(),
            // Unknown is not empty: publishing now would run sets twice. The next stream epoch brings another scan.
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

    /// Publishes what is missing, unless the queue still holds as many sets.
    ///
    /// After a reconnection or a restart of the coordinator most often nothing is lost; publishing without this check
    /// would run sets twice that workers have.
    async fn republish_if_lost(&mut self, sets: u32) -> Result<(), DriveError> {
        let missing = self.missing(sets);
        if missing == 0 || self.queued().await.is_some_and(|queued| queued >= missing) {
            return Ok(());
        }
        self.publish_missing(sets).await
    }

    async fn publish_missing(&mut self, sets: u32) -> Result<(), DriveError> {
        self.publisher.prepare().await?;
        // With the ids of the first time the server would drop the messages as duplicates.
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

    /// Adds every stored result that is not added yet.
    async fn scan_results(&mut self, mut merger: Merger) -> Result<Merger, DriveError> {
        let prefix = results_prefix(&self.view.job.pipeline, &self.view.job.id);
        let listed = self.context.core.store().list(&prefix).await?;
        let sets = listed.iter().filter_map(|object| set_of_result_key(&object.key));
        let wanted: Vec<u32> = sets.filter(|set| self.is_wanted(*set)).collect();
        let (context, view, publisher) = (self.context, self.view, self.publisher);
        let mut found = futures::stream::iter(wanted)
            .map(|set| find_result(context, view, publisher, set).boxed())
            .buffered(READS_AT_ONCE);
        while let Some(found) = found.try_next().await? {
            merger = self.add_result(found, merger).await?;
        }
        Ok(merger)
    }

    /// Adds the result of a set, unless it is added or not stored; `copy` is the stored result, if the event had it.
    async fn take_result(&mut self, set: u32, copy: Option<Bytes>, merger: Merger) -> Result<Merger, DriveError> {
        if !self.is_wanted(set) {
            return Ok(merger);
        }
        let found = match copy {
            Some(result) => self.publisher.set(set).await?.map(|set| SetWithResult { set, result }),
            None => find_result(self.context, self.view, self.publisher, set).await?,
        };
        self.add_result(found, merger).await
    }

    /// Tells whether the result of a set is missing and belongs to the plan as far as that is known.
    fn is_wanted(&mut self, set: u32) -> bool {
        // While the plan is not final, a set that this driver has not published yet may be written again with other
        // datums: a result that an earlier driver's worker stored would be compared with the wrong set.
        let beyond = set >= self.sets.unwrap_or_else(|| self.publisher.published());
        let known = self.done.contains(&set);
        self.ignored |= beyond && !known;
        !known && !beyond
    }

    async fn add_result(&mut self, found: Option<SetWithResult>, merger: Merger) -> Result<Merger, DriveError> {
        let Some(SetWithResult { set, result }) = found else {
            return Ok(merger);
        };
        let (number, job) = (set.set, &self.view.job);
        // The merger moves into the blocking task and back. If the task panics it is lost, and the job is driven again.
        let (merger, counts, stats) = tokio::task::spawn_blocking(move || add(merger, &set, &result))
            .await
            .map_err(|error| DriveError::Interrupted(error.to_string()))??;
        let live = self.context.core.live();
        live.progress.update(job, |progress| {
            progress.counts += counts;
            progress.stats += stats;
            progress.infra_failure = None;
        });
        live.logs.remove_set(job, number);
        count_datums(&job.pipeline.to_string(), &counts, &stats);
        self.done.insert(number);
        // A result proves that a pipeline that was shown as unable to run can run.
        let version = &self.view.version;
        report_pipeline_state(&self.context.core, &job.pipeline, version, PipelineState::Running, "").await;
        Ok(merger)
    }

    async fn report_failure(&self, message: &str, needs_attention: bool) {
        tracing::warn!(job = %self.view.job, message, "a worker returned a datum set because of an infrastructure failure");
        let core = &self.context.core;
        core.live().progress.update(&self.view.job, |progress| {
            progress.infra_failure = Some(message.to_owned());
        });
        if needs_attention {
            let (pipeline, version) = (&self.view.job.pipeline, &self.view.version);
            report_pipeline_state(core, pipeline, version, PipelineState::Crashing, message).await;
        }
    }
}
