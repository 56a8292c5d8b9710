//! The environment of a worker under test: queue, store and runtime, and what a coordinator does.

#![expect(
    clippy::needless_pass_by_value,
    reason = "helpers of tests fail by panicking, print what helps, and are not hot"
)]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use howdah_model::entities::Content;
use howdah_model::ids::TreeRoot;
use howdah_model::names::PipelineKey;
use howdah_protocol::messages::{CancelJob, SetEvent, SetFailed, SetMessage};
use howdah_protocol::objects::{self, Datum, DatumInput, DatumSet, JobPlan, LogObject, SetResult};
use howdah_protocol::testing::{datum, file_input};
use howdah_protocol::wire;
use howdah_queue::testing::{NatsServer, coordinator};
use howdah_queue::{CoordinatorQueue, Subscription};
use howdah_store::{FileEdits, FileTree, PackWriter, PathRules, Store};
use howdah_worker::runtime::scripted::{ScriptedCall, ScriptedEnd, ScriptedRuntime};
use howdah_worker::{OutputLimits, Scratch, WorkerError, WorkerParts, metrics::Metrics, run_with};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Time limit of each wait. Only a failure reaches it.
pub(crate) const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// A NATS server, a store and a runtime, which several workers may share.
pub(crate) struct WorkerFixture {
    pub server: NatsServer,
    pub queue: CoordinatorQueue,
    pub store: Store,
    pub runtime: ScriptedRuntime,
    pub events: Subscription<SetEvent>,
    pub folder: tempfile::TempDir,
    /// Limits of the workers that are started from now on.
    pub output_limits: OutputLimits,
}

impl Drop for WorkerFixture {
    /// Removes folders of any depth. The removal by `TempDir` calls itself for each level and overflows its stack.
    fn drop(&mut self) {
        let remove = || {
            std::process::Command::new("rm")
                .arg("-rf")
                .arg(self.folder.path())
                .output()
        };
        // It fails while the remover thread of a worker moves folders.
        let _ = (0..100).find(|_| remove().is_ok_and(|done| done.status.success()));
    }
}

/// A running worker. It has threads of its own, so that a test can kill all its tasks at once.
pub(crate) struct RunningWorker {
    stop: CancellationToken,
    task: Option<JoinHandle<Result<(), WorkerError>>>,
    threads: Option<Runtime>,
    pub metrics: Arc<Metrics>,
}

impl RunningWorker {
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let task = self.task.take().unwrap();
        within(task).await.unwrap().unwrap();
    }

    /// Ends the worker as `kill -9` does: it hands nothing back and removes nothing.
    pub(crate) fn kill(self) {}
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// Waits for a future until [`WAIT_LIMIT`].
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT_LIMIT, future)
        .await
        .expect("it took too long")
}

impl WorkerFixture {
    pub(crate) async fn new() -> Self {
        let server = NatsServer::start();
        let queue = coordinator(&server.url()).await;
        queue.ensure_streams().await.unwrap();
        let runtime = ScriptedRuntime::new();
        runtime.define("ok", |_| ScriptedEnd::ok());
        runtime.define("endless", |_| ScriptedEnd::endless());
        runtime.define("copy", copy);
        Self {
            events: queue.set_events().await.unwrap(),
            queue,
            server,
            store: Store::in_memory().await,
            runtime,
            folder: tempfile::tempdir().unwrap(),
            output_limits: OutputLimits::default(),
        }
    }

    pub(crate) async fn worker(&self, name: &str, slots: usize) -> RunningWorker {
        let stop = CancellationToken::new();
        let metrics = Arc::new(Metrics::new());
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (url, named) = (self.server.url(), name.to_owned());
        let queue = threads
            .spawn(async move { howdah_queue::testing::worker(&url, &named).await })
            .await
            .unwrap();
        let parts = WorkerParts {
            name: name.to_owned(),
            queue,
            store: self.store.clone(),
            store_is_local: true,
            runtime: Arc::new(self.runtime.clone()),
            scratch: Scratch::open(&self.folder.path().join(name)).unwrap(),
            slots,
            cache_bytes: 1 << 20,
            output_limits: self.output_limits,
            pipelines: Vec::new(),
            metrics: Arc::clone(&metrics),
        };
        RunningWorker {
            task: Some(threads.spawn(run_with(parts, stop.clone()))),
            threads: Some(threads),
            stop,
            metrics,
        }
    }

    /// Stores files and returns the tree that a commit of them has.
    pub(crate) async fn commit(&self, files: &[(&str, Vec<u8>)]) -> TreeRoot {
        commit_into(&self.store, files).await
    }

    /// Makes an input of a file of a commit or, if the path ends with a slash, of a folder.
    pub(crate) async fn input(&self, name: &str, root: TreeRoot, path: &str) -> DatumInput {
        input_from(&self.store, name, root, path).await
    }

