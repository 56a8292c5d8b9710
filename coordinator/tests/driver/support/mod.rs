//! What the driver's tests run in: one pipeline with one job, a queue double, a scripted worker, a store that fails on
//! demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use futures::TryStreamExt;
use howdah_coordinator::job::drive::discard_plan;
use howdah_coordinator::job::{DriveError, JobContext, SetQueue, drive};
use howdah_coordinator::live::LiveStatus;
use howdah_coordinator::metadata::{self, Core};
use howdah_model::{
    Command, Content, DatumHash, ImagePin, JobKey, JobState, PipelineKey, ProjectName, RepoKey, RepoName,
};
use howdah_protocol::messages::{SetDone, SetEvent, SetMessage};
use howdah_protocol::objects::{
    DatumOutcome, DatumResult, DatumSet, DatumStats, OutputFile, SetResult, plan_key, result_key,
};
use howdah_protocol::wire;
use howdah_queue::{ConsumerStatus, QueueError};
use howdah_spec::{DatumSetSpec, Input, PfsInput, PipelineSpec};
use howdah_store::backend::fault::{Fault, FaultBackend};
use howdah_store::backend::memory::MemoryBackend;
use howdah_store::{FileEdits, FileTree, Limits, PackWriter, PathRules, Store};
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// A queue that hands messages to the test, in order. A message that the test takes is no longer in the queue: a test
/// that drops it has lost it.
pub struct QueueDouble {
    messages: mpsc::UnboundedSender<SetMessage>,
    taken: tokio::sync::Mutex<mpsc::UnboundedReceiver<SetMessage>>,
    waiting: AtomicU64,
    fails: AtomicBool,
    epoch: watch::Sender<u64>,
}

impl QueueDouble {
    fn new() -> Self {
        let (messages, taken) = mpsc::unbounded_channel();
        Self {
            messages,
            taken: tokio::sync::Mutex::new(taken),
            waiting: AtomicU64::new(0),
            fails: AtomicBool::new(false),
            epoch: watch::channel(0).0,
        }
    }

    /// Waits for the next message.
    pub async fn take(&self) -> SetMessage {
        let message = self.taken.lock().await.recv().await.unwrap();
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        message
    }

    /// Makes every operation fail from now on, or work again.
    pub fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    /// Loses every message, as a NATS server does whose store is deleted, and raises the stream epoch.
    pub async fn lose_everything(&self) {
        let mut taken = self.taken.lock().await;
        while taken.try_recv().is_ok() {}
        self.waiting.store(0, Ordering::SeqCst);
        self.epoch.send_modify(|epoch| *epoch += 1);
    }

    fn check(&self) -> Result<(), QueueError> {
        match self.fails.load(Ordering::SeqCst) {
            true => Err(QueueError::NoWorkers),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl SetQueue for QueueDouble {
    async fn prepare(&self, _: &PipelineKey, _: u64) -> Result<(), QueueError> {
        self.check()
    }

    async fn publish(&self, sets: &[SetMessage]) -> Result<(), QueueError> {
        self.check()?;
        for set in sets {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.messages.send(set.clone()).unwrap();
        }
        Ok(())
    }

    async fn depth(&self, _: &PipelineKey) -> Result<Option<ConsumerStatus>, QueueError> {
        self.check()?;
        Ok(Some(ConsumerStatus {
            pending: self.waiting.load(Ordering::SeqCst),
            ..ConsumerStatus::default()
        }))
    }

    fn stream_epoch(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }
}

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

    /// Runs a set as a worker would: each datum writes one file with the path of its input. Stores the result and returns
    /// the event.
    pub async fn run(&self, message: &SetMessage) -> SetEvent {
        self.store_result(message, |datum| datum).await
    }

    /// Like [`World::run`], but the result is about datums with other hashes.
    pub async fn run_wrong_datums(&self, message: &SetMessage) -> SetEvent {
        let wrong = |mut datum: DatumResult| {
            datum.hash = DatumHash::new([0; 32]);
            datum
        };
        self.store_result(message, wrong).await
    }

    async fn store_result(&self, message: &SetMessage, change: impl Fn(DatumResult) -> DatumResult) -> SetEvent {
        let set: DatumSet = match &message.inline {
            Some(set) => set.clone(),
            None => wire::decode(&self.sound_store.get(&message.set_key).await.unwrap()).unwrap(),
        };
        let mut datums = Vec::new();
        for datum in &set.datums {
            let path = datum.inputs[0].path.to_string();
            let result = DatumResult {
                id: datum.id,
                hash: datum.hash,
                state: DatumOutcome::Success,
                tries: 1,
                exit_code: Some(0),
                reason: None,
                stats: DatumStats::default(),
                outputs: vec![OutputFile {
                    path: path.clone(),
                    content: file_content(&self.sound_store, &path).await,
                }],
            };
            datums.push(change(result));
        }
        let result = SetResult {
            set: set.set,
            worker: "w".to_owned(),
            worker_version: "1".to_owned(),
            started: Timestamp::UNIX_EPOCH,
            finished: Timestamp::UNIX_EPOCH,
            datums,
            log_key: None,
        };
        let key = result_key(&message.pipeline, &message.job, set.set);
        self.sound_store.put(&key, wire::encode(&result).into()).await.unwrap();
        SetEvent::Done(SetDone {
            pipeline: message.pipeline.clone(),
            job: message.job,
            set: set.set,
            worker: "w".to_owned(),
            result: None,
        })
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

fn create_pipeline() -> Command {
    let mut spec = PipelineSpec::default();
    spec.pipeline.project = "default".to_owned();
    spec.pipeline.name = "edges".to_owned();
    spec.parallelism = 1;
    spec.transform.image = "example/edges:1".to_owned();
    spec.transform.cmd = vec!["run".to_owned()];
    spec.datum_set_spec = Some(DatumSetSpec {
        number: 1,
        ..DatumSetSpec::default()
    });
    spec.input = Some(Input::Pfs(PfsInput {
        project: "default".to_owned(),
        name: "images".to_owned(),
        repo: "images".to_owned(),
        branch: "master".to_owned(),
        glob: "/*".to_owned(),
        ..PfsInput::default()
    }));
    Command::CreatePipeline {
        spec: Box::new(spec),
        user_json: "{}".to_owned(),
        effective_json: "{}".to_owned(),
        update: false,
        reprocess: false,
        salt: "salt".to_owned(),
        spec_content: Content::EMPTY,
    }
}

async fn files(store: &Store, paths: &[&str]) -> Content {
    let mut edits = FileEdits::new(PathRules::default());
    for path in paths {
        edits.put(path, file_content(store, path).await).unwrap();
    }
    edits.apply(store, &Content::default()).await.unwrap()
}

/// Stores a file that contains its path.
async fn file_content(store: &Store, path: &str) -> howdah_store::FileContent {
    let mut writer = PackWriter::new(store);
    writer.begin(path.to_owned()).await.unwrap();
    writer.write(path.as_bytes()).await.unwrap();
    writer.end().await.unwrap();
    let (_, content) = writer.finish().await.unwrap().into_iter().next().unwrap();
    content
}
