//! Decodes a tree of source nodes into canonical JSON, by the strict rules of protobuf's JSON form.
//!
//! The decoder walks the tree beside the table of [`schema`]. Canonical JSON has camelCase names, whole numbers as
//! numbers, durations in seconds and enumerations by name. A `null` stays, because it removes a default in the merge.
//! An error has the position of the value and, where possible, advice.

use serde_json::{Map, Number, Value as Json};

use crate::duration::{self, DurationError};
use crate::error::{Problem, SpecError};
use crate::node::{SourceNode, SourceValue, camel, join, shorten};
use crate::number;
use crate::schema::{self, FieldSchema, FieldType, ObjectSchema};

mod advice;

/// Decodes an object of a known kind; `path` is its field path.
pub(crate) fn object(node: &SourceNode, kind: &'static ObjectSchema, path: &str) -> Result<Json, SpecError> {
    let Some(entries) = node.as_map() else {
        return Err(advice::not_an_object(node, kind, path));
    };
    let mut json = Map::new();
    // Each field by its schema name, with the spelling in the source: `datum_tries` and `datumTries` are one field,
    // and without this check the later one would silently replace the other.
    let mut seen: Vec<(&'static str, &str)> = Vec::new();
    for entry in entries {
        let here = join(path, &entry.key);
        let Some(field) = find(kind, &entry.key) else {
            return Err(advice::unknown_field(entry, kind, path, entries));
        };
        if let Some((_, first)) = seen.iter().find(|(name, _)| *name == field.name) {
            let problem = Problem::DuplicateField {
                first: (*first).to_owned(),
                second: entry.key.clone(),
            };
            return Err(SpecError::new(path, problem).at(entry.pos).help("keep one of them"));
        }
        seen.push((field.name, &entry.key));
        json.insert(json_name(field), value(&entry.value, field, &here)?);
    }
    if kind.one_of {
        exactly_one(node, kind, path, &json)?;
    }
    Ok(Json::Object(json))
}

/// Finds the field of a key, in snake case or camelCase.
fn find(kind: &'static ObjectSchema, key: &str) -> Option<&'static FieldSchema> {
    kind.fields.iter().find(|field| {
        let is_egress_url = field.name == "URL" && key == "url";
        field.name == key || is_egress_url || camel(field.name) == key
    })
}

fn json_name(field: &FieldSchema) -> String {
    camel(field.name)
}

/// Checks that an object with alternatives has exactly one; an empty egress means "no egress".
fn exactly_one(
    node: &SourceNode,
    kind: &'static ObjectSchema,
    path: &str,
    json: &Map<String, Json>,
) -> Result<(), SpecError> {
    let is_input = std::ptr::eq(kind, &schema::INPUT);
    let given: Vec<&str> = json
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, _)| key.as_str())
        .collect();
    match given.as_slice() {
        [_] => Ok(()),
        [] if is_input => {
            let error = SpecError::missing(path, "no input set").at(node.pos);
            Err(error.help("give one of pfs, cross, union, join, group, cron"))
        }
        [] => Ok(()),
        several => {
            let listed = several.join(" and ");
            let error = if is_input {
                SpecError::conflict(path, format!("multiple input types set: {listed}"))
                    .help("put them into a list under cross, union, join or group")
            } else {
                SpecError::conflict(path, format!("more than one egress target: {listed}")).help("keep one of them")
            };
            Err(error.at(node.pos))
        }
    }
}

fn value(node: &SourceNode, field: &FieldSchema, path: &str) -> Result<Json, SpecError> {
    if node.is_null() {
        return Ok(Json::Null);
    }
    typed(node, &field.kind, path).map_err(|error| error.at(node.pos))
}

/// Decodes a value that is not null.
fn typed(node: &SourceNode, kind: &FieldType, path: &str) -> Result<Json, SpecError> {
    if let SourceValue::OddNumber(text) = &node.value {
        let what = format!(
            "{} is not read as a number, because readers disagree about it",
            shorten(text)
        );
        let help = format!("write it in plain decimal, or in quotes for a string: {text:?}");
        return Err(SpecError::invalid(path, what).help(help));
    }
    match kind {
        FieldType::Object(kind) => object(node, kind, path),
        FieldType::List(item) => list(node, item, path),
        FieldType::Map => map(node, path),
        FieldType::Bool => match node.value {
            SourceValue::Bool(value) => Ok(Json::Bool(value)),
            _ => Err(advice::not_a_bool(node, path)),
        },
        FieldType::Text => match &node.value {
            SourceValue::Text(text) => Ok(Json::String(text.clone())),
            _ => Err(advice::not_a_text(node, path)),
        },
        FieldType::Int { min, max } => int(node, *min, *max, path),
        FieldType::Float => float(node, path),
        FieldType::Choice { names, numbered, empty } => choice(node, names, *numbered, *empty, path),
        FieldType::Duration => duration(node, path),
        FieldType::Timestamp => timestamp(node, path),
    }
}

fn list(node: &SourceNode, item: &'static FieldType, path: &str) -> Result<Json, SpecError> {
    let SourceValue::List(items) = &node.value else {
        return Err(advice::not_a_list(node, item, path));
    };
    let read = |(index, node): (usize, &SourceNode)| {
        let path = format!("{path}[{index}]");
        if node.is_null() {
            let error = SpecError::mismatch(path, advice::item_name(item), "null");
            return Err(error.at(node.pos));
        }
        typed(node, item, &path).map_err(|error| error.at(node.pos))
    };
    items
        .iter()
        .enumerate()
        .map(read)
        .collect::<Result<_, _>>()
        .map(Json::Array)
}

