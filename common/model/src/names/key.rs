//! Keys of repositories, branches, commits, pipelines and jobs. A key names also everything that its object belongs to.

use std::fmt;
use std::str::FromStr;

pub use howdah_spec::RepoType;

use super::name::{BranchName, NameError, PipelineName, ProjectName, RepoName, shown};
use crate::ids::GlobalId;

/// Returns the type of a repository with this word; the empty text means `user`.
///
/// # Errors
/// When no type has this word.
pub fn repo_type(word: &str) -> Result<RepoType, NameError> {
    RepoType::from_word(word).ok_or_else(|| NameError::Shape {
        text: shown(word),
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
        text: shown(text),
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
