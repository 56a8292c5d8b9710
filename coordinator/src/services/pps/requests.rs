//! Requests as commands and commands as requests, for transactions.

use howdah_api::{pipeline as spec_messages, pps_v2 as pps};
use howdah_model::Command;

pub use super::create::create_pipeline_command;
pub use super::job::stop_job_command;

/// Writes [`Command::CreatePipeline`] as its request.
pub fn create_pipeline(command: &Command) -> Option<pps::CreatePipelineTransaction> {
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
