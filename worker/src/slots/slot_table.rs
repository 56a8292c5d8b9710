//! The pool's bookkeeping: which slots are idle, and which stages the others were taken for.
//!
//! Plain data without locks, tasks or clocks; [`crate::slots::pool::Pool`] guards it and acts on what it returns.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

use howdah_model::names::PipelineKey;

use crate::slots::running_stage::{RunningStage, StageKey};
use crate::slots::slot::Slot;

/// All slots of a worker: the idle ones themselves, the taken ones as counts.
pub(super) struct SlotTable {
    pub idle: Vec<Slot>,
    /// Taken slots by stage.
    pub taken: HashMap<StageKey, usize>,
    /// The stage of each slot that is taken to prewarm it.
    pub prewarming: Vec<StageKey>,
    /// Taken slots whose stage is being started, by pipeline.
    pub starting: HashMap<PipelineKey, usize>,
    /// The version of each pipeline for which a slot was last taken.
    pub versions: HashMap<PipelineKey, u64>,
    /// Running sets with datums that wait for a free slot, by pipeline.
    pub demands: HashMap<PipelineKey, usize>,
}

impl SlotTable {
    /// Makes idle slots without stages.
    pub(super) fn new(size: usize) -> Self {
        Self {
            idle: (0..size).map(Slot::new).collect(),
            taken: HashMap::new(),
            prewarming: Vec::new(),
            starting: HashMap::new(),
            versions: HashMap::new(),
            demands: HashMap::new(),
        }
    }

    /// Returns whether an idle slot runs a stage of the pipeline, or may start one; of one version if given.
    pub(super) fn has_room(&self, pipeline: &PipelineKey, version: Option<u64>, max_starts: usize) -> bool {
        let fits = |key: &StageKey| key.0 == *pipeline && version.is_none_or(|version| version == key.1);
        let runs = |slot: &Slot| slot.running.as_ref().is_some_and(|running| fits(&running.key));
        // No start while one is under way ahead of work: that stage runs sooner than another one would.
        let may_start = || !self.prewarming.iter().any(fits) && self.starting_of(pipeline) < max_starts;
        self.idle.iter().any(runs) || (!self.idle.is_empty() && may_start())
    }

    /// Chooses an idle slot for a stage: its index, and whether the stage must be started there.
    ///
    /// Of the slots that run the stage the one used last, so that surplus stages stay idle and expire; else a slot
    /// without a stage; else the one whose stage was used longest ago.
    pub(super) fn choose(&self, key: &StageKey) -> Option<(usize, bool)> {
        let idle = || self.idle.iter().enumerate();
        let running = idle()
            .filter(|(_, slot)| slot.has(key))
            .max_by_key(|(_, slot)| slot.idle_since);
        let other = || idle().min_by_key(|(_, slot)| (slot.running.is_some(), slot.idle_since));
        let (index, _) = running.or_else(other)?;
        Some((index, running.is_none()))
    }

    /// Returns an idle slot without a stage if fewer than `target` slots have the stage or are taken for it.
    pub(super) fn choose_to_prewarm(&self, key: &StageKey, target: usize) -> Option<usize> {
        let present = self.idle.iter().filter(|slot| slot.has(key)).count() + count_of(&self.taken, key);
        let empty = self.idle.iter().position(|slot| slot.running.is_none());
        empty.filter(|_| present < target)
    }

    /// Takes an idle slot out for a stage.
    pub(super) fn take(&mut self, index: usize, key: &StageKey, starting: bool) -> Slot {
        self.versions.insert(key.0.clone(), key.1);
        let mut slot = self.idle.swap_remove(index);
        slot.cleared = false;
        slot.taken_for = Some(key.clone());
        *self.taken.entry(key.clone()).or_default() += 1;
        slot.starting = starting;
        if starting {
            *self.starting.entry(key.0.clone()).or_default() += 1;
        }
        slot
    }

    /// Puts a slot back that is no longer used.
    pub(super) fn put_back(&mut self, mut slot: Slot) {
        let prewarming = std::mem::take(&mut slot.prewarming);
        if let Some(key) = slot.taken_for.take() {
            count_down(&mut self.taken, &key);
            let place = self.prewarming.iter().position(|other| *other == key);
            if let Some(place) = place.filter(|_| prewarming) {
                self.prewarming.swap_remove(place);
            }
        }
        self.idle.push(slot);
    }

    /// Returns how many stages of a pipeline are being started.
    pub(super) fn starting_of(&self, pipeline: &PipelineKey) -> usize {
        count_of(&self.starting, pipeline)
    }

    /// Notes that a stage of a pipeline is no longer being started.
    pub(super) fn end_start(&mut self, pipeline: &PipelineKey) {
        count_down(&mut self.starting, pipeline);
    }

    /// Notes that a running set no longer demands slots.
    pub(super) fn end_demand(&mut self, pipeline: &PipelineKey) {
        count_down(&mut self.demands, pipeline);
    }

    /// Takes out what has been idle since `moment` or longer: stages to be stopped, and whole slots whose stage is kept
    /// and whose folders must be cleared.
    ///
    /// Of each stage `target` are kept, counting first those that are taken or were used after `moment`.
    pub(super) fn take_expired(
        &mut self,
        moment: Instant,
        target: impl Fn(&StageKey) -> usize,
    ) -> (Vec<RunningStage>, Vec<Slot>) {
        let mut keep: HashMap<StageKey, usize> = HashMap::new();
        for slot in &self.idle {
            if let Some(running) = &slot.running
                && !keep.contains_key(&running.key)
            {
                let recent = |slot: &&Slot| slot.idle_since > moment && slot.has(&running.key);
                let used = count_of(&self.taken, &running.key) + self.idle.iter().filter(recent).count();
                keep.insert(running.key.clone(), target(&running.key).saturating_sub(used));
            }
        }
        let mut to_stop = Vec::new();
        let mut to_clear = Vec::new();
        for mut slot in std::mem::take(&mut self.idle) {
            let key = slot.running.as_ref().map(|running| &running.key);
            let left = key
                .filter(|_| slot.idle_since <= moment)
                .and_then(|key| keep.get_mut(key));
            match left {
                Some(0) => {
                    to_stop.extend(slot.running.take());
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
        (to_stop, to_clear)
    }
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
