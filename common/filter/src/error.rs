//! Limits of the text of a filter, and why a text is none.

/// Most bytes of a filter's text.
pub const MAX_TEXT_BYTES: usize = 4096;

/// Most parentheses, brackets and calls inside one another.
pub const MAX_NESTING: usize = 32;

/// Most lists (`[ ]` and `map`) of one filter. Each can add a level to a value, and values are walked by recursion.
pub const MAX_LISTS: usize = 64;

/// Why a text is not a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The text is too long.
    #[error("the text has {bytes} bytes, more than {MAX_TEXT_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Too many parentheses, brackets or calls inside one another.
    #[error("at character {at}: more than {MAX_NESTING} parentheses, brackets and calls inside one another")]
    TooDeep {
        /// The position of the first that is too deep in characters, counted from 1.
        at: usize,
    },
    /// Too many lists.
    #[error("at character {at}: more than {MAX_LISTS} lists")]
    TooManyLists {
        /// The position of the first that is too many in characters, counted from 1.
        at: usize,
    },
    /// A part of the jq language that filters do not have.
    #[error("at character {at}: {construct} is not supported here")]
    Unsupported {
        /// What it is.
        construct: String,
        /// Its position in characters, counted from 1.
        at: usize,
    },
    /// The text is not jq either.
    #[error("at character {at}: {reason}")]
    Syntax {
        /// What is wrong.
        reason: String,
        /// The position in characters, counted from 1.
        at: usize,
    },
}
