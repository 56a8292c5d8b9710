//! Names of projects, repositories, branches and pipelines, and the keys made of them.
//!
//! A value of a name type is always legal. Keys print in the form that clients know (`default/images`,
//! `default/edges.meta`, `default/images@master`), parse from it, and serialise as that string.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use howdah_spec::RepoType;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

fn check_alphabet(name: &str) -> Result<(), NameError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.is_empty() || !name.bytes().all(legal) {
        return Err(NameError::Alphabet(name.to_owned()));
    }
    Ok(())
}

fn check_strict(name: &str, what: &'static str) -> Result<(), NameError> {
    check_alphabet(name)?;
    if !name.as_bytes()[0].is_ascii_alphanumeric() {
        return Err(NameError::FirstCharacter(name.to_owned(), what));
    }
    if name.len() > MAX_NAME {
        return Err(NameError::TooLong(name.to_owned(), what));
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

macro_rules! string_serde {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
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

/// Returns the type of a repository with this word; the empty text means `user`.
///
/// # Errors
/// When no type has this word.
pub fn repo_type(word: &str) -> Result<RepoType, NameError> {
    RepoType::from_word(word).ok_or_else(|| NameError::Shape {
        text: word.to_owned(),
        expected: "user, meta or spec",
    })
}

/// Key of a repository: `project/name`, with `.type` unless the type is `user`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoKey {
    /// Project.
    pub project: ProjectName,
    /// Its name.
    pub name: RepoName,
    /// Its type.
    pub kind: RepoType,
}

/// Key of a branch: `project/repo@branch`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchKey {
    /// Repository.
    pub repo: RepoKey,
    /// Name.
    pub name: BranchName,
}

/// Key of a commit: `project/repo@id`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitKey {
    /// Repository.
    pub repo: RepoKey,
    /// Id, the same in all repositories of a commit set.
    pub id: GlobalId,
}

/// Key of a pipeline: `project/name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PipelineKey {
    /// Project.
    pub project: ProjectName,
    /// Its name.
    pub name: PipelineName,
}

/// Key of a job: `project/pipeline@id`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey {
    /// Pipeline.
    pub pipeline: PipelineKey,
    /// Id; that of its output commit.
    pub id: GlobalId,
}

impl RepoKey {
    /// Returns the key of a user repository.
    #[must_use]
    pub fn user(project: ProjectName, name: RepoName) -> Self {
        Self {
            project,
            name,
            kind: RepoType::User,
        }
    }

    /// Returns the key of a branch in this repository.
    #[must_use]
    pub fn branch(&self, name: BranchName) -> BranchKey {
        BranchKey {
            repo: self.clone(),
            name,
        }
    }

    /// Returns the key of a commit in this repository.
    #[must_use]
    pub fn commit(&self, id: GlobalId) -> CommitKey {
        CommitKey { repo: self.clone(), id }
    }

    /// Returns the repository of the same name and another type.
    #[must_use]
    pub fn with_kind(&self, kind: RepoType) -> Self {
        Self { kind, ..self.clone() }
    }

    /// Returns the pipeline that this repository would belong to; `None` if its name is not legal for a pipeline.
    #[must_use]
    pub fn pipeline(&self) -> Option<PipelineKey> {
        let name = PipelineName::new(self.name.as_str()).ok()?;
        Some(PipelineKey {
            project: self.project.clone(),
            name,
        })
    }
}

impl CommitKey {
    /// Returns the job that this commit would belong to; `None` if the name of the repository is not legal for a
    /// pipeline.
    #[must_use]
    pub fn job(&self) -> Option<JobKey> {
        Some(self.repo.pipeline()?.job(self.id))
    }
}

impl PipelineKey {
    fn repo(&self, kind: RepoType) -> RepoKey {
        RepoKey {
            project: self.project.clone(),
            name: self.name.to_repo(),
            kind,
        }
    }

    /// Returns the repository of the output.
    #[must_use]
    pub fn output_repo(&self) -> RepoKey {
        self.repo(RepoType::User)
    }

    /// Returns the repository of the datum records.
    #[must_use]
    pub fn meta_repo(&self) -> RepoKey {
        self.repo(RepoType::Meta)
    }

    /// Returns the repository of the versions.
    #[must_use]
    pub fn spec_repo(&self) -> RepoKey {
        self.repo(RepoType::Spec)
    }

