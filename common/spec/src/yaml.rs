//! Reads YAML into source nodes, by strict rules.
//!
//! `saphyr-parser` delivers events with positions; this module gives scalars their types and resolves aliases and
//! merge keys, within a bound. A scalar that YAML readers do not agree on (`0x10`, `1_000`, `007`) is an error in a
//! typed field. Only `true` and `false`, in any case, are booleans. Keys are text. The loaders on top of a parser
//! do not fit: they guess such scalars and drop positions.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use crate::error::SpecError;
use crate::node::{MAX_NESTING, Position, SourceEntry, SourceNode, SourceValue, shorten};
use crate::number::is_number;

/// The largest number of nodes that aliases may add: nested aliases can turn a few lines into gigabytes.
const MAX_ALIASED_NODES: usize = 100_000;

/// Reads all documents of a text.
pub(crate) fn read(text: &str) -> Result<Vec<SourceNode>, SpecError> {
    let mut reader = YamlReader {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        aliased: 0,
        nesting: 0,
    };
    let mut documents = Vec::new();
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::Nothing | Event::DocumentEnd, _) => {}
            (Event::StreamEnd, _) => return Ok(documents),
            (Event::DocumentStart(_), _) => {
                // Anchors are local to a document; an alias to an earlier document is an error.
                reader.anchors.clear();
                let (event, span) = reader.next()?;
                documents.push(reader.node(event, span)?);
            }
            (other, span) => {
                let detail = format!("{other:?} outside a document");
                return Err(SpecError::syntax("YAML", detail).at(place(&span.start)));
            }
        }
    }
}

struct YamlReader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// Complete anchored nodes, each with its number of nodes.
    anchors: HashMap<usize, (SourceNode, usize)>,
    aliased: usize,
    nesting: usize,
}

/// Converts a position: the columns of the parser count from 0.
fn place(marker: &Marker) -> Position {
    Position::new(marker.line(), marker.col() + 1)
}

fn syntax(pos: Position, detail: impl Into<String>) -> SpecError {
    SpecError::syntax("YAML", detail).at(pos)
}

impl<'a> YamlReader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), SpecError> {
        let scan = |error: ScanError| syntax(place(error.marker()), error.info());
        match self.parser.next_event() {
            Some(result) => result.map_err(scan),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// Reads the node that begins with an event.
    fn node(&mut self, event: Event<'a>, span: Span) -> Result<SourceNode, SpecError> {
        let pos = place(&span.start);
        match event {
            Event::Alias(anchor) => self.alias(pos, anchor),
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref()).map_err(|detail| syntax(pos, detail))?;
                Ok(self.anchored(anchor, SourceNode::new(pos, value)))
            }
            Event::SequenceStart(anchor, tag) => {
                collection_tag(tag.as_deref(), "seq").map_err(|detail| syntax(pos, detail))?;
                let node = self.nested(pos, YamlReader::sequence)?;
                Ok(self.anchored(anchor, node))
            }
            Event::MappingStart(anchor, tag) => {
                collection_tag(tag.as_deref(), "map").map_err(|detail| syntax(pos, detail))?;
                let node = self.nested(pos, YamlReader::mapping)?;
                Ok(self.anchored(anchor, node))
            }
            other => Err(syntax(pos, format!("expected a value, found {other:?}"))),
        }
    }

    fn nested(
        &mut self,
        pos: Position,
        read: fn(&mut Self) -> Result<SourceValue, SpecError>,
    ) -> Result<SourceNode, SpecError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            let detail = format!("more than {} levels of nesting", MAX_NESTING);
            return Err(syntax(pos, detail));
        }
        let value = read(self)?;
        self.nesting -= 1;
        Ok(SourceNode::new(pos, value))
    }

    fn sequence(&mut self) -> Result<SourceValue, SpecError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(SourceValue::List(items)),
                (event, span) => items.push(self.node(event, span)?),
            }
        }
    }

    fn mapping(&mut self) -> Result<SourceValue, SpecError> {
        let mut entries: Vec<SourceEntry> = Vec::new();
        let mut merged: Vec<SourceEntry> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            // Only a plain `<<` merges; a quoted one is an ordinary key. The key event is consumed by `node` below.
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = self.node(event, span)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span)?;
            if is_merge {
                merge_key(value, &mut merged)?;
                continue;
            }
            let SourceValue::Text(text) = key.value else {
                let detail = format!("a key must be a string, found {}", key.describe());
                return Err(syntax(key.pos, detail).help("put the key in quotes"));
            };
            entries.push(SourceEntry::new(key.pos, &text, value));
        }
        // After the loop, because the own keys of the mapping win wherever `<<` is among them.
        for entry in merged {
            if entries.iter().all(|own| own.key != entry.key) {
                entries.push(entry);
            }
        }
        Ok(SourceValue::Map(entries))
    }

    fn anchored(&mut self, anchor: usize, node: SourceNode) -> SourceNode {
        if anchor > 0 {
            let size = size(&node);
            self.anchors.insert(anchor, (node.clone(), size));
        }
        node
    }

    fn alias(&mut self, pos: Position, anchor: usize) -> Result<SourceNode, SpecError> {
        // A node is stored when it is complete, so an alias inside of its own anchor is not found: it would be an
        // endless tree.
        let Some((node, size)) = self.anchors.get(&anchor) else {
            return Err(syntax(pos, "an alias inside the value it stands for"));
        };
        // Before the clone: with the check after it, the memory is already allocated.
        self.aliased += size;
        if self.aliased > MAX_ALIASED_NODES {
            let detail = format!("aliases add more than {MAX_ALIASED_NODES} values");
            return Err(syntax(pos, detail));
        }
        // The depth counts too: aliases can nest deeper than the text, and the decoder recurses.
        let depth = self.nesting + depth(node);
        if depth > MAX_NESTING {
            let detail = format!("more than {} levels of nesting", MAX_NESTING);
            return Err(syntax(pos, detail));
        }
        Ok(node.clone())
    }
}

