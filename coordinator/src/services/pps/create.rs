//! Calls that make and update pipelines.

use howdah_api::client::WARNING_HEADER;
use howdah_api::{pipeline as spec_messages, pps_v2 as pps};
use howdah_model::query::JobBase;
use howdah_model::{JobKey, Pipeline, PipelineKey, Reply, State, query};
use howdah_spec::ReprocessSpec;
use howdah_store::Tree;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Response, Status};

use super::checked_spec::{CheckedSpec, CreateFlags};
use crate::metadata::Core;
use crate::services::change::{apply_or_append, transaction_of};
use crate::services::reply::UnaryReply;
use crate::services::status::IntoStatus;

/// Makes or updates a pipeline, or appends that to the transaction that the headers name.
///
/// Returns warnings: what the user should know and what is not an error.
async fn create(core: &Core, metadata: &MetadataMap, checked: CheckedSpec) -> Result<Vec<String>, Status> {
    let key = checked.key()?;
    let before = core.state().pipeline(&key).cloned();
    let command = checked.command(core).await?;
    // `before` is read before the command: afterwards the pipeline has the new version, and cannot be compared.
    let reply = apply_or_append(core, metadata, command).await?;
    let mut warnings = checked.warnings.clone();
    let done = transaction_of(metadata)?.is_none() && matches!(reply, Reply::Pipeline { .. });
    if let (Some(before), true) = (before, done) {
        warnings.extend(kept_results(core, &before, &checked).await?);
    }
    Ok(warnings)
}

/// Returns a warning if an update has kept results of an older version although the code has changed.
async fn kept_results(core: &Core, before: &Pipeline, checked: &CheckedSpec) -> Result<Option<String>, Status> {
    let old = before.spec();
    let kept_on_purpose = checked.flags.reprocess
        || old.transform == checked.spec.transform
        || checked.spec.reprocess_spec != ReprocessSpec::UntilSuccess;
    if kept_on_purpose {
        return Ok(None);
    }
    let state = core.state();
    let Some(job) = newest_job(&state, &before.key) else {
        return Ok(None);
    };
    let JobBase::Job { datums, .. } = query::job_base(&state, &job) else {
        return Ok(None);
    };
    let total = Tree::new(core.store(), datums.records)
        .total()
        .await
        .map_err(IntoStatus::into_status)?;
    Ok(match total.count {
        0 => None,
        count => {
            let up_to = if old.input == checked.spec.input { "" } else { "up to " };
            let results = if count == 1 {
                "datum keeps its result"
            } else {
                "datums keep their results"
            };
            Some(format!(
                "{up_to}{count} {results} of version {} of pipeline {}, because the input has not \
                 changed; update with --reprocess to compute them again",
                before.version(),
                before.key.name,
            ))
        }
    })
}

fn newest_job(state: &State, pipeline: &PipelineKey) -> Option<JobKey> {
    query::jobs_of_pipeline(state, pipeline)
        .next_back()
        .map(|job| job.key.clone())
}

/// Attaches warnings to a reply, as headers. Headers are ASCII; other characters become question marks.
fn with_warnings<T>(message: T, warnings: &[String]) -> Response<T> {
    let mut response = Response::new(message);
    for warning in warnings {
        let ascii: String = warning
            .chars()
            .map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' })
            .collect();
        if let Ok(value) = AsciiMetadataValue::try_from(ascii) {
            response.metadata_mut().append(WARNING_HEADER, value);
        }
    }
    response
}

pub(super) async fn create_pipeline(
    core: &Core,
    metadata: &MetadataMap,
    request: pps::CreatePipelineRequest,
) -> UnaryReply<()> {
    let json = spec_messages::request_to_json(&request).map_err(IntoStatus::into_status)?;
    let checked = CheckedSpec::new(&core.state(), &json.to_string(), CreateFlags::default())?;
    if checked.flags.dry_run {
        return Ok(with_warnings((), &checked.warnings));
    }
    let warnings = create(core, metadata, checked).await?;
    Ok(with_warnings((), &warnings))
}

pub(super) async fn create_pipeline_v2(
    core: &Core,
    metadata: &MetadataMap,
    request: pps::CreatePipelineV2Request,
) -> UnaryReply<pps::CreatePipelineV2Response> {
    let flags = CreateFlags {
        update: request.update,
        reprocess: request.reprocess,
        dry_run: request.dry_run,
    };
    let text = &request.create_pipeline_request_json;
    let checked = CheckedSpec::new(&core.state(), text, flags)?;
    let message = pps::CreatePipelineV2Response {
        effective_create_pipeline_request_json: checked.effective_json(),
    };
    if checked.flags.dry_run {
        return Ok(with_warnings(message, &checked.warnings));
    }
    let warnings = create(core, metadata, checked).await?;
    Ok(with_warnings(message, &warnings))
}