    /// Returns the branch of the spec repository that has a commit for each version.
    #[must_use]
    pub fn spec_branch(&self) -> BranchKey {
        self.spec_repo().branch(BranchName::master())
    }

    /// Returns the key of a job of this pipeline.
    #[must_use]
    pub fn job(&self, id: GlobalId) -> JobKey {
        JobKey {
            pipeline: self.clone(),
            id,
        }
    }
}

impl JobKey {
    /// Returns the commit with the output of the job.
    #[must_use]
    pub fn output_commit(&self) -> CommitKey {
        self.pipeline.output_repo().commit(self.id)
    }

    /// Returns the commit with the datum records of the job.
    #[must_use]
    pub fn meta_commit(&self) -> CommitKey {
        self.pipeline.meta_repo().commit(self.id)
    }
}

impl fmt::Display for RepoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.name)?;
        match self.kind {
            RepoType::User => Ok(()),
            kind => write!(f, ".{kind}"),
        }
    }
}

impl fmt::Display for BranchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repo, self.name)
    }
}

impl fmt::Display for CommitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repo, self.id)
    }
}

impl fmt::Display for PipelineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.name)
    }
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.pipeline, self.id)
    }
}

fn split<'a>(text: &'a str, at: char, expected: &'static str) -> Result<(&'a str, &'a str), NameError> {
    text.split_once(at).ok_or_else(|| NameError::Shape {
        text: text.to_owned(),
        expected,
    })
}

impl FromStr for RepoKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (project, rest) = split(text, '/', "project/repo or project/repo.type")?;
        let (name, kind) = match rest.split_once('.') {
            Some((name, kind)) => (name, repo_type(kind)?),
            None => (rest, RepoType::User),
        };
        Ok(Self {
            project: project.parse()?,
            name: name.parse()?,
            kind,
        })
    }
}

impl FromStr for BranchKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (repo, name) = split(text, '@', "project/repo@branch")?;
        Ok(Self {
            repo: repo.parse()?,
            name: name.parse()?,
        })
    }
}

impl FromStr for CommitKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (repo, id) = split(text, '@', "project/repo@id")?;
        Ok(Self {
            repo: repo.parse()?,
            id: id.parse()?,
        })
    }
}

impl FromStr for PipelineKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (project, name) = split(text, '/', "project/pipeline")?;
        Ok(Self {
            project: project.parse()?,
            name: name.parse()?,
        })
    }
}

impl FromStr for JobKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (pipeline, id) = split(text, '@', "project/pipeline@id")?;
        Ok(Self {
            pipeline: pipeline.parse()?,
            id: id.parse()?,
        })
    }
}

macro_rules! key_traits {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        string_serde!($name);
    )*};
}
key_traits!(RepoKey, BranchKey, CommitKey, PipelineKey, JobKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_print_and_parse() {
        let id = GlobalId::from_number(1);
        for text in ["default/images", "default/edges.meta", "p-1/_x.spec"] {
            let repo: RepoKey = text.parse().unwrap();
            assert_eq!(repo.to_string(), text);
            let commit = repo.commit(id);
            assert_eq!(commit.to_string().parse(), Ok(commit));
            let branch = repo.branch(BranchName::master());
            assert_eq!(branch.to_string().parse(), Ok(branch));
        }
        let job: JobKey = format!("default/edges@{id}").parse().unwrap();
        assert_eq!(job.output_commit().job(), Some(job.clone()));
        assert_eq!(job.meta_commit().to_string(), format!("default/edges.meta@{id}"));
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(
            RepoName::new("a b").unwrap_err().to_string(),
            "name (a b) invalid: only alphanumeric characters, underscores, and dashes are allowed"
        );
        assert!(RepoName::new("").is_err());
        assert!(RepoName::new("-_x").is_ok());
        assert!(PipelineName::new("-x").is_err());
        assert!(ProjectName::new(&"x".repeat(51)).is_ok());
        assert!(ProjectName::new(&"x".repeat(52)).is_err());
        assert!(BranchName::new(&GlobalId::from_number(3).to_string()).is_err());
        assert!(BranchName::new("0123456789ab5def0123456789abcdef").is_ok());
        assert_eq!(
            "default/a.spec"
                .parse::<RepoKey>()
                .unwrap()
                .pipeline()
                .unwrap()
                .to_string(),
            "default/a"
        );
        assert!("default/a.cache".parse::<RepoKey>().is_err());
    }
}
