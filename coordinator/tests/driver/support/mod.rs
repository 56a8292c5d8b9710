//! What the tests run in: a coordinator with one pipeline, whose first job is ready, over a queue double, a scripted worker
//! and a store that fails on demand.

mod pipeline;
mod queue;
mod runner;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use howdah_coordinator::job::collect::{Collector, Signals};
use howdah_coordinator::job::drive::discard_plan;
use howdah_coordinator::job::merge::Merger;
use howdah_coordinator::job::plan_publisher::PublishedPlan;
use howdah_coordinator::job::planner;
use howdah_coordinator::job::publish::SetPublisher;
use howdah_coordinator::job::view::JobView;
use howdah_coordinator::job::{DriveError, JobContext, RetryLimits, SetQueue, drive};
use howdah_coordinator::live::{JobProgress, LiveStatus};
use howdah_coordinator::metadata::{self, Core, LoopError};
use howdah_coordinator::scheduler::RunnerContext;
use howdah_model::{BranchName, Command, CommitKey, Event, Job, JobKey, JobState, PipelineState, Reply, State};
use howdah_protocol::messages::SetEvent;
use howdah_protocol::objects::plan_key;
use howdah_spec::PipelineSpec;
use howdah_store::backend::fault::{Fault, FaultBackend};
use howdah_store::backend::memory::MemoryBackend;
use howdah_store::{FileTree, Limits, MetaLog, Store, keys};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use pipeline::{create_pipeline, create_repo, files, images};
use queue::QueueDouble;
pub(crate) use queue::QueueRequest;

/// Waits for what has to happen within an hour of the paused clock.
pub(crate) async fn soon<T>(event: impl Future<Output = T>) -> T {
    let an_hour = Duration::from_secs(3600);
    tokio::time::timeout(an_hour, event)
        .await
        .expect("it happens within an hour")
}

/// Waits until all other tasks wait. The paused clock does not move before that.
pub(crate) async fn all_idle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// A driver that runs as a task. Dropping it stops it where it is.
pub(crate) struct Driver {
    events: mpsc::UnboundedSender<SetEvent>,
    task: Option<JoinHandle<Result<(), DriveError>>>,
}

impl Driver {
    /// Delivers an event. One that comes after the end of the job is dropped.
    pub(crate) fn send(&self, event: SetEvent) {
        let _ = self.events.send(event);
    }

