//! Slots: how many datums run at once, and the warm stage that each keeps.
//!
//! Starting a container costs hundreds of times what a trivial datum costs, so a slot keeps its
//! last stage until another pipeline needs the slot or nobody has needed it for [`IDLE_LIMIT`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use howdah_model::names::PipelineKey;
use howdah_queue::job::{JobPlan, StageSpec};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::error::Trouble;
use crate::file_cache::blocking;
use crate::metrics::Metrics;
use crate::runtime::{Network, Runtime, Stage, StageRequest};
use crate::scratch::Scratch;
use crate::workspace::Workspace;

/// Time after which an unused stage is stopped.
pub const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// Stages of one pipeline that are started at once on a machine with fewer cores.
const LEAST_STARTS: usize = 4;

/// Which stages can stand in for each other: a pipeline's version, and so its image, user, limits.
pub type StageKey = (PipelineKey, u64);

/// Returns which stages run the datums of a job.
pub fn stage_key(plan: &JobPlan) -> StageKey {
    (plan.pipeline.clone(), plan.version)
}

/// Room for one datum at a time. Whoever has it owns it; [`Pool::give_back`] ends that.
pub struct Slot {
    /// Number of the slot, for people.
    pub index: usize,
    warm: Option<Warm>,
    idle_since: Instant,
    /// The pipeline that it is given out for.
    given_for: Option<PipelineKey>,
    /// It is given out only to start its stage ahead of work.
    preparing: bool,
    /// The pipeline, while its stage is not started yet.
    starting: Option<PipelineKey>,
}

/// A slot on loan: given back when dropped, also by a panic, so that the worker does not shrink.
pub struct Lent {
    pool: Arc<Pool>,
    slot: Option<Slot>,
}

impl Lent {
    /// Takes charge of a slot of a pool.
    pub fn new(pool: Arc<Pool>, slot: Slot) -> Self {
        Self { pool, slot: Some(slot) }
    }

    /// Returns the slot.
    pub fn slot(&mut self) -> &mut Slot {
        self.slot.as_mut().expect("taken only when dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.pool.give_back(slot);
        }
    }
}

/// A running stage and the folders that it sees.
pub struct Warm {
    key: StageKey,
    digest: String,
    /// The stage.
    pub stage: Box<dyn Stage>,
    /// Its folders. Locked only by blocking work on behalf of the slot's owner.
    pub space: Arc<Mutex<Workspace>>,
}

/// What starting a stage needs. Clones share everything.
#[derive(Clone)]
pub struct Starter {
    /// Starts stages.
    pub runtime: Arc<dyn Runtime>,
    /// Gives them folders.
    pub scratch: Scratch,
    /// Counts them.
    pub metrics: Arc<Metrics>,
    /// Starts that are under way, also those that nobody waits for any more.
    pub starts: TaskTracker,
}

/// A start on a task of its own. Whoever waits for it may give up at any moment, but a container
/// that is half made can only be removed by going on: then its stage is stopped once it is there.
struct Starting {
    task: Option<JoinHandle<Result<Warm, Trouble>>>,
    starts: TaskTracker,
}

impl Starting {
    async fn finish(mut self) -> Result<Warm, Trouble> {
        let Some(task) = &mut self.task else {
            return Err(Trouble::Task);
        };
        let ended = task.await;
        self.task = None;
        ended.map_err(|_| Trouble::Task)?
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        // Without a runtime the process is at its end, and so is the task.
        if let Some(task) = self.task.take()
            && let Ok(runtime) = Handle::try_current()
        {
            let clear_away = async {
                if let Ok(Ok(warm)) = task.await {
                    warm.stop().await;
                }
            };
            self.starts.spawn_on(clear_away, &runtime);
        }
    }
}

impl Slot {
    /// Tells whether its stage is still to be started.
    pub fn is_starting(&self) -> bool {
        self.starting.is_some()
    }

    /// Returns the stage that is asked for, starting it where it does not run. May be given up at any time.
    pub async fn ready(&mut self, key: &StageKey, stage: &StageSpec, with: &Starter) -> Result<&mut Warm, Trouble> {
        let usable = match &mut self.warm {
            Some(warm) if warm.key == *key && warm.digest == stage.image.digest => warm.stage.alive().await,
            _ => false,
        };
        if !usable {
            if let Some(warm) = self.warm.take() {
                // On a task of its own for the same reason as the start.
                let _ = with.starts.spawn(warm.stop()).await;
            }
            // Pulling an image takes longest and leaves nothing behind, so it ends with the waiting.
            with.runtime.fetch(&stage.image).await.map_err(Trouble::Runtime)?;
            let starting = Starting {
                task: Some(
                    with.starts
                        .spawn(start(self.index, key.clone(), stage.clone(), with.clone())),
                ),
                starts: with.starts.clone(),
            };
            self.warm = Some(starting.finish().await?);
        }
        self.warm.as_mut().ok_or(Trouble::Task)
    }

