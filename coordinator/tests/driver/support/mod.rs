//! What the driver's tests run in: one pipeline with one job, a queue double, a scripted worker, a store that fails on
//! demand.

mod pipeline;
mod queue;
mod worker;

use std::sync::Arc;

use futures::TryStreamExt;
use howdah_coordinator::job::drive::discard_plan;
use howdah_coordinator::job::{DriveError, JobContext, drive};
use howdah_coordinator::live::LiveStatus;
use howdah_coordinator::metadata::{self, Core};
use howdah_model::{Command, ImagePin, JobKey, JobState, PipelineKey, ProjectName, RepoKey, RepoName};
use howdah_protocol::messages::SetEvent;
use howdah_protocol::objects::plan_key;
use howdah_store::backend::fault::{Fault, FaultBackend};
use howdah_store::backend::memory::MemoryBackend;
use howdah_store::{FileTree, Limits, Store};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use pipeline::{create_pipeline, files};
use queue::QueueDouble;

/// A driver that runs as a task. Dropping it stops it where it is.
pub struct Driver {
    events: mpsc::UnboundedSender<SetEvent>,
    task: Option<JoinHandle<Result<(), DriveError>>>,
}

impl Driver {
    /// Delivers an event. One that comes after the end of the job is dropped.
    pub fn send(&self, event: SetEvent) {
        let _ = self.events.send(event);
    }

    /// Waits until the driver has ended.
    pub async fn ended(mut self) -> Result<(), DriveError> {
        self.task.take().unwrap().await.unwrap()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// One pipeline over the repository `images`, each file a datum and each datum a set, with one job that is ready.
pub struct World {
    pub core: Core,
    pub queue: Arc<QueueDouble>,
    context: JobContext,
    job: JobKey,
    /// The same objects as the coordinator's store, through a path without faults: what the worker and the test use.
    sound_store: Store,
}

impl World {
    pub async fn new(paths: &[&str]) -> Self {
        Self::with_faults(paths).await.0
    }

    /// Makes a world whose coordinator reaches the store through the returned backend. It has no faults at first.
    pub async fn with_faults(paths: &[&str]) -> (Self, Arc<FaultBackend>) {
        let memory = Arc::new(MemoryBackend::default());
        let faults = Arc::new(FaultBackend::new(memory.clone(), |_, _| Fault::None));
        let sound_store = Store::with_backend(memory, Limits::default()).await.unwrap();
        let store = Store::with_backend(faults.clone(), Limits::default()).await.unwrap();
        let (core, command_loop) = metadata::open(store.clone(), LiveStatus::default()).await.unwrap();
        tokio::spawn(command_loop.run());
        let images = RepoKey::user(ProjectName::default_project(), RepoName::new("images").unwrap());
        let create = Command::CreateRepo {
            repo: images.clone(),
            description: String::new(),
            update: false,
        };
        core.submit(create).await.unwrap();
        let write = Command::WriteCommit {
            branch: images.branch(howdah_model::BranchName::master()),
            expected_head: None,
            content: files(&store, paths).await,
            description: String::new(),
        };
        core.submit(write).await.unwrap();
        let pipeline: PipelineKey = "default/edges".parse().unwrap();
        core.submit(create_pipeline()).await.unwrap();
        let pin = Command::PinImage {
            pipeline: pipeline.clone(),
            version: 1,
            pin: ImagePin {
                reference: "example/edges:1".into(),
                digest: "sha256:abc".into(),
            },
        };
        core.submit(pin).await.unwrap();
        let state = core.state();
        let job = state.jobs().next().unwrap().key.clone();
        let queue = Arc::new(QueueDouble::new());
        let world = Self {
            context: JobContext::new(core.clone(), queue.clone()),
            core,
            queue,
            job,
            sound_store,
        };
        (world, faults)
    }

    /// Drives the job until it is over, as the scheduler's runner does: after a failure of infrastructure it is driven
    /// again. A worker runs every set that it is given; its event is delivered.
    pub async fn run_to_the_end(&self) {
        const MAX_ATTEMPTS: usize = 10;
        for _ in 0..MAX_ATTEMPTS {
            let driver = self.drive();
            let events = driver.events.clone();
            let work = async {
                loop {
                    let message = self.queue.take().await;
                    // The driver may be over.
                    let _ = events.send(self.run(&message).await);
                }
            };
            let ended = tokio::select! {
                ended = driver.ended() => ended,
                () = work => unreachable!("it never ends"),
            };
            if let Err(error) = ended {
                if error.invalidates_plan() {
                    discard_plan(&self.context, &self.job).await;
                }
                let restart = Command::RestartJob {
                    job: self.job.clone(),
                    reason: error.to_string(),
                };
                // Refused when the job ended although the driver has not learned of it.
                let _ = self.core.submit(restart).await;
            }
            if self.job_state().is_final() {
                return;
            }
        }
        panic!("the job has not ended after {MAX_ATTEMPTS} drivers");
    }

    /// Starts a driver of the job.
    pub fn drive(&self) -> Driver {
        let (events, receiver) = mpsc::unbounded_channel();
        let (context, job) = (self.context.clone(), self.job.clone());
        let task = tokio::spawn(async move { drive(&context, &job, receiver).await });
        Driver {
            events,
            task: Some(task),
        }
    }

    /// Waits until the plan of the job is logged.
    pub async fn plan_is_final(&self) {
        let planned = |state: &howdah_model::State| state.job(&self.job)?.plan.as_ref().map(|_| ());
        self.core.wait_for(planned).await.unwrap();
        let key = plan_key(&self.job.pipeline, &self.job.id);
        assert!(self.sound_store.get_opt(&key).await.unwrap().is_some());
    }

    pub fn job_state(&self) -> JobState {
        self.core.state().job(&self.job).unwrap().state
    }

    pub fn processed(&self) -> u64 {
        self.core.state().job(&self.job).unwrap().counts.processed
    }

    /// Lists the files of the output commit.
    pub async fn output_paths(&self) -> Vec<String> {
        let state = self.core.state();
        let commit = state.commit(&self.job.output_commit()).unwrap();
        let glob = howdah_glob::Glob::new("/**").unwrap();
        let tree = FileTree::of(&self.sound_store, &commit.content);
        let nodes: Vec<_> = tree.glob(&glob).try_collect().await.unwrap();
        nodes
            .into_iter()
            .filter(|node| !node.is_directory())
            .map(|node| node.path)
            .collect()
    }
}
