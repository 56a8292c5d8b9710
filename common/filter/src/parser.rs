//! Parses the text of a filter into a tree, by recursive descent.
//!
//! From the loosest to the tightest: `|`, `,`, `//`, `or`, `and`, comparisons, terms with their steps.

use serde_json::{Number, Value};

use super::error::{FilterError, MAX_LISTS, MAX_NESTING, MAX_TEXT_BYTES};
use super::expr::{Comparison, Expr, Step, StepKind};
use super::functions::{self, FUNCTIONS};

/// Words of the jq language that filters do not have.
const KEYWORDS: &[&str] = &[
    "__loc__", "as", "catch", "def", "elif", "else", "end", "foreach", "if", "import", "include", "label", "reduce",
    "then", "try",
];

/// Operators that filters do not have, the longest first.
const OPERATORS: &[&str] = &[
    "?//", "//=", "|=", "+=", "-=", "*=", "/=", "%=", "=", "+", "-", "*", "/", "%",
];

/// Parses a text.
pub(crate) fn parse(text: &str) -> Result<Expr, FilterError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(FilterError::TooLong { bytes: text.len() });
    }
    let mut parser = FilterParser {
        chars: text.chars().collect(),
        at: 0,
        nesting: 0,
        lists: 0,
    };
    let root = parser.pipe()?;
    match parser.rest() {
        None => Ok(root),
        Some(_) => Err(parser.surprise()),
    }
}

struct FilterParser {
    chars: Vec<char>,
    at: usize,
    nesting: usize,
    lists: usize,
}

