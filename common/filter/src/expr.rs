//! The tree of a filter.
//!
//! Chains (`a | b | c`, `a or b or c`, `.a.b.c`) are lists and not nested pairs: the depth of the tree, and with it the
//! depth of every recursion over it, is bounded by the parentheses that the parser counts.

use regex::Regex;
use serde_json::Value;

/// An expression: from one input value it makes any number of results.
#[derive(Debug, Clone)]
pub(crate) enum Expr {
    /// `.`
    Identity,
    /// A literal.
    Literal(Value),
    /// A path that begins at the results of an expression.
    Path(Box<Expr>, Vec<Step>),
    /// `[ ]`, with what is in it.
    List(Option<Box<Expr>>),
    /// `( )?`: the results before the first error.
    Try(Box<Expr>),
    /// `a | b`
    Pipe(Vec<Expr>),
    /// `a, b`
    Comma(Vec<Expr>),
    /// `a // b`
    Alternative(Vec<Expr>),
    /// `a or b`
    Or(Vec<Expr>),
    /// `a and b`
    And(Vec<Expr>),
    /// `a == b` and the other comparisons.
    Compare(Comparison, Box<Expr>, Box<Expr>),
    /// A call of a function.
    Call(Call),
}

/// One step of a path.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub kind: StepKind,
    /// `?`: an error of this step is no result.
    pub optional: bool,
}

/// What a step of a path goes to.
#[derive(Debug, Clone)]
pub(crate) enum StepKind {
    /// `.name`
    Field(String),
    /// `[expression]`; the expression sees the input of the whole path.
    Index(Expr),
    /// `[]`
    Each,
}

/// The comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A function with its arguments.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    /// A function of the input alone.
    Plain(Plain),
    /// A function of the input and the results of an argument.
    Binary(Binary, Box<Expr>),
    /// `select(condition)`
    Select(Box<Expr>),
    /// `map(expression)`
    Map(Box<Expr>),
    /// `any` (true) or `all` (false): whether one (each) of the values meets the condition.
    Quantifier {
        any: bool,
        values: Box<Expr>,
        condition: Box<Expr>,
    },
    /// `test("expression")`
    Test(Regex),
}

/// Functions without arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plain {
    Empty,
    Not,
    Length,
    Keys,
    Type,
    ToNumber,
    ToString,
    AsciiDowncase,
    AsciiUpcase,
}

/// Functions with one argument, which is evaluated for the same input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Has,
    In,
    Contains,
    Inside,
    StartsWith,
    EndsWith,
    /// `IN`: whether the input is one of the results.
    OneOf,
}
