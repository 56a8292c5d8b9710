//! Converts the requests that a transaction can hold into commands, and commands back into requests.
//!
//! A client sends requests, and the state keeps them as commands. An inspected transaction shows them as requests.
//!
//! `*_command` reads a request; `*_request` writes a command and returns `None` for a command of another kind.

use howdah_api::{pipeline as spec_messages, pps_v2 as pps};
use howdah_model::Command;
use tonic::Status;

use super::checked_spec::{CheckedSpec, CreateFlags};
use crate::metadata::Core;
use crate::services::status::IntoStatus;
use crate::services::wire;

/// Reads the request of a batch that makes or updates a pipeline.
pub(crate) async fn create_pipeline_command(
    core: &Core,
    request: &pps::CreatePipelineTransaction,
) -> Result<Command, Status> {
    let message = request.create_pipeline_request.as_ref();
    let text = match (request.user_json.as_str(), message) {
        ("", Some(message)) => spec_messages::request_to_json(message)
            .map_err(IntoStatus::into_status)?
            .to_string(),
        ("", None) => return Err(wire::missing("create_pipeline_request")),
        (text, _) => text.to_owned(),
    };
    let flags = CreateFlags {
        update: message.is_some_and(|message| message.update),
        reprocess: message.is_some_and(|message| message.reprocess),
        dry_run: false,
    };
    CheckedSpec::new(&core.state(), &text, flags)?.command(core).await
}

/// Reads a request to stop a job.
pub(crate) fn stop_job_command(request: &pps::StopJobRequest) -> Result<Command, Status> {
    Ok(Command::StopJob {
        job: wire::job_key(request.job.as_ref())?,
        reason: request.reason.clone(),
    })
}

/// Writes [`Command::CreatePipeline`] as its request.
pub(crate) fn create_pipeline_request(command: &Command) -> Option<pps::CreatePipelineTransaction> {
    let Command::CreatePipeline {
        spec,
        user_json,
        effective_json,
        update,
        reprocess,
        ..
    } = command
    else {
        return None;
    };
    let mut request = spec_messages::request_of_spec(spec).unwrap_or_default();
    request.update = *update;
    request.reprocess = *reprocess;
    Some(pps::CreatePipelineTransaction {
        create_pipeline_request: Some(request),
        user_json: user_json.clone(),
        effective_json: effective_json.clone(),
        created_by: String::new(),
    })
}