/// Collects the entries of a `<<` value: a mapping or a list of mappings; an earlier entry wins.
fn merge_key(value: SourceNode, merged: &mut Vec<SourceEntry>) -> Result<(), SpecError> {
    match value.value {
        SourceValue::Map(entries) => {
            for entry in entries {
                if merged.iter().all(|own| own.key != entry.key) {
                    merged.push(entry);
                }
            }
            Ok(())
        }
        SourceValue::List(items) => items.into_iter().try_for_each(|item| merge_key(item, merged)),
        _ => {
            let detail = format!("<< must be given an object to merge, found {}", value.describe());
            Err(syntax(value.pos, detail))
        }
    }
}

fn size(node: &SourceNode) -> usize {
    1 + match &node.value {
        SourceValue::List(items) => items.iter().map(size).sum(),
        SourceValue::Map(entries) => entries.iter().map(|entry| size(&entry.value)).sum(),
        _ => 0,
    }
}

fn depth(node: &SourceNode) -> usize {
    let deepest = match &node.value {
        SourceValue::List(items) => items.iter().map(depth).max(),
        SourceValue::Map(entries) => entries.iter().map(|entry| depth(&entry.value)).max(),
        _ => return 0,
    };
    1 + deepest.unwrap_or(0)
}

fn collection_tag(tag: Option<&Tag>, expected: &str) -> Result<(), String> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == expected => Ok(()),
        Some(tag) => Err(format!("the tag {tag} has no meaning here")),
    }
}

/// Gives a scalar its type: quoted text is text, a tag decides, other text is typed by its form.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<SourceValue, String> {
    let Some(tag) = tag else {
        return Ok(match style {
            ScalarStyle::Plain => plain(text),
            _ => SourceValue::Text(text.to_owned()),
        });
    };
    let suffix = match tag {
        Tag { handle, suffix } if handle == "!" && suffix.is_empty() => "str",
        Tag { handle, suffix } if handle.is_empty() && suffix == "!" => "str",
        tag if tag.is_yaml_core_schema() => tag.suffix.as_str(),
        _ => return Err(format!("the tag {tag} has no meaning here")),
    };
    let value = match suffix {
        "str" | "binary" | "timestamp" => return Ok(SourceValue::Text(text.to_owned())),
        "int" | "float" | "bool" | "null" => plain(text),
        _ => return Err(format!("the tag {tag} has no meaning here")),
    };
    let fits = match suffix {
        "null" => matches!(value, SourceValue::Null),
        "bool" => matches!(value, SourceValue::Bool(_)),
        _ => matches!(value, SourceValue::Number(_)),
    };
    if fits {
        Ok(value)
    } else {
        Err(format!("{:?} does not fit its tag {tag}", shorten(text)))
    }
}

/// Gives a plain scalar its type.
pub(crate) fn plain(text: &str) -> SourceValue {
    if matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return SourceValue::Null;
    }
    if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
        return SourceValue::Bool(text.eq_ignore_ascii_case("true"));
    }
    // Some readers give the integer 0, others the float -0.0.
    if text == "-0" {
        return SourceValue::OddNumber(text.to_owned());
    }
    if let Some(number) = decimal(text) {
        return SourceValue::Number(number);
    }
    if looks_numeric(text) {
        return SourceValue::OddNumber(text.to_owned());
    }
    SourceValue::Text(text.to_owned())
}

/// Returns a number in the grammar of JSON, with the zeros that YAML allows to omit (`.5`, `5.`).
fn decimal(text: &str) -> Option<String> {
    if is_number(text) {
        return Some(text.to_owned());
    }
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => ("-", unsigned),
        None => ("", text),
    };
    let padded = match unsigned.strip_prefix('.') {
        Some(fraction) => format!("{sign}0.{fraction}"),
        None => format!("{}0", unsigned.strip_suffix('.').map(|_| text)?),
    };
    is_number(&padded).then_some(padded)
}

