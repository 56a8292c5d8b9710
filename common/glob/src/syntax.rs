//! Parses a pattern into a tree.

/// A parsed pattern.
pub(crate) struct PatternTree {
    pub root: PatternNode,
    /// The number of captured groups.
    pub groups: usize,
}

/// A node of the tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PatternNode {
    Char(char),
    /// `?`
    One,
    /// `*`
    Run,
    /// `**`
    Deep,
    Class(CharClass),
    Sequence(Vec<PatternNode>),
    /// Alternatives in braces, which are not captured.
    Either(Vec<PatternNode>),
    /// Parentheses, captured under their number, counted from 0.
    Group(usize, Repetition, Box<PatternNode>),
}

/// How often a group occurs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Repetition {
    /// `@( )` and `( )`
    Once,
    /// `?( )`
    Optional,
    /// `*( )`
    Any,
    /// `+( )`
    Some,
    /// `!( )`: a text without slashes that the group does not match.
    Not,
}

/// A set of characters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CharClass {
    pub negated: bool,
    pub items: Vec<ClassItem>,
}

/// A range of characters (a single one is a range too), or a named class such as `[:alpha:]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ClassItem {
    Range(char, char),
    Posix(&'static str),
}

impl CharClass {
    /// Tells whether a character is in the set.
    pub(crate) fn contains(&self, c: char) -> bool {
        let listed = self.items.iter().any(|item| match item {
            ClassItem::Range(low, high) => (*low..=*high).contains(&c),
            ClassItem::Posix(name) => posix(name, c),
        });
        // A negated set does not match a slash, like `?`: without this, `/[!a]` would match into a directory.
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

/// Deepest nesting of groups; the parser and the compiler recurse once for each level.
const MAX_NESTING: usize = 40;
/// Longest pattern, in characters; the matcher's memory grows with pattern times path.
const MAX_LENGTH: usize = 4096;

/// A mistake in a pattern: the character, counted from 1, and the reason.
type SyntaxError = (usize, String);

/// Parses a cleaned pattern.
pub(crate) fn parse(pattern: &str) -> Result<PatternTree, SyntaxError> {
    let mut parser = PatternParser {
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
    Ok(PatternTree { root, groups })
}

/// What surrounds a sequence; it decides which characters end the sequence.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Nothing,
    Braces,
    Parentheses,
}

struct PatternParser {
    chars: Vec<char>,
    at: usize,
    groups: usize,
    nesting: usize,
}

impl PatternParser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += usize::from(c.is_some());
        c
    }

    /// Consumes the next character if it is `wanted`.
    fn eat(&mut self, wanted: char) -> bool {
        let eaten = self.peek() == Some(wanted);
        self.at += usize::from(eaten);
        eaten
    }

    fn fail<T>(&self, at: usize, reason: impl Into<String>) -> Result<T, SyntaxError> {
        Err((at + 1, reason.into()))
    }

    fn sequence(&mut self, inside: Inside) -> Result<PatternNode, SyntaxError> {
        let mut nodes = Vec::new();
        while let Some(c) = self.peek() {
            let ends = match inside {
                Inside::Nothing => false,
                Inside::Braces => matches!(c, ',' | '}'),
                Inside::Parentheses => matches!(c, '|' | ')'),
            };
            if ends {
                break;
            }
            nodes.push(self.node()?);
        }
        Ok(PatternNode::Sequence(nodes))
    }

    fn node(&mut self) -> Result<PatternNode, SyntaxError> {
        let start = self.at;
        let Some(c) = self.next() else {
            return self.fail(start, "unexpected end");
        };
        match c {
            '\\' => match self.next() {
                Some(escaped) => Ok(PatternNode::Char(escaped)),
                None => self.fail(start, "nothing follows the backslash"),
            },
            '*' if self.eat('*') => Ok(PatternNode::Deep),
            '*' | '?' | '+' | '@' | '!' if self.eat('(') => self.group(start, repetition(c)),
            '*' => Ok(PatternNode::Run),
            '?' => Ok(PatternNode::One),
            '(' => self.group(start, Repetition::Once),
            '{' => {
                let alternatives = self.alternatives(start, Inside::Braces, ',', '}')?;
                Ok(PatternNode::Either(alternatives))
            }
            '[' => self.class(start),
            ')' | '}' | ']' => {
                let reason = format!("{c:?} closes nothing (write \\{c} for the character itself)");
                self.fail(start, reason)
            }
            c => Ok(PatternNode::Char(c)),
        }
    }

