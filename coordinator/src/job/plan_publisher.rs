//! Writes and publishes the datum sets of a prepared plan, and makes the plan final.
//!
//! A small plan, of one set at most, is a single object that is final at once. A larger one is several objects: the job
//! part, one object for each set, and at the end the merge part, which makes the plan final.

use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use howdah_protocol::messages::SetMessage;
use howdah_protocol::objects::DatumSet;
use howdah_protocol::wire;

use super::context::JobContext;
use super::error::DriveError;
use super::job_commands::{log_plan, log_start};
use super::plan::{self, MergePlan, PlanError};
use super::planner::PreparedPlan;
use super::publish::SetPublisher;
use super::view::JobView;
use crate::metrics;

/// How many set objects are written at once.
const WRITES_AT_ONCE: usize = 16;

/// A plan that is final, with its sets published.
pub struct PublishedPlan {
    /// What has to be known for merging.
    pub merge: MergePlan,
    /// Whether some sets may not have reached the queue.
    pub lost: bool,
}

impl PreparedPlan {
    /// Writes and publishes the sets, and makes the plan final. Logs the start of the job on the way, unless it is logged.
    ///
    /// When the queue cannot be reached, planning continues and publishing ends; [`PublishedPlan::lost`] is set.
    pub async fn publish(
        mut self,
        context: &JobContext,
        view: &JobView,
        publisher: &SetPublisher<'_>,
    ) -> Result<PublishedPlan, DriveError> {
        let (started, job) = (self.started, &view.job);
        let first = self.sets.next().await?;
        let is_only = self.sets.is_over();
        let bytes = is_only.then(|| first.as_ref().map_or(0, |set| wire::encode(set).len()));
        let published = match bytes.filter(|bytes| plan::fits_single_object(*bytes, self.sets.most_dropped())) {
            Some(bytes) => {
                let only = first.map(|set| (set, bytes));
                self.publish_single_object(context, view, publisher, only).await
            }
            None => self.publish_incrementally(context, view, publisher, first).await,
        }?;
        let PublishedPlan { merge, lost } = &published;
        if *lost {
            tracing::debug!(%job, "the queue could not be reached while planning");
        }
        metrics::PLAN_SECONDS.observe(started.elapsed().as_secs_f64());
        tracing::info!(%job, to_do = merge.to_do, skipped = merge.skipped, sets = merge.sets, elapsed_ms = started.elapsed().as_millis() as u64, "job planned");
        Ok(published)
    }

    /// Writes the plan as one object while the job's start and plan are logged together, then publishes the only set,
    /// which comes with its size in bytes.
    async fn publish_single_object(
        self,
        context: &JobContext,
        view: &JobView,
        publisher: &SetPublisher<'_>,
        only: Option<(DatumSet, usize)>,
    ) -> Result<PublishedPlan, DriveError> {
        let store = context.core.store();
        let merge = self.sets.into_merge_plan(store, self.base).await?;
        let prepare = async {
            match only {
                Some(_) => publisher.prepare().await,
                None => Ok(()),
            }
        };
        // At the same time, because each is one round trip and none needs another. The log may then name a plan object
        // that a crash prevented. The next driver then finds none and plans again; nothing was published before, so its
        // sets may differ.
        let (written, logged, queue) = tokio::join!(
            plan::write_single_object(store, &self.plan, only.as_ref().map(|(set, _)| set.clone()), &merge),
            log_plan(&context.core, view, &merge),
            prepare,
        );
        written?;
        logged?;
        let mut lost = queue.is_err();
        if let Some((set, bytes)) = only {
            publisher.keep(set.clone());
            // Only now: a worker that gets the message reads the plan object, and a result that comes in before the
            // start is logged would belong to a job that has not begun.
            lost = publisher.publish(&[publisher.message(set, bytes)]).await.is_err() || lost;
        }
        Ok(PublishedPlan { merge, lost })
    }

    /// Writes and publishes sets while further ones are found.
    ///
    /// A crash before the merge part is written leaves a plan that is not final. The next driver plans again; it comes
    /// to the same sets, so results that workers have stored in the meantime fit them.
    async fn publish_incrementally(
        self,
        context: &JobContext,
        view: &JobView,
        publisher: &SetPublisher<'_>,
        first: Option<DatumSet>,
    ) -> Result<PublishedPlan, DriveError> {
        let PreparedPlan {
            plan, base, mut sets, ..
        } = self;
        let store = context.core.store();
        let mut lost = false;
        let write = |set: DatumSet| {
            let plan = plan.clone();
            async move {
                let bytes = plan::write_set(store, &plan, &set).await?;
                Ok::<SetMessage, PlanError>(publisher.message(set, bytes))
            }
        };
        let count = |set: &DatumSet| {
            let datums = set.datums.len() as u64;
            let progress = &context.core.live().progress;
            progress.update(&view.job, |progress| progress.counts.total += datums);
        };
        let start = log_start(&context.core, view);
        match first {
            None => {
                let (job, started) = tokio::join!(plan::write_job(store, &plan), start);
                job?;
                started?;
            }
            Some(first) => {
                count(&first);
                // The job part, the first set and the start do not depend on each other. Its message depends on all
                // three, see the list in `drive.rs`; written like this, the first worker begins after one round trip.
                let (job, message, started, queue) =
                    tokio::join!(plan::write_job(store, &plan), write(first), start, publisher.prepare());
                job?;
                let message = message?;
                started?;
                lost = queue.is_err() || publisher.publish(&[message]).await.is_err();
            }
        }
        let mut writes = FuturesOrdered::new();
        let mut more = true;
        while more || !writes.is_empty() {
            let mut written = Vec::new();
            match if more { sets.next().await? } else { None } {
                Some(set) => {
                    count(&set);
                    writes.push_back(write(set));
                }
                None => more = false,
            }
            // Waits for the oldest write only when there are enough of them: until then, finding datums continues.
            if (!more || writes.len() >= WRITES_AT_ONCE)
                && let Some(message) = writes.next().await
            {
                written.push(message?);
            }
            // Sets whose write has ended in the meantime are published with it.
            while let Some(Some(message)) = writes.next().now_or_never() {
                written.push(message?);
            }
            if !written.is_empty() {
                // After the first failure nothing is published any more, so that planning does not wait for a queue
                // that cannot be reached. The collector publishes what is missing once the plan is final.
                lost = lost || publisher.publish(&written).await.is_err();
            }
        }
        let merge = sets.into_merge_plan(store, base).await?;
        // The last object: it makes the plan final, so all sets have to be there.
        plan::write_merge(store, &plan, &merge).await?;
        // After it: if the log says that a job with a plan of several objects is planned, that plan can be read back.
        log_plan(&context.core, view, &merge).await?;
        Ok(PublishedPlan { merge, lost })
    }
}