    /// Stops the stage, if there is one.
    pub async fn stop(&mut self) {
        if let Some(warm) = self.warm.take() {
            warm.stop().await;
        }
    }
}

impl Warm {
    async fn stop(self) {
        self.stage.stop().await;
        let space = self.space;
        // Nothing depends on it: what stays is cleared when the next worker starts.
        let _ = blocking(move || lock(&space).give_up()).await;
    }
}

async fn start(index: usize, key: StageKey, spec: StageSpec, with: Starter) -> Result<Warm, Trouble> {
    let begun = Instant::now();
    let dirs = with
        .scratch
        .slot_dirs(index)
        .map_err(Trouble::io("make folders in", with.scratch.root()))?;
    let (pipeline, version) = &key;
    let mut labels: BTreeMap<String, String> = spec.labels.clone();
    labels.insert("howdah.pipeline".to_owned(), pipeline.to_string());
    labels.insert("howdah.pipeline.version".to_owned(), version.to_string());
    let request = StageRequest {
        name: format!("{}-{}-{index}", pipeline.project, pipeline.name),
        image: spec.image.clone(),
        dirs: dirs.clone(),
        labels,
        memory_bytes: spec.memory_bytes,
        cpus: spec.cpus,
        network: Network::Default,
    };
    let space = Workspace::new(dirs, with.scratch.clone());
    let stage = match with.runtime.start(&request).await {
        Ok(stage) => stage,
        Err(error) => {
            space.give_up();
            return Err(Trouble::Runtime(error));
        }
    };
    with.metrics.stage_starts.inc();
    with.metrics.stage_start_seconds.observe(begun.elapsed().as_secs_f64());
    tracing::info!(
        %pipeline, version, slot = index, image = %spec.image.reference, "started a stage"
    );
    Ok(Warm {
        key,
        digest: spec.image.digest.clone(),
        stage,
        space: Arc::new(Mutex::new(space)),
    })
}

/// Locks the folders of a stage.
pub fn lock(space: &Mutex<Workspace>) -> MutexGuard<'_, Workspace> {
    // Every try begins by clearing the folders, whatever happened before.
    space.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All slots of a worker.
pub struct Pool {
    slots: Mutex<Slots>,
    /// Marked as changed whenever there may be room that was not there before.
    changes: watch::Sender<()>,
    size: usize,
    /// Stages of one pipeline that are started at once. More would not be there sooner, and each holds back a set that a
    /// slot which is warm already could have had.
    starts: usize,
    metrics: Arc<Metrics>,
}

