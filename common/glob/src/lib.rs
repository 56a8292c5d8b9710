//! Globs over paths, and replacement patterns over their captures.
//!
//! A pattern matches a whole path, anchored at both ends; the path of a directory is matched without its trailing
//! slash. The syntax has `*`, `?`, `**`, classes, braces, and the extended groups `@( )`, `?( )`, `*( )`, `+( )`,
//! `!( )` and `( )`. Groups capture; they are numbered from 1 by their opening parenthesis.
//!
//! [`Glob::new`] compiles a pattern, [`Glob::captures`] matches a path, [`expand`] fills a replacement pattern.
//! The crate is pure: no files, no store. Pipeline specs and the store both use it.
//!
//! A pattern that does not compile gives a [`GlobError`]. The time of a match is bounded by pattern length times path
//! length; for each negated group, times path length again. Patterns come from clients that are not trusted, so a match
//! takes its steps from [`MatchSteps`] and ends with [`OutOfSteps`] when none are left.
//!
//! The matcher is our own because no regular expression library offers `!(a|b)` (every text except these) together
//! with captures and this bound.

mod matcher;
mod steps;
mod syntax;

pub use steps::{MatchSteps, OutOfSteps};

use std::borrow::Cow;

use matcher::GlobProgram;
use syntax::PatternTree;

/// A pattern that does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("glob {pattern:?} does not compile at character {at}: {reason}")]
pub struct GlobError {
    /// The pattern, cleaned.
    pub pattern: String,
    /// The position of the mistake in characters, counted from 1.
    pub at: usize,
    /// The reason.
    pub reason: String,
}

/// A compiled glob.
#[derive(Debug, Clone)]
pub struct Glob {
    pattern: String,
    literal_prefix: String,
    max_depth: Option<usize>,
    groups: usize,
    program: GlobProgram,
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern
    }
}

impl Eq for Glob {}

impl Glob {
    /// Compiles a pattern, after cleaning it as [`clean`] does.
    pub fn new(pattern: &str) -> Result<Glob, GlobError> {
        let pattern = clean(pattern);
        let PatternTree { root, groups } = syntax::parse(&pattern).map_err(|(at, reason)| GlobError {
            pattern: pattern.clone(),
            at,
            reason,
        })?;
        Ok(Glob {
            literal_prefix: syntax::literal_prefix(&root),
            max_depth: if pattern == "/" {
                Some(0)
            } else {
                syntax::slashes(&root)
            },
            groups,
            program: GlobProgram::compile(&root),
            pattern,
        })
    }

    /// Returns the cleaned pattern.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Returns the text with which every matching path begins, without the backslashes of escapes.
    pub fn literal_prefix(&self) -> &str {
        &self.literal_prefix
    }

    /// Returns the largest number of elements of a matching path (`/a/b` has two); `None` means no limit.
    pub fn max_depth(&self) -> Option<usize> {
        self.max_depth
    }

    /// Tells whether a path matches. Only the glob `/` matches the root.
    ///
    /// # Errors
    /// When this match takes too many steps, or more than are left.
    pub fn is_match(&self, path: &str, steps: &mut MatchSteps) -> Result<bool, OutOfSteps> {
        Ok(self.bounds(&normal(path), steps)?.is_some())
    }

    /// Returns the captures of a match: the whole path at 0, group n at n. A group that took no part is empty.
    ///
    /// # Errors
    /// When this match takes too many steps, or more than are left.
    pub fn captures(&self, path: &str, steps: &mut MatchSteps) -> Result<Option<Vec<String>>, OutOfSteps> {
        let path = normal(path);
        let Some(bounds) = self.bounds(&path, steps)? else {
            return Ok(None);
        };
        let group = |n: usize| match (bounds[2 * n], bounds[2 * n + 1]) {
            (Some(from), Some(to)) => path[from..to].to_owned(),
            _ => String::new(),
        };
        let mut captures = vec![path.clone().into_owned()];
        captures.extend((0..self.groups).map(group));
        Ok(Some(captures))
    }

    /// Matches a normal path; returns the start and end of each group, if the group took part.
    fn bounds(&self, path: &str, steps: &mut MatchSteps) -> Result<Option<Vec<Option<usize>>>, OutOfSteps> {
        let is_root = path == "/";
        if is_root != (self.pattern == "/") || !path.starts_with(&self.literal_prefix) {
            return Ok(None);
        }
        let mut own = steps.of_one_match();
        let allowed = own.left();
        let result = self.program.run(path, 2 * self.groups, &mut own);
        steps.take(allowed - own.left())?;
        result
    }
}

/// Normalises a path for matching: leading slash, no trailing slash.
fn normal(path: &str) -> Cow<'_, str> {
    let trimmed = path.trim_end_matches('/');
    match trimmed {
        "" => Cow::Borrowed("/"),
        _ if trimmed.starts_with('/') => Cow::Borrowed(trimmed),
        _ => Cow::Owned(format!("/{trimmed}")),
    }
}

/// Cleans a pattern: adds the leading `/`, collapses `//` and `/./`, removes the trailing `/`.
pub fn clean(pattern: &str) -> String {
    let mut cleaned = String::with_capacity(pattern.len() + 1);
    for element in pattern.split('/').filter(|element| !matches!(*element, "" | ".")) {
        cleaned.push('/');
        cleaned.push_str(element);
    }
    if cleaned.is_empty() {
        cleaned.push('/');
    }
    cleaned
}

/// Replaces `$1` to `$9` and `${12}` by captures and `$$` by a dollar sign.
///
/// A number beyond the captures becomes the empty text. A dollar sign before anything else stays as it is.
pub fn expand(template: &str, captures: &[String]) -> String {
    let capture = |digits: &str| {
        let number = digits.parse::<usize>().unwrap_or(usize::MAX);
        captures.get(number).map_or("", String::as_str)
    };
    let mut expanded = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if rest.starts_with(|c: char| c.is_ascii_digit()) {
            expanded.push_str(capture(&rest[..1]));
            rest = &rest[1..];
        } else if let Some((digits, after)) = rest.strip_prefix('{').and_then(|braced| braced.split_once('}'))
            && !digits.is_empty()
            && digits.bytes().all(|b| b.is_ascii_digit())
        {
            expanded.push_str(capture(digits));
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests;
