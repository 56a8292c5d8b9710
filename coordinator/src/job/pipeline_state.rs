//! Reports whether a pipeline can run: its state and reason, and a line in its log.

use howdah_model::{Command, PipelineKey, PipelineState, PipelineVersion};
use howdah_protocol::objects::MasterLine;
use howdah_protocol::wire;

use crate::metadata::Core;

/// Sets state and reason of a pipeline version, unless they are so already: the log holds changes, not repetitions.
///
/// Does nothing for another version than the present one, or for a pipeline that is stopped or gone.
pub async fn report_pipeline_state(
    core: &Core,
    pipeline: &PipelineKey,
    version: &PipelineVersion,
    to: PipelineState,
    reason: &str,
) {
    let state = core.state();
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
    match core.submit(command).await {
        Ok(_) => add_master_line(core, pipeline, to, reason).await,
        Err(error) => tracing::debug!(%pipeline, %error, "pipeline state was not accepted"),
    }
}

/// Adds a line to what `logs --master` shows of the pipeline. Nothing depends on it: if the store fails, the line is
/// only sent to followers.
async fn add_master_line(core: &Core, pipeline: &PipelineKey, state: PipelineState, reason: &str) {
    let line = MasterLine {
        pipeline: pipeline.clone(),
        ts: jiff::Timestamp::now(),
        message: master_message(state, reason),
    };
    if let Err(error) = core.store().put(&line.key(), wire::encode(&line).into()).await {
        tracing::debug!(%pipeline, error = howdah_telemetry::error_chain(&error), "line of the pipeline's log could not be stored");
    }
    core.live().logs.add_master_line(line);
}

/// Writes a state and its reason as the message of a log line.
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
    fn a_master_line_has_state_and_reason() {
        let line = master_message(PipelineState::Crashing, "image \"x:1\" could not be pulled");
        assert_eq!(line, "pipeline is crashing: image \"x:1\" could not be pulled");
        assert_eq!(master_message(PipelineState::Running, ""), "pipeline is running");
    }
}
