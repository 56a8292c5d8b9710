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

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use howdah_protocol::messages::{SetDone, SetEvent, SetFailed, SetFailure, SetMessage};
use howdah_protocol::objects::{self, Datum, DatumResult, JobPlan, SetResult};
use howdah_protocol::wire;
use howdah_queue::Delivery;
use howdah_store::{PutOutcome, StoreError};
use jiff::Timestamp;
use tokio_util::task::AbortOnDropHandle;

use crate::context::WorkerContext;
use crate::crash_mark::CrashMark;
use crate::error::InfraError;
use crate::execute::datum_totals;
use crate::execute::interrupt::Interrupt;
use crate::execute::logs::SetLog;
use crate::execute::set_runner::{FinishedSet, SetRunner};
use crate::intake::delivery_journal::EndedSet;
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
/// Time to store the log lines of a run that has ended without a result.
const LOG_STORE_LIMIT: Duration = Duration::from_secs(10);
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
    /// Its job has another plan, so a result would not count.
    Stale,
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
            })) if key == objects::plan_key(&set.pipeline, &set.job) => {
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
    let crash_mark = journal_entry.crash_mark();
    let marked = crash_mark.as_ref().map(CrashMark::on_this_thread);
    let log = SetLog::new(set, &context.name, context.storage.logs.file());
    // On a task of its own: this task may block on the slot's thread for longer than the acknowledgement deadline.
    let extending = AbortOnDropHandle::new(tokio::spawn(extend_deadline(Arc::clone(&delivery))));
    // Dropping `send_batches` in the middle of a batch may lose that batch for followers, but not for the stored log.
    let working = work(intake, &delivery, &handle, &log, slot, crash_mark.clone());
    let outcome = tokio::select! {
        // A panic is reported like other errors: without a report, the set would be delivered again for ever.
        ended = AssertUnwindSafe(working).catch_unwind() => {
            SetOutcome::of(set, ended.unwrap_or_else(|panic| Err(InfraError::of_panic(&*panic).into())))
        }
        () = log.send_batches(&context.queue) => unreachable!("sends for ever"),
    };
    drop(marked);
    if matches!(outcome, SetOutcome::Done(_)) {
        intake.journal.forget(set);
    }
    store_unfinished_log(context, &log, &outcome).await;
    // Held until here: a set that is delivered again meanwhile would run twice.
    drop(extending);
    answer(context, &delivery, outcome).await;
    // Only after the answer: a kill before it must leave the receipt for the next start.
    drop(journal_entry);
}

/// Hands back what an earlier process on this scratch folder had, and reports the sets that ended it.
pub(crate) async fn recover(intake: &IntakeState) {
    let context = &intake.context;
    for ended in intake.journal.recover(&context.queue).await {
        let EndedSet {
            pipeline,
            job,
            plan,
            set,
            message,
        } = ended;
        let event = SetEvent::Failed(SetFailed {
            pipeline,
            job,
            plan,
            set,
            worker: context.name.clone(),
            message,
            needs_attention: false,
            failure: SetFailure::Passing,
            retry_ms: None,
        });
        publish(context, &event).await;
    }
}