fn map(node: &SourceNode, path: &str) -> Result<Json, SpecError> {
    let Some(entries) = node.as_map() else {
        let expected = "an object that gives names their values";
        let error = SpecError::mismatch(path, expected, node.describe());
        return Err(error.help("write {\"NAME\": \"value\"}"));
    };
    let mut json = Map::new();
    for entry in entries {
        let here = join(path, &entry.key);
        let value = match &entry.value.value {
            // Null removes a default of this key in the merge.
            SourceValue::Null => Json::Null,
            SourceValue::Text(text) => Json::String(text.clone()),
            _ => return Err(advice::not_a_text(&entry.value, &here).at(entry.value.pos)),
        };
        if json.insert(entry.key.clone(), value).is_some() {
            let problem = Problem::DuplicateField {
                first: entry.key.clone(),
                second: entry.key.clone(),
            };
            return Err(SpecError::new(path, problem).at(entry.pos).help("keep one of them"));
        }
    }
    Ok(Json::Object(json))
}

/// Decodes a whole number from a number or from text, as protobuf's JSON form writes 64-bit numbers.
fn int(node: &SourceNode, min: i64, max: i128, path: &str) -> Result<Json, SpecError> {
    let expected = if min == 0 {
        "a whole number, not negative"
    } else {
        "a whole number"
    };
    let number = match &node.value {
        SourceValue::Number(text) | SourceValue::Text(text) => number::whole(text),
        _ => None,
    };
    let number = number.ok_or_else(|| SpecError::mismatch(path, expected, node.describe()))?;
    if number < i128::from(min) {
        return Err(SpecError::mismatch(path, expected, node.describe()));
    }
    if number > max {
        let expected = format!("a whole number of at most {max}");
        return Err(SpecError::mismatch(path, expected, node.describe()));
    }
    // A JSON number is unsigned or signed with 64 bits; the bounds above leave no other value.
    let fitting = u64::try_from(number).map(Number::from);
    let fitting = fitting.or_else(|_| i64::try_from(number).map(Number::from));
    fitting
        .map(Json::Number)
        .map_err(|_| SpecError::mismatch(path, expected, node.describe()))
}

fn float(node: &SourceNode, path: &str) -> Result<Json, SpecError> {
    let number = match &node.value {
        SourceValue::Number(text) | SourceValue::Text(text) => number::float(text),
        _ => None,
    };
    let number = number.and_then(Number::from_f64);
    let mismatch = || SpecError::mismatch(path, "a number, such as 0.5", node.describe());
    number.map(Json::Number).ok_or_else(mismatch)
}

fn choice(
    node: &SourceNode,
    names: &'static [&'static str],
    numbered: bool,
    empty: Option<&'static str>,
    path: &str,
) -> Result<Json, SpecError> {
    let chosen = match &node.value {
        SourceValue::Text(text) if text.is_empty() => empty,
        SourceValue::Text(text) => names.iter().find(|name| *name == text).copied(),
        SourceValue::Number(text) if numbered => {
            let index = number::whole(text).and_then(|number| usize::try_from(number).ok());
            index.and_then(|index| names.get(index)).copied()
        }
        _ => None,
    };
    chosen.map(Json::from).ok_or_else(|| {
        let expected = format!("one of {}", names.join(", "));
        let error = SpecError::mismatch(path, expected, node.describe());
        match advice::closest(&node.value, names) {
            Some(name) => error.help(format!("did you mean {name:?}?")),
            None => error,
        }
    })
}

fn duration(node: &SourceNode, path: &str) -> Result<Json, SpecError> {
    const EXPECTED: &str = "a duration, such as \"600s\" or \"1h30m\"";
    let text = match &node.value {
        SourceValue::Text(text) => text,
        SourceValue::Number(number) => {
            let error = SpecError::mismatch(path, EXPECTED, node.describe());
            return Err(error.help(format!("add the unit, and quotes: \"{number}s\"")));
        }
        _ => return Err(SpecError::mismatch(path, EXPECTED, node.describe())),
    };
    duration::parse(text)
        .map(|duration| Json::from(duration::print(duration)))
        .map_err(|error| {
            let mismatch = SpecError::mismatch(path, EXPECTED, node.describe());
            match error {
                DurationError::Malformed => mismatch,
                DurationError::NoUnit => mismatch.help(format!("add the unit: \"{text}s\"")),
                DurationError::Negative | DurationError::TooLong => {
                    SpecError::invalid(path, format!("{error}: {:?}", shorten(text)))
                }
            }
        })
}

fn timestamp(node: &SourceNode, path: &str) -> Result<Json, SpecError> {
    let time = match &node.value {
        SourceValue::Text(text) => text.parse::<jiff::Timestamp>().ok(),
        _ => None,
    };
    time.map(|time| Json::from(time.to_string())).ok_or_else(|| {
        let expected = "a time by RFC 3339, such as \"2024-05-01T00:00:00Z\"";
        SpecError::mismatch(path, expected, node.describe())
    })
}
