//! Slots: how many datums run at once, and the warm stage that each keeps.
//!
//! Starting a container costs hundreds of times what a trivial datum costs, so a slot keeps its
//! last stage until another pipeline needs the slot or nobody has needed it for [`IDLE_LIMIT`]; a stage that is to
//! stand (`standing`) stays then too, but its folders are cleared. [`Pool`] has them all.

mod pool;
pub(crate) mod prewarm;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use howdah_model::names::PipelineKey;
use howdah_protocol::objects::{JobPlan, StageSpec};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

pub use self::pool::{Lent, Pool, Preparation, Seeking};
use crate::cache::file_cache::blocking;
use crate::cache::scratch::Scratch;
use crate::error::Trouble;
use crate::metrics::Metrics;
use crate::pfs::workspace::Workspace;
use crate::runtime::{Network, Runtime, Stage, StageRequest};

/// Time after which an unused stage is stopped, or its folders are cleared.
pub const IDLE_LIMIT: Duration = Duration::from_secs(60);

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
    /// Its folders have been cleared since it was idle.
    cleared: bool,
    /// The stage that it is given out for.
    given_for: Option<StageKey>,
    /// It is given out only to start its stage ahead of work.
    preparing: bool,
    /// Its stage is not started yet.
    starting: bool,
}

/// A running stage and the folders that it sees.
pub struct Warm {
    key: StageKey,
    /// What it was started from.
    made_of: Box<StageSpec>,
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
        self.starting
    }

    /// Tells whether it has a certain stage.
    fn has(&self, key: &StageKey) -> bool {
        self.warm.as_ref().is_some_and(|warm| warm.key == *key)
    }

    /// Returns the stage that is asked for, starting it where it does not run. May be given up at any time.
    pub async fn ready(&mut self, key: &StageKey, stage: &StageSpec, with: &Starter) -> Result<&mut Warm, Trouble> {
        let usable = match &mut self.warm {
            Some(warm) if warm.key == *key && warm.is_as_asked(stage) => warm.stage.alive().await,
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

    /// Clears the folders of the stage, or stops it where it is dead or they cannot be cleared.
    async fn clear(&mut self) {
        if let Some(warm) = &mut self.warm {
            let space = Arc::clone(&warm.space);
            let cleared = blocking(move || lock(&space).clear()).await;
            self.cleared = true;
            if !warm.stage.alive().await || !matches!(cleared, Ok(Ok(()))) {
                self.stop().await;
            }
        }
    }

    /// Stops the stage, if there is one.
    pub async fn stop(&mut self) {
        if let Some(warm) = self.warm.take() {
            warm.stop().await;
        }
    }
}

impl Warm {
    /// Tells whether a start would give the same: a pipeline that is deleted and made again counts its versions anew.
    fn is_as_asked(&self, asked: &StageSpec) -> bool {
        let StageSpec {
            image,
            memory_bytes,
            cpus,
            labels,
            ..
        } = &*self.made_of;
        image.digest == asked.image.digest
            && (memory_bytes, cpus, labels) == (&asked.memory_bytes, &asked.cpus, &asked.labels)
    }

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
        made_of: Box::new(spec),
        stage,
        space: Arc::new(Mutex::new(space)),
    })
}

/// Locks the folders of a stage.
pub fn lock(space: &Mutex<Workspace>) -> MutexGuard<'_, Workspace> {
    // Every try begins by clearing the folders, whatever happened before.
    space.lock().unwrap_or_else(PoisonError::into_inner)
}
