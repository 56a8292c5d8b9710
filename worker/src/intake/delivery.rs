//! One datum set, from the message to the acknowledgement.
//!
//! The order at the end is what makes a crash harmless at any instruction: output chunks, log
//! object, result object (if nobody was first), notice, acknowledgement. Whoever gets the set
//! again afterwards finds the result and only tells of it once more.
//!
//! Once all output has been read, the slot is given back: it may be on its next set while output and
//! result of this one are still on their way to the store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use howdah_protocol::messages::{SetDone, SetEvent, SetFailed, SetMessage};
use howdah_protocol::objects::{self, DatumSet, LogObject, SetResult};
use howdah_protocol::wire;
use howdah_queue::Delivery;
use howdah_store::{PutOutcome, StoreError};
use jiff::Timestamp;
use tokio_util::task::AbortOnDropHandle;

use crate::context::Kit;
use crate::error::Trouble;
use crate::execute::datum::Interrupt;
use crate::execute::logs::SetLog;
use crate::execute::set_runner::{Crew, Done};
use crate::intake::running_sets::{Admission, StopReason, Ticket};
use crate::slots::Lent;
use howdah_telemetry::error_chain;

/// How often the server is told that work goes on; well within [`howdah_queue::ACK_WAIT`].
const KEEP_EVERY: Duration = Duration::from_secs(3);
/// Delay before a set is offered again that this worker is on already.
const TWICE_DELAY: Duration = Duration::from_secs(10);
/// Delay before a set is offered again after trouble; doubled each time.
const TROUBLE_DELAY: Duration = Duration::from_millis(500);
const TROUBLE_DELAY_MAX: Duration = Duration::from_secs(30);
/// Larger results are not told along with the notice.
const COPY_LIMIT_BYTES: usize = 64 << 10;

/// How work on a set ended.
#[derive(Debug)]
enum End {
    /// Its result is in the store; perhaps with a copy for the coordinator.
    Done(Option<Bytes>),
    /// Its result had been there before.
    Known,
    /// Its job has no plan any more: nobody waits for it.
    Orphaned,
    Interrupted(Interrupt),
}

/// Works on a delivered set, beginning in a slot, gives the slot back and answers the server.
pub(crate) async fn handle(kit: &Arc<Kit>, delivery: Delivery, lent: Lent) {
    let delivery = Arc::new(delivery);
    let set = &delivery.set;
    let ticket = match kit.tickets.enter(set) {
        Admission::Welcome(ticket) => ticket,
        Admission::Running => return hand_back(&delivery, Some(TWICE_DELAY)).await,
        Admission::Cancelled => return acknowledge(&delivery).await,
    };
    let _leave = Leave { kit, set };
    let kept = kit.receipts.keep(&delivery);
    let log = SetLog::new();
    // On a task of its own: it must not wait for what the slot's thread does.
    let keeper = AbortOnDropHandle::new(tokio::spawn(keep(Arc::clone(&delivery))));
    let end = tokio::select! {
        end = work(kit, &delivery, &ticket, &log, lent) => end,
        () = log.send_batches(&kit.queue, set, &kit.name) => unreachable!("sends for ever"),
    };
    drop(keeper);
    log.send_rest(&kit.queue, set, &kit.name).await;
    answer(kit, &delivery, end).await;
    drop(kept);
}

/// Ends the set's ticket, also when the work on it panics.
struct Leave<'a> {
    kit: &'a Kit,
    set: &'a SetMessage,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.kit.tickets.leave(self.set);
    }
}

async fn answer(kit: &Kit, delivery: &Delivery, end: End) {
    let set = &delivery.set;
    let outcome = match end {
        End::Done(_) | End::Known => {
            let (outcome, copy) = match end {
                End::Done(copy) => ("done", copy),
                _ => ("known", None),
            };
            let notice = SetEvent::Done(SetDone {
                pipeline: set.pipeline.clone(),
                job: set.job,
                set: set.set,
                worker: kit.name.clone(),
                result: copy.map(hex::encode),
            });
            notify(kit, &notice).await;
            acknowledge(delivery).await;
            outcome
        }
        End::Orphaned => {
            acknowledge(delivery).await;
            "cancelled"
        }
        End::Interrupted(Interrupt::Stopped(StopReason::JobCancelled)) => {
            acknowledge(delivery).await;
            "cancelled"
        }
        End::Interrupted(Interrupt::Stopped(StopReason::Shutdown)) => {
            hand_back(delivery, None).await;
            "returned"
        }
        End::Interrupted(Interrupt::Stopped(StopReason::NotServed | StopReason::Abandoned)) => {
            // Of a deleted pipeline nothing takes it back. If it was only the queue that forgot, it
            // must not be lost.
            hand_back(delivery, None).await;
            "cancelled"
        }
        End::Interrupted(Interrupt::Trouble(trouble)) => {
            let delay = trouble_delay(delivery.delivered);
            let message = error_chain(&trouble);
            tracing::warn!(
                pipeline = %set.pipeline, job = %set.job, set = set.set,
                retry_seconds = delay.as_secs_f64(), "datum set handed back: {message}"
            );
            let notice = SetEvent::Failed(SetFailed {
                pipeline: set.pipeline.clone(),
                job: set.job,
                set: set.set,
                worker: kit.name.clone(),
                message,
                needs_attention: trouble.needs_attention(),
            });
            notify(kit, &notice).await;
            hand_back(delivery, Some(delay)).await;
            "trouble"
        }
    };
    kit.metrics.sets.with_label_values(&[outcome]).inc();
}

