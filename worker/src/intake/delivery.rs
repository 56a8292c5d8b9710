//! One delivered datum set, from its message to its acknowledgement.
//!
//! The steps at the end have a fixed order, so that a crash at any instruction is harmless: output chunks and log
//! object, then the result object (created only if absent), then the event, then the acknowledgement. A worker that
//! receives the set again finds the result and only repeats event and acknowledgement.
//!
//! The slot is given back as soon as all output has been read from its folders: it may run its next set while output
//! and result of this one are still being stored.
//!
//! What can go wrong: errors of store, disk or container engine hand the set back with a delay
//! ([`SetOutcome::Interrupted`]); a failing datum is not an error here but part of the result. Failing to answer the
//! queue is only logged, because the queue redelivers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use howdah_protocol::messages::{SetDone, SetEvent, SetFailed, SetMessage};
use howdah_protocol::objects::{self, LogObject, SetResult};
use howdah_protocol::wire;
use howdah_queue::Delivery;
use howdah_store::{PutOutcome, StoreError};
use jiff::Timestamp;
use tokio_util::task::AbortOnDropHandle;

use crate::context::WorkerContext;
use crate::error::InfraError;
use crate::execute::interrupt::Interrupt;
use crate::execute::logs::SetLog;
use crate::execute::set_runner::{FinishedSet, SetRunner};
use crate::intake::intake_state::IntakeState;
use crate::intake::running_sets::{Admission, RunningSets};
use crate::set_handle::{SetHandle, StopReason};
use crate::slots::slot_guard::SlotGuard;
use howdah_telemetry::error_chain;

/// How often the acknowledgement deadline is extended; well within [`howdah_queue::ACK_WAIT`].
const EXTEND_EVERY: Duration = Duration::from_secs(3);
/// Redelivery delay of a set that this worker runs already.
const ALREADY_RUNNING_DELAY: Duration = Duration::from_secs(10);
/// Redelivery delay after the first infrastructure error; doubled with each delivery.
const ERROR_DELAY: Duration = Duration::from_millis(500);
/// Longest redelivery delay after an infrastructure error.
const ERROR_DELAY_MAX: Duration = Duration::from_secs(30);
/// Largest result that is copied into its event.
const EVENT_RESULT_BYTES: usize = 64 << 10;

/// How the work on a set ended.
#[derive(Debug)]
enum SetOutcome {
    /// Its result is in the store; perhaps with a copy for the event.
    Done(Option<Bytes>),
    /// Its result was in the store before.
    AlreadyDone,
    /// Its job no longer has a plan, so no result is expected.
    Orphaned,
    /// It was stopped, or infrastructure failed.
    Interrupted(Interrupt),
}

impl SetOutcome {
    /// Classifies how the work on a set ended.
    fn of(set: &SetMessage, ended: Result<Self, Interrupt>) -> Self {
        match ended {
            Ok(outcome) => outcome,
            Err(Interrupt::Infra(InfraError::Store {
                source: StoreError::Missing { key },
                ..
            })) if key == set.plan_key => {
                tracing::info!(job = %set.job, "datum set dropped: its job is gone");
                Self::Orphaned
            }
            Err(interrupt) => Self::Interrupted(interrupt),
        }
    }
}

/// Runs a delivered set, beginning in the given slot; gives the slot back and answers the queue.
pub(crate) async fn handle(intake: &IntakeState, delivery: Delivery, slot: SlotGuard) {
    let context = &intake.context;
    let delivery = Arc::new(delivery);
    let set = &delivery.set;
    let handle = match intake.running_sets.register(set) {
        Admission::Admitted(handle) => handle,
        Admission::AlreadyRunning => return hand_back(&delivery, Some(ALREADY_RUNNING_DELAY)).await,
        Admission::Cancelled => return acknowledge(&delivery).await,
    };
    let _registration = Registration {
        running_sets: &intake.running_sets,
        set,
    };
    let journal_entry = intake.journal.record(&delivery);
    let log = SetLog::new();
    // On a task of its own: this task may block on the slot's thread for longer than the acknowledgement deadline.
    let extending = AbortOnDropHandle::new(tokio::spawn(extend_deadline(Arc::clone(&delivery))));
    // Dropping `send_batches` in the middle of a batch may lose that batch for followers, but not for the stored log.
    let outcome = tokio::select! {
        ended = work(intake, &delivery, &handle, &log, slot) => SetOutcome::of(set, ended),
        () = log.send_batches(&context.queue, set, &context.name) => unreachable!("sends for ever"),
    };
    drop(extending);
    log.send_rest(&context.queue, set, &context.name).await;
    answer(context, &delivery, outcome).await;
    // Only after the answer: a kill before it must leave the receipt for the next start.
    drop(journal_entry);
}

