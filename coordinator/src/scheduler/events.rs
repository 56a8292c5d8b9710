//! Takes in what workers send and hands it to whoever waits for it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use howdah_model::JobKey;
use howdah_protocol::messages::{CancelJob, Presence, SetEvent};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Context;

/// Routes notices to the driver of their job; those of jobs that nobody drives are dropped, since a driver
/// that starts later looks at the store.
#[derive(Clone, Default)]
pub struct Dispatch(Arc<Mutex<HashMap<JobKey, mpsc::UnboundedSender<SetEvent>>>>);

impl Dispatch {
    /// Registers the driver of a job. There is at most one; the last one registered gets the notices.
    pub fn register(&self, job: &JobKey) -> mpsc::UnboundedReceiver<SetEvent> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().insert(job.clone(), sender);
        receiver
    }

    /// Ends the registration of a job.
    pub fn unregister(&self, job: &JobKey) {
        self.lock().remove(job);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobKey, mpsc::UnboundedSender<SetEvent>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, notice: SetEvent) {
        let (pipeline, job) = match &notice {
            SetEvent::Done(done) => (&done.pipeline, done.job),
            SetEvent::Failed(trouble) => (&trouble.pipeline, trouble.job),
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
    let mut notices = context.queue.set_events().await?;
    let dispatch = context.dispatch.clone();
    tasks.spawn(async move {
        while let Some(notice) = notices.next().await {
            dispatch.deliver(notice);
        }
        Ok(())
    });
    let mut presence = context.queue.presence().await?;
    let hearing = context.clone();
    tasks.spawn(async move {
        while let Some(heard) = presence.next().await {
            take_presence(&hearing, heard).await;
        }
        Ok(())
    });
    let mut logs = context.queue.logs(None).await?;
    let core = context.core.clone();
    tasks.spawn(async move {
        while let Some(batch) = logs.next().await {
            let job = batch.pipeline.job(batch.job);
            let open = core.state().job(&job).is_some_and(|job| !job.state.is_final());
            core.live().logs.add(job, batch, open);
        }
        Ok(())
    });
    Ok(tasks)
}

/// Notes a heartbeat, and tells the worker again to drop what it still has of jobs that are over: the first
/// time it was told may have been lost.
async fn take_presence(context: &Context, heard: Presence) {
    let workers = &context.core.live().workers;
    if heard.leaving {
        workers.remove(&heard.worker);
        tracing::info!(worker = heard.worker, "worker left");
        return;
    }
    let state = context.core.state();
    let over: HashSet<JobKey> = heard
        .busy
        .iter()
        .map(|slot| slot.pipeline.job(slot.job))
        .filter(|job| state.job(job).is_none_or(|job| job.state.is_final()))
        .collect();
    let (worker, host, slots) = (heard.worker.clone(), heard.host.clone(), heard.slots);
    if workers.record_heartbeat(heard) {
        tracing::info!(worker, host, slots, "worker connected");
        context.new_worker.notify_one();
    }
    for job in over {
        call_off(context, &job).await;
    }
}

/// Takes a job's sets off the queue and tells workers to drop what they have of it.
pub(crate) async fn call_off(context: &Context, job: &JobKey) {
    tracing::debug!(%job, "job called off");
    if let Err(error) = context.queue.purge_job(&job.pipeline, &job.id).await {
        tracing::debug!(%job, error = howdah_telemetry::error_chain(&error), "sets of a job that is over stay on the queue");
    }
    let cancel = CancelJob {
        pipeline: job.pipeline.clone(),
        job: job.id,
    };
    if let Err(error) = context.queue.cancel_job(&cancel).await {
        tracing::debug!(%job, error = howdah_telemetry::error_chain(&error), "workers were not told that a job is over");
    }
}
