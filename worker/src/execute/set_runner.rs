//! The slots that work on one set.
//!
//! A set begins in the slot it was taken for, which does its datums one after the other. Where the plan allows it,
//! free slots of this worker help: each takes the next datum that nobody has begun. So a set is carried, stored
//! and answered once for many datums, and a worker still keeps all its slots busy, to the last set of a job.
//!
//! While a set has datums left that nobody has begun, its pipeline asks for no further set ([`crate::slots::Pool::seek_helpers`]).
//! A slot whose container must still be started is called too, but nobody waits for it: it may come too late, and then
//! has a container for the next set.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use howdah_protocol::messages::{SetMessage, SlotStatus};
use howdah_protocol::objects::{Datum, DatumResult, DatumSet, JobPlan, SetConcurrency};
use howdah_store::StoreError;
use jiff::Timestamp;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::task::AbortOnDropHandle;

use crate::context::Kit;
use crate::error::Trouble;
use crate::execute::datum::{Interrupt, Work};
use crate::execute::logs::SetLog;
use crate::execute::slot_thread;
use crate::intake::running_sets::{StopReason, Ticket};
use crate::pfs::set_output::SetOutput;
use crate::slots::{Lent, Seeking, Slot, stage_key};
use howdah_telemetry::error_chain;

/// What the slots on a set share.
pub(crate) struct Crew {
    kit: Arc<Kit>,
    plan: Arc<JobPlan>,
    log: Arc<SetLog>,
    ticket: Arc<Ticket>,
    set: SetMessage,
    /// How often the set has been delivered, this time included.
    delivered: u64,
    /// Number of datums in the set.
    total: usize,
    output: SetOutput,
    state: Mutex<State>,
    /// Rung when a slot has left.
    left: Notify,
}

#[derive(Default)]
struct State {
    /// Datums that nobody has begun, with their places in the set.
    waiting: std::iter::Enumerate<std::vec::IntoIter<Datum>>,
    /// Slots that have not asked for their first datum yet, though their stage runs.
    coming: usize,
    /// Slots that have not asked for their first datum yet, as their stage is still to be started.
    starting: usize,
    /// Slots that have.
    working: usize,
    /// No slot is called any more.
    no_more_calls: bool,
    results: Vec<(usize, DatumResult)>,
    /// Leave to store the set, once all results are there.
    leave: Option<OwnedSemaphorePermit>,
    /// What ended the work before its end; what follows from it comes later and does not count.
    interrupt: Option<Interrupt>,
    /// Why a slot that had no datum yet could not take part.
    absence: Option<Trouble>,
    /// Keeps further sets away as long as datums wait.
    seeking: Option<Seeking>,
}

impl State {
    /// Tells whether nobody is at work, nor will be.
    fn is_over(&self) -> bool {
        self.working == 0 && (self.waiting.len() == 0 || self.coming + self.starting == 0)
    }

    /// Leaves no datum for anybody to begin.
    fn drop_waiting(&mut self) {
        self.waiting = Vec::new().into_iter().enumerate();
        self.seeking = None;
    }

    fn count(&mut self, step: Step) -> &mut usize {
        match step {
            Step::Coming => &mut self.coming,
            Step::Starting => &mut self.starting,
            Step::Working => &mut self.working,
        }
    }
}

/// A set that has been done.
pub(crate) struct Done {
    /// Results in the order of the datums, without output.
    pub results: Vec<DatumResult>,
    /// Leave to store it, to be kept until that is done.
    pub leave: Option<OwnedSemaphorePermit>,
    crew: Arc<Crew>,
}

impl Done {
    /// Stores the output and tells each result its files.
    pub async fn store_output(&mut self) -> Result<(), StoreError> {
        self.crew.output.store(&mut self.results).await
    }
}

/// How far a slot has come.
#[derive(Clone, Copy)]
enum Step {
    Coming,
    Starting,
    Working,
}

/// A slot's part in a crew, from its being called to its leaving.
struct Part {
    crew: Arc<Crew>,
    step: Step,
}

