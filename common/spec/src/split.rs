//! Splits a source into its specs: JSON values one after another, YAML documents, lists, or a mixture of them.

use crate::error::{Problem, SpecError};
use crate::node::{Position, SourceEntry, SourceNode, SourceValue};
use crate::{json, yaml};

/// Reads a source into one object for each spec, in order.
pub(crate) fn specs(text: &[u8]) -> Result<Vec<SourceNode>, SpecError> {
    let text = std::str::from_utf8(text).map_err(|error| {
        let offset = error.valid_up_to();
        SpecError::new("", Problem::NotText { offset }).help("save the file as UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut specs = Vec::new();
    for node in values(text)? {
        match node.value {
            SourceValue::List(items) => items.into_iter().try_for_each(|item| push(&mut specs, item))?,
            SourceValue::Null => {}
            _ => push(&mut specs, node)?,
        }
    }
    Ok(specs)
}

fn push(specs: &mut Vec<SourceNode>, node: SourceNode) -> Result<(), SpecError> {
    if let SourceValue::Map(_) = node.value {
        specs.push(node);
        return Ok(());
    }
    let expected = "a pipeline spec (an object) or a list of them";
    Err(SpecError::mismatch("", expected, node.describe()).at(node.pos))
}

/// Reads all values: the text as a whole, and if that fails, each piece between `---` lines.
fn values(text: &str) -> Result<Vec<SourceNode>, SpecError> {
    // The whole text first, because YAML anchors and multi-line strings may contain what looks like a separator.
    let whole = piece(text);
    let pieces = pieces(text);
    if whole.is_ok() || pieces.len() < 2 {
        return whole;
    }
    let mut nodes = Vec::new();
    for (lines_before, part) in pieces {
        let read = piece(part).map_err(|error| shift_error(error, lines_before))?;
        nodes.extend(read.into_iter().map(|mut node| {
            shift(&mut node, lines_before);
            node
        }));
    }
    Ok(nodes)
}

/// Reads a text as JSON if it begins like JSON; otherwise, or if that fails, as YAML.
fn piece(text: &str) -> Result<Vec<SourceNode>, SpecError> {
    let begins_like_json = text.trim_start().starts_with(['{', '[']);
    let json_error = match begins_like_json.then(|| json::read(text)) {
        Some(Ok(nodes)) => return Ok(nodes),
        Some(Err(error)) => Some(error),
        None => None,
    };
    // A text that begins like JSON gets the JSON error; the YAML error would describe a syntax that is not used.
    yaml::read(text).map_err(|yaml_error| json_error.unwrap_or(yaml_error))
}

/// Cuts a text at `---` lines; returns each piece with the number of lines before it.
fn pieces(text: &str) -> Vec<(u32, &str)> {
    let mut pieces = Vec::new();
    let (mut start, mut first_line, mut offset) = (0, 0, 0);
    for (number, line) in (0..).zip(text.split_inclusive('\n')) {
        if line.trim_end() == "---" || line.starts_with("--- ") {
            pieces.push((first_line, &text[start..offset]));
            (start, first_line) = (offset, number);
        }
        offset += line.len();
    }
    pieces.push((first_line, &text[start..]));
    for (first_line, piece) in &mut pieces {
        // With its `---` line, a piece would not begin like JSON and would not be read as JSON.
        if let Some((_, rest)) = piece.split_once('\n').filter(|(line, _)| line.trim_end() == "---") {
            *piece = rest;
            *first_line += 1;
        }
    }
    pieces.retain(|(_, piece)| !piece.trim().is_empty());
    pieces
}

fn shift_error(error: SpecError, lines: u32) -> SpecError {
    match (error.line(), error.column()) {
        (Some(line), Some(column)) => error.moved_to(Position {
            line: line.saturating_add(lines),
            column,
        }),
        _ => error,
    }
}

fn shift(node: &mut SourceNode, lines: u32) {
    node.pos.line = node.pos.line.saturating_add(lines);
    match &mut node.value {
        SourceValue::List(items) => items.iter_mut().for_each(|item| shift(item, lines)),
        SourceValue::Map(entries) => {
            for SourceEntry { pos, value, .. } in entries {
                pos.line = pos.line.saturating_add(lines);
                shift(value, lines);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(String, u32)> {
        let name = |node: &SourceNode| {
            let entry = &node.as_map().unwrap()[0];
            (entry.key.clone(), entry.pos.line)
        };
        specs(text.as_bytes()).unwrap().iter().map(name).collect()
    }

    #[test]
    fn sources_have_several_shapes() {
        let at = |list: &[(&str, u32)]| -> Vec<(String, u32)> {
            list.iter().map(|(name, line)| ((*name).to_owned(), *line)).collect()
        };
        for (text, found) in [
            ("{\"a\": 1}", at(&[("a", 1)])),
            ("a: 1", at(&[("a", 1)])),
            (
                "a: 1\n---\nb: 2\n---\n{\"c\": 3}\n",
                at(&[("a", 1), ("b", 3), ("c", 5)]),
            ),
            ("[{\"a\": 1}, {\"b\": 2}]", at(&[("a", 1), ("b", 1)])),
            ("- a: 1\n- b: 2\n", at(&[("a", 1), ("b", 2)])),
            (
                "{\"a\": 1}{\"b\": 2}\n\n{\"c\": 3}",
                at(&[("a", 1), ("b", 1), ("c", 3)]),
            ),
            ("{\"a\": 1}\n---\n[{\"b\": 2}]", at(&[("a", 1), ("b", 3)])),
            (
                "a: 1\n---\n{\"b\": 2}{\"c\": 3}\n---\n- d: 4\n",
                at(&[("a", 1), ("b", 3), ("c", 3), ("d", 5)]),
            ),
            ("{\"a\": 1}\n---\nb: 2\n", at(&[("a", 1), ("b", 3)])),
            ("{\"a\": 1, # why\n \"b\": [1,],\n}", at(&[("a", 1)])),
            ("{\n\t\"a\": 1,\n}", at(&[("a", 2)])),
            ("\u{feff}{\"a\": 1}", at(&[("a", 1)])),
            ("--- {a: 1}\n--- {b: 2}\n", at(&[("a", 1), ("b", 2)])),
            ("# first\n---\n# second\na: 1\n", at(&[("a", 4)])),
            ("{\"a\": 1}\r\n---\r\n{\"b\": 2}\r\n", at(&[("a", 1), ("b", 3)])),
            ("", at(&[])),
            ("# only a comment", at(&[])),
            ("---", at(&[])),
            ("---\n---\n", at(&[])),
            ("  \n\n", at(&[])),
        ] {
            assert_eq!(names(text), found, "{text:?}");
        }
    }

    #[test]
    fn a_value_that_is_not_a_spec_is_named() {
        for (text, expected) in [
            (
                "hello",
                "line 1:1: expected a pipeline spec (an object) or a list of them, found the string \"hello\"",
            ),
            (
                "{}\n[[1]]",
                "line 2:2: expected a pipeline spec (an object) or a list of them, found a list",
            ),
            (
                "a: 1\n---\n42",
                "line 3:1: expected a pipeline spec (an object) or a list of them, found the number 42",
            ),
        ] {
            assert_eq!(specs(text.as_bytes()).unwrap_err().to_string(), expected);
        }
        let error = specs(b"a: \xff").unwrap_err().to_string();
        assert_eq!(
            error,
            "the text is not UTF-8 (byte 3 of the file); save the file as UTF-8"
        );
    }

    #[test]
    fn the_error_is_that_of_the_format_in_use() {
        for (text, expected) in [
            ("{\"a\": 1} {\"b\": }", "line 1:16: not valid JSON"),
            ("a: 1\n---\n{\"b\": 1}{\"c\": }", "line 3:15: not valid JSON"),
            ("a: [1", "line 2:1: not valid YAML"),
        ] {
            let error = specs(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