impl FilterParser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    /// Skips white space and returns the character after it.
    fn rest(&mut self) -> Option<char> {
        while self.peek().is_some_and(|c| c.is_ascii_whitespace()) {
            self.at += 1;
        }
        self.peek()
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars()
            .enumerate()
            .all(|(offset, c)| self.chars.get(self.at + offset) == Some(&c))
    }

    /// Consumes a text of punctuation if it comes next.
    fn eat(&mut self, text: &str) -> bool {
        self.rest();
        let found = self.starts_with(text);
        if found {
            self.at += text.chars().count();
        }
        found
    }

    /// Consumes a separator: a text of punctuation that does not begin an unsupported operator.
    fn eat_separator(&mut self, text: &str) -> bool {
        self.rest();
        let longer = OPERATORS
            .iter()
            .any(|operator| operator.len() > text.len() && operator.starts_with(text) && self.starts_with(operator));
        !longer && self.eat(text)
    }

    /// Returns the word that comes next, without consuming it.
    fn word(&mut self) -> String {
        self.rest();
        let letters = self.chars[self.at..].iter();
        letters
            .take_while(|c| c.is_ascii_alphanumeric() || **c == '_')
            .collect()
    }

    fn eat_word(&mut self, wanted: &str) -> bool {
        let found = self.word() == wanted;
        if found {
            self.at += wanted.len();
        }
        found
    }

    fn unsupported(&self, at: usize, construct: impl Into<String>) -> FilterError {
        FilterError::Unsupported {
            construct: construct.into(),
            at: at + 1,
        }
    }

    fn syntax(&self, at: usize, reason: impl Into<String>) -> FilterError {
        FilterError::Syntax {
            reason: reason.into(),
            at: at + 1,
        }
    }

    /// Describes what comes next where it cannot be.
    fn surprise(&mut self) -> FilterError {
        let Some(c) = self.rest() else {
            return self.syntax(self.at, "the filter ends where an expression is expected");
        };
        let word = self.word();
        if KEYWORDS.contains(&word.as_str()) {
            return self.unsupported(self.at, format!("`{word}`"));
        }
        if let Some(operator) = OPERATORS.iter().find(|operator| self.starts_with(operator)) {
            return self.unsupported(self.at, format!("the operator `{operator}`"));
        }
        match c {
            '$' => self.unsupported(self.at, "a variable"),
            '@' => self.unsupported(self.at, "a format `@`"),
            '{' => self.unsupported(self.at, "an object `{ }`"),
            '#' => self.unsupported(self.at, "a comment"),
            _ if !word.is_empty() => self.syntax(self.at, format!("unexpected `{word}`")),
            c => self.syntax(self.at, format!("unexpected {c:?}")),
        }
    }

    /// Enters parentheses, brackets or a call that begin at a position.
    fn enter(&mut self, at: usize) -> Result<(), FilterError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(FilterError::TooDeep { at: at + 1 });
        }
        Ok(())
    }

    fn close(&mut self, opened: usize, end: &str) -> Result<(), FilterError> {
        self.nesting -= 1;
        if self.eat(end) {
            return Ok(());
        }
        match self.rest() {
            None => Err(self.syntax(opened, format!("this is never closed with `{end}`"))),
            Some(_) => Err(self.surprise()),
        }
    }

    fn chain(
        &mut self,
        mut part: impl FnMut(&mut Self) -> Result<Expr, FilterError>,
        separator: impl Fn(&mut Self) -> bool,
        whole: impl FnOnce(Vec<Expr>) -> Expr,
    ) -> Result<Expr, FilterError> {
        let first = part(self)?;
        if !separator(self) {
            return Ok(first);
        }
        let mut parts = vec![first, part(self)?];
        while separator(self) {
            parts.push(part(self)?);
        }
        Ok(whole(parts))
    }

    fn pipe(&mut self) -> Result<Expr, FilterError> {
        self.chain(Self::comma, |parser| parser.eat_separator("|"), Expr::Pipe)
    }

    fn comma(&mut self) -> Result<Expr, FilterError> {
        self.chain(Self::alternative, |parser| parser.eat(","), Expr::Comma)
    }

    fn alternative(&mut self) -> Result<Expr, FilterError> {
        self.chain(Self::or, |parser| parser.eat_separator("//"), Expr::Alternative)
    }

    fn or(&mut self) -> Result<Expr, FilterError> {
        self.chain(Self::and, |parser| parser.eat_word("or"), Expr::Or)
    }

    fn and(&mut self) -> Result<Expr, FilterError> {
        self.chain(Self::comparison, |parser| parser.eat_word("and"), Expr::And)
    }

    fn comparison(&mut self) -> Result<Expr, FilterError> {
        let left = self.term()?;
        let Some(comparison) = self.eat_comparison() else {
            return Ok(left);
        };
        let right = self.term()?;
        let next = self.at;
        if self.eat_comparison().is_some() {
            return Err(self.syntax(next, "comparisons cannot follow each other: use parentheses"));
        }
        Ok(Expr::Compare(comparison, Box::new(left), Box::new(right)))
    }

    fn eat_comparison(&mut self) -> Option<Comparison> {
        let signs = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let found = signs.into_iter().find(|(sign, _)| self.eat(sign));
        found.map(|(_, comparison)| comparison)
    }

    /// Parses a value and the steps after it.
    fn term(&mut self) -> Result<Expr, FilterError> {
        let (base, mut steps) = self.base()?;
        loop {
            if self.rest() == Some('.') {
                let at = self.at;
                steps.push(
                    self.dotted()?
                        .ok_or_else(|| self.syntax(at, "nothing follows the dot: expected a name, a string or `[`"))?,
                );
            } else if self.rest() == Some('[') {
                steps.push(self.bracketed()?);
            } else if self.rest() == Some('?') && !self.starts_with("?//") {
                self.at += 1;
                match steps.last_mut() {
                    Some(step) => step.optional = true,
                    None => return self.try_term(base),
                }
            } else {
                break;
            }
        }
        Ok(if steps.is_empty() {
            base
        } else {
            Expr::Path(Box::new(base), steps)
        })
    }

    /// Parses the steps after the `?` of a value that has no steps before it.
    fn try_term(&mut self, base: Expr) -> Result<Expr, FilterError> {
        while self.rest() == Some('?') && !self.starts_with("?//") {
            self.at += 1;
        }
        let base = Expr::Try(Box::new(base));
        let mut steps = Vec::new();
        while let Some('.' | '[' | '?') = self.rest() {
            match self.peek() {
                Some('.') => {
                    let at = self.at;
                    let step = self.dotted()?;
                    steps.push(step.ok_or_else(|| self.syntax(at, "nothing follows the dot"))?);
                }
                Some('[') => steps.push(self.bracketed()?),
                _ => {
                    self.at += 1;
                    if let Some(step) = steps.last_mut() {
                        let step: &mut Step = step;
                        step.optional = true;
                    }
                }
            }
        }
        Ok(Expr::Path(Box::new(base), steps))
    }

    /// Parses what a term begins with, and the first step of a path that begins with a dot.
    fn base(&mut self) -> Result<(Expr, Vec<Step>), FilterError> {
        let Some(c) = self.rest() else {
            return Err(self.surprise());
        };
        let at = self.at;
        let base = match c {
            '.' if self.starts_with("..") => return Err(self.unsupported(at, "recursive descent `..`")),
            '.' => {
                let first = self.dotted()?;
                return Ok((Expr::Identity, first.into_iter().collect()));
            }
            '"' => Expr::Literal(Value::String(self.string()?)),
            '0'..='9' => Expr::Literal(Value::Number(self.number()?)),
            '-' if self.chars.get(at + 1).is_some_and(char::is_ascii_digit) => {
                Expr::Literal(Value::Number(self.number()?))
            }
            '(' => {
                self.at += 1;
                self.enter(at)?;
                let inner = self.pipe()?;
                self.close(at, ")")?;
                inner
            }
            '[' => self.list()?,
            c if c.is_ascii_alphabetic() || c == '_' => self.named()?,
            _ => return Err(self.surprise()),
        };
        Ok((base, Vec::new()))
    }

    fn count_list(&mut self, at: usize) -> Result<(), FilterError> {
        self.lists += 1;
        if self.lists > MAX_LISTS {
            return Err(FilterError::TooManyLists { at: at + 1 });
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Expr, FilterError> {
        let at = self.at;
        self.count_list(at)?;
        self.at += 1;
        self.enter(at)?;
        let inner = if self.rest() == Some(']') {
            None
        } else {
            Some(Box::new(self.pipe()?))
        };
        self.close(at, "]")?;
        Ok(Expr::List(inner))
    }

    /// Parses `.name`, `."name"` or `.[`; a dot alone is no step.
    fn dotted(&mut self) -> Result<Option<Step>, FilterError> {
        self.at += 1;
        let next = self.peek();
        let kind = match next {
            Some('"') => StepKind::Field(self.string()?),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let name = self.word();
                self.at += name.len();
                StepKind::Field(name)
            }
            _ if self.rest() == Some('[') => return self.bracketed().map(Some),
            Some('.') => return Err(self.unsupported(self.at - 1, "recursive descent `..`")),
            _ => return Ok(None),
        };
        Ok(Some(Step { kind, optional: false }))
    }

    /// Parses `[]` or `[expression]`.
    fn bracketed(&mut self) -> Result<Step, FilterError> {
        let at = self.at;
        self.at += 1;
        self.enter(at)?;
        let kind = if self.rest() == Some(']') {
            StepKind::Each
        } else if self.rest() == Some(':') {
            return Err(self.unsupported(self.at, "a slice `[:]`"));
        } else {
            let index = self.pipe()?;
            if self.rest() == Some(':') {
                return Err(self.unsupported(self.at, "a slice `[:]`"));
            }
            StepKind::Index(index)
        };
        self.close(at, "]")?;
        Ok(Step { kind, optional: false })
    }

    /// Parses a word: a literal or a call.
    fn named(&mut self) -> Result<Expr, FilterError> {
        let at = self.at;
        let name = self.word();
        match name.as_str() {
            "true" | "false" => {
                self.at += name.len();
                return Ok(Expr::Literal(Value::Bool(name == "true")));
            }
            "null" => {
                self.at += name.len();
                return Ok(Expr::Literal(Value::Null));
            }
            "and" | "or" => return Err(self.surprise()),
            word if KEYWORDS.contains(&word) => return Err(self.surprise()),
            _ => {}
        }
        self.at += name.len();
        if name == "map" {
            self.count_list(at)?;
        }
        let arguments = self.arguments()?;
        let count = arguments.len();
        match functions::call(&name, arguments) {
            Some(Ok(call)) => Ok(Expr::Call(call)),
            Some(Err(reason)) => Err(self.syntax(at, reason)),
            None if FUNCTIONS.iter().any(|(known, _)| *known == name) => {
                Err(self.syntax(at, format!("`{name}` does not take {count} arguments")))
            }
            None => Err(self.unsupported(at, format!("the function `{name}`"))),
        }
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, FilterError> {
        let mut arguments = Vec::new();
        if self.rest() != Some('(') {
            return Ok(arguments);
        }
        let at = self.at;
        self.at += 1;
        self.enter(at)?;
        arguments.push(self.pipe()?);
        while self.eat(";") {
            arguments.push(self.pipe()?);
        }
        self.close(at, ")")?;
        Ok(arguments)
    }

    fn string(&mut self) -> Result<String, FilterError> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err(self.syntax(start, "the string is never closed")),
                Some('"') => break,
                Some('\\') if self.chars.get(self.at + 1) == Some(&'(') => {
                    return Err(self.unsupported(self.at, "an expression `\\( )` in a string"));
                }
                Some('\\') => self.at += 2,
                // Allowed in jq, but not in JSON, which reads the string below.
                Some(c) if c.is_ascii_control() => {
                    return Err(self.syntax(self.at, "a control character in a string"));
                }
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        let quoted: String = self.chars[start..self.at].iter().collect();
        serde_json::from_str(&quoted).map_err(|_| self.syntax(start, "the string has an unknown escape"))
    }

    fn number(&mut self) -> Result<Number, FilterError> {
        let start = self.at;
        self.at += 1;
        while let Some(c) = self.peek() {
            let after_exponent = matches!(self.chars[self.at - 1], 'e' | 'E');
            let belongs =
                c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E') || (matches!(c, '+' | '-') && after_exponent);
            if !belongs {
                break;
            }
            self.at += 1;
        }
        let digits: String = self.chars[start..self.at].iter().collect();
        digits
            .parse()
            .map_err(|_| self.syntax(start, format!("`{digits}` is not a number")))
    }
}
