//! The worker's presence, and the orders of the coordinator.
//!
//! Three loops, each on a task of its own: [`presence`] publishes what this worker does, [`controls`] receives orders
//! (cancel a job, restart datums, prewarm stages), [`resolves`] answers which image a reference means. A subscription
//! that fails is retried after [`PAUSE`]. Orders may be lost; the coordinator repeats those that matter.

use std::sync::Arc;
use std::time::Duration;

use howdah_protocol::messages::{Control, PRESENCE_INTERVAL, Presence, PullCredentials, ResolvedImage};
use howdah_queue::ResolveRequest;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::context::WorkerContext;
use crate::intake::intake_state::IntakeState;
use crate::runtime::RegistryAuth;
use howdah_telemetry::error_chain;

/// Pause before a failed subscription is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Publishes presence every [`PRESENCE_INTERVAL`] until `stop` is cancelled, then once more with `leaving` set.
pub(crate) async fn presence(intake: Arc<IntakeState>, started: Timestamp, stop: CancellationToken) {
    let context = &intake.context;
    loop {
        let leaving = stop.is_cancelled();
        let presence = Presence {
            worker: context.name.clone(),
            host: context.location.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime: context.starter.runtime.name().to_owned(),
            slots: u32::try_from(context.pool.size()).unwrap_or(u32::MAX),
            busy: context.slot_status.all(),
            pipelines: intake.pipelines.clone(),
            started,
            leaving,
        };
        if let Err(error) = context.queue.publish_presence(&presence).await {
            tracing::debug!(error = %error_chain(&error), "presence not published");
        }
        if leaving {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(PRESENCE_INTERVAL) => {}
        }
    }
}

/// Applies the coordinator's orders until `stop` is cancelled.
pub(crate) async fn controls(intake: Arc<IntakeState>, stop: CancellationToken) {
    let context = &intake.context;
    while !stop.is_cancelled() {
        let mut controls = match context.queue.controls().await {
            Ok(controls) => controls,
            Err(error) => {
                tracing::debug!(error = %error_chain(&error), "cannot subscribe to controls yet");
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(PAUSE) => {}
                }
                continue;
            }
        };
        loop {
            let control = tokio::select! {
                () = stop.cancelled() => return,
                control = controls.next() => control,
            };
            match control {
                Some(Control::Cancel(order)) => {
                    tracing::info!(job = %order.job, "job cancelled");
                    intake.job_objects.forget_plan(&order.pipeline.job(order.job));
                    intake.running_sets.cancel_job(&order);
                }
                Some(Control::Restart(order)) => intake.running_sets.restart_datums(&order),
                Some(Control::Prewarm(order)) => {
                    if intake.serves(&order.pipeline) {
                        context.prewarmer.apply(*order);
                    }
                }
                None => break,
            }
        }
    }
}

/// Answers which image a reference means, until `stop` is cancelled.
pub(crate) async fn resolves(context: Arc<WorkerContext>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let mut requests = match context.queue.resolve_requests().await {
            Ok(requests) => requests,
            Err(error) => {
                tracing::debug!(error = %error_chain(&error), "cannot subscribe to image requests yet");
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(PAUSE) => {}
                }
                continue;
            }
        };
        loop {
            let request = tokio::select! {
                () = stop.cancelled() => return,
                request = requests.next() => request,
            };
            let Some(request) = request else { break };
            // On a task of its own: a pull may take minutes, and other requests must not wait for it.
            tokio::spawn(resolve(Arc::clone(&context), request));
        }
    }
}

async fn resolve(context: Arc<WorkerContext>, request: ResolveRequest) {
    let auth = request.request.auth.clone().map(registry_auth);
    let image = request.request.image.clone();
    let answer = match context.starter.runtime.resolve(&image, auth).await {
        Ok(pin) => ResolvedImage::Pinned(pin),
        Err(error) => ResolvedImage::Refused {
            message: error_chain(&error),
            needs_attention: error.is_users_fault(),
        },
    };
    if let Err(error) = request.answer(&answer).await {
        tracing::debug!(image, error = %error_chain(&error), "answer to an image request not sent");
    }
}

fn registry_auth(credentials: PullCredentials) -> RegistryAuth {
    RegistryAuth {
        username: credentials.username,
        password: credentials.password,
        identity_token: None,
        server: credentials.server,
    }
}
