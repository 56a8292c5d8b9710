//! Collects the results of a job's datum sets, also when messages are lost.
//!
//! A result is an object in the store; everything else only tells where to look:
//!
//! - An event of a worker makes a result known at once. Only for a plan of a single object it can also carry a copy.
//! - A scan of the result objects finds those whose event was lost. It runs after a pause without new results, also
//!   while the plan is being made.
//! - When the queue is empty and results are still missing, sets were lost. They are published again.
//! - A rise of the stream epoch (a reconnection, or streams that were made again) may mean lost sets as well.
//!
//! A set may be run twice because of that. Results are never overwritten, and each is added once, so the output is that
//! of one run.
//!
//! A set that workers cannot run is tried again until its [`RetryBudget`] is used up (`failing_sets`); then the job ends.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt};
use howdah_model::PipelineState;
use howdah_protocol::messages::{SetEvent, SetFailed, SetMessage};
use howdah_protocol::objects::{SetResult, plan_results_prefix, set_of_result_key};
use howdah_protocol::wire;
use howdah_queue::QueueError;
use howdah_telemetry::error_chain;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::context::JobContext;
use super::end::show_retry;
use super::error::DriveError;
use super::failing_sets::FailingSets;
use super::look_schedule::LookSchedule;
use super::merge::Merger;
use super::pipeline_state::report_pipeline_state;
use super::plan::MergePlan;
use super::plan_publisher::PublishedPlan;
use super::publish::SetPublisher;
use super::retry::{FailureKind, RetryBudget, Verdict};
use super::set_results::{SetWithResult, add, count_datums, find_result};
use super::view::JobView;
use crate::metrics;

/// How many sets are read and published at a time.
const PUBLISH_WINDOW: usize = 256;
/// How many sets, each with its result, are read at once.
const READS_AT_ONCE: usize = 16;
/// What a collector wakes up for.
enum Wake {
    /// A worker has sent this; `None` when another driver has taken over.
    Event(Option<SetEvent>),
    /// What was published before may be lost; `false` when the connection is closed.
    StreamEpoch(bool),
    /// It is time to look for results.
    Look,
}

/// What tells a collector where to look.
pub struct Signals {
    /// Events of workers about the job.
    pub events: mpsc::UnboundedReceiver<SetEvent>,
    /// Rises whenever what was published before may be lost.
    pub stream_epoch: watch::Receiver<u64>,
}

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
    schedule: LookSchedule,
    failing: FailingSets,
    /// How long the queue has not answered.
    queue_budget: RetryBudget,
    /// Whether the plan was read back: an earlier driver may have published its sets.
    resumed: bool,
    /// Sets of an earlier driver that this one has published again.
    renewed: BTreeSet<u32>,
}

impl<'a> Collector<'a> {
    /// Makes a collector of the results of the publisher's plan.
    pub fn new(context: &'a JobContext, view: &'a JobView, publisher: &'a SetPublisher<'a>, signals: Signals) -> Self {
        Self {
            context,
            view,
            publisher,
            events: signals.events,
            stream_epoch: signals.stream_epoch,
            done: BTreeSet::new(),
            sets: None,
            ignored: false,
            schedule: LookSchedule::new(Instant::now()),
            failing: FailingSets::new(context.limits),
            queue_budget: RetryBudget::new(context.limits),
            resumed: false,
            renewed: BTreeSet::new(),
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
            // Only the wait is dropped when planning ends, never the handling, which has the merger.
            let wake = tokio::select! {
                _ = &mut over => return Ok(merger),
                wake = self.wake() => wake,
            };
            merger = self.handle(wake, merger).await?;
        }
    }

    /// Waits for what comes next. Cancel safe.
    async fn wake(&mut self) -> Wake {
        tokio::select! {
            event = self.events.recv() => Wake::Event(event),
            changed = self.stream_epoch.changed() => Wake::StreamEpoch(changed.is_ok()),
            () = tokio::time::sleep_until(self.schedule.next()) => Wake::Look,
        }
    }

