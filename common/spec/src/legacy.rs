//! Forms of the 1.x years, translated into the current form on the tree, before types are known.
//!
//! Forms that map exactly are translated without a word; what is lost is warned about, what cannot be done is
//! an error that says what to do instead. Fields that are in no table here pass unchanged: the decoder judges
//! them.

use crate::ParseOptions;
use crate::error::{Problem, SpecError};
use crate::node::{Position, SourceEntry, SourceNode, SourceValue, camel};

mod inputs;
mod resources;

/// Something that was dropped or not translated exactly.
#[derive(Debug)]
pub(crate) struct LegacyWarning {
    pub pos: Position,
    pub field: String,
    pub text: String,
}

impl LegacyWarning {
    fn new(pos: Position, field: impl Into<String>, text: impl Into<String>) -> LegacyWarning {
        LegacyWarning {
            pos,
            field: field.into(),
            text: text.into(),
        }
    }
}

/// Top-level fields that are dropped without a word.
const FORGOTTEN: [&str; 7] = [
    "enable_stats",
    "cache_size",
    "max_queue_size",
    "batch",
    "hashtree_spec",
    "gc_policy",
    "no_archive",
];

/// Translates a spec in place.
pub(crate) fn translate(spec: &mut SourceNode, options: &ParseOptions) -> Result<Vec<LegacyWarning>, SpecError> {
    let mut warnings = Vec::new();
    let Some(fields) = spec.as_map_mut() else {
        return Ok(warnings);
    };
    if let Some(tf_job) = take(fields, "tf_job")?.filter(|entry| !entry.value.is_null()) {
        let error = SpecError::refused("tf_job", "embedding TensorFlow jobs is not supported").at(tf_job.pos);
        return Err(error.help("run TensorFlow as the command of a transform"));
    }
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

/// Adds a service's annotations to those of `metadata`, which win.
fn annotate(fields: &mut Vec<SourceEntry>, service: SourceEntry) -> Result<(), SpecError> {
    let SourceValue::Map(new) = service.value.value else {
        let expected = "an object that gives names their values";
        let found = service.value.describe();
        return Err(SpecError::mismatch("service.annotations", expected, found).at(service.value.pos));
    };
    let metadata = ensure_object(fields, "metadata", service.pos);
    let annotations = metadata.map(|metadata| ensure_object(metadata, "annotations", service.pos));
    // Where `metadata` is no object the decoder will say so.
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

/// Takes a field out, by either spelling; giving both is an error.
fn take(fields: &mut Vec<SourceEntry>, name: &str) -> Result<Option<SourceEntry>, SpecError> {
    let camel_name = camel(name);
    let is_it = |entry: &SourceEntry| entry.key == name || entry.key == camel_name;
    let Some(index) = fields.iter().position(is_it) else {
        return Ok(None);
    };
    let entry = fields.remove(index);
    match fields.iter().find(|entry| is_it(entry)) {
        None => Ok(Some(entry)),
        Some(second) => {
            let problem = Problem::DuplicateField {
                first: entry.key,
                second: second.key.clone(),
            };
            Err(SpecError::new("", problem).at(second.pos).help("keep one of them"))
        }
    }
}

/// Tells whether a field is given, by either spelling, and not null.
fn has(fields: &[SourceEntry], name: &str) -> bool {
    let camel_name = camel(name);
    let is_it = |entry: &SourceEntry| entry.key == name || entry.key == camel_name;
    fields.iter().any(|entry| is_it(entry) && !entry.value.is_null())
}

/// Finds the fields of an object that is a field.
fn object<'a>(fields: &'a mut [SourceEntry], name: &str) -> Option<&'a mut Vec<SourceEntry>> {
    let camel_name = camel(name);
    let entry = fields
        .iter_mut()
        .find(|entry| entry.key == name || entry.key == camel_name)?;
    entry.value.as_map_mut()
}

/// Finds the fields of an object, made if absent; none if something else is there.
fn ensure_object<'a>(fields: &'a mut Vec<SourceEntry>, name: &str, pos: Position) -> Option<&'a mut Vec<SourceEntry>> {
    if !has(fields, name) {
        let camel_name = camel(name);
        fields.retain(|entry| entry.key != name && entry.key != camel_name);
        fields.push(SourceEntry::new(
            pos,
            name,
            SourceNode::new(pos, SourceValue::Map(Vec::new())),
        ));
    }
    object(fields, name)
}

/// Gives a field its present name; having both is an error.
fn rename(fields: &mut Vec<SourceEntry>, old: &str, new: &str) -> Result<(), SpecError> {
    let Some(entry) = take(fields, old)? else {
        return Ok(());
    };
    if has(fields, new) {
        let what = format!("{old} is the old name of {new}, and both are given");
        return Err(SpecError::conflict("", what).at(entry.pos).help(format!("keep {new}")));
    }
    let camel_name = camel(new);
    fields.retain(|entry| entry.key != new && entry.key != camel_name);
    // Keeps the style of the old spelling, for later messages.
    let key = if entry.key.contains('_') { new } else { &camel_name };
    fields.push(SourceEntry::new(entry.pos, key, entry.value));
    Ok(())
}

/// Tells whether a value says nothing: null, false, "".
fn is_unset(node: &SourceNode) -> bool {
    match &node.value {
        SourceValue::Null | SourceValue::Bool(false) => true,
        SourceValue::Text(text) => text.is_empty(),
        _ => false,
    }
}
