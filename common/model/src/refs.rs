//! Commit references: a branch or an id, with optional ancestry (semantics 6).
//!
//! [`parse`] reads the text; [`crate::query::resolve_commit`] finds the commit.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::GlobalId;
use crate::names::{BranchName, CommitKey, NameError, RepoKey};

/// A commit as a user names it.
///
/// `id_or_ref` is an id or a branch name, either with optional ancestry marks (`master^2`). If it is empty or has only
/// ancestry marks (`.1`, `^`), it starts at `branch`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CommitRef {
    /// Repository.
    pub repo: RepoKey,
    /// Branch, if it is given apart from `id_or_ref`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<BranchName>,
    /// Id or branch name, and ancestry marks.
    #[serde(default, rename = "ref")]
    pub id_or_ref: String,
}

impl CommitRef {
    /// Returns the reference to the head of a branch.
    #[must_use]
    pub fn branch(repo: RepoKey, branch: BranchName) -> Self {
        Self {
            repo,
            branch: Some(branch),
            id_or_ref: String::new(),
        }
    }

    /// Returns the reference to a commit by its id.
    #[must_use]
    pub fn id(repo: RepoKey, id: GlobalId) -> Self {
        Self {
            repo,
            branch: None,
            id_or_ref: id.to_string(),
        }
    }

    /// Returns the reference with this text: an id or a branch name, with optional ancestry marks.
    #[must_use]
    pub fn text(repo: RepoKey, text: &str) -> Self {
        Self {
            repo,
            branch: None,
            id_or_ref: text.to_owned(),
        }
    }
}

impl From<CommitKey> for CommitRef {
    fn from(key: CommitKey) -> Self {
        Self::id(key.repo, key.id)
    }
}

impl fmt::Display for CommitRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@", self.repo)?;
        match &self.branch {
            Some(branch) if self.id_or_ref.is_empty() => write!(f, "{branch}"),
            Some(branch) if self.id_or_ref.starts_with(['^', '~', '.']) => {
                write!(f, "{branch}{}", self.id_or_ref)
            }
            Some(branch) => write!(f, "{branch}={}", self.id_or_ref),
            None => f.write_str(&self.id_or_ref),
        }
    }
}

/// Where a reference starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefStart {
    /// The text has neither: the reference starts at its branch.
    Unnamed,
    /// A branch.
    Branch(BranchName),
    /// A commit, or a commit set.
    Id(GlobalId),
}

/// The steps from the start to the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ancestry {
    /// This number of parents back.
    Back(u64),
    /// The n-th commit of the branch, counted from 1, and then this number of parents back.
    FromStart(u64, u64),
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefError {
    /// Neither a branch nor an id.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The ancestry marks have no known form.
    #[error(
        "invalid ancestry {0:?}: write ^, ^^, ^2 or ~2 to go back from a commit, .1 to count from the first, .3^1 for both"
    )]
    Ancestry(String),
}

/// Reads the text of a reference.
///
/// # Errors
/// When the name is not legal or the ancestry marks are of no known form.
pub fn parse(text: &str) -> Result<(RefStart, Ancestry), RefError> {
    let end = text.find(['^', '~', '.']).unwrap_or(text.len());
    let (name, marks) = text.split_at(end);
    let base = if name.is_empty() {
        RefStart::Unnamed
    } else if let Ok(id) = name.parse() {
        RefStart::Id(id)
    } else {
        RefStart::Branch(BranchName::new(name)?)
    };
    let ancestry = ancestry(marks).ok_or_else(|| RefError::Ancestry(marks.to_owned()))?;
    Ok((base, ancestry))
}

fn ancestry(marks: &str) -> Option<Ancestry> {
    let Some(rest) = marks.strip_prefix('.') else {
        return back(marks).map(Ancestry::Back);
    };
    if let Some(negative) = rest.strip_prefix('-') {
        return number(negative).map(Ancestry::Back);
    }
    let end = rest.find(['^', '~']).unwrap_or(rest.len());
    let (count, marks) = rest.split_at(end);
    let (from_start, back) = (number(count)?, back(marks)?);
    // The n-th commit has n - 1 ancestors.
    (back < from_start).then_some(Ancestry::FromStart(from_start, back))
}

/// Reads `^`, `^^`, `^3`, and the same with tildes. No marks mean zero steps.
fn back(marks: &str) -> Option<u64> {
    let Some(mark) = marks.chars().next() else {
        return Some(0);
    };
    if mark != '^' && mark != '~' {
        return None;
    }
    let digits = marks.trim_start_matches(mark);
    let run = (marks.len() - digits.len()) as u64;
    match (run, digits) {
        (run, "") => Some(run),
        (1, digits) => number(digits),
        _ => None,
    }
}

fn number(digits: &str) -> Option<u64> {
    let only_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if only_digits { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(text: &str) -> Option<Ancestry> {
        parse(text).ok().map(|(_, ancestry)| ancestry)
    }

    #[test]
    fn every_form_of_ancestry() {
        for (text, expected) in [
            ("master", Ancestry::Back(0)),
            ("master^", Ancestry::Back(1)),
            ("master^^", Ancestry::Back(2)),
            ("master~~", Ancestry::Back(2)),
            ("master^3", Ancestry::Back(3)),
            ("master~3", Ancestry::Back(3)),
            ("master.1", Ancestry::FromStart(1, 0)),
            ("master.3^2", Ancestry::FromStart(3, 2)),
            ("master.3~", Ancestry::FromStart(3, 1)),
            ("master.-1", Ancestry::Back(1)),
            ("^2", Ancestry::Back(2)),
            (".1", Ancestry::FromStart(1, 0)),
        ] {
            assert_eq!(marks(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_mixtures_are_refused() {
        for text in [
            "master~^",
            "master^~",
            "master^^2",
            "master.",
            "master.0",
            "master.x",
            "master^x",
            "master.1^1",
            "master.2^5",
            "master.-",
            "master.-1^",
            "master^1.2",
            "a b",
            "ä",
        ] {
            assert_eq!(marks(text), None, "{text}");
        }
    }

    #[test]
    fn ids_are_told_from_branches() {
        let id = GlobalId::from_number(4);
        assert_eq!(parse(&format!("{id}^")).unwrap(), (RefStart::Id(id), Ancestry::Back(1)));
        let branch = BranchName::new("0123456789ab").unwrap();
        assert_eq!(parse("0123456789ab").unwrap().0, RefStart::Branch(branch));
    }
}