    async fn handle(&mut self, wake: Wake, merger: Merger) -> Result<Merger, DriveError> {
        match wake {
            Wake::Event(event) => self.handle_event(event, merger).await,
            Wake::StreamEpoch(true) => {
                // Results first: events were lost during the interruption as well, and sets that are done must not be
                // published again.
                let merger = self.scan_results(merger).await?;
                let republished = self.republish_if_lost().await;
                self.unless_planning(republished)?;
                Ok(merger)
            }
            Wake::StreamEpoch(false) => Err(DriveError::Interrupted("the connection to NATS is closed".to_owned())),
            Wake::Look => self.look(merger).await,
        }
    }

    /// Looks for results whose events were lost, and publishes sets again that were lost.
    async fn look(&mut self, mut merger: Merger) -> Result<Merger, DriveError> {
        let before = self.done.len();
        if self.missing() > 0 {
            merger = self.scan_results(merger).await?;
        }
        let is_new = self.done.len() > before;
        let queued = self.queued().await;
        let is_empty = self.missing() > 0 && !is_new && matches!(queued, Ok(0));
        let lost = self.schedule.looked(is_empty, Instant::now());
        self.note_queue(queued.map(drop))?;
        if lost {
            metrics::SETS_REPUBLISHED.inc_by(self.missing());
            let published = self.publish_missing().await;
            self.unless_planning(published)?;
        }
        Ok(merger)
    }

    /// While the plan is being made, a failure to publish is not one of the job: what is missing then is published
    /// when the plan is final.
    fn unless_planning(&self, published: Result<(), DriveError>) -> Result<(), DriveError> {
        match published {
            Err(error) if self.sets.is_none() => {
                tracing::debug!(job = %self.view.job, error = error_chain(&error), "datum sets are published later");
                Ok(())
            }
            other => other,
        }
    }

    /// Counts how long the queue has not answered, and shows it.
    fn note_queue(&mut self, answered: Result<(), QueueError>) -> Result<(), DriveError> {
        let (core, job) = (&self.context.core, &self.view.job);
        match answered {
            Ok(()) if self.queue_budget.failures() > 0 => {
                self.queue_budget.begin_anew();
                core.live().progress.update(job, |progress| progress.retry = None);
            }
            Ok(()) => {}
            Err(error) => {
                let (error, now) = (error_chain(&error), Instant::now());
                match self.queue_budget.failed(FailureKind::Outage, &error, now, 0.0) {
                    Verdict::GiveUp(reason) => return Err(DriveError::GivenUp(reason)),
                    Verdict::Retry { tries, .. } => {
                        let pause = self.schedule.next().duration_since(now);
                        show_retry(core, job, tries, &error, pause);
                    }
                }
            }
        }
        Ok(())
    }

    /// Collects the results of a plan that is final, some of which may be stored already.
    pub async fn resume(mut self, merge: MergePlan, merger: Merger) -> Result<(MergePlan, Merger), DriveError> {
        self.sets = Some(merge.sets);
        self.resumed = true;
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
        if lost {
            self.republish_if_lost().await?;
        }
        while self.missing() > 0 {
            let wake = self.wake().await;
            merger = self.handle(wake, merger).await?;
        }
        Ok((merge, merger))
    }

    /// Returns the number of sets whose results can be expected: all of a final plan, or those published so far.
    fn expected(&self) -> u32 {
        self.sets.unwrap_or_else(|| self.publisher.published())
    }

    fn missing(&self) -> u64 {
        u64::from(self.expected()).saturating_sub(self.done.len() as u64)
    }

    /// Handles an event of a worker.
    async fn handle_event(&mut self, event: Option<SetEvent>, merger: Merger) -> Result<Merger, DriveError> {
        match event {
            Some(event) if event.plan() != self.publisher.plan() => {
                metrics::OTHER_PLAN_EVENTS.inc();
                Ok(merger)
            }
            Some(SetEvent::Done(done)) => {
                // If the copy cannot be decoded, the stored result is read: it may be intact.
                let copy = done.result.and_then(|digits| hex::decode(digits).ok());
                let copy = copy.filter(|bytes| wire::decode::<SetResult>(bytes).is_ok());
                self.take_result(done.set, copy.map(Bytes::from), merger).await
            }
            Some(SetEvent::Outdated(outdated)) => {
                self.replace_outdated(outdated.set).await?;
                Ok(merger)
            }
            Some(SetEvent::Failed(failed)) => {
                // A set that has a result was run elsewhere.
                if self.is_wanted(failed.set) {
                    self.count_failure(&failed).await?;
                }
                Ok(merger)
            }
            // The router has one receiver for each job: this one was replaced.
            None => Err(DriveError::Interrupted(
                "another driver has taken over the job".to_owned(),
            )),
        }
    }

