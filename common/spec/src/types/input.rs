//! Inputs: where datums come from.

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
    /// The datums of the parts, one after the other.
    Union(Vec<Input>),
    /// Combinations with equal keys.
    Join(Vec<Input>),
    /// All files with an equal key together.
    Group(Vec<Input>),
    /// Ticks of a clock.
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

    /// Returns the parts of a compound input; none for a leaf.
    pub fn parts(&self) -> &[Input] {
        match self {
            Input::Pfs(_) | Input::Cron(_) => &[],
            Input::Cross(parts) | Input::Union(parts) | Input::Join(parts) | Input::Group(parts) => parts,
        }
    }

    /// Returns the parts of a compound input for change; none for a leaf.
    pub fn parts_mut(&mut self) -> &mut [Input] {
        match self {
            Input::Pfs(_) | Input::Cron(_) => &mut [],
            Input::Cross(parts) | Input::Union(parts) | Input::Join(parts) | Input::Group(parts) => parts,
        }
    }

    /// Returns the name used for ordering: a leaf's own, a compound's first part's.
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

    /// Calls `visitor` for this input and everything below, parents first.
    pub fn visit<'a>(&'a self, visitor: &mut dyn FnMut(&'a Input)) {
        visitor(self);
        for part in self.parts() {
            part.visit(visitor);
        }
    }
}

/// Type of a repo.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputRepoType {
    /// Data of users, and output of pipelines.
    #[default]
    User,
    /// Records of the datums of a pipeline.
    Meta,
    /// Versions of a pipeline.
    Spec,
}

/// Files of a branch, cut into datums by a glob.
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
    pub repo_type: InputRepoType,
    /// Branch to follow.
    #[serde(skip_serializing_if = "is_default")]
    pub branch: String,
    /// Must be empty: pipelines follow branches.
    #[serde(skip_serializing_if = "is_default")]
    pub commit: String,
    /// What becomes a datum, cleaned.
    pub glob: String,
    /// Files appear as named pipes filled on first open.
    #[serde(skip_serializing_if = "is_default")]
    pub lazy: bool,
    /// Files appear with the right names and zero length.
    #[serde(skip_serializing_if = "is_default")]
    pub empty_files: bool,
    /// No files; read through an S3 endpoint.
    #[serde(skip_serializing_if = "is_default")]
    pub s3: bool,
    /// Key pattern within a join.
    #[serde(skip_serializing_if = "is_default")]
    pub join_on: String,
    /// Within a join: keep what found no partner.
    #[serde(skip_serializing_if = "is_default")]
    pub outer_join: bool,
    /// Key pattern within a group.
    #[serde(skip_serializing_if = "is_default")]
    pub group_by: String,
    /// Follow the branch only when conditions hold.
    #[serde(skip_serializing_if = "is_default")]
    pub trigger: Option<TriggerSpec>,
    /// Whether new commits start jobs.
    #[serde(skip_serializing_if = "is_default")]
    pub propagation_spec: Option<PropagationSpec>,
    /// This input's content is left out of the datum hash.
    #[serde(skip_serializing_if = "is_default")]
    pub reference: bool,
}

/// Conditions under which a branch is moved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TriggerSpec {
    /// Branch that is watched, in the same repo.
    #[serde(skip_serializing_if = "is_default")]
    pub branch: String,
    /// Growth that triggers, for instance `100M`.
    #[serde(skip_serializing_if = "is_default")]
    pub size: String,
    /// Number of commits that triggers; 0 means unset.
    #[serde(skip_serializing_if = "is_default")]
    pub commits: u64,
    /// Cron expression: at most once per period.
    #[serde(skip_serializing_if = "is_default")]
    pub rate_limit_spec: String,
    /// Cron expression: at these times.
    #[serde(skip_serializing_if = "is_default")]
    pub cron_spec: String,
    /// All conditions must hold instead of any.
    #[serde(skip_serializing_if = "is_default")]
    pub all: bool,
}

/// Whether new commits on an input start jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PropagationSpec {
    /// They do not.
    #[serde(skip_serializing_if = "is_default")]
    pub never: bool,
}

/// Ticks of a clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CronInput {
    /// Name of the input.
    pub name: String,
    /// Project of the repo that holds the ticks.
    #[serde(skip_serializing_if = "is_default")]
    pub project: String,
    /// Repo that holds the ticks, owned by the pipeline.
    #[serde(skip_serializing_if = "is_default")]
    pub repo: String,
    /// Ignored.
    #[serde(skip_serializing_if = "is_default")]
    pub commit: String,
    /// The schedule.
    pub spec: String,
    /// Each tick replaces earlier ones.
    #[serde(skip_serializing_if = "is_default")]
    pub overwrite: bool,
    /// No ticks before this.
    #[serde(skip_serializing_if = "is_default")]
    pub start: Option<Timestamp>,
}