    /// Waits until the driver has ended.
    pub(crate) async fn ended(mut self) -> Result<(), DriveError> {
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

/// One pipeline over the repository `images`, each file a datum and each datum a set. It has a job for each commit;
/// methods that name no job mean the newest one.
pub(crate) struct World {
    pub queue: Arc<QueueDouble>,
    core: Core,
    context: JobContext,
    /// What all runners of this world share.
    runners: RunnerContext,
    /// What the coordinator reaches the store through.
    faults: Arc<FaultBackend>,
    /// The same objects as the coordinator's store, through a path without faults: what the worker and the test use.
    sound_store: Store,
    command_loop: AbortOnDropHandle<Result<(), LoopError>>,
}

impl World {
    /// Makes a world with one commit, and a job that is ready to process it.
    pub(crate) async fn new(paths: &[&str]) -> Self {
        Self::with_spec(paths, |_| {}).await
    }

    /// Makes a world whose coordinator reaches the store through the returned backend. It has no faults at first.
    pub(crate) async fn with_faults(paths: &[&str]) -> (Self, Arc<FaultBackend>) {
        let world = Self::new(paths).await;
        let faults = world.faults.clone();
        (world, faults)
    }

    /// Makes a world whose pipeline has a changed spec.
    pub(crate) async fn with_spec(paths: &[&str], change: impl FnOnce(&mut PipelineSpec)) -> Self {
        let memory = Arc::new(MemoryBackend::default());
        let faults = Arc::new(FaultBackend::new(memory.clone(), |_, _| Fault::None));
        let sound_store = Store::with_backend(memory, Limits::default()).await.unwrap();
        let world = Self::open(faults, sound_store, Arc::default()).await;
        world.submit(create_repo()).await;
        world.write_commit(paths).await;
        for command in create_pipeline(change) {
            world.submit(command).await;
        }
        world
    }

    /// Opens a coordinator: its command loop runs, and no runner.
    async fn open(faults: Arc<FaultBackend>, sound_store: Store, queue: Arc<QueueDouble>) -> Self {
        let store = Store::with_backend(faults.clone(), Limits::default()).await.unwrap();
        let (core, command_loop) = metadata::open(store, LiveStatus::default()).await.unwrap();
        let context = JobContext::new(core.clone(), queue.clone(), RetryLimits::default());
        Self {
            queue,
            core,
            runners: RunnerContext::new(context.clone()),
            context,
            faults,
            sound_store,
            command_loop: AbortOnDropHandle::new(tokio::spawn(command_loop.run())),
        }
    }

    /// Opens another coordinator over the same store and queue after this one has died. Between the two, `events` get
    /// into the log.
    pub(crate) async fn reopen(mut self, events: &[Event]) -> Self {
        self.end_command_loop().await;
        if !events.is_empty() {
            let mut log = MetaLog::open(&self.sound_store).await.unwrap().log;
            log.append_events(events).await.unwrap();
        }
        Self::open(self.faults, self.sound_store, self.queue).await
    }

    /// Ends the command loop where it is.
    pub(crate) async fn end_command_loop(&mut self) {
        self.command_loop.abort();
        let _ = (&mut self.command_loop).await;
    }

    pub(crate) async fn submit(&self, command: Command) -> Reply {
        self.core.submit(command).await.unwrap()
    }

    /// Writes a commit with these files and no others. The pipeline gets a job for it.
    pub(crate) async fn write_commit(&self, paths: &[&str]) {
        let branch = images().branch(BranchName::master());
        let expected_head = self.core.state().branch(&branch).and_then(|branch| branch.head);
        let write = Command::WriteCommit {
            branch,
            expected_head,
            content: files(self.core.store(), paths).await,
            description: String::new(),
        };
        self.submit(write).await;
    }

    /// Opens a commit. The pipeline gets a job that waits for it.
    pub(crate) async fn start_commit(&self) -> CommitKey {
        let start = Command::StartCommit {
            repo: images(),
            branch: Some(BranchName::master()),
            parent: None,
            description: String::new(),
        };
        let Reply::Commit(commit) = self.submit(start).await else {
            panic!("a commit is answered")
        };
        commit
    }

    /// Drives the job until it is over, as the scheduler's runner does: after a failure of infrastructure it is driven
    /// again. A worker runs every set that it is given; its event is delivered.
    pub(crate) async fn run_to_the_end(&self) {
        const MAX_ATTEMPTS: usize = 10;
        let job = self.job();
        for _ in 0..MAX_ATTEMPTS {
            let driver = self.drive();
            let events = driver.events.clone();
            let ended = tokio::select! {
                ended = driver.ended() => ended,
                () = self.work(|event| {
                    // The driver may be over.
                    let _ = events.send(event);
                }) => unreachable!("it never ends"),
            };
            if let Err(error) = ended {
                if error.invalidates_plan() {
                    discard_plan(&self.context, &job).await;
                }
                let restart = Command::RestartJob {
                    job: job.clone(),
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
    pub(crate) fn drive(&self) -> Driver {
        let (events, receiver) = mpsc::unbounded_channel();
        let (context, job) = (self.context.clone(), self.job());
        let task = tokio::spawn(async move { drive(&context, &job, receiver).await });
        Driver {
            events,
            task: Some(task),
        }
    }

    /// Plans the job as a driver does, and goes on planning after all its sets are published.
    pub(crate) async fn plan_without_end(&self) {
        let (_sender, events) = mpsc::unbounded_channel();
        let view = JobView::of(&self.core, &self.job()).unwrap();
        let prepared = planner::prepare(&self.context, &view).await.unwrap().unwrap();
        let publisher = SetPublisher::new(&self.context, &view, prepared.plan.id);
        let stream_epoch = self.queue.stream_epoch();
        let signals = Signals { events, stream_epoch };
        let merger = Merger::new(prepared.plan.clone(), 1 << 20);
        let collector = Collector::new(&self.context, &view, &publisher, signals);
        let planning = async {
            prepared.publish(&self.context, &view, &publisher).await?;
            std::future::pending::<Result<PublishedPlan, DriveError>>().await
        };
        Box::pin(collector.collect(planning, merger)).await.map(drop).unwrap();
    }

    /// Returns the newest job.
    pub(crate) fn job(&self) -> JobKey {
        self.core.state().jobs().next_back().unwrap().key.clone()
    }

    /// Waits until a job is as wanted, and returns it.
    pub(crate) async fn until(&self, job: &JobKey, is_wanted: impl Fn(&Job) -> bool) -> Arc<Job> {
        let wanted = |state: &State| state.job(job).filter(|job| is_wanted(job)).cloned();
        soon(self.core.wait_for(wanted)).await.unwrap()
    }

    /// Waits until the plan of the job is logged.
    pub(crate) async fn plan_is_final(&self) {
        self.until(&self.job(), |job| job.plan.is_some()).await;
        assert!(self.has_plan().await);
    }

    /// Tells whether the store has a plan of the job, or a part of it.
    pub(crate) async fn has_plan(&self) -> bool {
        let job = self.job();
        let key = plan_key(&job.pipeline, &job.id);
        !self.sound_store.list(&key).await.unwrap().is_empty()
    }

    pub(crate) fn job_state(&self) -> JobState {
        self.core.state().job(&self.job()).unwrap().state
    }

    /// Waits until the progress of the job is as wanted. Progress is not published, so it is read again and again.
    pub(crate) async fn until_progress(&self, is_wanted: impl Fn(&JobProgress) -> bool) {
        let job = self.job();
        let reached = async {
            while !self
                .core
                .live()
                .progress
                .get(&job)
                .is_some_and(|found| is_wanted(&found))
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon(reached).await;
    }

    /// Waits until the job, or one of its sets, has failed so often.
    pub(crate) async fn until_tried(&self, tries: u32) {
        let is_tried = |progress: &JobProgress| progress.retry.as_ref().is_some_and(|retry| retry.tries >= tries);
        self.until_progress(is_tried).await;
    }

    /// Returns what `inspect job` shows of the tries of the job, at the time of the last one.
    pub(crate) fn retry_text(&self) -> String {
        let progress = self.core.live().progress.get(&self.job()).unwrap();
        progress.retry.unwrap().text(Timestamp::now())
    }

    /// Returns the state of the pipeline, and the reason for it.
    pub(crate) fn pipeline_state(&self) -> (PipelineState, String) {
        let state = self.core.state();
        let pipeline = state.pipeline(&pipeline::pipeline_key()).unwrap();
        (pipeline.state, pipeline.reason.to_string())
    }

    /// Damages all nodes of trees in the store, and returns their keys.
    pub(crate) async fn damage_nodes(&self) -> Vec<String> {
        let nodes = self.sound_store.list(keys::NODES).await.unwrap();
        for node in &nodes {
            self.sound_store.put(&node.key, "damaged".into()).await.unwrap();
        }
        nodes.into_iter().map(|node| node.key).collect()
    }

    pub(crate) fn processed(&self) -> u64 {
        self.core.state().job(&self.job()).unwrap().counts.processed
    }

    /// Lists the files of the output commit.
    pub(crate) async fn output_paths(&self) -> Vec<String> {
        let state = self.core.state();
        let commit = state.commit(&self.job().output_commit()).unwrap();
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
