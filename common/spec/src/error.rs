//! The error of this crate: where, which field, what was found, what was expected, what to do.

use std::fmt;

use crate::node::Position;

/// A mistake in a spec.
///
/// Printed as `file:line:column: field.path: what is wrong; what to do`, leaving out what is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError(Box<ErrorDetails>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct ErrorDetails {
    file: Option<String>,
    pos: Position,
    field: String,
    problem: Problem,
    help: Option<String>,
}

/// What kind of mistake it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The text is not UTF-8.
    #[error("the text is not UTF-8 (byte {offset} of the file)")]
    NotText {
        /// Offset of the first bad byte.
        offset: usize,
    },
    /// The text is neither JSON nor YAML.
    #[error("not valid {format}: {detail}")]
    Syntax {
        /// `JSON` or `YAML`.
        format: &'static str,
        /// What the reader stumbled over.
        detail: String,
    },
    /// A value of the wrong type or out of its range.
    #[error("expected {expected}, found {found}")]
    Mismatch {
        /// What would be right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A field that does not exist.
    #[error("unknown field {name:?}")]
    UnknownField {
        /// The field as written.
        name: String,
    },
    /// A field given twice.
    #[error("{}", twice(first, second))]
    DuplicateField {
        /// First spelling.
        first: String,
        /// Second spelling.
        second: String,
    },
    /// Something required is absent.
    #[error("{what}")]
    Missing {
        /// What is absent.
        what: String,
    },
    /// A value that can be read but is not allowed.
    #[error("{what}")]
    Invalid {
        /// Why it is not allowed.
        what: String,
    },
    /// Two values that do not go together.
    #[error("{what}")]
    Conflict {
        /// Which and why.
        what: String,
    },
    /// A form that is recognised but not offered.
    #[error("{what}")]
    Refused {
        /// What is not offered.
        what: String,
    },
}

fn twice(first: &str, second: &str) -> String {
    if first == second {
        format!("{first:?} is given twice")
    } else {
        format!("{first:?} and {second:?} are the same field, given twice")
    }
}

impl SpecError {
    pub(crate) fn new(field: impl Into<String>, problem: Problem) -> Self {
        SpecError(Box::new(ErrorDetails {
            file: None,
            pos: Position::UNKNOWN,
            field: field.into(),
            problem,
            help: None,
        }))
    }

    pub(crate) fn mismatch(field: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        let (expected, found) = (expected.into(), found.into());
        SpecError::new(field, Problem::Mismatch { expected, found })
    }

    pub(crate) fn missing(field: impl Into<String>, what: impl Into<String>) -> Self {
        SpecError::new(field, Problem::Missing { what: what.into() })
    }

    pub(crate) fn invalid(field: impl Into<String>, what: impl Into<String>) -> Self {
        SpecError::new(field, Problem::Invalid { what: what.into() })
    }

    pub(crate) fn conflict(field: impl Into<String>, what: impl Into<String>) -> Self {
        SpecError::new(field, Problem::Conflict { what: what.into() })
    }

    pub(crate) fn refused(field: impl Into<String>, what: impl Into<String>) -> Self {
        SpecError::new(field, Problem::Refused { what: what.into() })
    }

    pub(crate) fn syntax(format: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        SpecError::new("", Problem::Syntax { format, detail })
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Sets the position unless a more exact one is known already.
    pub(crate) fn at(mut self, pos: Position) -> Self {
        if self.0.pos == Position::UNKNOWN {
            self.0.pos = pos;
        }
        self
    }

    /// Sets the position, whatever it was.
    pub(crate) fn moved_to(mut self, pos: Position) -> Self {
        self.0.pos = pos;
        self
    }

    pub(crate) fn in_file(mut self, file: &str) -> Self {
        self.0.file = Some(file.to_owned());
        self
    }

    pub(crate) fn with_field(mut self, field: String) -> Self {
        self.0.field = field;
        self
    }

    /// Returns the name of the source, if the text came from one.
    pub fn file(&self) -> Option<&str> {
        self.0.file.as_deref()
    }

    /// Returns the line, counted from 1, if it is known.
    pub fn line(&self) -> Option<u32> {
        (self.0.pos != Position::UNKNOWN).then_some(self.0.pos.line)
    }

    /// Returns the column, counted from 1, if it is known.
    pub fn column(&self) -> Option<u32> {
        (self.0.pos != Position::UNKNOWN).then_some(self.0.pos.column)
    }

    /// Returns the path of the field, such as `transform.secrets[0].key`; empty for the whole spec.
    pub fn field(&self) -> &str {
        &self.0.field
    }

    /// Returns what is wrong.
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }

    /// Returns what to do about it, where that can be said.
    pub fn advice(&self) -> Option<&str> {
        self.0.help.as_deref()
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ErrorDetails {
            file,
            pos,
            field,
            problem,
            help,
        } = &*self.0;
        match (file, *pos == Position::UNKNOWN) {
            (Some(file), false) => write!(f, "{file}:{pos}: ")?,
            (Some(file), true) => write!(f, "{file}: ")?,
            (None, false) => write!(f, "line {pos}: ")?,
            (None, true) => {}
        }
        if !field.is_empty() {
            write!(f, "{field}: ")?;
        }
        write!(f, "{problem}")?;
        if let Some(help) = help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecError {}
