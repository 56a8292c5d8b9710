//! Reads JSON into source nodes.
//!
//! A text holds any number of values one after another, with `---` lines allowed between them. Numbers keep their
//! text. A repeated key is no error here; the decoder reports it, because it knows both spellings of a field.
//!
//! `serde_json` does not replace this module: it gives positions of errors only, not of values, and a repeated key
//! replaces the earlier one silently.

use crate::error::SpecError;
use crate::node::{MAX_NESTING, Position, SourceEntry, SourceNode, SourceValue, shorten};
use crate::number::is_number;

/// Reads all values of a text.
pub(crate) fn read(text: &str) -> Result<Vec<SourceNode>, SpecError> {
    let mut reader = JsonReader {
        rest: text,
        line: 1,
        column: 1,
        nesting: 0,
    };
    let mut nodes = Vec::new();
    loop {
        reader.blank();
        if reader.separator() {
            continue;
        }
        if reader.rest.is_empty() {
            return Ok(nodes);
        }
        nodes.push(reader.value()?);
    }
}

struct JsonReader<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
    nesting: usize,
}

impl JsonReader<'_> {
    fn pos(&self) -> Position {
        Position::new(self.line, self.column)
    }

    fn fail<T>(&self, detail: impl Into<String>) -> Result<T, SpecError> {
        Err(SpecError::syntax("JSON", detail).at(self.pos()))
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        if c == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(c)
    }

    fn skip(&mut self, characters: usize) {
        for _ in 0..characters {
            self.next();
        }
    }

    /// Skips white space.
    fn blank(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\r' | '\n')) {
            self.next();
        }
    }

    /// Skips a line that consists of `---`.
    fn separator(&mut self) -> bool {
        let line = self.rest.lines().next().unwrap_or_default();
        let found = self.column == 1 && line.trim_end() == "---";
        if found {
            self.skip(line.chars().count());
        }
        found
    }

    /// Describes the next character for messages.
    fn here(&self) -> String {
        match self.peek() {
            None => "the end of the text".to_owned(),
            Some(c) => format!("{c:?}"),
        }
    }

    fn value(&mut self) -> Result<SourceNode, SpecError> {
        let pos = self.pos();
        let value = match self.peek() {
            Some('{') => self.nested(JsonReader::object)?,
            Some('[') => self.nested(JsonReader::list)?,
            Some('"') => SourceValue::Text(self.string()?),
            Some('-' | '0'..='9') => self.number()?,
            Some(c) if c.is_ascii_alphabetic() => self.word()?,
            _ => return self.fail(format!("expected a value, found {}", self.here())),
        };
        Ok(SourceNode::new(pos, value))
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<SourceValue, SpecError>) -> Result<SourceValue, SpecError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return self.fail(format!("more than {MAX_NESTING} levels of nesting"));
        }
        self.next();
        self.blank();
        let value = read(self)?;
        self.nesting -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<SourceValue, SpecError> {
        let mut entries = Vec::new();
        if self.closed('}') {
            return Ok(SourceValue::Map(entries));
        }
        loop {
            let pos = self.pos();
            if self.peek() != Some('"') {
                return self.fail(format!("expected a key in double quotes, found {}", self.here()));
            }
            let key = self.string()?;
            self.blank();
            if self.peek() != Some(':') {
                return self.fail(format!("expected ':' after the key {key:?}, found {}", self.here()));
            }
            self.next();
            self.blank();
            let value = self.value()?;
            entries.push(SourceEntry { pos, key, value });
            if self.ended('}')? {
                return Ok(SourceValue::Map(entries));
            }
        }
    }

    fn list(&mut self) -> Result<SourceValue, SpecError> {
        let mut items = Vec::new();
        if self.closed(']') {
            return Ok(SourceValue::List(items));
        }
        loop {
            items.push(self.value()?);
            if self.ended(']')? {
                return Ok(SourceValue::List(items));
            }
        }
    }

    /// Consumes the end character if it is next.
    fn closed(&mut self, end: char) -> bool {
        let closed = self.peek() == Some(end);
        if closed {
            self.next();
        }
        closed
    }

    /// Reads what follows an element: a comma, or the end character, for which it returns true.
    fn ended(&mut self, end: char) -> Result<bool, SpecError> {
        self.blank();
        if self.closed(end) {
            return Ok(true);
        }
        if self.peek() != Some(',') {
            return self.fail(format!("expected ',' or '{end}', found {}", self.here()));
        }
        self.next();
        self.blank();
        if self.peek() == Some(end) {
            return self.fail(format!("a comma with nothing between it and '{end}'"));
        }
        Ok(false)
    }

    fn string(&mut self) -> Result<String, SpecError> {
        let start = self.pos();
        let unclosed = || SpecError::syntax("JSON", "a string that is never closed").at(start);
        self.next();
        let mut text = String::new();
        loop {
            match self.peek() {
                Some('\n') | None => return Err(unclosed()),
                Some(c) if c.is_control() && u32::from(c) < 0x20 => {
                    return self.fail(format!(
                        "the control character {c:?} in a string must be written as an escape"
                    ));
                }
                _ => {}
            }
            match self.next() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some(c) => text.push(c),
                None => return Err(unclosed()),
            }
        }
    }

    fn escape(&mut self) -> Result<char, SpecError> {
        let escaped = match self.peek() {
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                self.next();
                return self.unicode();
            }
            _ => {
                let found = self.here();
                return self.fail(format!(
                    "the escape \\ followed by {found} does not exist (write \\\\ for a backslash)"
                ));
            }
        };
        self.next();
        Ok(escaped)
    }

    fn unicode(&mut self) -> Result<char, SpecError> {
        let high = self.four_digits()?;
        let code = match high {
            0xD800..0xDC00 if self.rest.starts_with("\\u") => {
                self.next();
                self.next();
                let low = self.four_digits()?;
                match low {
                    0xDC00..0xE000 => 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00),
                    _ => high,
                }
            }
            other => other,
        };
        match char::from_u32(code) {
            Some(c) => Ok(c),
            None => self.fail("half of a surrogate pair in a \\u escape"),
        }
    }

    fn four_digits(&mut self) -> Result<u32, SpecError> {
        let mut code = 0;
        for _ in 0..4 {
            match self.peek().and_then(|c| c.to_digit(16)) {
                Some(digit) => code = code * 16 + digit,
                None => return self.fail(format!("expected four hex digits after \\u, found {}", self.here())),
            }
            self.next();
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<SourceValue, SpecError> {
        let start = self.pos();
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.'))
            .unwrap_or(self.rest.len());
        let text = self.rest[..end].to_owned();
        self.skip(text.chars().count());
        if is_number(&text) {
            Ok(SourceValue::Number(text))
        } else {
            let detail = format!("{} is not a number", shorten(&text));
            Err(SpecError::syntax("JSON", detail).at(start))
        }
    }

    fn word(&mut self) -> Result<SourceValue, SpecError> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(self.rest.len());
        let value = match &self.rest[..end] {
            "null" => SourceValue::Null,
            "true" => SourceValue::Bool(true),
            "false" => SourceValue::Bool(false),
            word => {
                let detail = format!("the word {} must be in double quotes", shorten(word));
                return self.fail(detail);
            }
        };
        self.skip(end);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_follow_each_other_with_or_without_white_space() {
        let nodes = read("{}[1]\n---\n{\"a\": null}\n\n--- \ntrue\"x\"").unwrap();
        let found: Vec<String> = nodes.iter().map(SourceNode::describe).collect();
        assert_eq!(
            found,
            [
                "an empty object",
                "a list",
                "an object",
                "the boolean true",
                "the string \"x\""
            ]
        );
        assert_eq!(nodes[2].pos, Position::new(3, 1));
    }

    #[test]
    fn strings_are_unescaped() {
        let nodes = read(r#""a\n\u00e9\ud83d\ude00\/\"""#).unwrap();
        assert_eq!(nodes[0].value, SourceValue::Text("a\né😀/\"".to_owned()));
    }

    #[test]
    fn mistakes_have_a_position() {
        for (text, place, detail) in [
            ("{\"a\": 1,}", "1:9", "a comma with nothing between it and '}'"),
            ("{\n  a: 1}", "2:3", "expected a key in double quotes, found 'a'"),
            ("{\"a\" 1}", "1:6", "expected ':' after the key \"a\", found '1'"),
            ("{\"a\": [1\n", "2:1", "expected ',' or ']', found the end of the text"),
            ("{\"a\": \"x", "1:7", "a string that is never closed"),
            (
                "{\"a\": \"\\x\"}",
                "1:9",
                "the escape \\ followed by 'x' does not exist",
            ),
            ("{\"a\": 01}", "1:7", "01 is not a number"),
            ("{\"a\": yes}", "1:7", "the word yes must be in double quotes"),
            ("\"\\ud800\"", "1:8", "half of a surrogate pair"),
            ("\"\\u12g\"", "1:6", "expected four hex digits"),
            ("{\"a\": }", "1:7", "expected a value, found '}'"),
        ] {
            let error = read(text).unwrap_err().to_string();
            let expected = format!("line {place}: not valid JSON: {detail}");
            assert!(error.starts_with(&expected), "{error}");
        }
        assert!(read(&"[".repeat(100_000)).is_err());
    }
}
