//! The error of this crate: position, field path, problem and advice.

use std::fmt;

use crate::node::Position;

/// A mistake in a spec.
///
/// Printed as `file:line:column: field.path: problem; advice`, without the parts that are unknown.
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

/// The kind of a mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The text is not UTF-8.
    #[error("the text is not UTF-8 (byte {offset} of the file)")]
    NotText {
        /// The offset of the first bad byte.
        offset: usize,
    },
    /// The text is neither JSON nor YAML.
    #[error("not valid {format}: {detail}")]
    Syntax {
        /// `JSON` or `YAML`.
        format: &'static str,
        /// The mistake in the syntax.
        detail: String,
    },
    /// A value has the wrong type or is out of range.
    #[error("expected {expected}, found {found}")]
    Mismatch {
        /// The expected type or range.
        expected: String,
        /// The value in the source.
        found: String,
    },
    /// The field does not exist.
    #[error("unknown field {name:?}")]
    UnknownField {
        /// The field as spelled in the source.
        name: String,
    },
    /// The field is given twice.
    #[error("{}", twice(first, second))]
    DuplicateField {
        /// The first spelling.
        first: String,
        /// The second spelling.
        second: String,
    },
    /// A required field is absent.
    #[error("{what}")]
    Missing {
        /// The absent field, as a sentence.
        what: String,
    },
    /// A value has the right type but is not allowed.
    #[error("{what}")]
    Invalid {
        /// The reason.
        what: String,
    },
    /// Two values exclude each other.
    #[error("{what}")]
    Conflict {
        /// The two values and the reason.
        what: String,
    },
    /// The form is known but not supported.
    #[error("{what}")]
    Refused {
        /// The unsupported form.
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

    /// Sets the position unless it is known already: an inner value has the more exact position.
    pub(crate) fn at(mut self, pos: Position) -> Self {
        if self.0.pos == Position::UNKNOWN {
            self.0.pos = pos;
        }
        self
    }

    /// Replaces the position.
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

    /// Returns the name of the source, if it is known.
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

    /// Returns the kind of the mistake.
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }

    /// Returns the advice how to correct the mistake, if there is one.
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