    /// Returns how many sets the queue holds for the pipeline.
    async fn queued(&self) -> Result<u64, QueueError> {
        let status = self
            .context
            .queue
            .depth(&self.view.job.pipeline)
            .await?
            .unwrap_or_default();
        let pipeline = self.view.job.pipeline.to_string();
        let gauge = |state: &str, value: u64| {
            metrics::QUEUE_DEPTH
                .with_label_values(&[pipeline.as_str(), state])
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        gauge("waiting", status.pending);
        gauge("held", status.ack_pending);
        Ok(status.pending + status.ack_pending)
    }

    /// Publishes what is missing, unless the queue still holds as many sets.
    ///
    /// After a reconnection or a restart of the coordinator most often nothing is lost; publishing without this check
    /// would run sets twice that workers have.
    async fn republish_if_lost(&mut self) -> Result<(), DriveError> {
        let missing = self.missing();
        if missing == 0 || self.queued().await.is_ok_and(|queued| queued >= missing) {
            return Ok(());
        }
        self.publish_missing().await
    }

    async fn publish_missing(&mut self) -> Result<(), DriveError> {
        self.publisher.prepare().await?;
        // With the ids of the first time the server would drop the messages as duplicates.
        self.publisher.next_attempt();
        let missing: Vec<u32> = (0..self.expected()).filter(|set| !self.done.contains(set)).collect();
        self.renewed.extend(&missing);
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

    /// Publishes a set of an earlier leader again, which a worker has dropped.
    async fn replace_outdated(&mut self, set: u32) -> Result<(), DriveError> {
        // While this driver makes the plan, it publishes every set itself.
        let is_of_plan = self.sets.is_some_and(|sets| set < sets) && self.resumed;
        if !is_of_plan || self.done.contains(&set) || !self.renewed.insert(set) {
            return Ok(());
        }
        self.publisher.next_attempt();
        let message = self.publisher.stored_message(set).await?;
        metrics::SETS_REPUBLISHED.inc();
        self.publisher.publish(&[message]).await?;
        Ok(())
    }

    /// Adds every stored result that is not added yet.
    async fn scan_results(&mut self, mut merger: Merger) -> Result<Merger, DriveError> {
        let prefix = plan_results_prefix(&self.view.job.pipeline, &self.view.job.id, self.publisher.plan());
        let listed = self.context.core.store().list(&prefix).await?;
        let sets = listed
            .iter()
            .filter_map(|object| set_of_result_key(&prefix, &object.key));
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
        let beyond = set >= self.expected();
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
            progress.retry = None;
        });
        live.logs.remove_set(job, number);
        count_datums(&job.pipeline.to_string(), &counts, &stats);
        self.done.insert(number);
        self.schedule.result_came(Instant::now());
        self.failing.result_came(number);
        // A result proves that a pipeline that was shown as unable to run can run.
        let version = &self.view.version;
        report_pipeline_state(&self.context.core, &job.pipeline, version, PipelineState::Running, "").await;
        Ok(merger)
    }

    /// Counts that a worker could not run a set; shows it as long as the set is tried again.
    async fn count_failure(&mut self, failed: &SetFailed) -> Result<(), DriveError> {
        let (core, job, message) = (&self.context.core, &self.view.job, &failed.message);
        tracing::warn!(%job, set = failed.set, worker = failed.worker, message, "a worker returned a datum set because of an infrastructure failure");
        if failed.needs_attention {
            let version = &self.view.version;
            report_pipeline_state(core, &job.pipeline, version, PipelineState::Crashing, message).await;
        }
        let (tries, pause) = self.failing.failed(failed, Instant::now())?;
        show_retry(core, job, tries, message, pause);
        Ok(())
    }
}
