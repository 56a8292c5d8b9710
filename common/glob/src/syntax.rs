//! From a pattern to its syntax tree.

/// A parsed pattern.
pub(crate) struct Ast {
    pub root: Part,
    /// Number of captured groups.
    pub groups: usize,
}

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    Char(char),
    /// `?`
    One,
    /// `*`
    Run,
    /// `**`
    Deep,
    Class(Class),
    Sequence(Vec<Part>),
    /// Braces: not captured.
    Either(Vec<Part>),
    /// Parentheses: captured under their number, counted from 0.
    Group(usize, Quantity, Box<Part>),
}

/// How often a group may occur.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Quantity {
    Once,
    Optional,
    Any,
    Some,
    Not,
}

/// A set of characters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Class {
    pub negated: bool,
    pub items: Vec<ClassItem>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ClassItem {
    Range(char, char),
    Posix(&'static str),
}

impl Class {
    pub fn contains(&self, c: char) -> bool {
        let listed = self.items.iter().any(|item| match item {
            ClassItem::Range(low, high) => (*low..=*high).contains(&c),
            ClassItem::Posix(name) => posix(name, c),
        });
        // A negated set never crosses into another path element, just like `?`.
        if self.negated { !listed && c != '/' } else { listed }
    }
}

const POSIX: [&str; 12] = [
    "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit",
];

fn posix(name: &str, c: char) -> bool {
    match name {
        "alnum" => c.is_ascii_alphanumeric(),
        "alpha" => c.is_ascii_alphabetic(),
        "blank" => matches!(c, ' ' | '\t'),
        "cntrl" => c.is_ascii_control(),
        "digit" => c.is_ascii_digit(),
        "graph" => c.is_ascii_graphic() && c != '/',
        "lower" => c.is_ascii_lowercase(),
        "print" => (c.is_ascii_graphic() || c == ' ') && c != '/',
        "punct" => c.is_ascii_punctuation() && c != '/',
        "space" => c.is_ascii_whitespace() || c == '\x0b',
        "upper" => c.is_ascii_uppercase(),
        "xdigit" => c.is_ascii_hexdigit(),
        _ => false,
    }
}

/// Deepest nesting of groups, so that hostile patterns cannot exhaust the stack.
const MAX_NESTING: usize = 40;
/// Longest pattern in characters.
const MAX_LENGTH: usize = 4096;

type Failure = (usize, String);

/// Parses a cleaned pattern; failures carry the character, counted from 1, and the reason.
pub(crate) fn parse(pattern: &str) -> Result<Ast, Failure> {
    let mut parser = Parser {
        chars: pattern.chars().collect(),
        at: 0,
        groups: 0,
        nesting: 0,
    };
    if parser.chars.len() > MAX_LENGTH {
        return Err((MAX_LENGTH, format!("longer than {MAX_LENGTH} characters")));
    }
    let root = parser.sequence(Inside::Nothing)?;
    let groups = parser.groups;
    Ok(Ast { root, groups })
}

#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Nothing,
    Braces,
    Parentheses,
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    groups: usize,
    nesting: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += usize::from(c.is_some());
        c
    }

    fn eat(&mut self, wanted: char) -> bool {
        let eaten = self.peek() == Some(wanted);
        self.at += usize::from(eaten);
        eaten
    }

    fn fail<T>(&self, at: usize, reason: impl Into<String>) -> Result<T, Failure> {
        Err((at + 1, reason.into()))
    }

    fn sequence(&mut self, inside: Inside) -> Result<Part, Failure> {
        let mut parts = Vec::new();
        while let Some(c) = self.peek() {
            let ends = match inside {
                Inside::Nothing => false,
                Inside::Braces => matches!(c, ',' | '}'),
                Inside::Parentheses => matches!(c, '|' | ')'),
            };
            if ends {
                break;
            }
            parts.push(self.part()?);
        }
        Ok(Part::Sequence(parts))
    }

    fn part(&mut self) -> Result<Part, Failure> {
        let start = self.at;
        let Some(c) = self.next() else {
            return self.fail(start, "unexpected end");
        };
        match c {
            '\\' => match self.next() {
                Some(escaped) => Ok(Part::Char(escaped)),
                None => self.fail(start, "nothing follows the backslash"),
            },
            '*' if self.eat('*') => Ok(Part::Deep),
            '*' | '?' | '+' | '@' | '!' if self.eat('(') => self.group(start, quantity(c)),
            '*' => Ok(Part::Run),
            '?' => Ok(Part::One),
            '(' => self.group(start, Quantity::Once),
            '{' => {
                let alternatives = self.alternatives(start, Inside::Braces, ',', '}')?;
                Ok(Part::Either(alternatives))
            }
            '[' => self.class(start),
            ')' | '}' | ']' => {
                let reason = format!("{c:?} closes nothing (write \\{c} for the character itself)");
                self.fail(start, reason)
            }
            c => Ok(Part::Char(c)),
        }
    }

    fn group(&mut self, start: usize, quantity: Quantity) -> Result<Part, Failure> {
        let number = self.groups;
        self.groups += 1;
        let alternatives = self.alternatives(start, Inside::Parentheses, '|', ')')?;
        Ok(Part::Group(number, quantity, Box::new(Part::Either(alternatives))))
    }

    fn alternatives(&mut self, start: usize, inside: Inside, separator: char, end: char) -> Result<Vec<Part>, Failure> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return self.fail(start, format!("more than {MAX_NESTING} groups inside one another"));
        }
        let mut alternatives = vec![self.sequence(inside)?];
        while self.eat(separator) {
            alternatives.push(self.sequence(inside)?);
        }
        self.nesting -= 1;
        if !self.eat(end) {
            let opened = self.chars[start..]
                .iter()
                .find(|c| matches!(c, '(' | '{'))
                .unwrap_or(&'(');
            return self.fail(start, format!("{opened:?} is never closed with {end:?}"));
        }
        Ok(alternatives)
    }

    fn class(&mut self, start: usize) -> Result<Part, Failure> {
        let negated = self.eat('!') || self.eat('^');
        let mut items = Vec::new();
        loop {
            let here = self.at;
            let low = match self.next() {
                None => return self.fail(start, "'[' is never closed with ']'"),
                Some(']') if !items.is_empty() => break,
                Some('[') if self.eat(':') => {
                    items.push(self.posix_class(here)?);
                    continue;
                }
                Some(c) => self.class_char(here, c)?,
            };
            let is_range = self.peek() == Some('-') && !matches!(self.chars.get(self.at + 1), None | Some(']'));
            let high = if is_range {
                self.at += 1;
                let c = self.next().unwrap_or(low);
                self.class_char(here, c)?
            } else {
                low
            };
            if high < low {
                return self.fail(here, format!("the range {low}-{high} is empty"));
            }
            items.push(ClassItem::Range(low, high));
        }
        Ok(Part::Class(Class { negated, items }))
    }

    fn class_char(&mut self, here: usize, c: char) -> Result<char, Failure> {
        match c {
            '\\' => match self.next() {
                Some(escaped) => Ok(escaped),
                None => self.fail(here, "nothing follows the backslash"),
            },
            c => Ok(c),
        }
    }

    fn posix_class(&mut self, here: usize) -> Result<ClassItem, Failure> {
        let name: String = self.chars[self.at..]
            .iter()
            .take_while(|c| c.is_ascii_alphabetic())
            .collect();
        self.at += name.len();
        let known = POSIX.into_iter().find(|known| *known == name);
        match known {
            Some(known) if self.eat(':') && self.eat(']') => Ok(ClassItem::Posix(known)),
            _ => self.fail(here, format!("no such character class: [:{name}:]")),
        }
    }
}