impl Pool {
    /// Makes empty slots.
    pub fn new(size: usize, metrics: Arc<Metrics>) -> Self {
        let slot = |index| Slot {
            index,
            warm: None,
            idle_since: Instant::now(),
            given_for: None,
            preparing: false,
            starting: None,
        };
        metrics.slots.set(i64::try_from(size).unwrap_or(i64::MAX));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            slots: Mutex::new(Slots {
                idle: (0..size).map(slot).collect(),
                out: HashMap::new(),
                preparing: HashMap::new(),
                starting: HashMap::new(),
                versions: HashMap::new(),
                seeking: HashMap::new(),
            }),
            changes: watch::Sender::new(()),
            size,
            starts: cores.max(LEAST_STARTS),
            metrics,
        }
    }

    /// Returns the number of slots.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns what tells when there may be more room.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Says whether a set of a pipeline would be begun at once: a slot is idle whose stage runs, or may be started, and
    /// no set that is here already needs it.
    pub fn wants_set(&self, pipeline: &PipelineKey) -> bool {
        let slots = self.lock();
        // A stage of an older version than that of the last set taken must be started anew.
        let version = slots.versions.get(pipeline).copied();
        !slots.seeking.contains_key(pipeline) && self.has_room(&slots, pipeline, version)
    }

    fn has_room(&self, slots: &Slots, pipeline: &PipelineKey, version: Option<u64>) -> bool {
        let fits = |warm: &Warm| warm.key.0 == *pipeline && version.is_none_or(|version| version == warm.key.1);
        let warm = |slot: &Slot| slot.warm.as_ref().is_some_and(fits);
        // A stage that is started ahead of work is there sooner than another one would be.
        let may_start =
            || count_of(&slots.preparing, pipeline) == 0 && count_of(&slots.starting, pipeline) < self.starts;
        slots.idle.iter().any(warm) || (!slots.idle.is_empty() && may_start())
    }

    /// Notes that a set wants free slots for its own datums, as long as what is returned lives.
    pub fn seek_helpers(self: &Arc<Self>, pipeline: &PipelineKey) -> Seeking {
        *self.lock().seeking.entry(pipeline.clone()).or_default() += 1;
        Seeking {
            pool: Arc::clone(self),
            pipeline: pipeline.clone(),
        }
    }

    /// Takes an idle slot to help with a set: one whose stage runs, or one whose stage may be started if such a one helps.
    pub fn take_to_help(&self, key: &StageKey, starting_helps: bool) -> Option<Slot> {
        let slots = self.lock();
        let runs = |slot: &Slot| slot.warm.as_ref().is_some_and(|warm| warm.key == *key);
        let fits = if starting_helps {
            self.has_room(&slots, &key.0, Some(key.1))
        } else {
            slots.idle.iter().any(runs)
        };
        if fits { self.take_from(slots, key) } else { None }
    }

    /// Takes an idle slot: one whose stage fits, else one without a stage, else the one whose
    /// stage was used longest ago.
    pub fn take(&self, key: &StageKey) -> Option<Slot> {
        self.take_from(self.lock(), key)
    }

    fn take_from(&self, slots: MutexGuard<'_, Slots>, key: &StageKey) -> Option<Slot> {
        let (at, fit) = slots
            .idle
            .iter()
            .enumerate()
            .map(|(at, slot)| match &slot.warm {
                Some(warm) if warm.key == *key => (at, (0, slot.idle_since)),
                None => (at, (1, slot.idle_since)),
                Some(_) => (at, (2, slot.idle_since)),
            })
            .min_by_key(|(_, fit)| *fit)?;
        Some(self.give(slots, at, key, fit.0 > 0))
    }

    /// Takes a slot without a stage, for one that is to run before it is needed, as long as fewer than `wanted` slots have
    /// that stage or work for its pipeline.
    pub fn take_to_prepare(&self, key: &StageKey, wanted: usize) -> Preparation {
        let mut slots = self.lock();
        let runs = |slot: &&Slot| slot.warm.as_ref().is_some_and(|warm| warm.key == *key);
        let there = slots.idle.iter().filter(runs).count() + count_of(&slots.out, &key.0);
        let empty = slots.idle.iter().position(|slot| slot.warm.is_none());
        match empty {
            Some(at) if there < wanted => {
                if count_of(&slots.starting, &key.0) < self.starts {
                    *slots.preparing.entry(key.0.clone()).or_default() += 1;
                    let mut slot = self.give(slots, at, key, true);
                    slot.preparing = true;
                    Preparation::Begin(slot)
                } else {
                    Preparation::Wait
                }
            }
            _ => Preparation::Over,
        }
    }

    fn give(&self, mut slots: MutexGuard<'_, Slots>, at: usize, key: &StageKey, starting: bool) -> Slot {
        slots.versions.insert(key.0.clone(), key.1);
        let mut slot = slots.idle.swap_remove(at);
        slot.given_for = Some(key.0.clone());
        *slots.out.entry(key.0.clone()).or_default() += 1;
        if starting {
            slot.starting = Some(key.0.clone());
            *slots.starting.entry(key.0.clone()).or_default() += 1;
        }
        self.count(&slots);
        slot
    }

    /// Notes that the stage of a slot runs, so that another may be started.
    pub fn started(&self, slot: &mut Slot) {
        let Some(pipeline) = slot.starting.take() else { return };
        let mut slots = self.lock();
        count_down(&mut slots.starting, &pipeline);
        self.count(&slots);
    }

    /// Gives a slot back.
    pub fn give_back(&self, mut slot: Slot) {
        self.started(&mut slot);
        slot.idle_since = Instant::now();
        let given_for = slot.given_for.take();
        let preparing = std::mem::take(&mut slot.preparing);
        let mut slots = self.lock();
        if let Some(pipeline) = given_for {
            count_down(&mut slots.out, &pipeline);
            if preparing {
                count_down(&mut slots.preparing, &pipeline);
            }
        }
        slots.idle.push(slot);
        self.count(&slots);
    }

    /// Stops the stages of slots that have been idle since before a moment, but for those that are to `stand`.
    pub async fn stop_idle_since(&self, moment: Instant, stands: impl Fn(&StageKey) -> bool) {
        self.stop(|key, idle_since| idle_since <= moment && !stands(key)).await;
    }

    /// Stops the stages of all idle slots, all at once.
    pub async fn stop_all(&self) {
        self.stop(|_, _| true).await;
    }

    /// Stops the idle stages of a pipeline that is no longer served.
    pub async fn stop_pipeline(&self, pipeline: &PipelineKey) {
        self.lock().versions.remove(pipeline);
        self.stop(|key, _| key.0 == *pipeline).await;
    }

    /// Stops the idle stages of former versions of a pipeline.
    pub async fn stop_before(&self, key: &StageKey) {
        self.stop(|(pipeline, version), _| *pipeline == key.0 && *version < key.1)
            .await;
    }

    async fn stop(&self, gone: impl Fn(&StageKey, Instant) -> bool) {
        let gone: Vec<Warm> = {
            let mut slots = self.lock();
            let idle = slots.idle.iter_mut();
            let gone = idle.filter_map(|slot| slot.warm.take_if(|warm| gone(&warm.key, slot.idle_since)));
            gone.collect()
        };
        for warm in &gone {
            tracing::debug!(pipeline = %warm.key.0, version = warm.key.1, "stopping an idle stage");
        }
        futures::future::join_all(gone.into_iter().map(Warm::stop)).await;
    }

    fn count(&self, slots: &Slots) {
        let busy = self.size.saturating_sub(slots.idle.len());
        self.metrics.slots_busy.set(i64::try_from(busy).unwrap_or(i64::MAX));
        self.changes.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What changes about the slots.
struct Slots {
    idle: Vec<Slot>,
    /// Number of those given out, for each pipeline with any.
    out: HashMap<PipelineKey, usize>,
    /// Number of those whose stage is being started ahead of work.
    preparing: HashMap<PipelineKey, usize>,
    /// Number of those given out whose stage is being started, of each pipeline with any.
    starting: HashMap<PipelineKey, usize>,
    /// Version of each pipeline whose set was taken last.
    versions: HashMap<PipelineKey, u64>,
    /// Number of sets of each pipeline that want free slots for datums which nobody has begun.
    seeking: HashMap<PipelineKey, usize>,
}

fn count_of(counts: &HashMap<PipelineKey, usize>, pipeline: &PipelineKey) -> usize {
    counts.get(pipeline).copied().unwrap_or(0)
}

fn count_down(counts: &mut HashMap<PipelineKey, usize>, pipeline: &PipelineKey) {
    if let Some(count) = counts.get_mut(pipeline) {
        *count -= 1;
        if *count == 0 {
            counts.remove(pipeline);
        }
    }
}

/// What can be done about a stage that is to run before it is needed.
pub enum Preparation {
    /// It may be started in this slot.
    Begin(Slot),
    /// As many are being started as may be: see again when something changes.
    Wait,
    /// There are enough, or there is no slot without a stage.
    Over,
}

/// A set that wants free slots for its own datums.
pub struct Seeking {
    pool: Arc<Pool>,
    pipeline: PipelineKey,
}

impl Drop for Seeking {
    fn drop(&mut self) {
        let mut slots = self.pool.lock();
        count_down(&mut slots.seeking, &self.pipeline);
        self.pool.changes.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_stages_of_a_pipeline_start_at_once_and_other_pipelines_do_not_wait_for_them() {
        let [a, b] = ["default/a", "default/b"].map(|name| name.parse::<PipelineKey>().unwrap());
        let pool = Pool::new(1000, Arc::new(Metrics::new()));
        let key = (a.clone(), 1);
        let mut out = Vec::new();
        while pool.wants_set(&a) {
            out.push(pool.take(&key).unwrap());
        }
        assert_eq!(out.len(), pool.starts, "one slot for each stage that may be started");
        assert!(pool.wants_set(&b));
        let mut changes = pool.changes();
        changes.mark_unchanged();
        pool.started(&mut out[0]);
        assert!(changes.has_changed().unwrap() && pool.wants_set(&a));
        out.push(pool.take(&key).unwrap());
        assert!(!pool.wants_set(&a));
        // A start that failed makes room too, and once only.
        for slot in out {
            pool.give_back(slot);
        }
        assert!(pool.lock().starting.is_empty());
        assert_eq!(pool.lock().idle.len(), 1000);
    }

    #[test]
    fn a_set_that_seeks_helpers_keeps_further_sets_of_its_pipeline_away() {
        let [a, b] = ["default/a", "default/b"].map(|name| name.parse::<PipelineKey>().unwrap());
        let pool = Arc::new(Pool::new(2, Arc::new(Metrics::new())));
        let (first, second) = (pool.seek_helpers(&a), pool.seek_helpers(&a));
        assert!(!pool.wants_set(&a) && pool.wants_set(&b));
        assert!(
            pool.take_to_help(&(a.clone(), 1), true).is_some(),
            "its own datums have room"
        );
        assert!(pool.take_to_help(&(a.clone(), 1), false).is_none(), "no stage runs");
        drop(first);
        assert!(!pool.wants_set(&a));
        let mut changes = pool.changes();
        changes.mark_unchanged();
        drop(second);
        assert!(changes.has_changed().unwrap() && pool.wants_set(&a));
    }
}
