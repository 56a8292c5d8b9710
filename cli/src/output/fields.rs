//! Descriptions of one thing: a line for each property that applies.

use std::fmt::Write;

/// Lines of `Name: value`.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    text: String,
}

impl Fields {
    /// Makes an empty description.
    pub(crate) fn new() -> Fields {
        Fields::default()
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, name: &str, value: impl AsRef<str>) -> &mut Fields {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{name}: {}", value.as_ref());
        self
    }

    /// Adds a line unless the value is empty.
    pub(crate) fn maybe(&mut self, name: &str, value: impl AsRef<str>) -> &mut Fields {
        if value.as_ref().is_empty() {
            self
        } else {
            self.line(name, value)
        }
    }

    /// Adds a value of several lines below its name.
    pub(crate) fn block(&mut self, name: &str, value: impl AsRef<str>) -> &mut Fields {
        let _ = writeln!(self.text, "{name}:\n{}", value.as_ref().trim_end());
        self
    }

    /// Returns the lines.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}
