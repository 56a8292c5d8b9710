//! Running one datum set in one or several slots.
//!
//! A set begins in the slot for which it was pulled. If its plan allows concurrency, free slots of this worker help:
//! each takes the next datum that no slot has begun. Sets may therefore be large, which spreads the cost of delivery
//! and acknowledgement over many datums, and a worker still uses all its slots until the last set of a job.
//!
//! ```text
//!                  +--> Called    its stage runs       --+
//! slot is taken  --+                                     +--> Working --> stopped
//!                  +--> Starting  its stage must start --+
//! ```
//!
//! Each slot is a [`Participant`] from the moment it is taken until it stops. The set is over when no participant works
//! and no datum can begin any more: either no datum waits, or no participant is called or starting. While datums wait
//! for a slot, the pipeline pulls no further set ([`SlotDemand`]).
//!
//! Slots whose stage must still be started are taken too. If no datum waits when the stage runs, the slot processes
//! nothing of this set, and its stage is ready for the next set.
//!
//! What can go wrong: the first [`Interrupt`] of any participant stops the others and ends the set without a result. If
//! the stage of a slot does not start, other slots process the datums. If datums remain without a result, the set fails
//! with the error of that start.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use howdah_protocol::messages::{SetMessage, SlotStatus};
use howdah_protocol::objects::{Datum, DatumResult, DatumSet, JobPlan, SetConcurrency};
use howdah_store::StoreError;
use jiff::Timestamp;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::task::AbortOnDropHandle;

use crate::context::WorkerContext;
use crate::crash_mark::CrashMark;
use crate::error::InfraError;
use crate::execute::datum::DatumRunner;
use crate::execute::interrupt::Interrupt;
use crate::execute::logs::SetLog;
use crate::execute::set_progress::{ParticipantPhase, SetProgress};
use crate::execute::slot_thread;
use crate::pfs::set_output::SetOutput;
use crate::set_handle::{SetHandle, StopReason};
use crate::slots::running_stage::stage_key;
use crate::slots::slot::Slot;
use crate::slots::slot_guard::{SlotDemand, SlotGuard};
use crate::slots::status_board::ShownSlotStatus;
use howdah_telemetry::error_chain;

/// What the slots that run a set share.
pub(crate) struct SetRunner {
    context: Arc<WorkerContext>,
    plan: Arc<JobPlan>,
    log: Arc<SetLog>,
    handle: Arc<SetHandle>,
    set: SetMessage,
    /// Marks the threads that work on the set.
    crash_mark: Option<CrashMark>,
    /// How often the set has been delivered, including this time.
    delivered: u64,
    /// Number of datums in the set.
    total: usize,
    output: SetOutput,
    /// Locked for short updates, never across an await. No other lock is taken while it is held, except the pool's when
    /// a demand ends.
    progress: Mutex<SetProgress>,
    /// Notified when a participant has stopped.
    participant_stopped: Notify,
}

/// A set whose datums are all done.
pub(crate) struct FinishedSet {
    /// Results in the order of the datums, without output files.
    pub results: Vec<DatumResult>,
    /// Permit to store the set; keep it until the set is stored.
    pub storing_permit: Option<OwnedSemaphorePermit>,
    runner: Arc<SetRunner>,
}

impl FinishedSet {
    /// Stores the output and adds to each result its files.
    pub(crate) async fn store_output(&mut self) -> Result<(), StoreError> {
        self.runner.output.store(&mut self.results).await
    }
}

/// A slot that takes part in a set. It is counted from `begin` until it is dropped, also when its task panics.
struct Participant {
    runner: Arc<SetRunner>,
    phase: ParticipantPhase,
}

impl Participant {
    fn begin(runner: &Arc<SetRunner>, slot: &Slot) -> Self {
        let phase = if slot.is_starting() {
            ParticipantPhase::Starting
        } else {
            ParticipantPhase::Called
        };
        *runner.lock().count(phase) += 1;
        Self {
            runner: Arc::clone(runner),
            phase,
        }
    }

    /// Takes the next datum that no slot has begun.
    fn next_datum(&mut self) -> Option<(usize, Datum)> {
        let mut progress = self.runner.lock();
        // Phase and datum change under one lock: in between, the set could look as if it were over.
        *progress.count(self.phase) -= 1;
        self.phase = ParticipantPhase::Working;
        *progress.count(self.phase) += 1;
        let next = progress.waiting.next();
        if progress.waiting.len() == 0 {
            progress.demand = None;
        }
        next
    }

