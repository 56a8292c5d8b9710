//! What an evaluation may take, and how it fails.

use std::borrow::Cow;

use serde_json::Value;

/// A value: a part of the input or of the filter, or made by the evaluation.
pub(crate) type Item<'a> = Cow<'a, Value>;

/// Why the evaluation of a filter ended without a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// An operation does not fit the value, such as a field of a string.
    #[error("{0}")]
    Failed(String),
    /// The evaluation takes too many steps.
    #[error("it takes too many steps")]
    TooManySteps,
    /// The evaluation makes values that are too large.
    #[error("it makes values that are too large")]
    TooMuchMemory,
}

impl EvalError {
    pub(crate) fn failed(reason: impl Into<String>) -> EvalError {
        EvalError::Failed(reason.into())
    }

    /// Returns the error of a function whose input has a wrong type.
    pub(crate) fn unfit(function: &str, value: &Value) -> EvalError {
        EvalError::Failed(format!(
            "{function} cannot be used on a value of type {}",
            type_name(value)
        ))
    }

    /// Tells whether the budget is used up.
    pub fn is_over_budget(&self) -> bool {
        match self {
            EvalError::TooManySteps | EvalError::TooMuchMemory => true,
            EvalError::Failed(_) => false,
        }
    }
}

/// What an evaluation may still take.
#[derive(Debug, Clone)]
pub struct Budget {
    steps: usize,
    bytes: usize,
}

/// Bytes of text that are looked at in one step.
const BYTES_PER_STEP: usize = 64;

impl Default for Budget {
    /// Enough for a condition over each part of a large message; at most some milliseconds, and 1 MiB.
    fn default() -> Self {
        Budget::new(200_000, 1 << 20)
    }
}

impl Budget {
    /// Makes a budget of steps and of bytes of new values.
    pub fn new(steps: usize, bytes: usize) -> Budget {
        Budget { steps, bytes }
    }

    pub(crate) fn steps(&mut self, count: usize) -> Result<(), EvalError> {
        let left = self.steps.checked_sub(count);
        // Nothing is left after a failure, so that no caller goes on with smaller steps.
        self.steps = left.unwrap_or_default();
        left.map(|_| ()).ok_or(EvalError::TooManySteps)
    }

    /// Pays for a look at a text.
    pub(crate) fn scan(&mut self, text_bytes: usize) -> Result<(), EvalError> {
        self.steps(1 + text_bytes / BYTES_PER_STEP)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<(), EvalError> {
        self.scan(count)?;
        let left = self.bytes.checked_sub(count);
        self.bytes = left.unwrap_or_default();
        left.map(|_| ()).ok_or(EvalError::TooMuchMemory)
    }
}

/// Returns the name of a value's type.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
