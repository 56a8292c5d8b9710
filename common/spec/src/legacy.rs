//! Translates the forms of the 1.x versions into the current form, on the tree, before types are known.
//!
//! A form with an exact equivalent is translated silently. A form that loses something gives a [`LegacyWarning`]. A
//! form without an equivalent is an error with advice. All other fields pass unchanged to the decoder, which refuses
//! those that do not exist.
//!
//! The translation works on the tree, not on decoded values, so that warnings and errors keep their positions.

use crate::error::SpecError;
use crate::node::{SourceEntry, SourceNode, SourceValue};
use crate::options::ParseOptions;

mod fields;
mod inputs;
mod resources;

pub(crate) use fields::LegacyWarning;
use fields::{ensure_object, has, is_unset, object, rename, take};

/// Top-level fields that are dropped silently: they tuned parts that do not exist here.
const FORGOTTEN: [&str; 7] = [
    "enable_stats",
    "cache_size",
    "max_queue_size",
    "batch",
    "hashtree_spec",
    "gc_policy",
    "no_archive",
];

/// Translates a spec in place and returns the warnings.
pub(crate) fn translate(spec: &mut SourceNode, options: &ParseOptions) -> Result<Vec<LegacyWarning>, SpecError> {
    let mut warnings = Vec::new();
    let Some(fields) = spec.as_map_mut() else {
        return Ok(warnings);
    };
    if let Some(tf_job) = take(fields, "tf_job")?.filter(|entry| !entry.value.is_null()) {
        let error = SpecError::refused("tf_job", "embedding TensorFlow jobs is not supported").at(tf_job.pos);
        return Err(error.help("run TensorFlow as the command of a transform"));
    }
    // Before the renamings, which compare old and new fields: a translation may produce a field that is renamed below.
    inputs::translate(fields, &mut warnings)?;
    resources::translate(fields, options, &mut warnings)?;
    transform(fields)?;
    spout_and_service(fields, &mut warnings)?;
    rename(fields, "chunk_spec", "datum_set_spec")?;
    rename(fields, "standby", "autoscaling")?;
    scale_down_threshold(fields, &mut warnings)?;
    if let Some(entry) = take(fields, "incremental")?
        && !is_unset(&entry.value)
    {
        let text = "dropped: skipping unchanged datums replaces it";
        warnings.push(LegacyWarning::new(entry.pos, "incremental", text));
    }
    for name in FORGOTTEN {
        take(fields, name)?;
    }
    Ok(warnings)
}

fn transform(fields: &mut [SourceEntry]) -> Result<(), SpecError> {
    let Some(transform) = object(fields, "transform") else {
        return Ok(());
    };
    take(transform, "overwrite")?;
    match take(transform, "build")?.filter(|entry| !entry.value.is_null()) {
        None => Ok(()),
        Some(build) => {
            let error = SpecError::refused("transform.build", "building images is not supported").at(build.pos);
            Err(error.help("build the image yourself, push it, and name it in transform.image"))
        }
    }
}

fn spout_and_service(fields: &mut Vec<SourceEntry>, warnings: &mut Vec<LegacyWarning>) -> Result<(), SpecError> {
    if let Some(spout) = object(fields, "spout") {
        if let Some(entry) = take(spout, "overwrite")?.filter(|entry| !is_unset(&entry.value)) {
            let text = "dropped: a spout writes its own commits and can delete or overwrite files itself";
            warnings.push(LegacyWarning::new(entry.pos, "spout.overwrite", text));
        }
        if let Some(entry) = take(spout, "marker")?.filter(|entry| !is_unset(&entry.value)) {
            let text = "dropped: a spout may read its own output repo to see where it was";
            warnings.push(LegacyWarning::new(entry.pos, "spout.marker", text));
        }
    }
    let Some(annotations) = object(fields, "service").map(|service| take(service, "annotations")) else {
        return Ok(());
    };
    match annotations? {
        Some(annotations) if !annotations.value.is_null() => annotate(fields, annotations),
        _ => Ok(()),
    }
}

/// Adds the annotations of a service to those of `metadata`; on equal names `metadata` wins.
fn annotate(fields: &mut Vec<SourceEntry>, service: SourceEntry) -> Result<(), SpecError> {
    let SourceValue::Map(new) = service.value.value else {
        let expected = "an object that gives names their values";
        let found = service.value.describe();
        return Err(SpecError::mismatch("service.annotations", expected, found).at(service.value.pos));
    };
    let metadata = ensure_object(fields, "metadata", service.pos);
    let annotations = metadata.map(|metadata| ensure_object(metadata, "annotations", service.pos));
    // If `metadata` is not an object, the decoder reports it.
    if let Some(Some(annotations)) = annotations {
        for entry in new {
            if annotations.iter().all(|own| own.key != entry.key) {
                annotations.push(entry);
            }
        }
    }
    Ok(())
}

fn scale_down_threshold(fields: &mut Vec<SourceEntry>, warnings: &mut Vec<LegacyWarning>) -> Result<(), SpecError> {
    const NAME: &str = "scale_down_threshold";
    let Some(entry) = take(fields, NAME)? else {
        return Ok(());
    };
    let is_zero = match &entry.value.value {
        SourceValue::Null => true,
        SourceValue::Text(text) if text.is_empty() => true,
        SourceValue::Text(text) => match crate::duration::parse(text) {
            Ok(duration) => duration.is_zero(),
            Err(error) => return Err(SpecError::invalid(NAME, error.to_string()).at(entry.value.pos)),
        },
        SourceValue::Number(text) => text.parse::<f64>().is_ok_and(|number| number == 0.0),
        _ => return Err(SpecError::mismatch(NAME, "a duration", entry.value.describe()).at(entry.value.pos)),
    };
    if is_zero || has(fields, "autoscaling") {
        return Ok(());
    }
    let text = "became autoscaling: true; idle workers are removed at once, not after a time";
    warnings.push(LegacyWarning::new(entry.pos, NAME, text));
    let value = SourceNode::new(entry.pos, SourceValue::Bool(true));
    fields.push(SourceEntry::new(entry.pos, "autoscaling", value));
    Ok(())
}