/// Unregisters a running set when dropped, also when the work on it panics.
struct Registration<'a> {
    running_sets: &'a RunningSets,
    set: &'a SetMessage,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.running_sets.unregister(self.set);
    }
}

/// Publishes the event of a set that has ended and answers its delivery, in this order.
///
/// The result is in the store by now. A crash between event and acknowledgement repeats both. The reverse order could
/// lose the event, and the job would wait until the coordinator lists results.
async fn answer(context: &WorkerContext, delivery: &Delivery, outcome: SetOutcome) {
    let set = &delivery.set;
    let label = match outcome {
        SetOutcome::Done(_) | SetOutcome::AlreadyDone => {
            let (label, copy) = match outcome {
                SetOutcome::Done(copy) => ("done", copy),
                _ => ("known", None),
            };
            let event = SetEvent::Done(SetDone {
                pipeline: set.pipeline.clone(),
                job: set.job,
                set: set.set,
                worker: context.name.clone(),
                result: copy.map(hex::encode),
            });
            publish(context, &event).await;
            acknowledge(delivery).await;
            label
        }
        SetOutcome::Orphaned => {
            acknowledge(delivery).await;
            "cancelled"
        }
        SetOutcome::Interrupted(Interrupt::Stopped(StopReason::JobCancelled)) => {
            acknowledge(delivery).await;
            "cancelled"
        }
        SetOutcome::Interrupted(Interrupt::Stopped(StopReason::Shutdown)) => {
            hand_back(delivery, None).await;
            "returned"
        }
        SetOutcome::Interrupted(Interrupt::Stopped(StopReason::NotServed | StopReason::Abandoned)) => {
            // Not acknowledged: the pipeline may be missing only because NATS lost its state, and then the set is still
            // needed. If the pipeline was deleted, no consumer takes the set again.
            hand_back(delivery, None).await;
            "cancelled"
        }
        SetOutcome::Interrupted(Interrupt::Infra(error)) => {
            let delay = error_delay(delivery.delivered);
            let message = error_chain(&error);
            tracing::warn!(
                pipeline = %set.pipeline, job = %set.job, set = set.set,
                retry_seconds = delay.as_secs_f64(), "datum set handed back: {message}"
            );
            let event = SetEvent::Failed(SetFailed {
                pipeline: set.pipeline.clone(),
                job: set.job,
                set: set.set,
                worker: context.name.clone(),
                message,
                needs_attention: error.needs_attention(),
            });
            publish(context, &event).await;
            hand_back(delivery, Some(delay)).await;
            "trouble"
        }
    };
    context.metrics.sets.with_label_values(&[label]).inc();
}