    /// Records that the slot's stage did not start. Other participants do the datums.
    fn record_start_error(&self, error: InfraError) {
        let set = &self.runner.set;
        tracing::debug!(
            pipeline = %set.pipeline, job = %set.job, set = set.set,
            error = %error_chain(&error), "a slot cannot take part in a datum set"
        );
        let mut progress = self.runner.lock();
        progress.no_more_calls = true;
        progress.start_error.get_or_insert(error);
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        // The datum of a slot that panics has no result: without the interrupt the set would count as over and
        // incomplete.
        if std::thread::panicking() {
            self.runner.interrupt(Interrupt::Infra(InfraError::Task));
        }
        // Counted before the notification, or the waiting task would look too early and wait for ever.
        *self.runner.lock().count(self.phase) -= 1;
        self.runner.participant_stopped.notify_one();
    }
}

impl SetRunner {
    /// Prepares the work on a set.
    pub(crate) fn new(
        context: &Arc<WorkerContext>,
        plan: Arc<JobPlan>,
        log: (&Arc<SetLog>, Option<CrashMark>),
        handle: &Arc<SetHandle>,
        message: (&SetMessage, u64),
        set: DatumSet,
    ) -> Arc<Self> {
        let (message, delivered) = message;
        let (log, crash_mark) = log;
        Arc::new(Self {
            context: Arc::clone(context),
            plan,
            log: Arc::clone(log),
            handle: Arc::clone(handle),
            set: SetMessage {
                inline: None,
                ..message.clone()
            },
            crash_mark,
            delivered,
            total: set.datums.len(),
            output: SetOutput::new(&context.storage.store),
            progress: Mutex::new(SetProgress {
                waiting: set.datums.into_iter().enumerate(),
                ..SetProgress::default()
            }),
            participant_stopped: Notify::new(),
        })
    }

    /// Runs all datums of the set, beginning in the given slot, and gives all slots back.
    pub(crate) async fn run(self: Arc<Self>, mut slot: SlotGuard) -> Result<FinishedSet, Interrupt> {
        // Before helpers are called: the set must not look over while this slot is about to begin.
        let participant = Participant::begin(&self, slot.slot());
        let calls = (self.plan.concurrency != SetConcurrency::Sequential && self.total > 1).then(|| {
            let demand = SlotDemand::new(&self.context.pool, &self.plan.pipeline);
            self.lock().demand = Some(demand);
            AbortOnDropHandle::new(tokio::spawn(Arc::clone(&self).call_helpers()))
        });
        self.take_part(participant, slot).await;
        while !self.lock().is_over() {
            self.participant_stopped.notified().await;
        }
        // Dropping aborts the task: no slot is taken for a set that is over.
        drop(calls);
        let (mut results, storing_permit) = {
            let mut progress = self.lock();
            if let Some(interrupt) = progress.interrupt.take() {
                return Err(interrupt);
            }
            if progress.results.len() < self.total {
                // Aborting is not immediate: a helper that was taken just now must not begin a datum of this failed
                // set.
                progress.drop_waiting();
                return Err(Interrupt::Infra(
                    progress.start_error.take().unwrap_or(InfraError::Task),
                ));
            }
            (std::mem::take(&mut progress.results), progress.storing_permit.take())
        };
        let storing_permit = match storing_permit {
            Some(permit) => Some(permit),
            // The last two participants stopped at the same moment, and neither saw itself as the last; or the set was
            // stopped while the last one waited.
            None => tokio::select! {
                biased;
                permit = Arc::clone(&self.context.storing).acquire_owned() => permit.ok(),
                reason = self.handle.unwanted() => return Err(Interrupt::Stopped(reason)),
            },
        };
        results.sort_unstable_by_key(|(index, _)| *index);
        Ok(FinishedSet {
            results: results.into_iter().map(|(_, result)| result).collect(),
            storing_permit,
            runner: self,
        })
    }

