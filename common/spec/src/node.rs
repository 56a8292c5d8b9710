//! A tree of values with their positions in the source, before types are known.

use std::fmt;

/// Deepest nesting of values; readers, decoder and translation recurse once for each level.
pub(crate) const MAX_NESTING: usize = 100;

/// A position in a text, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub line: u32,
    pub column: u32,
}

impl Position {
    /// The position of values that do not come from a text.
    pub(crate) const UNKNOWN: Position = Position { line: 0, column: 0 };

    pub(crate) fn new(line: usize, column: usize) -> Position {
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Position {
            line: narrow(line),
            column: narrow(column),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and its position.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SourceNode {
    pub pos: Position,
    pub value: SourceValue,
}

/// A value. A number stays text until the type of its field is known: reading it as a float would round it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SourceValue {
    Null,
    Bool(bool),
    Number(String),
    /// A YAML scalar that some YAML readers take for a number and others for text; only an error message uses it.
    OddNumber(String),
    Text(String),
    List(Vec<SourceNode>),
    Map(Vec<SourceEntry>),
}

/// A key, its position and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SourceEntry {
    pub pos: Position,
    pub key: String,
    pub value: SourceNode,
}

impl SourceNode {
    pub(crate) fn new(pos: Position, value: SourceValue) -> SourceNode {
        SourceNode { pos, value }
    }

    pub(crate) fn text(pos: Position, text: impl Into<String>) -> SourceNode {
        SourceNode::new(pos, SourceValue::Text(text.into()))
    }

    /// Creates an object with one entry, all at `pos`.
    pub(crate) fn object(pos: Position, key: &str, value: SourceNode) -> SourceNode {
        SourceNode::new(pos, SourceValue::Map(vec![SourceEntry::new(pos, key, value)]))
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, SourceValue::Null)
    }

    pub(crate) fn as_map(&self) -> Option<&[SourceEntry]> {
        match &self.value {
            SourceValue::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn as_map_mut(&mut self) -> Option<&mut Vec<SourceEntry>> {
        match &mut self.value {
            SourceValue::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Describes the value for messages: `the string "x"`, `the number 3`, `a list`.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            SourceValue::Null => "null".to_owned(),
            SourceValue::Bool(value) => format!("the boolean {value}"),
            SourceValue::Number(text) | SourceValue::OddNumber(text) => format!("the number {}", shorten(text)),
            SourceValue::Text(text) => format!("the string {:?}", shorten(text)),
            SourceValue::List(items) if items.is_empty() => "an empty list".to_owned(),
            SourceValue::List(_) => "a list".to_owned(),
            SourceValue::Map(entries) if entries.is_empty() => "an empty object".to_owned(),
            SourceValue::Map(_) => "an object".to_owned(),
        }
    }
}

impl SourceEntry {
    pub(crate) fn new(pos: Position, key: &str, value: SourceNode) -> SourceEntry {
        let key = key.to_owned();
        SourceEntry { pos, key, value }
    }
}

impl From<&serde_json::Value> for SourceNode {
    fn from(json: &serde_json::Value) -> SourceNode {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => SourceValue::Null,
            Json::Bool(value) => SourceValue::Bool(*value),
            Json::Number(number) => SourceValue::Number(number.to_string()),
            Json::String(text) => SourceValue::Text(text.clone()),
            Json::Array(items) => SourceValue::List(items.iter().map(SourceNode::from).collect()),
            Json::Object(fields) => {
                let entry =
                    |(key, value): (&String, _)| SourceEntry::new(Position::UNKNOWN, key, SourceNode::from(value));
                SourceValue::Map(fields.iter().map(entry).collect())
            }
        };
        SourceNode::new(Position::UNKNOWN, value)
    }
}

/// Shortens a text for a message.
pub(crate) fn shorten(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Converts `snake_case` to `lowerCamelCase`.
pub(crate) fn camel(snake: &str) -> String {
    let mut camel = String::with_capacity(snake.len());
    let mut upper = false;
    for c in snake.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                camel.extend(c.to_uppercase());
                upper = false;
            }
            c => camel.push(c),
        }
    }
    camel
}

/// Appends a field to a field path.
pub(crate) fn join(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

/// Finds the node of a field path in snake case, such as `input.cross[1].pfs.empty_files`.
///
/// Returns the position of the deepest node of the path that exists, and the path in the spelling of the source.
pub(crate) fn locate(root: &SourceNode, path: &str) -> (Position, String) {
    let mut node = root;
    let mut pos = root.pos;
    let mut written = String::new();
    for field in path.split('.') {
        let (name, indices) = match field.find('[') {
            Some(at) => field.split_at(at),
            None => (field, ""),
        };
        let camel_name = camel(name);
        let entries = node.as_map().unwrap_or_default();
        let is_it = |key: &str| key == name || key == camel_name || (name, key) == ("URL", "url");
        let entry = entries.iter().find(|entry| is_it(&entry.key));
        written = join(&written, entry.map_or(name, |e| &e.key));
        written.push_str(indices);
        let Some(entry) = entry else { break };
        node = &entry.value;
        pos = if node.pos == Position::UNKNOWN { pos } else { node.pos };
        for index in indices.split(['[', ']']).filter_map(|text| text.parse::<usize>().ok()) {
            let SourceValue::List(items) = &node.value else { break };
            let Some(item) = items.get(index) else { break };
            node = item;
            pos = item.pos;
        }
    }
    (pos, written)
}
