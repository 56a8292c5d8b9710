//! The entities of the state: projects, repositories, branches, commits, commit sets, pipelines, jobs, secrets; and the
//! values in them. Transactions are in [`crate::command`], because they consist of commands.

mod job;
mod pipeline;

use std::fmt;
use std::sync::Arc;

use imbl::OrdSet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{ContentHash, GlobalId, TreeRoot};
use crate::names::{BranchKey, BranchName, CommitKey, ProjectName, RepoKey};

pub use job::{DatumCounts, Job, JobOutcome, JobState, JobStats};
pub use pipeline::{ImagePin, Pipeline, PipelineKind, PipelineState, PipelineVersion};

/// A project: a name space for repositories and pipelines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// Its name.
    pub name: ProjectName,
    /// Free text.
    pub description: String,
    /// When it was created; the epoch for the `default` project of a new system.
    pub created: Timestamp,
    /// Defaults for the pipelines of the project, a JSON object.
    pub defaults: Arc<str>,
}

/// A repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repo {
    /// Its key.
    pub key: RepoKey,
    /// Free text.
    pub description: Arc<str>,
    /// When it was created.
    pub created: Timestamp,
    /// Order of creation over all entities.
    pub seq: u64,
    /// Names of its branches.
    pub branches: OrdSet<BranchName>,
}

/// A named, movable pointer to a commit, with its provenance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    /// Its key.
    pub key: BranchKey,
    /// Commit that it points to. `None` only within the command that creates the branch.
    pub head: Option<GlobalId>,
    /// Branches that its commits are derived from, in the given order.
    pub direct_provenance: Vec<BranchKey>,
    /// Every branch upstream of it: the transitive closure of `direct_provenance`.
    pub provenance: OrdSet<BranchKey>,
    /// Every branch downstream of it: the inverse of `provenance`.
    pub subvenance: OrdSet<BranchKey>,
    /// Condition under which its head follows another branch.
    pub trigger: Option<BranchTrigger>,
    /// When it was created.
    pub created: Timestamp,
    /// When its head, provenance or trigger was last changed.
    pub updated: Timestamp,
    /// Order of creation over all entities.
    pub seq: u64,
}

/// Condition for a branch's head to follow another branch of the same repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchTrigger {
    /// Branch that the head follows.
    pub branch: BranchName,
    /// Whether all given conditions must hold; otherwise any of them.
    #[serde(default)]
    pub all: bool,
    /// Cron expression: a tick must be between the start times of the two heads.
    #[serde(default)]
    pub rate_limit_spec: String,
    /// Least growth in bytes, such as `100M`.
    #[serde(default)]
    pub size: String,
    /// Least number of commits.
    #[serde(default)]
    pub commits: i64,
    /// Cron expression: the head follows on every tick.
    #[serde(default)]
    pub cron_spec: String,
}

/// Files of a commit: the root of the file tree, and its number and bytes of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Root of the tree; `None` without files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<TreeRoot>,
    /// Number of files.
    #[serde(default)]
    pub files: u64,
    /// Sum of their sizes.
    #[serde(default)]
    pub bytes: u64,
}

impl Content {
    /// The content of a commit without files.
    pub const EMPTY: Self = Self {
        root: None,
        files: 0,
        bytes: 0,
    };
}

/// Staged edits: what one modification wrote to an open commit, before it is folded into the content of the commit.
///
/// The edits are an object of the store, named by this id. They take effect in the order in which they were staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// Id of the object with the edits. No other edits ever have it.
    pub id: GlobalId,
    /// Hash of the object.
    pub hash: ContentHash,
    /// Bytes of the object.
    pub size: u64,
    /// Bytes written to files.
    pub bytes: u64,
}

/// Datum records of a finished job, kept with its meta commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatumIndex {
    /// Tree from datum id to record; `None` without datums.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<TreeRoot>,
    /// Tree of datum id and path, with empty values: which datum wrote which file. `None` without output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<TreeRoot>,
}

/// Why a commit was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommitOrigin {
    /// A user asked for it.
    User,
    /// The system made it: for the output of a pipeline or for a new branch.
    Auto,
    /// A repair made it.
    Fsck,
}

/// State of a commit. It is not stored: see [`crate::query::commit_state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CommitState {
    /// Open, and a commit that it is derived from is not finished.
    Started = 1,
    /// Open, and all commits that it is derived from are finished.
    Ready = 2,
    /// A user or job asked to finish it.
    Finishing = 3,
    /// Finished. Final.
    Finished = 4,
}

/// One version of the files of a repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// Its key.
    pub key: CommitKey,
    /// Branch on which it was made.
    pub branch: Option<BranchName>,
    /// Commit of the same repository that it follows.
    pub parent: Option<GlobalId>,
    /// Commits of the same repository that follow it.
    pub children: OrdSet<GlobalId>,
    /// Why it was made.
    pub origin: CommitOrigin,
    /// Free text.
    pub description: Arc<str>,
    /// When it was started.
    pub started: Timestamp,
    /// When a user or job asked to finish it.
    pub finishing: Option<Timestamp>,
    /// When it was finished.
    pub finished: Option<Timestamp>,
    /// Why it failed. A failed commit stays in the chain of parents, but later ones do not build on its content.
    pub error: Option<Arc<str>>,
    /// Commits that it is directly derived from.
    pub provenance: Vec<CommitKey>,
    /// Commits directly derived from it.
    pub subvenance: OrdSet<CommitKey>,
    /// Its files; of an open commit, those so far without staged edits.
    pub content: Content,
    /// Staged edits that are not folded into `content` yet; empty once it is finished.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub staged: Vec<Staged>,
    /// Datum records; only of the meta commit of a job that has some.
    pub datums: Option<DatumIndex>,
    /// If this commit failed, the ancestor to look at next: all between have failed too. A short cut only; the parent
    /// links are the truth, and the target may have been removed.
    pub skip_to: Option<GlobalId>,
    /// Order of creation over all entities.
    pub seq: u64,
}

impl Commit {
    /// Returns whether the commit is finished without an error: others may build on it.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.finished.is_some() && self.error.is_none()
    }

    /// Returns the last staged edits.
    #[must_use]
    pub fn last_staged(&self) -> Option<GlobalId> {
        self.staged.last().map(|staged| staged.id)
    }

    /// Returns whether these edits are staged.
    #[must_use]
    pub fn has_staged(&self, id: GlobalId) -> bool {
        self.staged.iter().any(|staged| staged.id == id)
    }

    /// Returns an upper bound of the bytes of its files. It is exact without staged edits, which may replace files.
    #[must_use]
    pub fn bytes_bound(&self) -> u64 {
        let staged: u64 = self.staged.iter().map(|staged| staged.bytes).sum();
        self.content.bytes + staged
    }

    /// Returns whether the commit is open: nothing has asked to finish it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.finishing.is_none()
    }
}

/// All commits of one id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommitSet {
    /// Repositories with a commit of this id, each after those in its provenance.
    pub repos: Vec<RepoKey>,
    /// When its first commit was made.
    pub created: Timestamp,
    /// Order of creation over all entities.
    pub seq: u64,
}

/// A secret: a name and data that this crate does not read.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// Type, such as `Opaque`.
    pub kind: String,
    /// The data, in a text form of the caller.
    pub data: Arc<str>,
    /// When it was created.
    pub created: Timestamp,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
