//! A tree of values with their places in the text, before types are known.

use std::fmt;

/// Place in a text, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pos {
    pub line: u32,
    pub column: u32,
}

impl Pos {
    /// Place of values that did not come from a text.
    pub const UNKNOWN: Pos = Pos { line: 0, column: 0 };

    pub fn new(line: usize, column: usize) -> Pos {
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Pos {
            line: narrow(line),
            column: narrow(column),
        }
    }
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub pos: Pos,
    pub value: Value,
}

/// A value. Numbers stay text until the type of their field is known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(String),
    /// A YAML scalar that other readers would take for a number, which is not guessed at.
    OddNumber(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub pos: Pos,
    pub key: String,
    pub value: Node,
}

impl Node {
    pub fn new(pos: Pos, value: Value) -> Node {
        Node { pos, value }
    }

    pub fn text(pos: Pos, text: impl Into<String>) -> Node {
        Node::new(pos, Value::Text(text.into()))
    }

    /// Makes a mapping with one entry, all at `pos`.
    pub fn object(pos: Pos, key: &str, value: Node) -> Node {
        Node::new(pos, Value::Map(vec![Entry::new(pos, key, value)]))
    }

    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    pub fn as_map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub fn as_map_mut(&mut self) -> Option<&mut Vec<Entry>> {
        match &mut self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Says what this is, for messages: `the string "x"`, `the number 3`, `a list`.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => format!("the boolean {value}"),
            Value::Number(text) | Value::OddNumber(text) => format!("the number {}", shorten(text)),
            Value::Text(text) => format!("the string {:?}", shorten(text)),
            Value::List(items) if items.is_empty() => "an empty list".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(entries) if entries.is_empty() => "an empty object".to_owned(),
            Value::Map(_) => "an object".to_owned(),
        }
    }
}

impl Entry {
    pub fn new(pos: Pos, key: &str, value: Node) -> Entry {
        let key = key.to_owned();
        Entry { pos, key, value }
    }
}

impl From<&serde_json::Value> for Node {
    fn from(json: &serde_json::Value) -> Node {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => Value::Number(number.to_string()),
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(Node::from).collect()),
            Json::Object(fields) => {
                let entry = |(key, value): (&String, _)| Entry::new(Pos::UNKNOWN, key, Node::from(value));
                Value::Map(fields.iter().map(entry).collect())
            }
        };
        Node::new(Pos::UNKNOWN, value)
    }
}

/// Cuts a text for a message.
pub(crate) fn shorten(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Turns `snake_case` into `lowerCamelCase`.
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

/// Appends a field to a path.
pub(crate) fn join(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

/// Finds the node of a path whose fields are in snake case, such as `input.cross[1].pfs.empty_files`.
///
/// Returns the deepest node on the way that exists, and the path in the spelling of the text.
pub(crate) fn locate(root: &Node, path: &str) -> (Pos, String) {
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
        pos = if node.pos == Pos::UNKNOWN { pos } else { node.pos };
        for index in indices.split(['[', ']']).filter_map(|text| text.parse::<usize>().ok()) {
            let Value::List(items) = &node.value else { break };
            let Some(item) = items.get(index) else { break };
            node = item;
            pos = item.pos;
        }
    }
    (pos, written)
}
