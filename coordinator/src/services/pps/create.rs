//! Making and updating pipelines: from a user's specification to the command.

use howdah_api::client::WARNING_HEADER;
use howdah_api::{pipeline as spec_messages, pps_v2 as pps};
use howdah_model::query::JobBase;
use howdah_model::{Command, Content, JobKey, Pipeline, PipelineKey, PipelineName, ProjectName, Reply, State, query};
use howdah_spec::{ParseOptions, PipelineSpec, ReprocessSpec};
use howdah_store::{EditError, FileEdits, PackWriter, PathRules, Tree};
use serde_json::Value;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Response, Status};

use crate::core::Core;
use crate::fresh_id::fresh_id;
use crate::services::change::{apply_or_append, transaction_of};
use crate::services::status::IntoStatus;
use crate::services::{find, wire};

/// The file of a spec commit that holds the specification.
const SPEC_PATH: &str = "/spec";

/// What a request says beside the specification itself; either source being true is enough.
#[derive(Clone, Copy, Default)]
pub struct Flags {
    /// The pipeline may exist.
    pub update: bool,
    /// Every datum is done again.
    pub reprocess: bool,
    /// Nothing is changed.
    pub dry_run: bool,
}

/// A specification that has passed every check that needs no command.
pub struct Prepared {
    spec: PipelineSpec,
    user_json: Value,
    flags: Flags,
    warnings: Vec<String>,
}

impl Prepared {
    /// Returns the effective specification as JSON text.
    pub fn effective_json(&self) -> String {
        howdah_spec::to_json(&self.spec).to_string()
    }

    fn key(&self) -> Result<PipelineKey, Status> {
        Ok(PipelineKey {
            project: ProjectName::new(&self.spec.pipeline.project).map_err(wire::bad_name)?,
            name: PipelineName::new(&self.spec.pipeline.name).map_err(wire::bad_name)?,
        })
    }
}

/// Reads the JSON of one specification, merges it over the defaults and checks the result.
pub fn prepare(state: &State, text: &str, flags: Flags) -> Result<Prepared, Status> {
    let options = ParseOptions::default();
    let mut parsed = howdah_spec::parse("", text.as_bytes(), &options).map_err(IntoStatus::into_status)?;
    let (Some(parsed), true) = (parsed.pop(), parsed.is_empty()) else {
        return Err(Status::invalid_argument("expected exactly one pipeline specification"));
    };
    let project = match parsed.user_json.pointer("/pipeline/project/name") {
        Some(Value::String(name)) if !name.is_empty() => name.as_str(),
        _ => howdah_api::convert::DEFAULT_PROJECT,
    };
    let name = ProjectName::new(project).map_err(wire::bad_name)?;
    let project_defaults = &find::project(state, &name)?.defaults;
    let effective = howdah_spec::effective(
        &stored_json(state.cluster_defaults())?,
        &stored_json(project_defaults)?,
        &parsed.user_json,
    )
    .map_err(IntoStatus::into_status)?;
    let mut spec =
        howdah_spec::from_effective(&effective, project, jiff::Timestamp::now()).map_err(IntoStatus::into_status)?;
    let flags = Flags {
        update: flags.update || spec.update,
        reprocess: flags.reprocess || spec.reprocess,
        dry_run: flags.dry_run || spec.dry_run,
    };
    // These say what to do now and are no property of the pipeline.
    (spec.update, spec.reprocess, spec.dry_run) = (false, false, false);
    howdah_spec::validate(&spec).map_err(IntoStatus::into_status)?;
    let unsupported = howdah_spec::unsupported(&spec);
    if !unsupported.is_empty() {
        return Err(Status::unimplemented(format!(
            "not supported yet: {}",
            unsupported.join(", ")
        )));
    }
    Ok(Prepared {
        spec,
        user_json: parsed.user_json,
        flags,
        warnings: parsed.warnings,
    })
}

fn stored_json(text: &str) -> Result<Value, Status> {
    serde_json::from_str(text).map_err(|error| Status::data_loss(format!("stored defaults are not JSON: {error}")))
}

/// Writes the content of the spec commit and puts the command together.
pub async fn command(core: &Core, prepared: &Prepared) -> Result<Command, Status> {
    let effective_json = prepared.effective_json();
    Ok(Command::CreatePipeline {
        spec: Box::new(prepared.spec.clone()),
        user_json: prepared.user_json.to_string(),
        spec_content: spec_content(core, &effective_json).await?,
        effective_json,
        update: prepared.flags.update,
        reprocess: prepared.flags.reprocess,
        salt: fresh_id().to_string(),
    })
}