impl Part {
    fn begin(crew: &Arc<Crew>, slot: &Slot) -> Self {
        let step = if slot.is_starting() {
            Step::Starting
        } else {
            Step::Coming
        };
        *crew.lock().count(step) += 1;
        Self {
            crew: Arc::clone(crew),
            step,
        }
    }

    /// Takes the next datum that nobody has begun.
    fn next(&mut self) -> Option<(usize, Datum)> {
        let mut state = self.crew.lock();
        *state.count(self.step) -= 1;
        self.step = Step::Working;
        *state.count(self.step) += 1;
        let next = state.waiting.next();
        if state.waiting.len() == 0 {
            state.seeking = None;
        }
        next
    }

    /// Leaves without having had a datum: others do what there is to do.
    fn excuse(&self, trouble: Trouble) {
        let set = &self.crew.set;
        tracing::debug!(
            pipeline = %set.pipeline, job = %set.job, set = set.set,
            error = %error_chain(&trouble), "a slot cannot take part in a datum set"
        );
        let mut state = self.crew.lock();
        state.no_more_calls = true;
        state.absence.get_or_insert(trouble);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.crew.interrupt(Interrupt::Trouble(Trouble::Task));
        }
        *self.crew.lock().count(self.step) -= 1;
        self.crew.left.notify_one();
    }
}

/// What a slot is shown to be on, for as long as this lives.
struct Shown<'a> {
    kit: &'a Kit,
    slot: usize,
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.kit.board.clear(self.slot);
    }
}

impl Crew {
    /// Prepares work on a set.
    pub fn new(
        kit: &Arc<Kit>,
        plan: Arc<JobPlan>,
        log: &Arc<SetLog>,
        ticket: &Arc<Ticket>,
        message: (&SetMessage, u64),
        set: DatumSet,
    ) -> Arc<Self> {
        let (message, delivered) = message;
        Arc::new(Self {
            kit: Arc::clone(kit),
            plan,
            log: Arc::clone(log),
            ticket: Arc::clone(ticket),
            set: SetMessage {
                inline: None,
                ..message.clone()
            },
            delivered,
            total: set.datums.len(),
            output: SetOutput::new(&kit.store),
            state: Mutex::new(State {
                waiting: set.datums.into_iter().enumerate(),
                ..State::default()
            }),
            left: Notify::new(),
        })
    }

    /// Does all datums of the set, beginning in a slot, and gives all slots back.
    pub async fn work(self: Arc<Self>, mut lent: Lent) -> Result<Done, Interrupt> {
        let part = Part::begin(&self, lent.slot());
        let calls = (self.plan.concurrency != SetConcurrency::Sequential && self.total > 1).then(|| {
            self.lock().seeking = Some(self.kit.pool.seek_helpers(&self.plan.pipeline));
            AbortOnDropHandle::new(tokio::spawn(Arc::clone(&self).call_helpers()))
        });
        self.take_part(part, lent).await;
        while !self.lock().is_over() {
            self.left.notified().await;
        }
        drop(calls);
        let (mut results, leave) = {
            let mut state = self.lock();
            if let Some(interrupt) = state.interrupt.take() {
                return Err(interrupt);
            }
            if state.results.len() < self.total {
                // A helper may just have been found.
                state.drop_waiting();
                return Err(Interrupt::Trouble(state.absence.take().unwrap_or(Trouble::Task)));
            }
            (std::mem::take(&mut state.results), state.leave.take())
        };
        let leave = match leave {
            Some(leave) => Some(leave),
            // The last two slots have left at the same moment.
            None => Arc::clone(&self.kit.storing).acquire_owned().await.ok(),
        };
        results.sort_unstable_by_key(|(place, _)| *place);
        Ok(Done {
            results: results.into_iter().map(|(_, result)| result).collect(),
            leave,
            crew: self,
        })
    }

