//! The built-in defaults, the merge of user specs over defaults, and the derived fields.
//!
//! Merging works on canonical JSON, because it must tell a field with its default value from an absent field; the
//! typed spec cannot. Derived fields (projects, names, branches, the order of inputs) are filled in on the typed spec.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::error::SpecError;
use crate::node::{SourceEntry, SourceNode, locate};
use crate::schema;
use crate::types::{Input, PipelineSpec, Service};
use crate::{decode, split};

const BRANCH: &str = "master";
const TRIES: u32 = 3;

pub(crate) fn built_in() -> Value {
    json!({
        "transform": {"image": "ubuntu:20.04"},
        "outputBranch": BRANCH,
        "datumTries": TRIES,
        "reprocessSpec": "until_success",
    })
}

/// Removes `$schema`, the key by which editors find a schema.
pub(crate) fn drop_schema(node: &mut SourceNode) {
    if let Some(fields) = node.as_map_mut() {
        fields.retain(|SourceEntry { key, .. }| key != "$schema");
    }
}

/// Parses a document of defaults (`{"createPipelineRequest": {...}}`) in JSON or YAML; empty text counts as `{}`.
pub fn parse_defaults(source_name: &str, text: &[u8]) -> Result<Value, SpecError> {
    let read = || {
        let mut nodes = split::specs(text)?.into_iter();
        match (nodes.next(), nodes.next()) {
            (None, _) => Ok(Value::Object(Map::new())),
            (Some(node), None) => defaults(node),
            (Some(_), Some(second)) => {
                let error = SpecError::conflict("", "a second document of defaults begins here").at(second.pos);
                Err(error.help("give one document"))
            }
        }
    };
    read().map_err(|error: SpecError| error.in_file(source_name))
}

/// Checks a document of defaults and returns it as canonical JSON; null counts as `{}`.
pub fn check_defaults(document: &Value) -> Result<Value, SpecError> {
    if document.is_null() {
        return Ok(Value::Object(Map::new()));
    }
    defaults(SourceNode::from(document))
}

fn defaults(mut node: SourceNode) -> Result<Value, SpecError> {
    drop_schema(&mut node);
    let document = decode::object(&node, &schema::DEFAULTS, "")?;
    if document
        .pointer("/createPipelineRequest/pipeline")
        .is_some_and(|pipeline| !pipeline.is_null())
    {
        let (pos, field) = locate(&node, "create_pipeline_request.pipeline");
        let error = SpecError::conflict(field, "defaults may not name a pipeline").at(pos);
        return Err(error.help("remove it"));
    }
    Ok(document)
}

/// Merges a user spec over the project's, the cluster's and the built-in defaults (RFC 7396).
///
/// Returns canonical JSON for [`from_effective`], which fills in the derived fields. `to_json` of that result is the
/// effective spec.
pub fn effective(cluster_defaults: &Value, project_defaults: &Value, user: &Value) -> Result<Value, SpecError> {
    let mut merged = built_in();
    for (name, document) in [
        ("cluster defaults", cluster_defaults),
        ("project defaults", project_defaults),
    ] {
        let document = check_defaults(document).map_err(|error| error.in_file(name))?;
        if let Some(request) = document
            .get("createPipelineRequest")
            .filter(|request| !request.is_null())
        {
            merge(&mut merged, request);
        }
    }
    merge(
        &mut merged,
        &decode::object(&SourceNode::from(user), &schema::PIPELINE_SPEC, "")?,
    );
    Ok(merged)
}

/// Converts a merged spec into its type and fills in derived fields: projects, branches, names, the order of inputs.
///
/// `now`, cut to the second, becomes the start of cron inputs without one. Does not [`validate`](crate::validate).
pub fn from_effective(json: &Value, default_project: &str, now: Timestamp) -> Result<PipelineSpec, SpecError> {
    let mut spec = typed(decode::object(&SourceNode::from(json), &schema::PIPELINE_SPEC, "")?)?;
    fill_fields(&mut spec, Some(default_project), Some(now));
    order_inputs(&mut spec);
    Ok(spec)
}