fn quantity(sign: char) -> Quantity {
    match sign {
        '?' => Quantity::Optional,
        '*' => Quantity::Any,
        '+' => Quantity::Some,
        '!' => Quantity::Not,
        _ => Quantity::Once,
    }
}

/// Returns the characters with which every match begins.
pub(crate) fn literal_prefix(root: &Part) -> String {
    let parts = match root {
        Part::Sequence(parts) => parts.as_slice(),
        other => std::slice::from_ref(other),
    };
    let literal = |part: &Part| match part {
        Part::Char(c) => Some(*c),
        _ => None,
    };
    parts.iter().map_while(literal).collect()
}

/// Returns the most slashes a match can have; none if there is no limit.
pub(crate) fn slashes(part: &Part) -> Option<usize> {
    match part {
        Part::Char('/') => Some(1),
        Part::Char(_) | Part::One | Part::Run => Some(0),
        Part::Deep => None,
        Part::Class(class) => Some(usize::from(class.contains('/'))),
        Part::Sequence(parts) => parts.iter().map(slashes).sum(),
        Part::Either(parts) => parts
            .iter()
            .map(slashes)
            .try_fold(0, |most, count| Some(most.max(count?))),
        Part::Group(_, Quantity::Once | Quantity::Optional, inner) => slashes(inner),
        Part::Group(_, Quantity::Not, _) => Some(0),
        Part::Group(_, Quantity::Any | Quantity::Some, inner) => slashes(inner).filter(|count| *count == 0),
    }
}
