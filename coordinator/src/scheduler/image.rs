//! Pins the image of a pipeline and reports whether the pipeline can run.
//!
//! The image is resolved once per pipeline version, by a worker, which also fetches it. Until that succeeds the pipeline
//! is STARTING (no worker has answered yet) or CRASHING (a worker has refused), with the reason. Requests are repeated,
//! so that an image that is pushed later is found without a command of the user.

use std::sync::Arc;
use std::time::Duration;

use howdah_model::{Command, ImagePin, Pipeline, PipelineKey, PipelineState, PipelineVersion};
use howdah_protocol::messages::{ResolveImage, ResolvedImage};
use howdah_queue::QueueError;
use tokio_util::sync::CancellationToken;

use super::context::SchedulerContext;
use crate::job::pipeline_state::report_pipeline_state;
use crate::metadata::Core;

/// Timeout of one request to resolve an image. The worker continues to fetch the image after it.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(20);
/// First pause after a refusal; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause after a refusal.
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// Pause when no worker is connected.
const NO_WORKER_PAUSE: Duration = Duration::from_millis(500);

/// Works for one pipeline until it is deleted.
pub(super) async fn keep(context: SchedulerContext, pipeline: PipelineKey, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = keep_pinned(&context, &pipeline) => {}
    }
}

/// What a pipeline needs of its image keeper.
enum ImageWork {
    /// The pipeline is deleted.
    PipelineGone,
    /// This version has no image pin, or has one that was not reported yet.
    Version(Arc<PipelineVersion>),
}

async fn keep_pinned(context: &SchedulerContext, pipeline: &PipelineKey) {
    let core = &context.core;
    let mut pause = FIRST_PAUSE;
    let mut last_version = 0;
    while let Some(ImageWork::Version(version)) = core.wait_for(|state| work(state.pipeline(pipeline))).await {
        // The pauses of a version that cannot be pulled must not delay the one that mends it.
        if version.version != last_version {
            (pause, last_version) = (FIRST_PAUSE, version.version);
        }
        if version.image.is_some() {
            // The pipeline was started after a stop, or a coordinator died between pinning and reporting.
            report_pipeline_state(core, pipeline, &version, PipelineState::Running, "").await;
            continue;
        }
        if version.spec.transform.cmd.is_empty() {
            report_pipeline_state(
                core,
                pipeline,
                &version,
                PipelineState::Failure,
                "nothing to run: transform.cmd is empty",
            )
            .await;
            continue;
        }
        let image = version.spec.transform.image.clone();
        let request = ResolveImage {
            image: image.clone(),
            auth: None,
        };
        let rest = match context.queue.resolve_image(&request, RESOLVE_TIMEOUT).await {
            Ok(ResolvedImage::Pinned(pin)) => {
                pin_image(context, pipeline, &version, pin).await;
                continue;
            }
            Ok(ResolvedImage::Refused { message, .. }) => {
                report_pipeline_state(core, pipeline, &version, PipelineState::Crashing, &message).await;
                let rest = pause;
                pause = (pause * 2).min(MAX_PAUSE);
                rest
            }
            Err(QueueError::NoWorkers) => {
                let reason = "waiting for a worker: none is connected (start one with howdah-worker)";
                report_pipeline_state(core, pipeline, &version, PipelineState::Starting, reason).await;
                NO_WORKER_PAUSE
            }
            // No pause: the request itself has waited, and the worker's next answer is the pin in most cases.
            Err(QueueError::NoAnswer { .. }) => {
                let reason = format!("a worker is fetching image {image}");
                report_pipeline_state(core, pipeline, &version, PipelineState::Starting, &reason).await;
                Duration::ZERO
            }
            Err(error) => {
                tracing::warn!(%pipeline, error = howdah_telemetry::error_chain(&error), "could not ask a worker for the image");
                FIRST_PAUSE
            }
        };
        // The pause ends early when this version does not need the image any more: an update must not wait for a pause of
        // the version before it.
        let superseded = core.wait_for(|state| match work(state.pipeline(pipeline)) {
            Some(ImageWork::Version(now)) if now.version == version.version => None,
            _ => Some(()),
        });
        let _ = tokio::time::timeout(rest, superseded).await;
    }
}

/// Returns what a pipeline needs; `None` means nothing at present.
fn work(pipeline: Option<&Arc<Pipeline>>) -> Option<ImageWork> {
    let Some(pipeline) = pipeline else {
        return Some(ImageWork::PipelineGone);
    };
    // Every branch of the keeper's loop that continues without a pause has to change this answer, or the loop would spin.
    let open = match pipeline.current().image {
        None => pipeline.state != PipelineState::Failure,
        Some(_) => pipeline.state == PipelineState::Starting,
    };
    (open && !pipeline.stopped).then(|| ImageWork::Version(pipeline.current().clone()))
}

async fn pin_image(context: &SchedulerContext, pipeline: &PipelineKey, version: &PipelineVersion, pin: ImagePin) {
    tracing::info!(%pipeline, version = version.version, image = pin.reference, digest = pin.digest, "image pinned");
    let command = Command::PinImage {
        pipeline: pipeline.clone(),
        version: version.version,
        pin,
    };
    if let Err(error) = context.core.submit(command).await {
        tracing::debug!(%pipeline, %error, "image pin was not accepted");
    }
    // A crash between these two commands leaves a pinned version that is STARTING, which `work` finds.
    report_pipeline_state(&context.core, pipeline, version, PipelineState::Running, "").await;
}

/// Withdraws a report that the pipeline is crashing once a job has ended: the next job may succeed.
pub(super) async fn job_ended(core: &Core, pipeline: &PipelineKey) {
    let state = core.state();
    if let Some(now) = state.pipeline(pipeline)
        && now.state == PipelineState::Crashing
        && now.current().image.is_some()
    {
        report_pipeline_state(core, pipeline, now.current(), PipelineState::Running, "").await;
    }
}
