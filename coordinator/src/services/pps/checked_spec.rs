//! Specifications of pipelines as users write them: merged over the defaults, checked, and made into a command.
//!
//! ```text
//!  JSON of the user --CheckedSpec::new--> CheckedSpec --command--> Command::CreatePipeline
//! ```

use howdah_api::pipeline as spec_messages;
use howdah_api::pps_v2 as pps;
use howdah_model::limits::MAX_SPEC_BYTES;
use howdah_model::{Command, Content, PipelineKey, PipelineName, ProjectName, State};
use howdah_spec::{ParseOptions, PipelineSpec};
use howdah_store::{EditError, FileEdits, PackWriter, PathRules};
use serde_json::Value;
use tonic::Status;

use crate::fresh_id::fresh_id;
use crate::metadata::Core;
use crate::services::status::IntoStatus;
use crate::services::{find, wire};

/// The file of a spec commit that holds the specification.
const SPEC_PATH: &str = "/spec";

/// What a request asks for beside the specification. The specification may ask for the same; one of both is enough.
#[derive(Clone, Copy, Default)]
pub(super) struct CreateFlags {
    /// The pipeline may exist.
    pub update: bool,
    /// Every datum is processed again.
    pub reprocess: bool,
    /// Nothing is changed.
    pub dry_run: bool,
}

/// A specification that has passed every check except those of the command itself.
pub(super) struct CheckedSpec {
    /// The effective specification: the user's, merged over the defaults.
    pub spec: PipelineSpec,
    /// The specification as the user wrote it.
    pub user_json: Value,
    /// What the request and the specification ask for.
    pub flags: CreateFlags,
    /// What the user should know and what is not an error.
    pub warnings: Vec<String>,
}

impl CheckedSpec {
    /// Reads the JSON of one specification, merges it over the defaults and checks the result.
    ///
    /// # Errors
    /// When it is not one valid specification, its project does not exist, or it uses what Howdah does not support.
    pub(super) fn new(state: &State, text: &str, flags: CreateFlags) -> Result<Self, Status> {
        // Before it is parsed. The command is checked, too, but that has further forms of the same text.
        wire::bounded("the specification", text, MAX_SPEC_BYTES)?;
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
        let mut spec = howdah_spec::from_effective(&effective, project, jiff::Timestamp::now())
            .map_err(IntoStatus::into_status)?;
        let flags = CreateFlags {
            update: flags.update || spec.update,
            reprocess: flags.reprocess || spec.reprocess,
            dry_run: flags.dry_run || spec.dry_run,
        };
        // They belong to this request and are no property of the pipeline: stored, they would take effect again
        // whenever new defaults regenerate the pipeline.
        (spec.update, spec.reprocess, spec.dry_run) = (false, false, false);
        howdah_spec::validate(&spec).map_err(IntoStatus::into_status)?;
        let unsupported = howdah_spec::unsupported(&spec);
        if !unsupported.is_empty() {
            return Err(Status::unimplemented(format!(
                "not supported yet: {}",
                unsupported.join(", ")
            )));
        }
        Ok(Self {
            spec,
            user_json: parsed.user_json,
            flags,
            warnings: parsed.warnings,
        })
    }

    /// Returns the effective specification as JSON text.
    pub(super) fn effective_json(&self) -> String {
        howdah_spec::to_json(&self.spec).to_string()
    }

    /// Returns the key of the pipeline.
    pub(super) fn key(&self) -> Result<PipelineKey, Status> {
        Ok(PipelineKey {
            project: ProjectName::new(&self.spec.pipeline.project).map_err(wire::bad_name)?,
            name: PipelineName::new(&self.spec.pipeline.name).map_err(wire::bad_name)?,
        })
    }

    /// Writes the content of the spec commit into the store and returns the command that makes or updates the pipeline.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn command(&self, core: &Core) -> Result<Command, Status> {
        let effective_json = self.effective_json();
        Ok(Command::CreatePipeline {
            spec: Box::new(self.spec.clone()),
            user_json: self.user_json.to_string(),
            spec_content: spec_content(core, &effective_json).await?,
            effective_json,
            update: self.flags.update,
            reprocess: self.flags.reprocess,
            salt: fresh_id().to_string(),
        })
    }
}

fn stored_json(text: &str) -> Result<Value, Status> {
    serde_json::from_str(text).map_err(|error| Status::data_loss(format!("stored defaults are not JSON: {error}")))
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

/// Reads an input and fills in what a specification may leave out.
pub(super) fn filled_input(input: &pps::Input) -> Result<howdah_spec::Input, Status> {
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