/// Tells whether some YAML reader (1.1 or 1.2) takes a text for a number.
fn looks_numeric(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let based = |prefixes: [&str; 2], radix: u32| {
        let digits = prefixes.iter().find_map(|prefix| unsigned.strip_prefix(prefix));
        digits.is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c == '_' || c.is_digit(radix)))
    };
    if based(["0x", "0X"], 16) || based(["0o", "0O"], 8) || based(["0b", "0B"], 2) {
        return true;
    }
    if !unsigned.contains(|c: char| c.is_ascii_digit()) {
        return false;
    }
    // Underscores and leading zeros are the usual differences: what is a decimal number without them is a number to
    // one reader and text to another. Everything else (`1.2.3`, `12:30`, `1h`) is text.
    let digits: String = unsigned.chars().filter(|c| *c != '_').collect();
    let stripped = digits.trim_start_matches('0');
    let bare = match stripped.as_bytes().first() {
        Some(b'0'..=b'9') => stripped.to_owned(),
        // Only zeros, or zeros before a point or an exponent; one of them belongs to the number.
        _ => format!("0{stripped}"),
    };
    unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') && decimal(&bare).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> SourceValue {
        let mut documents = read(text).unwrap();
        assert_eq!(documents.len(), 1, "{text}");
        documents.remove(0).value
    }

    #[test]
    fn scalars_get_their_types_strictly() {
        for text in ["~", "null", "NULL", "!!null ~"] {
            assert_eq!(one(text), SourceValue::Null, "{text}");
        }
        for (text, value) in [("true", true), ("TRUE", true), ("tRuE", true), ("False", false)] {
            assert_eq!(one(text), SourceValue::Bool(value), "{text}");
        }
        for (text, number) in [
            ("0", "0"),
            ("-12", "-12"),
            ("9223372036854775807", "9223372036854775807"),
            (".5", "0.5"),
            ("-.5", "-0.5"),
            ("5.", "5.0"),
            ("1e3", "1e3"),
            ("!!int 7", "7"),
            ("!!float '7.5'", "7.5"),
        ] {
            assert_eq!(one(text), SourceValue::Number(number.to_owned()), "{text}");
        }
        for text in [
            "0x10", "0o7", "0b1", "1_000", "007", "-0", "+5", ".inf", "-.inf", ".nan", "00", "1_0.5", "08", "00.5",
        ] {
            assert_eq!(one(text), SourceValue::OddNumber(text.to_owned()), "{text}");
        }
        for text in [
            "yes",
            "no",
            "on",
            "off",
            "y",
            "1.2.3",
            "v1",
            "2024-05-01",
            "2024-05-01T00:00:00Z",
            "12:30",
            "1h",
            "0xyz",
            "_1",
            "1a",
            "e5",
            ".",
            "-",
            "5Gi",
            "600s",
            "a_1",
        ] {
            let value = if text == "-" { continue } else { one(text) };
            assert_eq!(value, SourceValue::Text(text.to_owned()), "{text}");
        }
        assert_eq!(one("'5'"), SourceValue::Text("5".to_owned()));
        assert_eq!(one("!!str 5"), SourceValue::Text("5".to_owned()));
        assert_eq!(one("!!binary aGk="), SourceValue::Text("aGk=".to_owned()));
        assert_eq!(
            one("!!timestamp 2001-01-01"),
            SourceValue::Text("2001-01-01".to_owned())
        );
    }

    #[test]
    fn a_text_has_several_documents() {
        for (text, count) in [
            ("", 0),
            ("# nothing\n", 0),
            ("a: 1", 1),
            ("---\na: 1\n---\nb: 2\n", 2),
            ("a: 1\n...\n---\nb: 2", 2),
        ] {
            assert_eq!(read(text).unwrap().len(), count, "{text:?}");
        }
    }

    #[test]
    fn aliases_and_merge_keys_are_resolved() {
        let text = "base: &b {x: 1, y: 2}\nother: {<<: *b, y: 3}\nlist: [*b, *b]";
        let SourceValue::Map(entries) = one(text) else {
            panic!("a map")
        };
        let other = entries[1].value.as_map().unwrap();
        let found: Vec<_> = other.iter().map(|e| (e.key.as_str(), e.value.describe())).collect();
        assert_eq!(
            found,
            [("y", "the number 3".to_owned()), ("x", "the number 1".to_owned())]
        );
        assert_eq!(entries[2].value.describe(), "a list");
    }

    #[test]
    fn aliases_cannot_explode() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let before = format!("*a{}", n - 1);
            text.push_str(&format!("a{n}: &a{n} [{}]\n", [before.as_str(); 10].join(", ")));
        }
        assert!(read(&text).unwrap_err().to_string().contains("aliases add more than"));
        assert!(read("a: &a [*a]").is_err());
    }

    #[test]
    fn mistakes_have_a_position() {
        for (text, expected) in [
            (
                "a: 1\n2: b",
                "line 2:1: not valid YAML: a key must be a string, found the number 2",
            ),
            (
                "a: !thing 1",
                "line 1:4: not valid YAML: the tag !thing has no meaning here",
            ),
            ("a: !!int x", "line 1:4: not valid YAML: \"x\" does not fit its tag"),
            ("a: [1", "line "),
            ("a: *nowhere", "line 1:4: not valid YAML"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(read(&"[".repeat(100_000)).is_err());
    }
}