async fn spec_content(core: &Core, text: &str) -> Result<Content, Status> {
    let written = async {
        let mut writer = PackWriter::new(core.store());
        writer.begin(()).await?;
        writer.write(text.as_bytes()).await?;
        let mut edits = FileEdits::new(PathRules::Strict);
        for ((), content) in writer.finish().await? {
            edits.put(SPEC_PATH, content)?;
        }
        edits.apply(core.store(), &Content::EMPTY).await
    };
    written.await.map_err(|error| match error {
        EditError::Store(error) => error.into_status(),
        error => Status::internal(error.to_string()),
    })
}

/// Makes or updates a pipeline, or appends that to the transaction that the headers name.
///
/// Returns what the user should know about it.
async fn create(core: &Core, metadata: &MetadataMap, prepared: Prepared) -> Result<Vec<String>, Status> {
    let key = prepared.key()?;
    let before = core.state().pipeline(&key).cloned();
    let command = command(core, &prepared).await?;
    let reply = apply_or_append(core, metadata, command).await?;
    let mut warnings = prepared.warnings.clone();
    let done = transaction_of(metadata)?.is_none() && matches!(reply, Reply::Pipeline { .. });
    if let (Some(before), true) = (before, done) {
        warnings.extend(kept_results(core, &before, &prepared).await?);
    }
    Ok(warnings)
}

/// Says how many results of an older version an update has kept although the code has changed.
async fn kept_results(core: &Core, before: &Pipeline, prepared: &Prepared) -> Result<Option<String>, Status> {
    let old = before.spec();
    let kept_on_purpose = prepared.flags.reprocess
        || old.transform == prepared.spec.transform
        || prepared.spec.reprocess_spec != ReprocessSpec::UntilSuccess;
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
            let up_to = if old.input == prepared.spec.input { "" } else { "up to " };
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

/// Attaches warnings to a reply.
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
) -> Result<Response<()>, Status> {
    let json = spec_messages::request_to_json(&request).map_err(IntoStatus::into_status)?;
    let prepared = prepare(&core.state(), &json.to_string(), Flags::default())?;
    if prepared.flags.dry_run {
        return Ok(with_warnings((), &prepared.warnings));
    }
    let warnings = create(core, metadata, prepared).await?;
    Ok(with_warnings((), &warnings))
}

pub(super) async fn create_pipeline_v2(
    core: &Core,
    metadata: &MetadataMap,
    request: pps::CreatePipelineV2Request,
) -> Result<Response<pps::CreatePipelineV2Response>, Status> {
    let flags = Flags {
        update: request.update,
        reprocess: request.reprocess,
        dry_run: request.dry_run,
    };
    let text = &request.create_pipeline_request_json;
    let prepared = prepare(&core.state(), text, flags)?;
    let message = pps::CreatePipelineV2Response {
        effective_create_pipeline_request_json: prepared.effective_json(),
    };
    if prepared.flags.dry_run {
        return Ok(with_warnings(message, &prepared.warnings));
    }
    let warnings = create(core, metadata, prepared).await?;
    Ok(with_warnings(message, &warnings))
}

/// Reads the request of a batch that makes or updates a pipeline.
pub async fn create_pipeline_command(core: &Core, request: &pps::CreatePipelineTransaction) -> Result<Command, Status> {
    let message = request.create_pipeline_request.as_ref();
    let text = match (request.user_json.as_str(), message) {
        ("", Some(message)) => spec_messages::request_to_json(message)
            .map_err(IntoStatus::into_status)?
            .to_string(),
        ("", None) => return Err(wire::missing("create_pipeline_request")),
        (text, _) => text.to_owned(),
    };
    let flags = Flags {
        update: message.is_some_and(|message| message.update),
        reprocess: message.is_some_and(|message| message.reprocess),
        dry_run: false,
    };
    command(core, &prepare(&core.state(), &text, flags)?).await
}

/// Fills in an input tree as a pipeline of a project would have it.
pub fn filled_input(input: &pps::Input) -> Result<howdah_spec::Input, Status> {
    let json = spec_messages::input_to_json(input).map_err(IntoStatus::into_status)?;
    let user = serde_json::json!({
        "pipeline": {"name": "none"},
        "transform": {"image": "none"},
        "input": json,
    });
    let nothing = Value::Object(serde_json::Map::new());
    let effective = howdah_spec::effective(&nothing, &nothing, &user).map_err(IntoStatus::into_status)?;
    let spec = howdah_spec::from_effective(&effective, howdah_api::convert::DEFAULT_PROJECT, jiff::Timestamp::now())
        .map_err(IntoStatus::into_status)?;
    spec.input.ok_or_else(|| wire::missing("input"))
}