/// Applies a JSON merge patch (RFC 7396): objects merge, null removes, every other value replaces.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    // An object over a plain value replaces it, but is merged by the loop below: a plain copy would keep the nulls
    // of the patch.
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            // An absent key starts as null, so that a nested object is merged too and loses its nulls.
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Converts canonical JSON into the typed spec.
pub(crate) fn typed(mut canonical: Value) -> Result<PipelineSpec, SpecError> {
    strip(&mut canonical);
    // Clients send an egress message without a target for "no egress". As a target it would fail validation.
    if let Some(spec) = canonical.as_object_mut() {
        let target = spec.get("egress").and_then(Value::as_object);
        let url_only = target.is_some_and(|target| target.values().all(|value| value.as_str() == Some("")));
        if url_only {
            spec.remove("egress");
        }
    }
    serde_json::from_value(canonical).map_err(|error| SpecError::invalid("", error.to_string()))
}

/// Removes nulls at every depth. The merge does not look into lists, and an object in a list may have null fields.
fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Fills in the derived fields of a spec; `now` is `None` for a spec that keeps cron inputs without a start.
pub(crate) fn fill_fields(spec: &mut PipelineSpec, default_project: Option<&str>, now: Option<Timestamp>) {
    fill_text(&mut spec.pipeline.project, default_project.unwrap_or_default());
    fill_text(&mut spec.output_branch, BRANCH);
    spec.parallelism = spec.parallelism.max(1);
    if spec.datum_tries == 0 {
        spec.datum_tries = TRIES;
    }
    for limit in [
        &mut spec.datum_timeout,
        &mut spec.job_timeout,
        &mut spec.maximum_expected_uptime,
    ] {
        *limit = limit.filter(|limit| !limit.is_zero());
    }
    spec.salt = spec.salt.take().filter(|salt| !salt.is_empty());
    let is_set = |service: &Service| *service != Service::default();
    spec.service = spec.service.take().filter(is_set);
    if let Some(spout) = &mut spec.spout {
        spout.service = spout.service.take().filter(is_set);
    }
    if let Some(input) = &mut spec.input {
        fill_input(input, &spec.pipeline.project, &spec.pipeline.name, now);
    }
}

fn fill_input(input: &mut Input, project: &str, pipeline: &str, now: Option<Timestamp>) {
    match input {
        Input::Pfs(pfs) => {
            fill_text(&mut pfs.project, project);
            fill_text(&mut pfs.name, &pfs.repo);
            if !pfs.glob.is_empty() {
                pfs.glob = howdah_glob::clean(&pfs.glob);
            }
            // With a trigger, the branch of the input is one that the pipeline creates; `name_triggers` names it.
            match &mut pfs.trigger {
                Some(trigger) => fill_text(&mut trigger.branch, BRANCH),
                None => fill_text(&mut pfs.branch, BRANCH),
            }
        }
        Input::Cron(cron) => {
            fill_text(&mut cron.project, project);
            fill_text(&mut cron.repo, &format!("{pipeline}_{}", cron.name));
            if cron.start.is_none() {
                cron.start = now.and_then(|now| Timestamp::from_second(now.as_second()).ok());
            }
        }
        _ => {}
    }
    for part in input.parts_mut() {
        fill_input(part, project, pipeline, now);
    }
}

fn fill_text(text: &mut String, value: &str) {
    if text.is_empty() {
        value.clone_into(text);
    }
}

/// Sorts the parts of compound inputs by name, then names the branches of triggers in that order.
///
/// The order of parts in the text must not matter: it decides the names of branches and the identity of datums.
pub(crate) fn order_inputs(spec: &mut PipelineSpec) {
    if let Some(input) = &mut spec.input {
        sort(input);
        name_triggers(input, &spec.pipeline.name, &mut Vec::new());
    }
}

fn sort(input: &mut Input) {
    let parts = input.parts_mut();
    parts.iter_mut().for_each(sort);
    parts.sort_by(|a, b| a.name().cmp(b.name()));
}

/// Numbers the triggers of each repo from 1; `counts` holds a repo once for each of its triggers so far.
fn name_triggers(input: &mut Input, pipeline: &str, counts: &mut Vec<(String, String)>) {
    if let Input::Pfs(pfs) = input
        && pfs.trigger.is_some()
        && pfs.branch.is_empty()
    {
        let repo = (pfs.project.clone(), pfs.repo.clone());
        counts.push(repo.clone());
        let number = counts.iter().filter(|other| **other == repo).count();
        pfs.branch = format!("{pipeline}-trigger-{number}");
    }
    for part in input.parts_mut() {
        name_triggers(part, pipeline, counts);
    }
}
