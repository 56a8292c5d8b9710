//! JSON values as YAML documents: prints any value, reads one document.
//!
//! For texts that are no specs, such as manifests of secrets and the output of commands. The printer is our own
//! because the YAML library of this crate only parses, and because the text is quoted by the rules of our reader: a
//! printed document reads back as the same value.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::error::{Problem, SpecError};
use crate::node::{SourceNode, SourceValue};
use crate::yaml;

/// Reads a text with exactly one YAML document; a scalar that YAML readers do not agree on (`0x10`) is text.
pub fn from_yaml(text: &str) -> Result<Value, SpecError> {
    let mut documents = yaml::read(text)?;
    match (documents.pop(), documents.is_empty()) {
        (Some(document), true) => value(document),
        (None, _) => Err(SpecError::missing("", "the text is empty")),
        (Some(second), false) => Err(SpecError::conflict("", "more than one document").at(second.pos)),
    }
}

fn value(node: SourceNode) -> Result<Value, SpecError> {
    Ok(match node.value {
        SourceValue::Null => Value::Null,
        SourceValue::Bool(value) => Value::Bool(value),
        SourceValue::Number(text) => {
            let number = text.parse();
            Value::Number(number.map_err(|_| SpecError::invalid("", format!("{text} is too large")).at(node.pos))?)
        }
        SourceValue::OddNumber(text) | SourceValue::Text(text) => Value::String(text),
        SourceValue::List(items) => Value::Array(items.into_iter().map(value).collect::<Result<_, _>>()?),
        SourceValue::Map(entries) => {
            let mut fields = Map::new();
            for entry in entries {
                let pos = entry.pos;
                let key = entry.key.clone();
                if fields.insert(entry.key, value(entry.value)?).is_some() {
                    let (first, second) = (key.clone(), key);
                    return Err(SpecError::new("", Problem::DuplicateField { first, second }).at(pos));
                }
            }
            Value::Object(fields)
        }
    })
}

/// Prints a value as a YAML document in block style.
pub fn to_yaml(value: &Value) -> String {
    let mut printer = YamlPrinter { text: String::new() };
    printer.node(value, 0);
    printer.text
}

struct YamlPrinter {
    text: String,
}

impl YamlPrinter {
    /// Prints a value from the current column on, which is `indent` for a collection; ends the line.
    fn node(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (index, (key, value)) in fields.iter().enumerate() {
                    self.indent(index, indent);
                    self.key(key, indent);
                    self.field(value, indent);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    self.indent(index, indent);
                    self.text.push_str("- ");
                    self.node(item, indent + 2);
                }
            }
            Value::Object(_) => self.text.push_str("{}\n"),
            Value::Array(_) => self.text.push_str("[]\n"),
            Value::String(text) => self.string(text, indent),
            // Null, booleans and numbers are the same in JSON.
            plain => {
                let _ = writeln!(self.text, "{plain}");
            }
        }
    }

    /// Indents a line of a collection. The first one continues the current line, after `- ` or at the start.
    fn indent(&mut self, index: usize, indent: usize) {
        if index > 0 {
            self.spaces(indent);
        }
    }

    fn spaces(&mut self, count: usize) {
        self.text.extend(std::iter::repeat_n(' ', count));
    }

    fn key(&mut self, key: &str, indent: usize) {
        // YAML does not find the colon of a key of more than 1024 characters without the question mark.
        let is_long = key.len() > 128;
        if is_long {
            self.text.push_str("? ");
        }
        self.flow(key);
        if is_long {
            self.text.push('\n');
            self.spaces(indent);
        }
        self.text.push(':');
    }

    /// Prints the value of a key.
    fn field(&mut self, value: &Value, indent: usize) {
        let nested = match value {
            Value::Object(fields) if !fields.is_empty() => indent + 2,
            // The dashes of a list show that it is below its key.
            Value::Array(items) if !items.is_empty() => indent,
            scalar => {
                self.text.push(' ');
                return self.node(scalar, indent + 2);
            }
        };
        self.text.push('\n');
        self.spaces(nested);
        self.node(value, nested);
    }

    /// Prints a text; several lines become a literal block, indented to `indent`.
    fn string(&mut self, text: &str, indent: usize) {
        let lines_end_clean = text.lines().all(|line| !line.ends_with(' '));
        let is_block = text.contains('\n') && lines_end_clean && text.chars().all(|c| c == '\n' || is_printable(c));
        if !is_block {
            self.flow(text);
            self.text.push('\n');
            return;
        }
        let indent = indent.max(2);
        self.text.push('|');
        // Without the number, a reader takes the indentation of the first line for that of the block.
        if text.starts_with([' ', '\n']) {
            self.text.push('2');
        }
        if !text.ends_with('\n') {
            self.text.push('-');
        } else if text == "\n" || text.ends_with("\n\n") {
            self.text.push('+');
        }
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            self.text.push('\n');
            if !line.is_empty() {
                self.spaces(indent);
                self.text.push_str(line);
            }
        }
        self.text.push('\n');
    }

    /// Prints a text in one line: plain if it reads back as this text, else in quotes.
    fn flow(&mut self, text: &str) {
        if !text.chars().all(is_printable) {
            self.quoted(text);
        } else if is_plain(text) {
            self.text.push_str(text);
        } else {
            let _ = write!(self.text, "'{}'", text.replace('\'', "''"));
        }
    }

    /// Prints a text in double quotes, with escapes for every character that a YAML reader may refuse or change.
    fn quoted(&mut self, text: &str) {
        self.text.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => self.text.extend(['\\', c]),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                c if is_printable(c) => self.text.push(c),
                // All of them are below U+10000.
                c => {
                    let _ = write!(self.text, "\\u{:04x}", u32::from(c));
                }
            }
        }
        self.text.push('"');
    }
}