/// Stores the log lines of a run that has ended without a result: what was shown must not be lost.
///
/// If the store does not answer in time, the lines wait on the disk and are stored later.
async fn store_unfinished_log(context: &WorkerContext, log: &SetLog, outcome: &SetOutcome) {
    if !log.has_lines() {
        return;
    }
    let why = match outcome {
        SetOutcome::Done(_) | SetOutcome::AlreadyDone => "its result was stored before",
        SetOutcome::Orphaned => "its job is gone",
        SetOutcome::Stale => "its job was planned anew",
        SetOutcome::Interrupted(Interrupt::Stopped(StopReason::JobCancelled)) => "its job was stopped or planned anew",
        SetOutcome::Interrupted(Interrupt::Stopped(StopReason::Shutdown)) => {
            "the worker stops; another one runs it again"
        }
        SetOutcome::Interrupted(Interrupt::Stopped(StopReason::NotServed)) => "its pipeline is gone",
        SetOutcome::Interrupted(Interrupt::Stopped(StopReason::Abandoned)) => "it is run again",
        SetOutcome::Interrupted(Interrupt::Infra(error)) => {
            &format!("it is run again after an error: {}", error_chain(error))
        }
    };
    log.add(None, false, format!("datum set ended without a result: {why}"));
    // First: the attempt below may be given up.
    log.spool_rest();
    let stored = tokio::time::timeout(LOG_STORE_LIMIT, log.store(&context.storage.store, &context.queue)).await;
    let error = match stored {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error_chain(&error),
        Err(_) => "the store does not answer".to_owned(),
    };
    tracing::warn!(error, "log lines of a datum set are stored later");
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
                plan: set.plan,
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
        SetOutcome::Stale => {
            acknowledge(delivery).await;
            "stale"
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
                plan: set.plan,
                set: set.set,
                worker: context.name.clone(),
                message,
                needs_attention: error.needs_attention(),
                failure: error.failure(),
                retry_ms: u64::try_from(delay.as_millis()).ok(),
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
    crash_mark: Option<CrashMark>,
) -> Result<SetOutcome, Interrupt> {
    let context = &intake.context;
    let store = &context.storage.store;
    let set = &delivery.set;
    let result_key = objects::result_key(&set.pipeline, &set.job, set.plan, set.set);
    // Concurrently: each is a round trip to the store.
    let (known, plan) = tokio::join!(store.stat(&result_key), intake.job_objects.plan(set));
    let known = known.map_err(InfraError::store("cannot look for the result of a datum set"))?;
    if known.is_some() {
        return Ok(SetOutcome::AlreadyDone);
    }
    let Some(plan) = plan? else {
        tracing::info!(job = %set.job, set = set.set, "datum set dropped: its job was planned anew");
        return Ok(SetOutcome::Stale);
    };
    let datums = intake.job_objects.datum_set(set, &plan).await?;
    let started = Timestamp::now();
    if let Some(reason) = intake.journal.refusal(set) {
        drop(slot);
        log.add(None, false, reason.clone());
        let refused = |datum: &Datum| datum_totals::refused(datum, reason.clone(), &context.metrics);
        let results = datums.datums.iter().map(refused).collect();
        let log_key = store_log(context, log).await?;
        return store_result(context, set, &plan, started, results, log_key).await;
    }
    let runner = SetRunner::new(
        context,
        Arc::clone(&plan),
        (log, crash_mark),
        handle,
        (set, delivery.delivered),
        datums,
    );
    // When this returns, the slot is free for the next set.
    let mut finished = runner.run(slot).await?;
    // Output and log are stored before the result that refers to them: a result is never visible without its content.
    // A stop must not wait for a slow store; what is stored already stays there without a reference.
    let storing_output = async {
        tokio::select! {
            biased;
            stored = finished.store_output() => {
                stored.map_err(|error| InfraError::store("cannot store the output of a datum set")(error).into())
            }
            reason = handle.unwanted() => Err(Interrupt::Stopped(reason)),
        }
    };
    let (stored, log_key) = tokio::join!(storing_output, store_log(context, log));
    let log_key = log_key?;
    stored?;
    let FinishedSet {
        results,
        storing_permit,
        ..
    } = finished;
    let outcome = store_result(context, set, &plan, started, results, log_key).await?;
    // Held until here: it bounds the output that waits in memory for the store.
    drop(storing_permit);
    Ok(outcome)
}

/// Stores the result of a set whose output and log are stored.
async fn store_result(
    context: &WorkerContext,
    set: &SetMessage,
    plan: &JobPlan,
    started: Timestamp,
    datums: Vec<DatumResult>,
    log_key: Option<String>,
) -> Result<SetOutcome, Interrupt> {
    let result = SetResult {
        set: set.set,
        worker: context.name.clone(),
        worker_version: env!("CARGO_PKG_VERSION").to_owned(),
        started,
        finished: Timestamp::now(),
        datums,
        log_key,
    };
    let result = Bytes::from(wire::encode(&result));
    let result_key = objects::result_key(&set.pipeline, &set.job, set.plan, set.set);
    // If the set was delivered twice, the first result wins and this one is discarded: both are equally valid.
    let put = context
        .storage
        .store
        .put_if_absent(&result_key, result.clone())
        .await
        .map_err(InfraError::store("cannot store the result of a datum set"))?;
    // Events wait in the coordinator's memory: only a job of one small set, whose plan is a single object, sends a
    // copy, or a job of many sets would fill that memory. A result that was not created here is not copied: the stored
    // one may differ.
    let copy = put == PutOutcome::Created && plan.single_object.is_some() && result.len() <= EVENT_RESULT_BYTES;
    Ok(SetOutcome::Done(copy.then_some(result)))
}

/// Stores the log lines of a set, if there are any, and returns the key of the object.
async fn store_log(context: &WorkerContext, log: &SetLog) -> Result<Option<String>, Interrupt> {
    let stored = log.store(&context.storage.store, &context.queue).await;
    Ok(stored.map_err(InfraError::store("cannot store the log of a datum set"))?)
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
