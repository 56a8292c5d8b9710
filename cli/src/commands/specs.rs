//! Commands that read pipeline specs: create, update, edit, validate.
//!
//! Specs are parsed here for errors with line numbers; the server fills in defaults and validates again. All sources
//! are read before the first pipeline is changed.

use howdah_api::{convert, pps_v2};
use howdah_spec::{ParseOptions, ParsedSpec};
use serde_json::Value;

use crate::args::pipelines::{EditPipeline, UpdatePipeline, ValidatePipeline, WritePipeline};
use crate::args::shared::Encoding;
use crate::context::Ctx;
use crate::error::{CliError, CliResult};
use crate::output::raw::Raw;
use crate::source;

/// `create pipeline`.
pub(super) async fn create(ctx: &Ctx, arguments: &WritePipeline) -> CliResult {
    apply_all(ctx, arguments, false, false).await
}

/// `update pipeline`.
pub(super) async fn update(ctx: &Ctx, arguments: &UpdatePipeline) -> CliResult {
    apply_all(ctx, &arguments.write, true, arguments.reprocess).await
}

/// How a spec is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mode {
    update: bool,
    reprocess: bool,
    dry_run: bool,
}

async fn apply_all(ctx: &Ctx, arguments: &WritePipeline, update: bool, reprocess: bool) -> CliResult {
    let encoding = arguments.raw.encoding()?;
    if arguments.push_images || arguments.registry.is_some() || arguments.username.is_some() {
        return Err(CliError::hinted(
            "--push-images, --registry and --username are not supported",
            "push the image with your container tool and name its tag in the spec",
        ));
    }
    if arguments.jsonnet.is_some() && !arguments.file.is_empty() {
        return Err(CliError::refused("only one of --file (-f) and --jsonnet can be given"));
    }
    if arguments.jsonnet.is_none() && !arguments.args.is_empty() {
        return Err(CliError::refused("--arg needs --jsonnet"));
    }
    let project = ctx.project(&arguments.project)?;
    // All sources are read before anything is changed: otherwise an error in the last one would be found after the
    // others were applied.
    let specs = match &arguments.jsonnet {
        Some(template) => {
            let text = render(ctx, template, &arguments.args).await?;
            parse(ctx, template, text.as_bytes(), Some(&project))?
        }
        None => read_all(ctx, &arguments.file, Some(&project)).await?,
    };
    let mut printed = Raw::new(encoding.unwrap_or(Encoding::Json));
    for parsed in specs {
        let mode = Mode {
            update: update || parsed.spec.update,
            reprocess: reprocess || parsed.spec.reprocess,
            dry_run: arguments.dry_run || parsed.spec.dry_run,
        };
        let effective = apply(ctx, &parsed, mode).await?;
        if mode.dry_run {
            let mut out = ctx.printer.list(false);
            printed.value(&mut out, &effective)?;
            out.close()?;
        } else {
            ctx.note_added()?;
        }
    }
    Ok(())
}

/// Returns the specs of a Jsonnet template as JSON, evaluated by the server.
async fn render(ctx: &Ctx, template: &str, arguments: &[String]) -> Result<String, CliError> {
    let source = source::read(template).await?;
    let text = String::from_utf8(source.text)
        .map_err(|_| CliError::refused(format!("the template {} is not UTF-8", source.name)))?;
    let mut args = std::collections::BTreeMap::new();
    for argument in arguments {
        let (name, value) = argument
            .split_once('=')
            .ok_or_else(|| CliError::refused(format!("invalid --arg {argument:?}: expected the form name=value")))?;
        args.insert(name.to_owned(), value.to_owned());
    }
    let request = pps_v2::RenderTemplateRequest { template: text, args };
    Ok(ctx
        .client()
        .await?
        .pps()
        .render_template(request)
        .await?
        .into_inner()
        .json)
}

/// Reads the specs of all sources, of standard input without sources, and prints their warnings.
async fn read_all(ctx: &Ctx, files: &[String], project: Option<&str>) -> Result<Vec<ParsedSpec>, CliError> {
    let stdin = ["-".to_owned()];
    let files = if files.is_empty() { &stdin } else { files };
    let mut specs = Vec::new();
    for file in files {
        let source = source::read(file).await?;
        let found = parse(ctx, &source.name, &source.text, project)?;
        if found.is_empty() {
            return Err(CliError::refused(format!(
                "there is no pipeline spec in {}",
                source.name
            )));
        }
        specs.extend(found);
    }
    Ok(specs)
}

fn parse(ctx: &Ctx, name: &str, text: &[u8], project: Option<&str>) -> Result<Vec<ParsedSpec>, CliError> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let options = ParseOptions {
        nodes: 1,
        cores,
        default_project: project.map(str::to_owned),
    };
    let specs = howdah_spec::parse(name, text, &options).map_err(|error| CliError::refused(error.to_string()))?;
    for warning in specs.iter().flat_map(|spec| &spec.warnings) {
        ctx.printer.note(format!("warning: {warning}"));
    }
    Ok(specs)
}