    /// Writes plan and sets to the store and publishes the sets.
    ///
    /// Sets with even numbers are published inline and with file locations, the others without.
    pub(crate) async fn start(&self, plan: &JobPlan, sets: Vec<Vec<Datum>>) -> Vec<SetMessage> {
        let plan_key = objects::plan_key(&plan.pipeline, &plan.job);
        let written = wire::encode(plan).into();
        self.store.put(&plan_key, written).await.unwrap();
        let mut messages = Vec::new();
        for (number, mut datums) in (0..).zip(sets) {
            for datum in datums.iter_mut().filter(|_| number % 2 == 0) {
                add_locations(&self.store, datum).await;
            }
            let set = DatumSet { set: number, datums };
            let set_key = objects::set_key(&plan.pipeline, &plan.job, plan.id, number);
            self.store.put(&set_key, wire::encode(&set).into()).await.unwrap();
            messages.push(SetMessage {
                pipeline: plan.pipeline.clone(),
                version: plan.version,
                job: plan.job,
                plan: plan.id,
                set: number,
                attempt: 0,
                inline: (number % 2 == 0).then_some(set),
            });
        }
        self.queue.ensure_consumer(&plan.pipeline, 16).await.unwrap();
        self.queue.publish_sets(&messages).await.unwrap();
        messages
    }

    /// Publishes the cancellation of a job.
    pub(crate) async fn cancel(&self, plan: &JobPlan) {
        let cancel = CancelJob {
            pipeline: plan.pipeline.clone(),
            job: plan.job,
            plan: None,
        };
        self.queue.cancel_job(&cancel).await.unwrap();
    }

    /// Returns the number of results that a job has in the store.
    pub(crate) async fn results(&self, plan: &JobPlan) -> usize {
        let prefix = objects::results_prefix(&plan.pipeline, &plan.job);
        self.store.list(&prefix).await.unwrap().len()
    }

    /// Waits until a set has a result and returns it.
    pub(crate) async fn result(&mut self, plan: &JobPlan, set: u32) -> SetResult {
        let key = objects::result_key(&plan.pipeline, &plan.job, plan.id, set);
        within(async {
            // The event may have been received during the wait for another set.
            while self.store.stat(&key).await.unwrap().is_none() {
                self.events.next().await.unwrap();
            }
        })
        .await;
        wire::decode(&self.store.get(&key).await.unwrap()).unwrap()
    }

    /// Runs a job of one datum and returns the result of its set.
    pub(crate) async fn run_one(&mut self, plan: &JobPlan, inputs: Vec<DatumInput>) -> SetResult {
        self.start(plan, vec![vec![datum(1, inputs)]]).await;
        self.result(plan, 0).await
    }

    /// Waits for the next event of a failed set.
    pub(crate) async fn set_failed(&mut self) -> SetFailed {
        within(async {
            loop {
                if let SetEvent::Failed(failed) = self.events.next().await.unwrap() {
                    return failed;
                }
            }
        })
        .await
    }

    /// Waits until the queue has no set of a pipeline, neither waiting nor delivered.
    pub(crate) async fn idle(&self, pipeline: &PipelineKey) {
        within(async {
            loop {
                let status = self.queue.consumer_info(pipeline).await.unwrap().unwrap();
                if status.pending == 0 && status.ack_pending == 0 {
                    return;
                }
            }
        })
        .await;
    }

    /// Returns the log lines of a set; the flag is true for lines of the user's command.
    pub(crate) async fn log_lines(&self, result: &SetResult) -> Vec<(bool, String)> {
        let Some(key) = &result.log_key else { return Vec::new() };
        let log: LogObject = wire::decode(&self.store.get(key).await.unwrap()).unwrap();
        log.lines.into_iter().map(|line| (line.user, line.message)).collect()
    }

    /// Returns the output files of the datum with this index.
    pub(crate) async fn output(&self, result: &SetResult, datum: usize) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        for file in &result.datums[datum].outputs {
            let bytes = self.store.read_file_all(&file.content).await.unwrap();
            all.push((file.path.clone(), bytes.to_vec()));
        }
        all
    }
}

/// Stores files and returns the tree that a commit of them has.
pub(crate) async fn commit_into(store: &Store, files: &[(&str, Vec<u8>)]) -> TreeRoot {
    let mut pack = PackWriter::new(store);
    for (path, bytes) in files {
        pack.begin((*path).to_owned()).await.unwrap();
        pack.write(bytes).await.unwrap();
    }
    let mut edits = FileEdits::new(PathRules::Strict);
    for (path, content) in pack.finish().await.unwrap() {
        edits.put(&path, content).unwrap();
    }
    let content = edits.apply(store, &Content::default()).await.unwrap();
    content.root.unwrap()
}

/// Adds the locations of its files to a datum that has none.
async fn add_locations(store: &Store, datum: &mut Datum) {
    if !datum.slices.is_empty() {
        return;
    }
    for input in &datum.inputs {
        let entry = FileTree::new(store, Some(input.root)).file(&input.path).await;
        let content = entry.ok().flatten().map(|entry| entry.content);
        datum.slices.push(content.and_then(|content| content.single_slice()));
    }
}

/// Makes an input of a file of a store or, if the path ends with a slash, of a folder.
pub(crate) async fn input_from(store: &Store, name: &str, root: TreeRoot, path: &str) -> DatumInput {
    let tree = FileTree::new(store, Some(root));
    let node = tree.inspect(path).await.unwrap().unwrap();
    DatumInput {
        root,
        size: node.size,
        hash: node.hash,
        ..file_input(name, path)
    }
}

/// Copies the file of the input `in` to `/pfs/out`, under its own name.
fn copy(call: ScriptedCall) -> ScriptedEnd {
    let from = call.var("in").unwrap().to_owned();
    let name = from.rsplit('/').next().unwrap();
    let bytes = std::fs::read(call.path(&from)).unwrap();
    std::fs::write(call.path("/pfs/out").join(name), bytes).unwrap();
    ScriptedEnd {
        stdout: format!("copied {name}\n"),
        ..ScriptedEnd::ok()
    }
}