/// Runs a set and stores its result, unless the store has one.
async fn work(
    intake: &IntakeState,
    delivery: &Delivery,
    handle: &Arc<SetHandle>,
    log: &Arc<SetLog>,
    slot: SlotGuard,
) -> Result<SetOutcome, Interrupt> {
    let context = &intake.context;
    let store = &context.storage.store;
    let set = &delivery.set;
    let result_key = objects::result_key(&set.pipeline, &set.job, set.set);
    // Concurrently: each is a round trip to the store.
    let (known, plan) = tokio::join!(store.stat(&result_key), intake.job_objects.plan(&set.plan_key));
    let known = known.map_err(InfraError::store("cannot look for the result of a datum set"))?;
    if known.is_some() {
        return Ok(SetOutcome::AlreadyDone);
    }
    let plan = plan?;
    let datums = match &set.inline {
        Some(datums) => datums.clone(),
        None => intake.job_objects.datum_set(&set.set_key).await?,
    };
    let started = Timestamp::now();
    let runner = SetRunner::new(
        context,
        Arc::clone(&plan),
        log,
        handle,
        (set, delivery.delivered),
        datums,
    );
    // When this returns, the slot is free for the next set.
    let mut finished = runner.run(slot).await?;
    // Output and log are stored before the result that refers to them: a result is never visible without its content.
    let (stored, log_key) = tokio::join!(finished.store_output(), store_log(context, set, log));
    stored.map_err(InfraError::store("cannot store the output of a datum set"))?;
    let log_key = log_key?;
    let FinishedSet {
        results,
        storing_permit,
        ..
    } = finished;
    let result = SetResult {
        set: set.set,
        worker: context.name.clone(),
        worker_version: env!("CARGO_PKG_VERSION").to_owned(),
        started,
        finished: Timestamp::now(),
        datums: results,
        log_key,
    };
    let result = Bytes::from(wire::encode(&result));
    // If the set was delivered twice, the first result wins and this one is discarded: both are equally valid.
    let put = store
        .put_if_absent(&result_key, result.clone())
        .await
        .map_err(InfraError::store("cannot store the result of a datum set"))?;
    // Held until here: it bounds the output that waits in memory for the store.
    drop(storing_permit);
    // Events wait in the coordinator's memory: only a job of one small set, whose plan is a single object, sends a
    // copy, or a job of many sets would fill that memory. A result that was not created here is not copied: the stored
    // one may differ.
    let copy = put == PutOutcome::Created && plan.single_object.is_some() && result.len() <= EVENT_RESULT_BYTES;
    Ok(SetOutcome::Done(copy.then_some(result)))
}

/// Stores the log lines of a set, if there are any, and returns the key of the object.
async fn store_log(context: &WorkerContext, set: &SetMessage, log: &SetLog) -> Result<Option<String>, Interrupt> {
    log.report_dropped();
    // Before the lines are taken: followers do not receive lines that have been taken.
    log.send_rest(&context.queue, set, &context.name).await;
    let (lines, dropped) = log.take();
    if lines.is_empty() {
        return Ok(None);
    }
    let key = objects::log_key(&set.pipeline, &set.job, set.set, &context.name);
    let object = LogObject {
        pipeline: set.pipeline.clone(),
        job: set.job,
        set: set.set,
        worker: context.name.clone(),
        lines,
        dropped,
    };
    let bytes = wire::encode(&object);
    // Lines and encoded bytes together may take twice the log limit.
    drop(object);
    context
        .storage
        .store
        .put(&key, bytes.into())
        .await
        .map_err(InfraError::store("cannot store the log of a datum set"))?;
    Ok(Some(key))
}

/// Extends the acknowledgement deadline of a delivery until cancelled.
async fn extend_deadline(delivery: Arc<Delivery>) {
    loop {
        tokio::time::sleep(EXTEND_EVERY).await;
        if let Err(error) = delivery.in_progress().await {
            // At worst the deadline passes and another worker runs the set too; one of the two results is kept.
            tracing::debug!(error = %error_chain(&error), "acknowledgement deadline of a datum set not extended");
        }
    }
}

async fn publish(context: &WorkerContext, event: &SetEvent) {
    if let Err(error) = context.queue.publish_set_event(event).await {
        // The coordinator finds the result when it lists results.
        tracing::warn!(error = %error_chain(&error), "event of a datum set not published");
    }
}

async fn acknowledge(delivery: &Delivery) {
    if let Err(error) = delivery.ack().await {
        // The set is redelivered; its result is found then and it is acknowledged again.
        tracing::warn!(error = %error_chain(&error), "datum set not acknowledged");
    }
}

/// Hands a set back to the queue for redelivery, at once or after a delay.
pub(crate) async fn hand_back(delivery: &Delivery, delay: Option<Duration>) {
    if let Err(error) = delivery.nak(delay).await {
        // It is redelivered when its acknowledgement deadline passes.
        tracing::warn!(error = %error_chain(&error), "datum set not handed back");
    }
}

fn error_delay(delivered: u64) -> Duration {
    let doublings = u32::try_from(delivered.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    (ERROR_DELAY * 2_u32.pow(doublings)).min(ERROR_DELAY_MAX)
}