/// Applies one spec and returns its effective form.
async fn apply(ctx: &Ctx, parsed: &ParsedSpec, mut mode: Mode) -> Result<Value, CliError> {
    if ctx.hyphenated == Some("update-pipeline") && !mode.reprocess {
        mode.reprocess = transform_changed(ctx, parsed).await?;
    }
    send(ctx, &parsed.user_json, mode).await
}

async fn send(ctx: &Ctx, user: &Value, mode: Mode) -> Result<Value, CliError> {
    let request = pps_v2::CreatePipelineV2Request {
        create_pipeline_request_json: user.to_string(),
        dry_run: mode.dry_run,
        update: mode.update,
        reprocess: mode.reprocess,
    };
    let answer = ctx.client().await?.pps().create_pipeline_v2(request).await;
    let response = answer.map_err(|status| naming_pipeline(user, status))?;
    ctx.warn(&response);
    let text = response.into_inner().effective_create_pipeline_request_json;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text)
        .map_err(|error| CliError::refused(format!("the server's effective spec is not valid JSON: {error}")))
}

/// Adds the name of the pipeline to an error about its spec, because a file may contain many specs.
fn naming_pipeline(user: &Value, status: tonic::Status) -> tonic::Status {
    let name = user
        .pointer("/pipeline/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let about_spec = matches!(status.code(), tonic::Code::InvalidArgument | tonic::Code::Unimplemented);
    if !about_spec || name.is_empty() || status.message().contains(name) {
        return status;
    }
    tonic::Status::new(status.code(), format!("pipeline {name:?}: {}", status.message()))
}

/// Returns whether an update changes what the running pipeline does to its data.
///
/// Both specs come from the server, in canonical form with the same defaults.
async fn transform_changed(ctx: &Ctx, parsed: &ParsedSpec) -> Result<bool, CliError> {
    let pipeline = &parsed.spec.pipeline;
    let request = pps_v2::InspectPipelineRequest {
        pipeline: Some(convert::pipeline(&pipeline.project, &pipeline.name)),
        details: true,
    };
    let running = match ctx.client().await?.pps().inspect_pipeline(request).await {
        Ok(response) => response.into_inner().effective_spec_json,
        // An update of a pipeline that does not exist creates it.
        Err(status) if status.code() == tonic::Code::NotFound => return Ok(false),
        Err(status) => return Err(status.into()),
    };
    let Ok(running) = serde_json::from_str::<Value>(&running) else {
        return Ok(false);
    };
    let wanted = send(
        ctx,
        &parsed.user_json,
        Mode {
            update: true,
            reprocess: false,
            dry_run: true,
        },
    )
    .await?;
    Ok(transform(&running) != transform(&wanted))
}

/// Returns the transform of a spec without the fields that do not change results.
fn transform(spec: &Value) -> Value {
    let mut transform = spec.get("transform").cloned().unwrap_or(Value::Null);
    if let Some(fields) = transform.as_object_mut() {
        for same_results in ["debug", "imagePullSecrets", "dockerfile", "isolation"] {
            fields.remove(same_results);
        }
    }
    transform
}

/// `edit pipeline`.
pub(super) async fn edit(ctx: &Ctx, arguments: &EditPipeline) -> CliResult {
    let project = ctx.project(&arguments.project)?;
    let request = pps_v2::InspectPipelineRequest {
        pipeline: Some(convert::pipeline(&project, &arguments.pipeline)),
        details: true,
    };
    let info = ctx.client().await?.pps().inspect_pipeline(request).await?.into_inner();
    let before = to_edit(&info.user_spec_json, arguments.output)?;
    let suffix = if arguments.output == Some(Encoding::Yaml) {
        ".yaml"
    } else {
        ".json"
    };
    let file = tempfile::Builder::new()
        .prefix(&arguments.pipeline)
        .suffix(suffix)
        .tempfile()
        .map_err(CliError::io("cannot make a temporary file"))?;
    let path = file.path().to_owned();
    let name = path.display().to_string();
    std::fs::write(&path, &before).map_err(CliError::io(format!("cannot write {name}")))?;
    run_editor(arguments.editor.as_deref(), &path)?;
    let after = std::fs::read(&path).map_err(CliError::io(format!("cannot read {name}")))?;
    if after == before.as_bytes() {
        ctx.printer.note("Pipeline unchanged, no update will be performed.");
        return Ok(());
    }
    let specs = parse(ctx, &name, &after, Some(&project)).inspect_err(|_| {
        // Keeps the file, so that the user's changes are not lost.
        if let Ok((_, kept)) = file.keep() {
            ctx.printer.note(format!("your changes are kept in {}", kept.display()));
        }
    })?;
    let [parsed] = specs.as_slice() else {
        return Err(CliError::refused(format!("expected one spec, found {}", specs.len())));
    };
    let edited = &parsed.spec.pipeline;
    if edited.name != arguments.pipeline || edited.project != project {
        return Err(CliError::refused(
            "the name and the project of a pipeline cannot be changed",
        ));
    }
    let mode = Mode {
        update: true,
        reprocess: arguments.reprocess || parsed.spec.reprocess,
        dry_run: false,
    };
    send(ctx, &parsed.user_json, mode).await?;
    ctx.note_added()
}

/// Returns a user spec as text for an editor, with the field that names its JSON schema.
fn to_edit(user: &str, encoding: Option<Encoding>) -> Result<String, CliError> {
    let mut value: Value = serde_json::from_str(user)
        .map_err(|error| CliError::refused(format!("the server's spec is not valid JSON: {error}")))?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert(
            "$schema".to_owned(),
            Value::from("/jsonschema/pps_v2/CreatePipelineRequest.schema.json"),
        );
    }
    match encoding {
        Some(Encoding::Yaml) => Ok(howdah_spec::to_yaml(&value)),
        _ => Ok(format!("{value:#}\n")),
    }
}