    /// Calls free slots as long as there are datums that nobody has begun.
    async fn call_helpers(self: Arc<Self>) {
        let pool = &self.kit.pool;
        let mut room = pool.changes();
        loop {
            room.mark_unchanged();
            while let Some(slot) = self.find_helper() {
                let part = Part::begin(&self, &slot);
                let lent = Lent::new(Arc::clone(pool), slot);
                self.kit.helpers.spawn(Arc::clone(&self).help(part, lent));
            }
            let is_over = {
                let state = self.lock();
                state.waiting.len() == 0 || state.no_more_calls
            };
            if is_over || room.changed().await.is_err() {
                return;
            }
        }
    }

    /// Takes a free slot if there is a datum for it. Slots whose stage runs are not kept from one by those that start.
    fn find_helper(&self) -> Option<Slot> {
        let (free, starting) = {
            let state = self.lock();
            if state.no_more_calls {
                return None;
            }
            (state.waiting.len().saturating_sub(state.coming), state.starting)
        };
        let key = stage_key(&self.plan);
        (free > 0)
            .then(|| self.kit.pool.take_to_help(&key, free > starting))
            .flatten()
    }

    async fn help(self: Arc<Self>, part: Part, lent: Lent) {
        let work = slot_thread::run(move || async move { self.take_part(part, lent).await });
        if let Err(error) = work.await {
            // Those who are at work do what it would have done.
            tracing::error!(%error, "no thread can be started for a datum");
        }
    }

    /// Does datums in a slot until none is left.
    async fn take_part(&self, mut part: Part, mut lent: Lent) {
        let shown = self.show(lent.slot());
        if let Err(interrupt) = self.do_datums(lent.slot(), &mut part).await {
            self.interrupt(interrupt);
        }
        // What waits to be stored is in memory: where the store is slower than the commands, slots wait for it.
        let is_last = {
            let state = self.lock();
            state.results.len() == self.total && state.working == 1
        };
        if is_last && matches!(part.step, Step::Working) {
            let leave = Arc::clone(&self.kit.storing).acquire_owned().await;
            self.lock().leave = leave.ok();
        }
        // Before the slot, which shows its next set at once, and is looked for by whoever calls helpers.
        drop(shown);
        drop(part);
        drop(lent);
    }

    async fn do_datums(&self, slot: &mut Slot, part: &mut Part) -> Result<(), Interrupt> {
        // Starting may mean minutes of pulling an image; a cancelled job must not wait for it.
        let key = stage_key(&self.plan);
        let ready = tokio::select! {
            ready = slot.ready(&key, &self.plan.stage, &self.kit.starter) => ready.map(drop),
            () = self.ticket.stop().cancelled() => {
                return Err(Interrupt::Stopped(self.ticket.reason().unwrap_or(StopReason::Shutdown)));
            }
            // The set may be over meanwhile, and its ticket not reached any more.
            () = self.kit.tickets.closing().cancelled() => return Err(Interrupt::Stopped(StopReason::Shutdown)),
        };
        if let Err(trouble) = ready {
            part.excuse(trouble);
            return Ok(());
        }
        self.kit.pool.started(slot);
        let work = Work {
            kit: &self.kit,
            plan: &self.plan,
            log: &self.log,
            ticket: &self.ticket,
            output: &self.output,
            delivered: self.delivered,
        };
        while let Some((place, datum)) = part.next() {
            let done = self.lock().results.len();
            self.kit.board.update(slot.index, |status| {
                status.datum = Some(datum.id);
                status.started = Timestamp::now();
                status.done = u32::try_from(done).unwrap_or(u32::MAX);
                status.note = None;
            });
            let result = work.process(slot, place, &Arc::new(datum)).await?;
            self.lock().results.push((place, result));
        }
        Ok(())
    }

    /// Ends the work of everybody, who are then at it in vain.
    fn interrupt(&self, interrupt: Interrupt) {
        {
            let mut state = self.lock();
            state.interrupt.get_or_insert(interrupt);
            state.drop_waiting();
        }
        self.ticket.abandon();
    }

    fn show(&self, slot: &Slot) -> Shown<'_> {
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
        self.kit.board.show(slot.index, status);
        Shown {
            kit: &self.kit,
            slot: slot.index,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
