//! All slots of a worker: which task gets which slot, and what happens to stages that are not used.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use howdah_model::names::PipelineKey;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::slots::running_stage::{RunningStage, StageKey};
use crate::slots::slot::Slot;
use crate::slots::slot_table::SlotTable;

/// Time after which the stage of an idle slot is stopped, or its folders are cleared.
pub(crate) const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// Least number of stages of one pipeline that may start at once, for machines with fewer cores.
const LEAST_STARTS: usize = 4;

/// All slots of a worker. Taking and returning slots never waits; only stopping stages does.
pub(crate) struct Pool {
    /// Locked for short bookkeeping only, never across an await. While it is held, `reap` takes the lock of the prewarm
    /// leases; so never take this lock while holding theirs.
    table: Mutex<SlotTable>,
    /// Marked as changed whenever a slot may have become available that was not before.
    changes: watch::Sender<()>,
    size: usize,
    /// Stages of one pipeline that may start at once. More would not run sooner, since starts compete for the same
    /// cores; and each start holds back a set that a slot with a running stage could have had.
    max_starts: usize,
    metrics: Arc<Metrics>,
}

impl Pool {
    /// Makes a pool of empty slots.
    pub(crate) fn new(size: usize, metrics: Arc<Metrics>) -> Self {
        metrics.slots.set(i64::try_from(size).unwrap_or(i64::MAX));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            table: Mutex::new(SlotTable::new(size)),
            changes: watch::Sender::new(()),
            size,
            max_starts: cores.max(LEAST_STARTS),
            metrics,
        }
    }

    /// Returns the number of slots.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Returns a receiver that is notified when a slot may have become available.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Returns whether a further set of a pipeline would begin at once: a slot is idle that runs its stage or may start
    /// it, and no running set of the pipeline demands slots for its own datums.
    pub(crate) fn wants_set(&self, pipeline: &PipelineKey) -> bool {
        let table = self.lock();
        // A stage of an older version than the last one used does not count: it must be replaced first.
        let version = table.versions.get(pipeline).copied();
        !table.demands.contains_key(pipeline) && table.has_room(pipeline, version, self.max_starts)
    }

    /// Notes that a running set demands slots for its datums. Use [`crate::slots::slot_guard::SlotDemand`].
    pub(super) fn begin_demand(&self, pipeline: &PipelineKey) {
        *self.lock().demands.entry(pipeline.clone()).or_default() += 1;
    }

    /// Withdraws a demand.
    pub(super) fn end_demand(&self, pipeline: &PipelineKey) {
        let mut table = self.lock();
        table.end_demand(pipeline);
        self.changes.send_replace(());
    }

    /// Takes an idle slot to help with a running set: one that runs the stage, or one that may start it if
    /// `start_helps`.
    pub(crate) fn take_to_help(&self, key: &StageKey, start_helps: bool) -> Option<Slot> {
        let table = self.lock();
        let fits = if start_helps {
            table.has_room(&key.0, Some(key.1), self.max_starts)
        } else {
            table.idle.iter().any(|slot| slot.has(key))
        };
        if fits { self.take_from(table, key) } else { None }
    }

    /// Takes an idle slot for a stage, or returns `None` if all slots are taken.
    pub(crate) fn take(&self, key: &StageKey) -> Option<Slot> {
        self.take_from(self.lock(), key)
    }

    fn take_from(&self, mut table: MutexGuard<'_, SlotTable>, key: &StageKey) -> Option<Slot> {
        let (index, starting) = table.choose(key)?;
        let slot = table.take(index, key, starting);
        self.publish(&table);
        Some(slot)
    }

    /// Returns whether a stage should be prewarmed: fewer than `target` slots have it or are taken for it, and an idle
    /// slot has no stage.
    pub(crate) fn needs_prewarm(&self, key: &StageKey, target: usize) -> bool {
        self.lock().choose_to_prewarm(key, target).is_some()
    }

    /// Takes a slot without a stage to prewarm one in it.
    pub(crate) fn take_to_prewarm(&self, key: &StageKey, target: usize) -> PrewarmDecision {
        let mut table = self.lock();
        let Some(index) = table.choose_to_prewarm(key, target) else {
            return PrewarmDecision::Finished;
        };
        if table.starting_of(&key.0) >= self.max_starts {
            return PrewarmDecision::Wait;
        }
        table.prewarming.push(key.clone());
        let mut slot = table.take(index, key, true);
        slot.prewarming = true;
        self.publish(&table);
        PrewarmDecision::Start(slot)
    }

    /// Notes that the stage of a slot runs, so that another may start.
    pub(crate) fn stage_started(&self, slot: &mut Slot) {
        if !std::mem::take(&mut slot.starting) {
            return;
        }
        let mut table = self.lock();
        if let Some((pipeline, _)) = &slot.taken_for {
            table.end_start(pipeline);
        }
        self.publish(&table);
    }

    /// Returns a slot to the pool. Use [`crate::slots::slot_guard::SlotGuard`] where a panic could prevent the call.
    pub(crate) fn give_back(&self, mut slot: Slot) {
        // A start that failed no longer counts as one.
        self.stage_started(&mut slot);
        slot.idle_since = Instant::now();
        let mut table = self.lock();
        table.put_back(slot);
        self.publish(&table);
    }

    /// Stops stages, or clears their folders, in slots that have been idle since `moment` or longer.
    ///
    /// Of each stage `target` are kept, including those in use. The folders of kept stages are cleared, because the
    /// inputs in them occupy the disk even after the cache has evicted the files; a kept stage that is dead is stopped
    /// too.
    pub(crate) async fn reap(&self, moment: Instant, target: impl Fn(&StageKey) -> usize) {
        // Slots to be cleared are out of the table meanwhile, so that no task takes a slot whose folders are being
        // removed.
        let (to_stop, to_clear) = self.lock().take_expired(moment, target);
        let clear = to_clear.into_iter().map(|mut slot| async {
            slot.clear().await;
            let mut table = self.lock();
            table.idle.push(slot);
            self.publish(&table);
        });
        tokio::join!(stop_all(to_stop), futures::future::join_all(clear));
    }

    /// Stops the stages of all idle slots, concurrently.
    pub(crate) async fn stop_all(&self) {
        self.stop_idle(|_| true).await;
    }

    /// Stops the idle stages of a pipeline.
    pub(crate) async fn stop_pipeline(&self, pipeline: &PipelineKey) {
        self.lock().versions.remove(pipeline);
        self.stop_idle(|key| key.0 == *pipeline).await;
    }

    /// Stops the idle stages of earlier versions of a pipeline.
    pub(crate) async fn stop_before(&self, key: &StageKey) {
        self.stop_idle(|(pipeline, version)| *pipeline == key.0 && *version < key.1)
            .await;
    }

    async fn stop_idle(&self, selects: impl Fn(&StageKey) -> bool) {
        let stages: Vec<RunningStage> = {
            let mut table = self.lock();
            let idle = table.idle.iter_mut();
            idle.filter_map(|slot| slot.running.take_if(|running| selects(&running.key)))
                .collect()
        };
        stop_all(stages).await;
    }

    /// Updates the metrics and wakes the tasks that wait for a slot. Called with the lock held, after a
    /// slot was taken, returned or started.
    fn publish(&self, table: &SlotTable) {
        let busy = self.size.saturating_sub(table.idle.len());
        self.metrics.slots_busy.set(i64::try_from(busy).unwrap_or(i64::MAX));
        self.changes.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, SlotTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What can be done about a stage that should be prewarmed.
pub(crate) enum PrewarmDecision {
    /// Start it in this slot.
    Start(Slot),
    /// As many starts are under way as allowed: ask again after a change.
    Wait,
    /// Enough slots have it, or no idle slot is without a stage.
    Finished,
}

async fn stop_all(stages: Vec<RunningStage>) {
    for running in &stages {
        tracing::debug!(pipeline = %running.key.0, version = running.key.1, "stopping an idle stage");
    }
    futures::future::join_all(stages.into_iter().map(RunningStage::stop)).await;
}

#[cfg(test)]
mod tests {
    use howdah_protocol::testing::plan;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::cache::scratch::Scratch;
    use crate::pfs::workspace::lock_workspace;
    use crate::runtime::scripted::ScriptedRuntime;
    use crate::slots::running_stage::{StageStarter, stage_key};

    #[test]
    fn starts_are_limited_for_each_pipeline_by_itself() {
        let [a, b] = ["default/a", "default/b"].map(|name| name.parse::<PipelineKey>().unwrap());
        let pool = Pool::new(1000, Arc::new(Metrics::new()));
        let key = (a.clone(), 1);
        let mut out = Vec::new();
        while pool.wants_set(&a) {
            out.push(pool.take(&key).unwrap());
        }
        assert_eq!(out.len(), pool.max_starts, "one slot for each stage that may start");
        assert!(pool.wants_set(&b));
        let mut changes = pool.changes();
        changes.mark_unchanged();
        pool.stage_started(&mut out[0]);
        assert!(changes.has_changed().unwrap() && pool.wants_set(&a));
        out.push(pool.take(&key).unwrap());
        assert!(!pool.wants_set(&a));
        // A start that failed makes room too, and only once.
        for slot in out {
            pool.give_back(slot);
        }
        assert!(pool.lock().starting.is_empty());
        assert_eq!(pool.lock().idle.len(), 1000);
    }

    #[test]
    fn sets_wait_for_a_prewarming_stage_of_their_version() {
        let a = "default/a".parse::<PipelineKey>().unwrap();
        let [first, second] = [1, 2].map(|version| (a.clone(), version));
        let pool = Pool::new(3, Arc::new(Metrics::new()));
        let PrewarmDecision::Start(slot) = pool.take_to_prewarm(&first, 1) else {
            panic!("there are empty slots");
        };
        assert!(!pool.wants_set(&a));
        assert!(matches!(pool.take_to_prewarm(&first, 1), PrewarmDecision::Finished));
        assert!(pool.needs_prewarm(&second, 1), "the former version does not count");
        let other = pool.take(&second).unwrap();
        assert!(pool.wants_set(&a), "the prewarming stage is of the former version");
        pool.give_back(other);
        pool.give_back(slot);
        assert!(pool.wants_set(&a) && pool.needs_prewarm(&first, 1));
        let table = pool.lock();
        assert!(table.taken.is_empty() && table.prewarming.is_empty() && table.starting.is_empty());
    }

    #[tokio::test]
    async fn prewarmed_stages_are_kept_when_idle_with_cleared_folders() {
        let folder = tempfile::tempdir().unwrap();
        let starter = StageStarter {
            runtime: Arc::new(ScriptedRuntime::new()),
            scratch: Scratch::open(folder.path()).unwrap(),
            metrics: Arc::new(Metrics::new()),
            starts: TaskTracker::new(),
        };
        let pool = Pool::new(4, Arc::new(Metrics::new()));
        let plan = plan("a", 1, &["ok"]);
        let key = stage_key(&plan);
        let mut slots: Vec<Slot> = std::iter::from_fn(|| pool.take(&key)).collect();
        let mut left = Vec::new();
        for slot in &mut slots {
            let running = slot.ensure_stage(&key, &plan.stage, &starter).await.unwrap();
            let file = lock_workspace(&running.workspace).out().join("left");
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "bytes").unwrap();
            left.push(file);
        }
        let busy = slots.pop().unwrap();
        let returned_last = slots[slots.len() - 1].index;
        slots.into_iter().for_each(|slot| pool.give_back(slot));
        let last = pool.take(&key).unwrap();
        assert_eq!((last.index, last.is_starting()), (returned_last, false));
        pool.give_back(last);
        let running = || pool.lock().idle.iter().filter(|slot| slot.running.is_some()).count();
        let there = || left.iter().filter(|file| file.exists()).count();

        pool.reap(Instant::now() - Duration::from_secs(60), |_| 0).await;
        assert_eq!((running(), there()), (3, 4), "not idle for long enough");
        let other = ("default/b".parse::<PipelineKey>().unwrap(), 1);
        assert!(!pool.needs_prewarm(&other, 9), "no running stage is replaced");
        pool.reap(Instant::now(), |_| 3).await;
        assert_eq!((running(), there()), (2, 1), "two idle ones and the busy one");
        pool.reap(Instant::now(), |_| 3).await;
        assert_eq!(running(), 2);
        assert!(pool.needs_prewarm(&key, 4) && !pool.needs_prewarm(&key, 3));
        pool.reap(Instant::now(), |_| 0).await;
        assert_eq!((running(), there()), (0, 1));
        pool.give_back(busy);
        assert_eq!((running(), pool.lock().idle.len()), (1, 4));
    }
}