fn run_editor(wish: Option<&str>, path: &std::path::Path) -> CliResult {
    let editor = wish
        .map(str::to_owned)
        .or_else(|| std::env::var("EDITOR").ok().filter(|editor| !editor.trim().is_empty()))
        .unwrap_or_else(|| "vim".to_owned());
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or("vim");
    let status = std::process::Command::new(program)
        .args(words)
        .arg(path)
        .status()
        .map_err(CliError::io(format!(
            "cannot run the editor {program} (--editor or EDITOR chooses another)"
        )))?;
    if status.success() {
        Ok(())
    } else {
        Err(CliError::refused(format!(
            "the editor {program} failed; nothing was changed"
        )))
    }
}

/// `validate pipeline`: checks specs without a server.
pub(super) async fn validate(ctx: &Ctx, arguments: &ValidatePipeline) -> CliResult {
    for parsed in read_all(ctx, &arguments.file, None).await? {
        let spec = howdah_spec::effective(&Value::Null, &Value::Null, &parsed.user_json)
            .and_then(|json| howdah_spec::from_effective(&json, convert::DEFAULT_PROJECT, jiff::Timestamp::now()))
            .and_then(|spec| howdah_spec::validate(&spec).map(|()| spec))
            .map_err(|error| CliError::refused(format!("{}: {error}", parsed.spec.pipeline.name)))?;
        for field in howdah_spec::unsupported(&spec) {
            ctx.printer
                .note(format!("warning: {}: {field} is not supported yet", spec.pipeline.name));
        }
    }
    Ok(())
}

/// Reads exactly one spec, for commands that use only its input.
pub(super) async fn read_one(ctx: &Ctx, file: &str, project: &str) -> Result<ParsedSpec, CliError> {
    let mut specs = read_all(ctx, &[file.to_owned()], Some(project)).await?;
    match (specs.pop(), specs.len()) {
        (Some(spec), 0) => Ok(spec),
        (_, more) => Err(CliError::refused(format!(
            "expected one spec in {file}, found {}",
            more + 1
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_about_a_spec_name_the_pipeline() {
        let user = serde_json::json!({"pipeline": {"name": "edges"}});
        let message = |status| naming_pipeline(&user, status).message().to_owned();
        assert_eq!(
            message(tonic::Status::invalid_argument("input: no input set")),
            "pipeline \"edges\": input: no input set"
        );
        assert_eq!(
            message(tonic::Status::unimplemented("not supported yet: spout")),
            "pipeline \"edges\": not supported yet: spout"
        );
        let exists = "pipeline \"default/edges\" already exists";
        assert_eq!(message(tonic::Status::already_exists(exists)), exists);
        assert_eq!(
            message(tonic::Status::not_found("repo default/x not found")),
            "repo default/x not found"
        );
    }

    #[test]
    fn only_fields_that_change_results_count_as_a_change() {
        let old = json!({"transform": {"image": "a:1", "cmd": ["x"]}, "parallelismSpec": {"constant": 1}});
        let same = json!({"transform": {"image": "a:1", "cmd": ["x"], "debug": true}});
        let other = json!({"transform": {"image": "a:2", "cmd": ["x"]}});
        assert_eq!(transform(&old), transform(&same));
        assert_ne!(transform(&old), transform(&other));
    }

    #[test]
    fn edited_text_names_the_schema() {
        let text = to_edit("{\"pipeline\": {\"name\": \"edges\"}}", None).expect("text");
        assert!(text.starts_with("{\n  \"$schema\": "), "{text}");
        let yaml = to_edit("{\"pipeline\": {\"name\": \"edges\"}}", Some(Encoding::Yaml)).expect("text");
        assert!(yaml.contains("pipeline:\n  name: edges\n"), "{yaml}");
    }
}
