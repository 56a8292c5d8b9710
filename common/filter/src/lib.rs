//! Filters over JSON values, in a part of the jq language.
//!
//! A filter has paths (`.a.b`, `.a[0]`, `.a[]`, `.["a"]`, each with `?`), literals, lists, the comparisons, `and`,
//! `or`, `//`, `,`, `|`, parentheses, and the functions that [`FUNCTIONS`] names. All of it means what it means in jq.
//! There are no variables, definitions, assignments, arithmetic or loops, and nothing outside of the input value can
//! be reached.
//!
//! [`Filter::new`] compiles a text, [`Filter::passes`] asks it about a value. Both are bounded: the text by
//! [`MAX_TEXT_BYTES`] and [`MAX_NESTING`], a question by [`Budget`]. Filters come from clients that are not trusted.
//!
//! The crate is pure: no environment, no clock, no files.

mod budget;
mod error;
mod eval;
mod expr;
mod functions;
mod order;
mod parser;

pub use budget::{Budget, EvalError};
pub use error::{FilterError, MAX_LISTS, MAX_NESTING, MAX_TEXT_BYTES};
pub use functions::FUNCTIONS;

use expr::Expr;
use serde_json::Value;

/// A compiled filter.
#[derive(Debug, Clone)]
pub struct Filter {
    root: Expr,
}

impl Filter {
    /// Compiles a text.
    ///
    /// # Errors
    /// See [`FilterError`].
    pub fn new(text: &str) -> Result<Filter, FilterError> {
        let root = parser::parse(text)?;
        Ok(Filter { root })
    }

    /// Tells whether a value passes: the filter has a result for it, and the first one is neither `false` nor `null`.
    ///
    /// # Errors
    /// When the filter fails before its first result, or the budget is used up. See [`EvalError`].
    pub fn passes(&self, value: &Value, budget: &mut Budget) -> Result<bool, EvalError> {
        let mut results = Vec::new();
        let ended = eval::eval(&self.root, &std::borrow::Cow::Borrowed(value), budget, &mut results);
        match (results.first(), ended) {
            (_, Err(error)) if error.is_over_budget() => Err(error),
            (Some(first), _) => Ok(order::is_true(first)),
            (None, Ok(())) => Ok(false),
            (None, Err(error)) => Err(error),
        }
    }
}
