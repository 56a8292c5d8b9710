//! Inputs: the sources of datums.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::forms::is_default;

/// The tree of inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// Files of a branch.
    Pfs(PfsInput),
    /// Every combination of the parts.
    Cross(Vec<Input>),
    /// The datums of each part, one part after the other.
    Union(Vec<Input>),
    /// The combinations with equal keys.
    Join(Vec<Input>),
    /// All files with equal keys, as one datum.
    Group(Vec<Input>),
    /// Ticks of a schedule.
    Cron(CronInput),
}

impl Input {
    /// Returns the field name of this kind of input.
    pub fn kind(&self) -> &'static str {
        match self {
            Input::Pfs(_) => "pfs",
            Input::Cross(_) => "cross",
            Input::Union(_) => "union",
            Input::Join(_) => "join",
            Input::Group(_) => "group",
            Input::Cron(_) => "cron",
        }
    }

    /// Returns the parts of a compound input; a leaf has none.
    pub fn parts(&self) -> &[Input] {
        match self {
            Input::Pfs(_) | Input::Cron(_) => &[],
            Input::Cross(parts) | Input::Union(parts) | Input::Join(parts) | Input::Group(parts) => parts,
        }
    }

    /// Returns the parts of a compound input, mutable; a leaf has none.
    pub fn parts_mut(&mut self) -> &mut [Input] {
        match self {
            Input::Pfs(_) | Input::Cron(_) => &mut [],
            Input::Cross(parts) | Input::Union(parts) | Input::Join(parts) | Input::Group(parts) => parts,
        }
    }

    /// Returns the name for ordering: that of a leaf, or that of the first part of a compound.
    pub fn name(&self) -> &str {
        match self {
            Input::Pfs(pfs) => &pfs.name,
            Input::Cron(cron) => &cron.name,
            _ => self.parts().first().map_or("", Input::name),
        }
    }

    /// Returns the leaves from left to right.
    pub fn leaves(&self) -> Vec<&Input> {
        let mut leaves = Vec::new();
        self.visit(&mut |input| {
            if input.parts().is_empty() {
                leaves.push(input);
            }
        });
        leaves
    }

    /// Calls `visitor` for this input and its parts at every depth, parents first.
    pub fn visit<'a>(&'a self, visitor: &mut dyn FnMut(&'a Input)) {
        visitor(self);
        for part in self.parts() {
            part.visit(visitor);
        }
    }
}

/// Purpose of a repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepoType {
    /// Files, written by users or by the jobs of a pipeline.
    #[default]
    User,
    /// Records of the datums of a pipeline.
    Meta,
    /// Versions of a pipeline.
    Spec,
}

impl RepoType {
    /// Returns the type with this word; the empty text means `user`.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "" | "user" => Some(Self::User),
            "meta" => Some(Self::Meta),
            "spec" => Some(Self::Spec),
            _ => None,
        }
    }

    /// Returns the word: in specs, on the wire, and after the dot of the key of a repository.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Meta => "meta",
            Self::Spec => "spec",
        }
    }
}

impl fmt::Display for RepoType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Files of a branch, divided into datums by a glob.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PfsInput {
    /// Project of the repo.
    #[serde(skip_serializing_if = "is_default")]
    pub project: String,
    /// Directory under `/pfs` and prefix of variables.
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
    /// Name of the repo.
    pub repo: String,
    /// Type of the repo.
    pub repo_type: RepoType,
    /// The branch to follow.
    #[serde(skip_serializing_if = "is_default")]
    pub branch: String,
    /// Must be empty: a pipeline follows a branch.
    #[serde(skip_serializing_if = "is_default")]
    pub commit: String,
    /// The glob, cleaned; each match is a datum.
    pub glob: String,
    /// Files are named pipes, filled when they are opened.
    #[serde(skip_serializing_if = "is_default")]
    pub lazy: bool,
    /// Files have their names and no content.
    #[serde(skip_serializing_if = "is_default")]
    pub empty_files: bool,
    /// No files; the user code reads through an S3 endpoint.
    #[serde(skip_serializing_if = "is_default")]
    pub s3: bool,
    /// The replacement pattern for the key in a join.
    #[serde(skip_serializing_if = "is_default")]
    pub join_on: String,
    /// In a join: keep files without a partner.
    #[serde(skip_serializing_if = "is_default")]
    pub outer_join: bool,
    /// The replacement pattern for the key in a group.
    #[serde(skip_serializing_if = "is_default")]
    pub group_by: String,
    /// Conditions for following the branch.
    #[serde(skip_serializing_if = "is_default")]
    pub trigger: Option<TriggerSpec>,
    /// Whether new commits start jobs.
    #[serde(skip_serializing_if = "is_default")]
    pub propagation_spec: Option<PropagationSpec>,
    /// The content of this input is not part of the datum hash.
    #[serde(skip_serializing_if = "is_default")]
    pub reference: bool,
}

/// Conditions under which a branch moves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TriggerSpec {
    /// The branch to watch, in the same repo.
    #[serde(skip_serializing_if = "is_default")]
    pub branch: String,
    /// The growth in bytes that triggers, for instance `100M`.
    #[serde(skip_serializing_if = "is_default")]
    pub size: String,
    /// The number of commits that triggers; 0 means unset.
    #[serde(skip_serializing_if = "is_default")]
    pub commits: u64,
    /// A schedule: at most one move in each period.
    #[serde(skip_serializing_if = "is_default")]
    pub rate_limit_spec: String,
    /// A schedule: moves at these times.
    #[serde(skip_serializing_if = "is_default")]
    pub cron_spec: String,
    /// All conditions must hold, not only one.
    #[serde(skip_serializing_if = "is_default")]
    pub all: bool,
}

/// Whether new commits on an input start jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PropagationSpec {
    /// New commits do not start jobs.
    #[serde(skip_serializing_if = "is_default")]
    pub never: bool,
}

/// Ticks of a schedule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CronInput {
    /// Name of the input.
    pub name: String,
    /// Project of the repo that holds the ticks.
    #[serde(skip_serializing_if = "is_default")]
    pub project: String,
    /// The repo that holds the ticks; it belongs to the pipeline.
    #[serde(skip_serializing_if = "is_default")]
    pub repo: String,
    /// Ignored.
    #[serde(skip_serializing_if = "is_default")]
    pub commit: String,
    /// The schedule.
    pub spec: String,
    /// Each tick replaces the earlier ones.
    #[serde(skip_serializing_if = "is_default")]
    pub overwrite: bool,
    /// No ticks before this.
    #[serde(skip_serializing_if = "is_default")]
    pub start: Option<Timestamp>,
}
