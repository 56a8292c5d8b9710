//! What a worker says of itself, and what it is told.

use std::sync::Arc;
use std::time::Duration;

use howdah_protocol::messages::{Control, PRESENCE_INTERVAL, Presence, PullCredentials, ResolvedImage};
use howdah_queue::ResolveRequest;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::context::Kit;
use crate::runtime::RegistryAuth;
use crate::slots::prewarm;
use howdah_telemetry::error_chain;

/// Pause before listening is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Gives signs of life until told to stop, then a last one.
pub(crate) async fn presence(kit: Arc<Kit>, started: Timestamp, stop: CancellationToken) {
    loop {
        let leaving = stop.is_cancelled();
        let presence = Presence {
            worker: kit.name.clone(),
            host: kit.place.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime: kit.starter.runtime.name().to_owned(),
            slots: u32::try_from(kit.pool.size()).unwrap_or(u32::MAX),
            busy: kit.board.all(),
            pipelines: kit.pipelines.clone(),
            started,
            leaving,
        };
        if let Err(error) = kit.queue.publish_presence(&presence).await {
            tracing::debug!(error = %error_chain(&error), "no sign of life given");
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

/// Does as the coordinator says: jobs to drop, datums to begin again, stages to have running.
pub(crate) async fn controls(kit: Arc<Kit>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let mut controls = match kit.queue.controls().await {
            Ok(controls) => controls,
            Err(error) => {
                tracing::debug!(error = %error_chain(&error), "not listening for controls yet");
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
                Some(Control::Cancel(cancel)) => {
                    tracing::info!(job = %cancel.job, "job cancelled");
                    kit.tickets.cancel(&cancel);
                }
                Some(Control::Restart(restart)) => kit.tickets.restart(&restart),
                Some(Control::Prewarm(order)) => prewarm::obey(&kit, *order),
                None => break,
            }
        }
    }
}

/// Answers what images mean.
pub(crate) async fn resolves(kit: Arc<Kit>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let mut requests = match kit.queue.resolve_requests().await {
            Ok(requests) => requests,
            Err(error) => {
                tracing::debug!(error = %error_chain(&error), "not listening for images yet");
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
            // A pull may take minutes; other questions must not wait for it.
            tokio::spawn(resolve(Arc::clone(&kit), request));
        }
    }
}

async fn resolve(kit: Arc<Kit>, request: ResolveRequest) {
    let auth = request.request.auth.clone().map(credentials);
    let image = request.request.image.clone();
    let answer = match kit.starter.runtime.resolve(&image, auth).await {
        Ok(pin) => ResolvedImage::Pinned(pin),
        Err(error) => ResolvedImage::Refused {
            message: error_chain(&error),
            needs_attention: error.is_users_fault(),
        },
    };
    if let Err(error) = request.answer(&answer).await {
        tracing::debug!(image, error = %error_chain(&error), "answer about an image not sent");
    }
}

fn credentials(given: PullCredentials) -> RegistryAuth {
    RegistryAuth {
        username: given.username,
        password: given.password,
        identity_token: None,
        server: given.server,
    }
}
