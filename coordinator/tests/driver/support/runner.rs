//! The runner of the pipeline, as a task, and a worker that reports to it.

use std::sync::Arc;

use howdah_coordinator::scheduler::runner;
use howdah_model::{Command, Job};
use howdah_protocol::messages::SetEvent;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::pipeline::{create_pipeline, pipeline_key};
use super::{World, soon};

/// A runner that runs as a task. Dropping it stops it where it is.
pub(crate) struct Runner {
    shutdown: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Runner {
    /// Tells the runner that the coordinator shuts down.
    pub(crate) fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// Waits until the runner has ended.
    pub(crate) async fn ended(self) {
        soon(self.task).await.unwrap();
    }

    /// Stops the runner where it is.
    pub(crate) async fn killed(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

impl World {
    /// Starts a runner for the pipeline that has the name at present.
    pub(crate) fn start_runner(&self) -> Runner {
        let pipeline = pipeline_key();
        let seq = self.core.state().pipeline(&pipeline).unwrap().seq;
        let shutdown = CancellationToken::new();
        let running = runner::run(self.runners.clone(), pipeline, seq, shutdown.clone());
        Runner {
            shutdown,
            task: AbortOnDropHandle::new(tokio::spawn(running)),
        }
    }

    /// Delivers the event of a worker to the driver of its job, if a runner drives that.
    pub(crate) fn deliver(&self, event: SetEvent) {
        self.runners.deliver(event);
    }

    /// Works on every set in the queue until the newest job is over, and returns that job.
    pub(crate) async fn work_until_over(&self) -> Arc<Job> {
        let job = self.job();
        tokio::select! {
            over = self.until(&job, |job| job.state.is_final()) => over,
            () = self.work(|event| self.deliver(event)) => unreachable!("it never ends"),
        }
    }

    pub(crate) async fn delete_pipeline(&self) {
        self.submit(delete_pipeline()).await;
    }

    /// Deletes the pipeline and creates it again. No state without it is published.
    pub(crate) async fn replace_pipeline(&self) {
        let commands = std::iter::once(delete_pipeline()).chain(create_pipeline(|_| {}));
        self.core.submit_together(commands).await.unwrap();
    }
}

fn delete_pipeline() -> Command {
    Command::DeletePipeline {
        pipeline: pipeline_key(),
        force: false,
        keep_repo: false,
        must_exist: true,
    }
}
