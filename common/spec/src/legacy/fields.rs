//! Access to the fields of an object in old and new spelling, and the warnings of the translation.

use crate::error::{Problem, SpecError};
use crate::node::{Position, SourceEntry, SourceNode, SourceValue, camel};

/// A field that was dropped or not translated exactly.
#[derive(Debug)]
pub(crate) struct LegacyWarning {
    pub pos: Position,
    pub field: String,
    pub text: String,
}

impl LegacyWarning {
    pub(crate) fn new(pos: Position, field: impl Into<String>, text: impl Into<String>) -> LegacyWarning {
        LegacyWarning {
            pos,
            field: field.into(),
            text: text.into(),
        }
    }
}

/// Removes a field in either spelling and returns it. Both spellings at once are an error.
pub(super) fn take(fields: &mut Vec<SourceEntry>, name: &str) -> Result<Option<SourceEntry>, SpecError> {
    let camel_name = camel(name);
    let is_it = |entry: &SourceEntry| entry.key == name || entry.key == camel_name;
    let Some(index) = fields.iter().position(is_it) else {
        return Ok(None);
    };
    let entry = fields.remove(index);
    // The decoder checks for duplicates too, but it would see only one of the two: this one is gone.
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

/// Tells whether a field is present in either spelling and not null.
pub(super) fn has(fields: &[SourceEntry], name: &str) -> bool {
    let camel_name = camel(name);
    let is_it = |entry: &SourceEntry| entry.key == name || entry.key == camel_name;
    fields.iter().any(|entry| is_it(entry) && !entry.value.is_null())
}

/// Returns the fields of a field that is an object.
pub(super) fn object<'a>(fields: &'a mut [SourceEntry], name: &str) -> Option<&'a mut Vec<SourceEntry>> {
    let camel_name = camel(name);
    let entry = fields
        .iter_mut()
        .find(|entry| entry.key == name || entry.key == camel_name)?;
    entry.value.as_map_mut()
}

/// Returns the fields of a field that is an object, created if absent or null; `None` for another value.
pub(super) fn ensure_object<'a>(
    fields: &'a mut Vec<SourceEntry>,
    name: &str,
    pos: Position,
) -> Option<&'a mut Vec<SourceEntry>> {
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

/// Gives a field its current name. Both names at once are an error.
pub(super) fn rename(fields: &mut Vec<SourceEntry>, old: &str, new: &str) -> Result<(), SpecError> {
    let Some(entry) = take(fields, old)? else {
        return Ok(());
    };
    if has(fields, new) {
        let what = format!("{old} is the old name of {new}, and both are given");
        return Err(SpecError::conflict("", what).at(entry.pos).help(format!("keep {new}")));
    }
    let camel_name = camel(new);
    // A null under the new name: without its removal the decoder would report the field as given twice.
    fields.retain(|entry| entry.key != new && entry.key != camel_name);
    // In the style of the old spelling, so that later messages show a name that the user expects.
    let key = if entry.key.contains('_') { new } else { &camel_name };
    fields.push(SourceEntry::new(entry.pos, key, entry.value));
    Ok(())
}

/// Tells whether a value counts as unset: null, false or the empty string.
pub(super) fn is_unset(node: &SourceNode) -> bool {
    match &node.value {
        SourceValue::Null | SourceValue::Bool(false) => true,
        SourceValue::Text(text) => text.is_empty(),
        _ => false,
    }
}
