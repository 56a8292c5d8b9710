//! Terms: a coordinator stands by, claims the log, leads until another coordinator claims it, and stands by again.
//!
//! While it leads, these run as tasks: the command loop, the lease, the scheduler. The first one that notices another leader
//! ends the term, and all tasks are aborted. This loses nothing: what was acknowledged is durable, and the new leader does
//! what these tasks did.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use howdah_api::file_broker::FileBroker;
use howdah_queue::Queue;
use howdah_store::{MetaLog, Store};
use howdah_telemetry::error_chain;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::job::RetryLimits;
use crate::leadership::lease::LeaseKeeper;
use crate::leadership::role::{Leader, Role};
use crate::leadership::standby::Standby;
use crate::live::LiveStatus;
use crate::metadata::{self, Core, LogTail, LoopError, orphaned_edits, seal_plain_secrets};
use crate::sealing::Sealer;
use crate::{metrics, scheduler};

/// Longest time that the scheduler may take to stop its tasks.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What every term starts with.
pub(crate) struct Terms {
    /// Where everything is.
    pub store: Store,
    /// Connection to the workers.
    pub queue: Queue,
    /// Number of copies of the datum stream; `None` keeps those of an existing stream.
    pub replicas: Option<usize>,
    /// Receives the files that clients on this machine offer.
    pub broker: Option<Arc<FileBroker>>,
    /// When a job that cannot go on is ended.
    pub retries: RetryLimits,
    /// Memory for what clients send.
    pub request_memory_bytes: usize,
    /// Shows the server which coordinator answers calls.
    pub roles: watch::Sender<Role>,
    /// Seals and opens the values of secrets.
    pub sealer: Sealer,
    /// Ends everything.
    pub shutdown: CancellationToken,
}

/// Why a term ended.
enum TermEnd {
    /// The coordinator shuts down.
    Shutdown,
    /// Another coordinator has claimed the log, for this reason as far as this one knows.
    Deposed(String),
}

impl Terms {
    /// Stands by and leads in turn, until the shutdown.
    ///
    /// # Errors
    /// When the log is damaged, or a part of a term fails.
    pub(crate) async fn run(self, mut standby: Standby, mut tail: LogTail) -> anyhow::Result<()> {
        loop {
            // Before the log is claimed, see `orphaned_edits`.
            let opened = SystemTime::now();
            let (tail_at_claim, log) = tokio::select! {
                () = self.shutdown.cancelled() => return Ok(()),
                claimed = standby.take_over(tail) => claimed?,
            };
            let started = Instant::now();
            let ended = self.lead(tail_at_claim, log, opened).await;
            metrics::LEADING.set(0);
            self.roles.send_replace(Role::Waiting);
            let TermEnd::Deposed(reason) = ended? else {
                return Ok(());
            };
            tracing::warn!(reason, "another coordinator leads now, this one stands by");
            standby.was_deposed(started.elapsed());
            tail = LogTail::read(self.store.clone()).await?;
        }
    }

    /// Leads. When this returns, everything that a leader does has stopped.
    async fn lead(&self, tail: LogTail, log: MetaLog, opened: SystemTime) -> anyhow::Result<TermEnd> {
        let epoch = log.epoch();
        let leadership = log.leadership();
        let live = LiveStatus::new(self.request_memory_bytes);
        let (core, command_loop) = metadata::lead(tail, log, live, self.sealer.clone()).await?;
        let (keeper, lease) = LeaseKeeper::new(leadership, core.clone());
        let stop = self.shutdown.child_token();
        // Every handle aborts its task when it is dropped, which is at the end of this function whatever happens.
        let mut command_loop = AbortOnDropHandle::new(tokio::spawn(command_loop.run()));
        let mut keeper = AbortOnDropHandle::new(tokio::spawn(keeper.run()));
        seal_plain_secrets(&core).await;
        let queue = self.queue.lead(epoch, self.replicas);
        queue.ensure_streams().await?;
        let scheduling = scheduler::run(core.clone(), queue.clone(), lease.clone(), self.retries, stop.clone());
        let mut scheduling = AbortOnDropHandle::new(tokio::spawn(scheduling));
        let _cleaning = AbortOnDropHandle::new(tokio::spawn(remove_orphaned_edits(core.clone(), opened)));
        let routes = crate::services::router(core.clone(), Some(queue.clone()), self.broker.clone(), Some(lease));
        metrics::LEADING.set(1);
        self.roles.send_replace(Role::Leader(Arc::new(Leader {
            epoch,
            routes,
            core,
            queue,
        })));
        let ended = tokio::select! {
            () = self.shutdown.cancelled() => TermEnd::Shutdown,
            ended = &mut command_loop => match ended.context("the command loop panicked")? {
                Ok(()) => TermEnd::Shutdown,
                Err(LoopError::Fenced(reason)) => TermEnd::Deposed(reason),
            },
            ended = &mut keeper => {
                ended.context("the keeper of the lease panicked")?;
                TermEnd::Deposed("the metadata log has a record of another coordinator".to_owned())
            }
            ended = &mut scheduling => {
                ended.context("the scheduler panicked")??;
                TermEnd::Shutdown
            }
        };
        if matches!(ended, TermEnd::Shutdown) && !scheduling.is_finished() {
            // In order: the scheduler stops its tasks at points from which another run continues.
            stop.cancel();
            if tokio::time::timeout(STOP_LIMIT, scheduling).await.is_err() {
                tracing::warn!("the scheduler did not stop in time");
            }
        }
        Ok(ended)
    }
}

async fn remove_orphaned_edits(core: Core, opened: SystemTime) {
    match orphaned_edits(&core, opened).await {
        Ok(ids) => core.staging().remove(ids),
        Err(error) => tracing::warn!(error = error_chain(&error), "orphaned staged edits could not be listed"),
    }
}
