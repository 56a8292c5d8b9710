//! A started stage container with its folders.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use howdah_model::names::PipelineKey;
use howdah_protocol::objects::{JobPlan, StageSpec};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::blocking::blocking;
use crate::cache::scratch::Scratch;
use crate::error::InfraError;
use crate::metrics::Metrics;
use crate::pfs::workspace::{Workspace, lock_workspace};
use crate::runtime::{Network, Runtime, Stage, StageRequest};

/// Identifies interchangeable stages: a pipeline's version, and with it image, user and limits.
pub(crate) type StageKey = (PipelineKey, u64);

/// Returns the key of the stages that run the datums of a job.
pub(crate) fn stage_key(plan: &JobPlan) -> StageKey {
    (plan.pipeline.clone(), plan.version)
}

/// A started stage and the folders that it sees.
pub(crate) struct RunningStage {
    pub(super) key: StageKey,
    /// The specification it was started from.
    spec: Box<StageSpec>,
    /// The container.
    pub stage: Box<dyn Stage>,
    /// Its folders. Locked only inside blocking work on behalf of the slot's owner, never across an await.
    pub workspace: Arc<Mutex<Workspace>>,
    /// Whether a try has begun in it.
    pub used: bool,
}

/// What starting a stage needs. Clones share everything.
#[derive(Clone)]
pub(crate) struct StageStarter {
    /// Starts stages.
    pub runtime: Arc<dyn Runtime>,
    /// Provides their folders.
    pub scratch: Scratch,
    /// Counts starts.
    pub metrics: Arc<Metrics>,
    /// Starts and stops that are under way, including those whose caller has given up.
    pub starts: TaskTracker,
}

impl StageStarter {
    /// Starts a stage in a slot. The returned future may be dropped at any time.
    ///
    /// # Errors
    /// [`InfraError::Runtime`] if the image cannot be fetched or the container does not start; [`InfraError::Io`] if
    /// its folders cannot be made.
    pub(super) async fn start(
        &self,
        slot: usize,
        key: &StageKey,
        spec: &StageSpec,
    ) -> Result<RunningStage, InfraError> {
        // Not on a task: a pull takes longest and leaves nothing behind, so it ends together with the caller's
        // interest.
        self.runtime.fetch(&spec.image).await.map_err(InfraError::Runtime)?;
        let start = start(slot, key.clone(), spec.clone(), self.clone());
        let pending = PendingStart {
            task: Some(self.starts.spawn(start)),
            starts: self.starts.clone(),
        };
        pending.finish().await
    }

    /// Stops a stage. The stop completes even if the returned future is dropped.
    pub(super) async fn stop(&self, stage: RunningStage) {
        let _ = self.starts.spawn(stage.stop()).await;
    }
}

/// A start that runs on a task of its own.
///
/// A container that is half created can only be removed by finishing the start. If the caller gives up, dropping this
/// therefore does not abort the task: it stops the stage as soon as it runs.
struct PendingStart {
    task: Option<JoinHandle<Result<RunningStage, InfraError>>>,
    starts: TaskTracker,
}

impl PendingStart {
    async fn finish(mut self) -> Result<RunningStage, InfraError> {
        // Borrowed, not taken: if this future is dropped while it waits, `drop` below still finds the task.
        let Some(task) = &mut self.task else {
            return Err(InfraError::Task);
        };
        let ended = task.await;
        self.task = None;
        ended.map_err(|_| InfraError::Task)?
    }
}

impl Drop for PendingStart {
    fn drop(&mut self) {
        // Without a Tokio runtime the process is about to exit and the task is gone with the runtime.
        if let Some(task) = self.task.take()
            && let Ok(runtime) = Handle::try_current()
        {
            let stop_when_started = async {
                if let Ok(Ok(stage)) = task.await {
                    stage.stop().await;
                }
            };
            // Tracked, so that shutdown waits for it and leaves no container behind.
            self.starts.spawn_on(stop_when_started, &runtime);
        }
    }
}

impl RunningStage {
    /// Returns whether a start from another specification would give the same stage.
    ///
    /// Equal keys do not suffice: a pipeline that is deleted and created again counts its versions from the beginning.
    pub(super) fn matches(&self, spec: &StageSpec) -> bool {
        // Every field by name: a new one does not compile until it is decided whether a start depends on it.
        let StageSpec {
            image,
            memory_bytes,
            cpus,
            labels,
            // Used by each run, not by the start.
            cmd: _,
            stdin: _,
            err_cmd: _,
            err_stdin: _,
            env: _,
            accept_return_code: _,
            user: _,
            working_dir: _,
            datum_tries: _,
            datum_timeout_ms: _,
            writable_inputs: _,
            // A used stage is stopped before the next try.
            new_stage_for_each_try: _,
        } = &*self.spec;
        image.digest == spec.image.digest
            && (memory_bytes, cpus, labels) == (&spec.memory_bytes, &spec.cpus, &spec.labels)
    }

    /// Stops the container, then gives up its folders.
    pub(super) async fn stop(self) {
        self.stage.stop().await;
        let workspace = self.workspace;
        // An error only delays the removal: the next start of a worker removes the folders.
        let _ = blocking(move || lock_workspace(&workspace).give_up()).await;
    }
}

async fn start(
    index: usize,
    key: StageKey,
    spec: StageSpec,
    starter: StageStarter,
) -> Result<RunningStage, InfraError> {
    let begun = Instant::now();
    let dirs = starter
        .scratch
        .slot_dirs(index)
        .map_err(InfraError::io("make folders in", starter.scratch.root()))?;
    let (pipeline, version) = &key;
    let labels = BTreeMap::from([
        ("howdah.pipeline".to_owned(), pipeline.to_string()),
        ("howdah.pipeline.version".to_owned(), version.to_string()),
    ]);
    let request = StageRequest {
        name: format!("{}-{}-{index}", pipeline.project, pipeline.name),
        image: spec.image.clone(),
        dirs: dirs.clone(),
        labels,
        user_labels: spec.labels.clone(),
        memory_bytes: spec.memory_bytes,
        cpus: spec.cpus,
        network: Network::Default,
    };
    let workspace = Workspace::open(dirs, starter.scratch.clone())?;
    let stage = match starter.runtime.start(&request).await {
        Ok(stage) => stage,
        Err(error) => {
            workspace.give_up();
            return Err(InfraError::Runtime(error));
        }
    };
    starter.metrics.stage_starts.inc();
    starter
        .metrics
        .stage_start_seconds
        .observe(begun.elapsed().as_secs_f64());
    tracing::info!(
        %pipeline, version, slot = index, image = %spec.image.reference, "started a stage"
    );
    Ok(RunningStage {
        key,
        spec: Box::new(spec),
        stage,
        workspace: Arc::new(Mutex::new(workspace)),
        used: false,
    })
}