/// Tells whether a character needs no escape; line breaks and the byte order mark do.
fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Tells whether a text without quotes is this text for our reader, and no number for others.
fn is_plain(text: &str) -> bool {
    let starts_like_syntax = text.starts_with([
        '#', ',', '[', ']', '{', '}', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`',
    ]);
    // `-`, `?` and `:` are syntax only in front of a space.
    let is_indicator = |text: &str| matches!(text.as_bytes(), [b'-' | b'?' | b':'] | [b'-' | b'?' | b':', b' ', ..]);
    let is_text = matches!(yaml::plain(text), SourceValue::Text(_)) && text.parse::<f64>().is_err();
    is_text
        && text != "<<"
        && !starts_like_syntax
        && !is_indicator(text)
        && !text.starts_with("---")
        && !text.starts_with("...")
        && text.trim_matches(' ') == text
        && !text.contains(": ")
        && !text.ends_with(':')
        && !text.contains(" #")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_printed_in_block_style() {
        for (value, text) in [
            (json!({}), "{}\n"),
            (json!("x"), "x\n"),
            (json!({"a": [], "b": {}, "c": null}), "a: []\nb: {}\nc: null\n"),
            (
                json!({"a": {"b": [1, {"c": 2, "d": 0.5}]}}),
                "a:\n  b:\n  - 1\n  - c: 2\n    d: 0.5\n",
            ),
            (
                json!([1, [2, [3]], {"a": [{"b": 1}]}]),
                "- 1\n- - 2\n  - - 3\n- a:\n  - b: 1\n",
            ),
            (json!({"s": "1\n2\n"}), "s: |\n  1\n  2\n"),
            (json!({"s": "1\n2"}), "s: |-\n  1\n  2\n"),
            (json!({"s": "a\n\n"}), "s: |+\n  a\n\n"),
            (json!({"s": "  x\ny"}), "s: |2-\n    x\n  y\n"),
            (
                json!(["5", "true", "~", "", "it's", "- a", "a: b", "/*", "*", " a"]),
                "- '5'\n- 'true'\n- '~'\n- ''\n- it's\n- '- a'\n- 'a: b'\n- /*\n- '*'\n- ' a'\n",
            ),
            (json!("a\tb"), "\"a\\tb\"\n"),
            (
                json!("\u{7f}\u{85}\u{2028}\u{feff}\"\\"),
                "\"\\u007f\\u0085\\u2028\\ufeff\\\"\\\\\"\n",
            ),
        ] {
            assert_eq!(to_yaml(&value), text);
            assert_eq!(from_yaml(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn a_text_has_one_document_with_unique_keys() {
        for text in ["", "a: 1\n---\nb: 2\n", "a: 1\na: 2\n", "a: 1e999\n", "a: ["] {
            assert!(from_yaml(text).is_err(), "{text}");
        }
        assert_eq!(from_yaml("mode: 0644\n"), Ok(json!({"mode": "0644"})));
    }
}
