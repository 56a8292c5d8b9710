//! Pins a pipeline's image and keeps the pipeline's state truthful.
//!
//! The image is resolved once per pipeline version, by a worker, which also fetches it. Until that has
//! succeeded the pipeline is STARTING (nobody to ask) or CRASHING (asked, and refused), with the reason; it
//! goes on trying, so that an image that appears later is found without anybody's doing.

use std::sync::Arc;
use std::time::Duration;

use howdah_model::{Command, ImagePin, Pipeline, PipelineKey, PipelineState, PipelineVersion};
use howdah_protocol::messages::{ResolveImage, ResolvedImage};
use howdah_protocol::objects::MasterLine;
use howdah_protocol::wire;
use howdah_queue::QueueError;
use tokio_util::sync::CancellationToken;

use super::Context;

/// How long one request to resolve an image may take; the worker goes on fetching when it is over.
const PATIENCE: Duration = Duration::from_secs(20);
/// First pause after a refusal; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause after a refusal.
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// Pause when no worker is connected.
const NO_WORKER_PAUSE: Duration = Duration::from_millis(500);

/// Works for one pipeline until it is deleted.
pub async fn keep(context: Context, pipeline: PipelineKey, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = keep_pinned(&context, &pipeline) => {}
    }
}

async fn keep_pinned(context: &Context, pipeline: &PipelineKey) {
    let mut pause = FIRST_PAUSE;
    let mut last_version = 0;
    while let Some(Some(version)) = context
        .core
        .wait_for(|state| needs_work(state.pipeline(pipeline)))
        .await
    {
        if version.version != last_version {
            (pause, last_version) = (FIRST_PAUSE, version.version);
        }
        if version.image.is_some() {
            // Started again after a stop, or the coordinator died between pinning and reporting.
            report(context, pipeline, &version, PipelineState::Running, "").await;
            continue;
        }
        if version.spec.transform.cmd.is_empty() {
            report(
                context,
                pipeline,
                &version,
                PipelineState::Failure,
                "nothing to run: transform.cmd is empty",
            )
            .await;
            continue;
        }
        let image = version.spec.transform.image.clone();
        let answer = context
            .queue
            .resolve_image(
                &ResolveImage {
                    image: image.clone(),
                    auth: None,
                },
                PATIENCE,
            )
            .await;
        let rest = match answer {
            Ok(ResolvedImage::Pinned(pin)) => {
                pin_image(context, pipeline, &version, pin).await;
                continue;
            }
            Ok(ResolvedImage::Refused { message, .. }) => {
                report(context, pipeline, &version, PipelineState::Crashing, &message).await;
                let rest = pause;
                pause = (pause * 2).min(MAX_PAUSE);
                rest
            }
            Err(QueueError::NoWorkers) => {
                let reason = "waiting for a worker: none is connected (start one with howdah-worker)";
                report(context, pipeline, &version, PipelineState::Starting, reason).await;
                NO_WORKER_PAUSE
            }
            Err(QueueError::NoAnswer { .. }) => {
                report(
                    context,
                    pipeline,
                    &version,
                    PipelineState::Starting,
                    &format!("a worker is fetching image {image}"),
                )
                .await;
                Duration::ZERO
            }
            Err(error) => {
                tracing::warn!(%pipeline, error = howdah_telemetry::error_chain(&error), "could not ask a worker for the image");
                FIRST_PAUSE
            }
        };
        // An update meanwhile makes the question obsolete at once.
        let superseded = context
            .core
            .wait_for(|state| match needs_work(state.pipeline(pipeline)) {
                Some(Some(now)) if now.version == version.version => None,
                _ => Some(()),
            });
        let _ = tokio::time::timeout(rest, superseded).await;
    }
}

/// Returns the version that needs something done, `Some(None)` when the pipeline is gone, `None` while all is well.
fn needs_work(pipeline: Option<&Arc<Pipeline>>) -> Option<Option<Arc<PipelineVersion>>> {
    let Some(pipeline) = pipeline else {
        return Some(None);
    };
    let open = match pipeline.current().image {
        None => pipeline.state != PipelineState::Failure,
        Some(_) => pipeline.state == PipelineState::Starting,
    };
    (open && !pipeline.stopped).then(|| Some(pipeline.current().clone()))
}

async fn pin_image(context: &Context, pipeline: &PipelineKey, version: &PipelineVersion, pin: ImagePin) {
    tracing::info!(%pipeline, version = version.version, image = pin.reference, digest = pin.digest, "image pinned");
    let command = Command::PinImage {
        pipeline: pipeline.clone(),
        version: version.version,
        pin,
    };
    if let Err(error) = context.core.submit(command).await {
        tracing::debug!(%pipeline, %error, "image pin not taken");
    }
    report(context, pipeline, version, PipelineState::Running, "").await;
}

/// Takes back the report of trouble with a job that has ended since: what comes next may fare better.
pub(crate) async fn job_ended(context: &Context, pipeline: &PipelineKey) {
    let state = context.core.state();
    if let Some(now) = state.pipeline(pipeline)
        && now.state == PipelineState::Crashing
        && now.current().image.is_some()
    {
        report(context, pipeline, now.current(), PipelineState::Running, "").await;
    }
}

/// Sets state and reason unless they already are so; the log holds changes, not repetitions.
pub(crate) async fn report(
    context: &Context,
    pipeline: &PipelineKey,
    version: &PipelineVersion,
    to: PipelineState,
    reason: &str,
) {
    let state = context.core.state();
    let Some(now) = state.pipeline(pipeline) else { return };
    if now.version() != version.version || now.stopped || (now.state == to && &*now.reason == reason) {
        return;
    }
    if to == PipelineState::Crashing || to == PipelineState::Failure {
        tracing::warn!(%pipeline, state = ?to, reason, "pipeline cannot run");
    }
    let command = Command::SetPipelineState {
        pipeline: pipeline.clone(),
        version: version.version,
        state: to,
        reason: reason.into(),
    };
    match context.core.submit(command).await {
        Ok(_) => say(context, pipeline, to, reason).await,
        Err(error) => tracing::debug!(%pipeline, %error, "pipeline state not taken"),
    }
}

/// Adds a line to what `logs --master` shows of the pipeline. Nothing depends on it: a store that does not take it
/// costs the line.
async fn say(context: &Context, pipeline: &PipelineKey, state: PipelineState, reason: &str) {
    let line = MasterLine {
        pipeline: pipeline.clone(),
        ts: jiff::Timestamp::now(),
        message: master_message(state, reason),
    };
    if let Err(error) = context.core.store().put(&line.key(), wire::encode(&line).into()).await {
        tracing::debug!(%pipeline, error = howdah_telemetry::error_chain(&error), "line for the pipeline's log not stored");
    }
    context.core.live().logs.add_master_line(line);
}

/// Writes a state and its reason as a line of log.
fn master_message(state: PipelineState, reason: &str) -> String {
    let state = format!("{state:?}").to_lowercase();
    if reason.is_empty() {
        format!("pipeline is {state}")
    } else {
        format!("pipeline is {state}: {reason}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_state_and_reason() {
        let line = master_message(PipelineState::Crashing, "image \"x:1\" could not be pulled");
        assert_eq!(line, "pipeline is crashing: image \"x:1\" could not be pulled");
        assert_eq!(master_message(PipelineState::Running, ""), "pipeline is running");
    }
}