    fn group(&mut self, start: usize, repetition: Repetition) -> Result<PatternNode, SyntaxError> {
        // Before the inside is parsed, so that groups are numbered by their opening parenthesis.
        let number = self.groups;
        self.groups += 1;
        let alternatives = self.alternatives(start, Inside::Parentheses, '|', ')')?;
        Ok(PatternNode::Group(
            number,
            repetition,
            Box::new(PatternNode::Either(alternatives)),
        ))
    }

    fn alternatives(
        &mut self,
        start: usize,
        inside: Inside,
        separator: char,
        end: char,
    ) -> Result<Vec<PatternNode>, SyntaxError> {
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

    fn class(&mut self, start: usize) -> Result<PatternNode, SyntaxError> {
        let negated = self.eat('!') || self.eat('^');
        let mut items = Vec::new();
        loop {
            let here = self.at;
            let low = match self.next() {
                None => return self.fail(start, "'[' is never closed with ']'"),
                // The first `]` is a member: `[]a]` contains `]` and `a`.
                Some(']') if !items.is_empty() => break,
                Some('[') if self.eat(':') => {
                    items.push(self.posix_class(here)?);
                    continue;
                }
                Some(c) => self.class_char(here, c)?,
            };
            // A `-` before the closing bracket is a member: `[a-]` contains `a` and `-`.
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
        Ok(PatternNode::Class(CharClass { negated, items }))
    }

    fn class_char(&mut self, here: usize, c: char) -> Result<char, SyntaxError> {
        match c {
            '\\' => match self.next() {
                Some(escaped) => Ok(escaped),
                None => self.fail(here, "nothing follows the backslash"),
            },
            c => Ok(c),
        }
    }

    fn posix_class(&mut self, here: usize) -> Result<ClassItem, SyntaxError> {
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

fn repetition(sign: char) -> Repetition {
    match sign {
        '?' => Repetition::Optional,
        '*' => Repetition::Any,
        '+' => Repetition::Some,
        '!' => Repetition::Not,
        _ => Repetition::Once,
    }
}

/// Returns the characters with which every match begins.
pub(crate) fn literal_prefix(root: &PatternNode) -> String {
    let nodes = match root {
        PatternNode::Sequence(nodes) => nodes.as_slice(),
        other => std::slice::from_ref(other),
    };
    let literal = |node: &PatternNode| match node {
        PatternNode::Char(c) => Some(*c),
        _ => None,
    };
    nodes.iter().map_while(literal).collect()
}

/// Returns the most slashes a match can have; none if there is no limit.
pub(crate) fn slashes(node: &PatternNode) -> Option<usize> {
    match node {
        PatternNode::Char('/') => Some(1),
        PatternNode::Char(_) | PatternNode::One | PatternNode::Run => Some(0),
        PatternNode::Deep => None,
        PatternNode::Class(class) => Some(usize::from(class.contains('/'))),
        PatternNode::Sequence(nodes) => nodes.iter().map(slashes).sum(),
        PatternNode::Either(alternatives) => alternatives
            .iter()
            .map(slashes)
            .try_fold(0, |most, count| Some(most.max(count?))),
        PatternNode::Group(_, Repetition::Once | Repetition::Optional, inner) => slashes(inner),
        PatternNode::Group(_, Repetition::Not, _) => Some(0),
        PatternNode::Group(_, Repetition::Any | Repetition::Some, inner) => slashes(inner).filter(|count| *count == 0),
    }
}
