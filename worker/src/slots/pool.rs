//! All slots of a worker: who gets which, and what becomes of those that nobody needs.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use howdah_model::names::PipelineKey;
use tokio::sync::watch;

use super::{Slot, StageKey, Warm};
use crate::metrics::Metrics;

/// Stages of one pipeline that are started at once on a machine with fewer cores.
const LEAST_STARTS: usize = 4;

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
            cleared: true,
            given_for: None,
            preparing: false,
            starting: false,
        };
        metrics.slots.set(i64::try_from(size).unwrap_or(i64::MAX));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            slots: Mutex::new(Slots {
                idle: (0..size).map(slot).collect(),
                out: HashMap::new(),
                preparing: Vec::new(),
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
        // A stage of an older version than that of which a slot was last given must be started anew.
        let version = slots.versions.get(pipeline).copied();
        !slots.seeking.contains_key(pipeline) && self.has_room(&slots, pipeline, version)
    }

    fn has_room(&self, slots: &Slots, pipeline: &PipelineKey, version: Option<u64>) -> bool {
        let fits = |warm: &Warm| warm.key.0 == *pipeline && version.is_none_or(|version| version == warm.key.1);
        let warm = |slot: &Slot| slot.warm.as_ref().is_some_and(fits);
        // A stage that is started ahead of work is there sooner than another one would be.
        let comes = |key: &StageKey| key.0 == *pipeline && version.is_none_or(|version| version == key.1);
        let may_start = || !slots.preparing.iter().any(comes) && count_of(&slots.starting, pipeline) < self.starts;
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
        let fits = if starting_helps {
            self.has_room(&slots, &key.0, Some(key.1))
        } else {
            slots.idle.iter().any(|slot| slot.has(key))
        };
        if fits { self.take_from(slots, key) } else { None }
    }

    /// Takes an idle slot: of those whose stage fits the one used last, so that stages beyond what is needed stay idle and
    /// go; else one without a stage, else the one whose stage was used longest ago.
    pub fn take(&self, key: &StageKey) -> Option<Slot> {
        self.take_from(self.lock(), key)
    }

    fn take_from(&self, slots: MutexGuard<'_, Slots>, key: &StageKey) -> Option<Slot> {
        let idle = || slots.idle.iter().enumerate();
        let warm = idle()
            .filter(|(_, slot)| slot.has(key))
            .max_by_key(|(_, slot)| slot.idle_since);
        let other = || idle().min_by_key(|(_, slot)| (slot.warm.is_some(), slot.idle_since));
        let (at, _) = warm.or_else(other)?;
        let starting = warm.is_none();
        Some(self.give(slots, at, key, starting))
    }

    /// Tells whether a stage is to be started before it is needed: fewer than `wanted` slots have it or are given out for
    /// it, and one is without a stage.
    pub fn is_to_prepare(&self, key: &StageKey, wanted: usize) -> bool {
        self.lock().place_to_prepare(key, wanted).is_some()
    }

    /// Takes a slot without a stage, for one that is to run before it is needed.
    pub fn take_to_prepare(&self, key: &StageKey, wanted: usize) -> Preparation {
        let mut slots = self.lock();
        let Some(at) = slots.place_to_prepare(key, wanted) else {
            return Preparation::Over;
        };
        if count_of(&slots.starting, &key.0) >= self.starts {
            return Preparation::Wait;
        }
        slots.preparing.push(key.clone());
        let mut slot = self.give(slots, at, key, true);
        slot.preparing = true;
        Preparation::Begin(slot)
    }

    fn give(&self, mut slots: MutexGuard<'_, Slots>, at: usize, key: &StageKey, starting: bool) -> Slot {
        slots.versions.insert(key.0.clone(), key.1);
        let mut slot = slots.idle.swap_remove(at);
        slot.cleared = false;
        slot.given_for = Some(key.clone());
        *slots.out.entry(key.clone()).or_default() += 1;
        slot.starting = starting;
        if starting {
            *slots.starting.entry(key.0.clone()).or_default() += 1;
        }
        self.count(&slots);
        slot
    }

    /// Notes that the stage of a slot runs, so that another may be started.
    pub fn started(&self, slot: &mut Slot) {
        if !std::mem::take(&mut slot.starting) {
            return;
        }
        let mut slots = self.lock();
        if let Some((pipeline, _)) = &slot.given_for {
            count_down(&mut slots.starting, pipeline);
        }
        self.count(&slots);
    }

    /// Gives a slot back.
    pub fn give_back(&self, mut slot: Slot) {
        self.started(&mut slot);
        slot.idle_since = Instant::now();
        let given_for = slot.given_for.take();
        let preparing = std::mem::take(&mut slot.preparing);
        let mut slots = self.lock();
        if let Some(key) = given_for {
            count_down(&mut slots.out, &key);
            let place = slots.preparing.iter().position(|other| *other == key);
            if let Some(place) = place.filter(|_| preparing) {
                slots.preparing.swap_remove(place);
            }
        }
        slots.idle.push(slot);
        self.count(&slots);
    }

    /// Sees to the stages of slots that have been idle since before a moment. Of each, as many as are to `stand` stay,
    /// those that are in use or were lately counted in; but their folders are cleared, since the inputs that a datum had
    /// take room on the disk whatever becomes of the cache, and those that are dead go as the others do.
    pub async fn reap(&self, moment: Instant, stand: impl Fn(&StageKey) -> usize) {
        let (gone, stay) = self.lock().idle_since(moment, stand);
        let clear = stay.into_iter().map(|mut slot| async {
            slot.clear().await;
            let mut slots = self.lock();
            slots.idle.push(slot);
            self.count(&slots);
        });
        tokio::join!(stop_all(gone), futures::future::join_all(clear));
    }

    /// Stops the stages of all idle slots, all at once.
    pub async fn stop_all(&self) {
        self.stop(|_| true).await;
    }

    /// Stops the idle stages of a pipeline.
    pub async fn stop_pipeline(&self, pipeline: &PipelineKey) {
        self.lock().versions.remove(pipeline);
        self.stop(|key| key.0 == *pipeline).await;
    }

    /// Stops the idle stages of former versions of a pipeline.
    pub async fn stop_before(&self, key: &StageKey) {
        self.stop(|(pipeline, version)| *pipeline == key.0 && *version < key.1)
            .await;
    }

    async fn stop(&self, gone: impl Fn(&StageKey) -> bool) {
        let gone: Vec<Warm> = {
            let mut slots = self.lock();
            let idle = slots.idle.iter_mut();
            idle.filter_map(|slot| slot.warm.take_if(|warm| gone(&warm.key)))
                .collect()
        };
        stop_all(gone).await;
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
    /// Number of those given out, for each stage with any.
    out: HashMap<StageKey, usize>,
    /// The stage of each that is given out to start it ahead of work.
    preparing: Vec<StageKey>,
    /// Number of those given out whose stage is being started, of each pipeline with any.
    starting: HashMap<PipelineKey, usize>,
    /// Version of each pipeline for which a slot was given last.
    versions: HashMap<PipelineKey, u64>,
    /// Number of sets of each pipeline that want free slots for datums which nobody has begun.
    seeking: HashMap<PipelineKey, usize>,
}

impl Slots {
    /// Returns where a stage may be started before it is needed.
    fn place_to_prepare(&self, key: &StageKey, wanted: usize) -> Option<usize> {
        let there = self.idle.iter().filter(|slot| slot.has(key)).count() + count_of(&self.out, key);
        let empty = self.idle.iter().position(|slot| slot.warm.is_none());
        empty.filter(|_| there < wanted)
    }

    /// Takes out the stages of slots idle since before a moment, and whole those slots whose stage stays and whose folders
    /// are still to be cleared.
    fn idle_since(&mut self, moment: Instant, stand: impl Fn(&StageKey) -> usize) -> (Vec<Warm>, Vec<Slot>) {
        let mut stay: HashMap<StageKey, usize> = HashMap::new();
        for slot in &self.idle {
            if let Some(warm) = &slot.warm
                && !stay.contains_key(&warm.key)
            {
                let lately = |slot: &&Slot| slot.idle_since > moment && slot.has(&warm.key);
                let used = count_of(&self.out, &warm.key) + self.idle.iter().filter(lately).count();
                stay.insert(warm.key.clone(), stand(&warm.key).saturating_sub(used));
            }
        }
        let mut gone = Vec::new();
        let mut to_clear = Vec::new();
        for mut slot in std::mem::take(&mut self.idle) {
            let key = slot.warm.as_ref().map(|warm| &warm.key);
            let left = key
                .filter(|_| slot.idle_since <= moment)
                .and_then(|key| stay.get_mut(key));
            match left {
                Some(0) => {
                    gone.extend(slot.warm.take());
                    self.idle.push(slot);
                }
                Some(left) => {
                    *left -= 1;
                    if slot.cleared {
                        self.idle.push(slot);
                    } else {
                        to_clear.push(slot);
                    }
                }
                None => self.idle.push(slot),
            }
        }
        (gone, to_clear)
    }
}

async fn stop_all(gone: Vec<Warm>) {
    for warm in &gone {
        tracing::debug!(pipeline = %warm.key.0, version = warm.key.1, "stopping an idle stage");
    }
    futures::future::join_all(gone.into_iter().map(Warm::stop)).await;
}

fn count_of<K: Hash + Eq>(counts: &HashMap<K, usize>, key: &K) -> usize {
    counts.get(key).copied().unwrap_or(0)
}

fn count_down<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// What can be done about a stage that is to run before it is needed.
pub enum Preparation {
    /// It may be started in this slot.
    Begin(Slot),
    /// As many are being started as may be: see again when something changes.
    Wait,
    /// It need not be started, or there is no slot without a stage.
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
    use std::time::Duration;

    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::cache::scratch::Scratch;
    use crate::runtime::scripted::ScriptedRuntime;
    use crate::slots::{Starter, lock, stage_key};
    use crate::testing::plan;

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

    #[test]
    fn sets_wait_for_a_stage_that_starts_ahead_of_work_if_it_is_of_their_version() {
        let a = "default/a".parse::<PipelineKey>().unwrap();
        let [first, second] = [1, 2].map(|version| (a.clone(), version));
        let pool = Pool::new(3, Arc::new(Metrics::new()));
        let Preparation::Begin(slot) = pool.take_to_prepare(&first, 1) else {
            panic!("there are empty slots");
        };
        assert!(!pool.wants_set(&a));
        assert!(matches!(pool.take_to_prepare(&first, 1), Preparation::Over));
        assert!(pool.is_to_prepare(&second, 1), "the former version does not count");
        let other = pool.take(&second).unwrap();
        assert!(pool.wants_set(&a), "what comes is of the former version");
        pool.give_back(other);
        pool.give_back(slot);
        assert!(pool.wants_set(&a) && pool.is_to_prepare(&first, 1));
        let slots = pool.lock();
        assert!(slots.out.is_empty() && slots.preparing.is_empty() && slots.starting.is_empty());
    }

    #[tokio::test]
    async fn stages_that_are_to_stand_outlast_the_others_with_their_folders_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let starter = Starter {
            runtime: Arc::new(ScriptedRuntime::new()),
            scratch: Scratch::open(folder.path()).unwrap(),
            metrics: Arc::new(Metrics::new()),
            starts: TaskTracker::new(),
        };
        let pool = Pool::new(4, Arc::new(Metrics::new()));
        let plan = plan("default/a", &["ok"]);
        let key = stage_key(&plan);
        let mut slots: Vec<Slot> = std::iter::from_fn(|| pool.take(&key)).collect();
        let mut left = Vec::new();
        for slot in &mut slots {
            let warm = slot.ready(&key, &plan.stage, &starter).await.unwrap();
            let file = lock(&warm.space).out().join("left");
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "bytes").unwrap();
            left.push(file);
        }
        let busy = slots.pop().unwrap();
        let given_back_last = slots[slots.len() - 1].index;
        slots.into_iter().for_each(|slot| pool.give_back(slot));
        let last = pool.take(&key).unwrap();
        assert_eq!((last.index, last.is_starting()), (given_back_last, false));
        pool.give_back(last);
        let warm = || pool.lock().idle.iter().filter(|slot| slot.warm.is_some()).count();
        let there = || left.iter().filter(|file| file.exists()).count();

        pool.reap(Instant::now() - Duration::from_secs(60), |_| 0).await;
        assert_eq!((warm(), there()), (3, 4), "idle for moments only");
        let other = ("default/b".parse::<PipelineKey>().unwrap(), 1);
        assert!(!pool.is_to_prepare(&other, 9), "nothing that runs gives way");
        pool.reap(Instant::now(), |_| 3).await;
        assert_eq!((warm(), there()), (2, 1), "two and the one at work");
        pool.reap(Instant::now(), |_| 3).await;
        assert_eq!(warm(), 2);
        assert!(pool.is_to_prepare(&key, 4) && !pool.is_to_prepare(&key, 3));
        pool.reap(Instant::now(), |_| 0).await;
        assert_eq!((warm(), there()), (0, 1));
        pool.give_back(busy);
        assert_eq!((warm(), pool.lock().idle.len()), (1, 4));
    }
}