    /// Takes free slots as long as datums wait.
    async fn call_helpers(self: Arc<Self>) {
        let pool = &self.context.pool;
        let mut pool_changes = pool.changes();
        loop {
            // Marked before the pool is asked, so that no change in between is lost.
            pool_changes.mark_unchanged();
            while let Some(slot) = self.take_helper() {
                // No await between taking the slot and the guard: an abort cannot lose the slot.
                let participant = Participant::begin(&self, &slot);
                let slot = SlotGuard::new(Arc::clone(pool), slot);
                self.context.helpers.spawn(Arc::clone(&self).help(participant, slot));
            }
            let is_over = {
                let progress = self.lock();
                progress.waiting.len() == 0 || progress.no_more_calls
            };
            if is_over || pool_changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Takes a free slot if there is a datum for it.
    ///
    /// Participants whose stage is starting do not count as takers of a datum for slots whose stage runs: those begin
    /// at once.
    fn take_helper(&self) -> Option<Slot> {
        let (open, starting) = {
            let progress = self.lock();
            if progress.no_more_calls {
                return None;
            }
            (
                progress.waiting.len().saturating_sub(progress.called),
                progress.starting,
            )
        };
        let key = stage_key(&self.plan);
        (open > 0)
            .then(|| self.context.pool.take_to_help(&key, open > starting))
            .flatten()
    }

    async fn help(self: Arc<Self>, participant: Participant, slot: SlotGuard) {
        let work = slot_thread::run(move || async move {
            let _marked = self.crash_mark.as_ref().map(CrashMark::on_this_thread);
            self.take_part(participant, slot).await;
        });
        if let Err(error) = work.await {
            // Participant and slot were dropped with the closure; the other participants do the datums.
            tracing::error!(%error, "cannot start a thread for a datum");
        }
    }

    /// Runs datums in a slot until none is left, then gives the slot back.
    async fn take_part(&self, mut participant: Participant, mut slot: SlotGuard) {
        let status = self.show_status(slot.slot());
        if let Err(interrupt) = self.run_datums(slot.slot(), &mut participant, &status).await {
            self.interrupt(interrupt);
        }
        // The last participant keeps its slot until the set may be stored. Output that waits for the store is in
        // memory: where the store is slower than the commands, slots must wait for it, or memory grows without limit.
        let is_last = {
            let progress = self.lock();
            progress.results.len() == self.total && progress.working == 1
        };
        if is_last && matches!(participant.phase, ParticipantPhase::Working) {
            let permit = tokio::select! {
                biased;
                permit = Arc::clone(&self.context.storing).acquire_owned() => permit.ok(),
                // A stopped set must not keep its slot until a slow store has taken those before it.
                _ = self.handle.unwanted() => None,
            };
            self.lock().storing_permit = permit;
        }
        // Drop these before releasing the slot. The next set may show its status in the slot immediately, and clearing
        // ours later would erase it. And the release wakes `call_helpers`, which must not count this participant any
        // more.
        drop(status);
        drop(participant);
        drop(slot);
    }

    async fn run_datums(
        &self,
        slot: &mut Slot,
        participant: &mut Participant,
        status: &ShownSlotStatus<'_>,
    ) -> Result<(), Interrupt> {
        // A start may include minutes of pulling an image: a stop must not wait for it. Dropping the start is safe, see
        // `StageStarter::start`.
        let key = stage_key(&self.plan);
        let started = tokio::select! {
            started = slot.ensure_stage(&key, &self.plan.stage, &self.context.starter) => started.map(drop),
            () = self.handle.stop_token().cancelled() => {
                let reason = self.handle.stop_reason().unwrap_or(StopReason::Shutdown);
                return Err(Interrupt::Stopped(reason));
            }
            // A helper that starts slowly may outlive its set, whose handle is unregistered then and receives no stop.
            () = self.context.closing.cancelled() => return Err(Interrupt::Stopped(StopReason::Shutdown)),
        };
        if let Err(error) = started {
            participant.record_start_error(error);
            return Ok(());
        }
        self.context.pool.stage_started(slot);
        let runner = DatumRunner {
            context: &self.context,
            plan: &self.plan,
            log: &self.log,
            handle: &self.handle,
            output: &self.output,
            delivered: self.delivered,
        };
        while let Some((index, datum)) = participant.next_datum() {
            let done = self.lock().results.len();
            status.update(|status| {
                status.datum = Some(datum.id);
                status.started = Timestamp::now();
                status.done = u32::try_from(done).unwrap_or(u32::MAX);
                status.note = None;
            });
            let result = runner.process(slot, index, &Arc::new(datum)).await?;
            self.lock().results.push((index, result));
        }
        Ok(())
    }

    /// Ends the set early: waiting datums are dropped and the other participants are stopped.
    fn interrupt(&self, interrupt: Interrupt) {
        {
            let mut progress = self.lock();
            // Recorded before the others are stopped: they end with interrupts of their own, which must not come first.
            progress.interrupt.get_or_insert(interrupt);
            progress.drop_waiting();
        }
        self.handle.stop(StopReason::Abandoned);
    }

    fn show_status(&self, slot: &Slot) -> ShownSlotStatus<'_> {
        let status = SlotStatus {
            pipeline: self.set.pipeline.clone(),
            job: self.set.job,
            set: self.set.set,
            datum: None,
            started: Timestamp::now(),
            done: 0,
            total: u32::try_from(self.total).unwrap_or(u32::MAX),
            note: Some(format!("starting a container of {}", self.plan.stage.image.reference)),
        };
        self.context.slot_status.show(slot.index, status)
    }

    fn lock(&self) -> MutexGuard<'_, SetProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
