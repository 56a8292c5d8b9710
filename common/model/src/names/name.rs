//! Names of projects, repositories, branches and pipelines.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::ids::{GlobalId, IdError};

/// Most characters in the name of a project or pipeline.
pub const MAX_NAME: usize = 51;

/// Why a text is not a name or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty, or has a character outside of the alphabet.
    #[error("name ({0}) invalid: only alphanumeric characters, underscores, and dashes are allowed")]
    Alphabet(String),
    /// The name of a project or pipeline begins with a dash or an underscore.
    #[error("name ({0}) invalid: {1} names must begin with a letter or a digit")]
    FirstCharacter(String, &'static str),
    /// The name of a project or pipeline is too long.
    #[error("name ({0}) invalid: {1} names have at most {MAX_NAME} characters")]
    TooLong(String, &'static str),
    /// The name of a branch looks like a commit id.
    #[error("name ({0}) invalid: a branch may not look like a commit id")]
    LooksLikeId(String),
    /// A part of the key is missing.
    #[error("{text:?} does not have the shape {expected}")]
    Shape {
        /// The text.
        text: String,
        /// The expected form.
        expected: &'static str,
    },
    /// The id in a key is not one.
    #[error(transparent)]
    Id(#[from] IdError),
}

/// Returns a text for an error: all of it if it is short, else its beginning.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 255;
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let beginning: String = text.chars().take(40).collect();
    format!("{beginning}... of {} bytes", text.len())
}

fn check_alphabet(name: &str) -> Result<(), NameError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.is_empty() || !name.bytes().all(legal) {
        return Err(NameError::Alphabet(shown(name)));
    }
    Ok(())
}

fn check_strict(name: &str, what: &'static str) -> Result<(), NameError> {
    check_alphabet(name)?;
    if !name.as_bytes()[0].is_ascii_alphanumeric() {
        return Err(NameError::FirstCharacter(shown(name), what));
    }
    if name.len() > MAX_NAME {
        return Err(NameError::TooLong(shown(name), what));
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the name with this text.
            ///
            /// # Errors
            /// When the text is not a legal name of this kind.
            pub fn new(name: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<(), NameError> = $check;
                check(name)?;
                Ok(Self(Arc::from(name)))
            }

            /// Returns the text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        string_serde!($name);
    };
}

name_type! {
    /// Name of a project.
    ProjectName, |name| check_strict(name, "project")
}
name_type! {
    /// Name of a repository, without project and type.
    RepoName, check_alphabet
}
name_type! {
    /// Name of a branch, without its repository.
    BranchName, |name| {
        check_alphabet(name)?;
        if GlobalId::is_id_shaped(name) {
            return Err(NameError::LooksLikeId(name.to_owned()));
        }
        Ok(())
    }
}
name_type! {
    /// Name of a pipeline, without its project.
    PipelineName, |name| check_strict(name, "pipeline")
}

impl ProjectName {
    /// Returns the project that always exists: `default`.
    #[must_use]
    pub fn default_project() -> Self {
        Self(Arc::from("default"))
    }
}

impl BranchName {
    /// Returns the usual branch `master`.
    #[must_use]
    pub fn master() -> Self {
        Self(Arc::from("master"))
    }
}

impl PipelineName {
    /// Returns the name of the repositories of the pipeline, which is the same.
    #[must_use]
    pub fn to_repo(&self) -> RepoName {
        RepoName(self.0.clone())
    }
}