async fn work(kit: &Arc<Kit>, delivery: &Delivery, ticket: &Arc<Ticket>, log: &Arc<SetLog>, lent: Lent) -> End {
    let set = &delivery.set;
    match try_work(kit, delivery, ticket, log, lent).await {
        Ok(end) => end,
        Err(Interrupt::Trouble(Trouble::Store {
            source: StoreError::Missing { key },
            ..
        })) if key == set.plan_key => {
            tracing::info!(job = %set.job, "datum set of a job that is gone, dropped");
            End::Orphaned
        }
        Err(interrupt) => End::Interrupted(interrupt),
    }
}

async fn try_work(
    kit: &Arc<Kit>,
    delivery: &Delivery,
    ticket: &Arc<Ticket>,
    log: &Arc<SetLog>,
    lent: Lent,
) -> Result<End, Interrupt> {
    let set = &delivery.set;
    let result_key = objects::result_key(&set.pipeline, &set.job, set.set);
    // At once, as each takes as long as the store is away.
    let (known, plan) = tokio::join!(kit.store.stat(&result_key), kit.plan(&set.plan_key));
    let known = known.map_err(Trouble::store("cannot look for the result of a datum set"))?;
    if known.is_some() {
        return Ok(End::Known);
    }
    let plan = plan?;
    let datums = match &set.inline {
        Some(datums) => datums.clone(),
        None => kit.object::<DatumSet>(&set.set_key).await?,
    };
    let started = Timestamp::now();
    let crew = Crew::new(kit, Arc::clone(&plan), log, ticket, (set, delivery.delivered), datums);
    let mut done = crew.work(lent).await?;
    let (stored, log_key) = tokio::join!(done.store_output(), store_log(kit, set, log));
    stored.map_err(Trouble::store("cannot store the output of a datum set"))?;
    let log_key = log_key?;
    let Done { results, leave, .. } = done;
    let result = SetResult {
        set: set.set,
        worker: kit.name.clone(),
        worker_version: env!("CARGO_PKG_VERSION").to_owned(),
        started,
        finished: Timestamp::now(),
        datums: results,
        log_key,
    };
    let result = Bytes::from(wire::encode(&result));
    // Somebody else may have been first with an equally good result; theirs stands.
    let stored = kit
        .store
        .put_if_absent(&result_key, result.clone())
        .await
        .map_err(Trouble::store("cannot store the result of a datum set"))?;
    drop(leave);
    // Notices wait in the coordinator's memory: a job of many sets must not fill it.
    let travels = stored == PutOutcome::Created && plan.single_object.is_some() && result.len() <= COPY_LIMIT_BYTES;
    Ok(End::Done(travels.then_some(result)))
}

/// Stores the set's log lines, if there are any, and returns their key.
async fn store_log(kit: &Kit, set: &SetMessage, log: &SetLog) -> Result<Option<String>, Interrupt> {
    // Followers first: taken lines are not sent any more.
    log.send_rest(&kit.queue, set, &kit.name).await;
    let (lines, dropped) = log.take();
    if lines.is_empty() {
        return Ok(None);
    }
    let key = objects::log_key(&set.pipeline, &set.job, set.set, &kit.name);
    let object = LogObject {
        pipeline: set.pipeline.clone(),
        job: set.job,
        set: set.set,
        worker: kit.name.clone(),
        lines,
        dropped,
    };
    let bytes = wire::encode(&object);
    drop(object);
    kit.store
        .put(&key, bytes.into())
        .await
        .map_err(Trouble::store("cannot store the log of a datum set"))?;
    Ok(Some(key))
}

/// Tells the server every now and then that work goes on.
async fn keep(delivery: Arc<Delivery>) {
    loop {
        tokio::time::sleep(KEEP_EVERY).await;
        if let Err(error) = delivery.in_progress().await {
            // The worst that can follow is that another worker begins the set too.
            tracing::debug!(error = %error_chain(&error), "datum set not kept");
        }
    }
}

async fn notify(kit: &Kit, notice: &SetEvent) {
    if let Err(error) = kit.queue.publish_set_event(notice).await {
        // The coordinator also lists results.
        tracing::warn!(error = %error_chain(&error), "notice not sent");
    }
}

async fn acknowledge(delivery: &Delivery) {
    if let Err(error) = delivery.ack().await {
        // It comes again, finds its result and is acknowledged then.
        tracing::warn!(error = %error_chain(&error), "datum set not acknowledged");
    }
}

/// Hands a set back to the queue, at once or after a delay.
pub(crate) async fn hand_back(delivery: &Delivery, delay: Option<Duration>) {
    if let Err(error) = delivery.nak(delay).await {
        // It goes to somebody else when its time is up.
        tracing::warn!(error = %error_chain(&error), "datum set not handed back");
    }
}

fn trouble_delay(delivered: u64) -> Duration {
    let doublings = u32::try_from(delivered.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    (TROUBLE_DELAY * 2_u32.pow(doublings)).min(TROUBLE_DELAY_MAX)
}
