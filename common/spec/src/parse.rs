//! Parses a source into its user specs: split, translate old forms, decode, check.

use serde_json::{Value, json};

use crate::defaults::{built_in, drop_schema, fill_fields, merge, order_inputs, typed};
use crate::error::SpecError;
use crate::node::{SourceNode, locate};
use crate::options::ParseOptions;
use crate::types::PipelineSpec;
use crate::{decode, legacy, schema, split, validate};

/// One spec of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedSpec {
    /// The spec over the built-in defaults only, with derived fields; cron inputs without a start stay without it.
    pub spec: PipelineSpec,
    /// The user spec: canonical JSON in camelCase, old forms translated, `$schema` removed, every `null` kept.
    pub user_json: serde_json::Value,
    /// Warnings for the user, one line each.
    pub warnings: Vec<String>,
}

/// Parses all specs of a source.
///
/// Checks the rules that do not depend on defaults: form, types, names, globs, schedules. The other rules are left
/// to [`validate`](crate::validate) on the effective spec.
pub fn parse(source_name: &str, text: &[u8], options: &ParseOptions) -> Result<Vec<ParsedSpec>, SpecError> {
    let read = || -> Result<Vec<ParsedSpec>, SpecError> {
        let nodes = split::specs(text)?;
        nodes.into_iter().map(|node| one(source_name, node, options)).collect()
    };
    read().map_err(|error| error.in_file(source_name))
}

/// Translates, decodes and checks one spec.
fn one(source_name: &str, mut node: SourceNode, options: &ParseOptions) -> Result<ParsedSpec, SpecError> {
    drop_schema(&mut node);
    let warnings = legacy::translate(&mut node, options)?;
    let mut user_json = decode::object(&node, &schema::PIPELINE_SPEC, "")?;
    name_project(&node, &mut user_json, options.default_project.as_deref())?;

    let mut merged = built_in();
    merge(&mut merged, &user_json);
    let mut spec = typed(merged)?;
    fill_fields(&mut spec, options.default_project.as_deref(), None);
    // Before the inputs are sorted: `locate` finds a mistake by its index, which is that of the source only here.
    validate::by_itself(&spec).map_err(|error| {
        let (pos, field) = locate(&node, error.field());
        error.with_field(field).at(pos)
    })?;
    order_inputs(&mut spec);

    let mut lines: Vec<String> = warnings
        .into_iter()
        .map(|warning| format!("{source_name}:{}: {}: {}", warning.pos, warning.field, warning.text))
        .collect();
    let image = user_json.pointer("/transform/image").and_then(Value::as_str);
    if let Some(text) = image.and_then(image_warning) {
        let (pos, field) = locate(&node, "transform.image");
        lines.push(format!("{source_name}:{pos}: {field}: {text}"));
    }
    Ok(ParsedSpec {
        spec,
        user_json,
        warnings: lines,
    })
}

/// Checks that the pipeline has a name, and sets its project if it has none.
fn name_project(node: &SourceNode, user: &mut Value, project: Option<&str>) -> Result<(), SpecError> {
    let Some(pipeline) = user.get_mut("pipeline").and_then(Value::as_object_mut) else {
        let error = SpecError::missing("pipeline", "no pipeline specified").at(node.pos);
        return Err(error.help("add \"pipeline\": {\"name\": \"...\"}"));
    };
    if pipeline
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .is_empty()
    {
        let (pos, _) = locate(node, "pipeline");
        let error = SpecError::missing("pipeline.name", "no pipeline name specified").at(pos);
        return Err(error.help("write \"pipeline\": {\"name\": \"...\"}"));
    }
    let named = pipeline
        .get("project")
        .and_then(|project| project.get("name"))
        .and_then(Value::as_str);
    if let (true, Some(project)) = (named.unwrap_or_default().is_empty(), project) {
        pipeline.insert("project".to_owned(), json!({ "name": project }));
    }
    Ok(())
}

/// Returns a warning for an image whose content can change, because its tag moves.
fn image_warning(image: &str) -> Option<String> {
    let name = image.rsplit('/').next().unwrap_or(image);
    let why = match name.split_once(':') {
        _ if name.is_empty() || image.contains('@') => return None,
        None => "has no tag",
        Some((_, "latest")) => "is tagged latest",
        Some(_) => return None,
    };
    Some(format!(
        "the image {image:?} {why}, so results depend on what it is when it is pulled; name a version or a digest"
    ))
}
