//! Errors for values that do not fit, with the likely intention of the user and the correct form.

use crate::error::{Problem, SpecError};
use crate::node::{SourceEntry, SourceNode, SourceValue, camel, join};
use crate::schema::{self, FieldType, ObjectSchema};

/// Returns the name of an item type, in the singular.
pub(super) fn item_name(item: &FieldType) -> &'static str {
    match item {
        FieldType::Text => "a string",
        FieldType::Int { .. } => "a whole number",
        FieldType::Object(kind) if std::ptr::eq(*kind, &schema::INPUT) => "an input",
        _ => "an object",
    }
}

pub(super) fn not_an_object(node: &SourceNode, kind: &'static ObjectSchema, path: &str) -> SpecError {
    let error = SpecError::mismatch(path, "an object", node.describe()).at(node.pos);
    if std::ptr::eq(kind, &schema::INPUT) {
        return match node.value {
            SourceValue::List(_) => error.help("put several inputs under cross, union, join or group"),
            _ => error.help("write {\"pfs\": {\"repo\": \"...\", \"glob\": \"/*\"}}"),
        };
    }
    match (kind.short, &node.value) {
        (Some(field), SourceValue::Text(text)) => error.help(format!("write {{{:?}: {text:?}}}", camel(field))),
        (Some(field), SourceValue::Number(text)) => error.help(format!("write {{{:?}: {text}}}", camel(field))),
        _ => error,
    }
}

pub(super) fn not_a_list(node: &SourceNode, item: &'static FieldType, path: &str) -> SpecError {
    let field = path.rsplit('.').next().unwrap_or(path);
    let is_script = matches!(field, "stdin" | "err_stdin" | "errStdin");
    let expected = match item {
        FieldType::Text if is_script => "a list of lines",
        FieldType::Text => "a list of strings",
        FieldType::Int { .. } => "a list of whole numbers",
        FieldType::Object(kind) if std::ptr::eq(*kind, &schema::INPUT) => "a list of inputs",
        _ => "a list of objects",
    };
    let error = SpecError::mismatch(path, expected, node.describe());
    match (&node.value, item) {
        (SourceValue::Text(text), FieldType::Text) => {
            let words: Vec<&str> = match field {
                "cmd" | "err_cmd" | "errCmd" => text.split_whitespace().collect(),
                _ => text.lines().collect(),
            };
            error.help(format!("put it in brackets: {words:?}"))
        }
        (SourceValue::Number(number), FieldType::Int { .. }) => error.help(format!("put it in brackets: [{number}]")),
        (SourceValue::Map(_), FieldType::Object(_)) => error.help("put it in brackets: [{...}]"),
        _ => error,
    }
}

pub(super) fn not_a_bool(node: &SourceNode, path: &str) -> SpecError {
    let error = SpecError::mismatch(path, "true or false", node.describe());
    let meant = match &node.value {
        SourceValue::Text(text) => text.to_lowercase(),
        SourceValue::Number(text) => text.clone(),
        _ => return error,
    };
    match meant.as_str() {
        "true" | "yes" | "on" | "y" | "1" => error.help("write true, without quotes"),
        "false" | "no" | "off" | "n" | "0" => error.help("write false, without quotes"),
        _ => error,
    }
}

pub(super) fn not_a_text(node: &SourceNode, path: &str) -> SpecError {
    let error = SpecError::mismatch(path, "a string", node.describe());
    let field = path.rsplit('.').next().unwrap_or(path);
    match &node.value {
        SourceValue::Number(text) if matches!(field, "memory" | "disk") => {
            error.help(format!("put it in quotes, with its unit: \"{text}Mi\" or the like"))
        }
        SourceValue::Number(text) | SourceValue::OddNumber(text) => error.help(format!("put it in quotes: {text:?}")),
        SourceValue::Bool(value) => error.help(format!("put it in quotes: \"{value}\"")),
        _ => error,
    }
}

/// The largest number of field names that an error lists for an unknown name.
const MOST_LISTED: usize = 10;

pub(super) fn unknown_field(
    entry: &SourceEntry,
    kind: &'static ObjectSchema,
    path: &str,
    siblings: &[SourceEntry],
) -> SpecError {
    let is_input = std::ptr::eq(kind, &schema::INPUT);
    if is_input
        && siblings
            .iter()
            .any(|entry| matches!(entry.key.as_str(), "repo" | "glob"))
    {
        let error = SpecError::missing(
            path,
            "the key \"pfs\" is missing around the repo and glob of this input",
        );
        return error
            .at(entry.pos)
            .help("write {\"pfs\": {\"repo\": \"...\", \"glob\": \"...\"}}");
    }
    let name = entry.key.clone();
    let problem = Problem::UnknownField { name };
    let error = SpecError::new(path, problem).at(entry.pos);
    let spelled_camel = !entry.key.contains('_');
    let spell = |name: &'static str| if spelled_camel { camel(name) } else { name.to_owned() };
    let known: Vec<String> = kind.fields.iter().map(|field| spell(field.name)).collect();
    let close = nearest(&entry.key, &known);
    // An exact name in another place helps more than a similar name in this place.
    if let Some(place) = home(&entry.key) {
        let place = if place.is_empty() {
            "the top level".to_owned()
        } else {
            place
        };
        return error.help(format!("a field of that name belongs to {place}"));
    }
    match close {
        Some(name) => error.help(format!("did you mean {name:?}?")),
        None if known.len() <= MOST_LISTED => error.help(format!("the fields here are {}", known.join(", "))),
        None => error,
    }
}

/// Returns the path of the object, nearest to the top of a spec, that has a field of this name.
fn home(key: &str) -> Option<String> {
    let mut level: Vec<(String, &'static ObjectSchema)> = vec![(String::new(), &schema::PIPELINE_SPEC)];
    let mut seen: Vec<*const ObjectSchema> = Vec::new();
    while !level.is_empty() {
        let mut below = Vec::new();
        for (path, object) in level {
            if seen.iter().any(|other| std::ptr::eq(*other, object)) {
                continue;
            }
            seen.push(object);
            for field in object.fields {
                if field.name == key || camel(field.name) == key {
                    return Some(path);
                }
                match &field.kind {
                    FieldType::Object(kind) => below.push((join(&path, field.name), *kind)),
                    FieldType::List(FieldType::Object(kind)) => below.push((join(&path, field.name), *kind)),
                    _ => {}
                }
            }
        }
        level = below;
    }
    None
}

/// Returns the name that is closest to a wrong choice.
pub(super) fn closest(value: &SourceValue, names: &[&'static str]) -> Option<String> {
    let SourceValue::Text(text) = value else { return None };
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    nearest(text, &names)
}

/// Returns the most similar name, if the user probably meant it.
fn nearest(wrong: &str, names: &[String]) -> Option<String> {
    // A longer word is no misspelled field, and the comparison takes quadratic time.
    const LONGEST: usize = 40;
    if wrong.chars().count() > LONGEST {
        return None;
    }
    let lowered = wrong.to_lowercase();
    let rated = names
        .iter()
        .map(|name| (strsim::osa_distance(&lowered, &name.to_lowercase()), name));
    let (rating, name) = rated.min_by_key(|(rating, _)| *rating)?;
    let bound = (wrong.chars().count() / 3).clamp(1, 3);
    (rating <= bound).then(|| name.clone())
}
