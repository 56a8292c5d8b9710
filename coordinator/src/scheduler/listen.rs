//! Takes in what workers send and hands it to whoever waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use howdah_model::JobKey;
use howdah_queue::messages::{Notice, Presence};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Context;

/// Routes notices to the driver of their job; those of jobs that nobody drives are dropped, since a driver
/// that starts later looks at the store.
#[derive(Clone, Default)]
pub struct Dispatch(Arc<Mutex<HashMap<JobKey, mpsc::UnboundedSender<Notice>>>>);

impl Dispatch {
    /// Registers the driver of a job. There is at most one; the last one registered gets the notices.
    pub fn register(&self, job: &JobKey) -> mpsc::UnboundedReceiver<Notice> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().insert(job.clone(), sender);
        receiver
    }

    /// Ends the registration of a job.
    pub fn unregister(&self, job: &JobKey) {
        self.lock().remove(job);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobKey, mpsc::UnboundedSender<Notice>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, notice: Notice) {
        let (pipeline, job) = match &notice {
            Notice::Done(done) => (&done.pipeline, done.job),
            Notice::Trouble(trouble) => (&trouble.pipeline, trouble.job),
        };
        if let Some(driver) = self.lock().get(&pipeline.job(job)) {
            // A driver that has just ended no longer needs it.
            let _ = driver.send(notice);
        }
    }
}

/// Subscribes to everything workers send and starts the listeners.
pub async fn spawn(context: &Context) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let mut tasks = JoinSet::new();
    let mut notices = context.queue.notices().await?;
    let dispatch = context.dispatch.clone();
    tasks.spawn(async move {
        while let Some(notice) = notices.next().await {
            dispatch.deliver(notice);
        }
        Ok(())
    });
    let mut presence = context.queue.presence().await?;
    let board = context.core.jobs().clone();
    tasks.spawn(async move {
        while let Some(Presence { leaving, worker, .. }) = presence.next().await.inspect(|heard| {
            if !heard.leaving && board.heard_from(heard.clone()) {
                tracing::info!(worker = heard.worker, host = heard.host, slots = heard.slots, "worker connected");
            }
        }) {
            if leaving {
                board.worker_left(&worker);
                tracing::info!(worker, "worker left");
            }
        }
        Ok(())
    });
    let mut logs = context.queue.logs(None).await?;
    let board = context.core.jobs().clone();
    tasks.spawn(async move {
        while let Some(batch) = logs.next().await {
            board.add_lines(batch.pipeline.job(batch.job), batch);
        }
        Ok(())
    });
    Ok(tasks)
}
