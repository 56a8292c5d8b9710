//! The things the state consists of: projects, repositories, branches, commits, pipelines, jobs,
//! transactions, secrets.

mod job;
mod pipeline;

use std::fmt;
use std::sync::Arc;

use imbl::OrdSet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::command::{Command, Reply};
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
    /// When it was made; the epoch for the `default` project of a new system.
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
    /// When it was made.
    pub created: Timestamp,
    /// Order of creation over all entities.
    pub seq: u64,
    /// Names of its branches.
    pub branches: OrdSet<BranchName>,
}

/// A named, movable pointer to a commit, and the wiring between branches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    /// Its key.
    pub key: BranchKey,
    /// Commit it points to. Set on every branch once the command that made it is through.
    pub head: Option<GlobalId>,
    /// Branches its commits are made from, in the order given.
    pub direct_provenance: Vec<BranchKey>,
    /// Every branch upstream of it: the transitive closure of `direct_provenance`.
    pub provenance: OrdSet<BranchKey>,
    /// Every branch downstream of it: the inverse of `provenance`.
    pub subvenance: OrdSet<BranchKey>,
    /// When and from where the head moves by itself.
    pub trigger: Option<Trigger>,
    /// When it was made.
    pub created: Timestamp,
    /// When its head, provenance or trigger was last changed.
    pub updated: Timestamp,
    /// Order of creation over all entities.
    pub seq: u64,
}

/// Condition for a branch's head to follow another branch of the same repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// Branch watched.
    pub branch: BranchName,
    /// All conditions that are set must hold, rather than any.
    #[serde(default)]
    pub all: bool,
    /// Cron expression: a tick must lie between the heads.
    #[serde(default)]
    pub rate_limit_spec: String,
    /// Least growth, such as `100M`.
    #[serde(default)]
    pub size: String,
    /// Least number of commits.
    #[serde(default)]
    pub commits: i64,
    /// Cron expression: on every tick the head follows.
    #[serde(default)]
    pub cron_spec: String,
}

/// Data of a commit: the root of its file tree and what the tree adds up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Root of the tree; none if there are no files.
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

/// What one modification wrote to an open commit, as long as it is not part of the commit's content.
///
/// It lies in the store under its id. Edits take effect in the order in which they were staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// Names the object that holds the edits; no other edits ever have it.
    pub id: GlobalId,
    /// Hash of the object.
    pub hash: ContentHash,
    /// Bytes of the object.
    pub size: u64,
    /// Bytes that were written to files.
    pub bytes: u64,
}

/// Datum records of a finished job, kept with its meta commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatumIndex {
    /// Tree from datum id to record; none if there are no datums.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<TreeRoot>,
    /// Tree from datum id and path to file entry; none if there is no output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<TreeRoot>,
}

/// Who asked for a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A user.
    User,
    /// The system: output of a pipeline, an implied branch.
    Auto,
    /// A repair.
    Fsck,
}

/// How far a commit is; derived, see [`crate::query::commit_state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CommitState {
    /// Open, and something it is made from is not finished.
    Started = 1,
    /// Open, and everything it is made from is finished.
    Ready = 2,
    /// Finish has been asked for.
    Finishing = 3,
    /// Closed for good.
    Finished = 4,
}

/// One version of the files of a repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// Its key.
    pub key: CommitKey,
    /// Branch it was made on.
    pub branch: Option<BranchName>,
    /// Commit of the same repository it follows.
    pub parent: Option<GlobalId>,
    /// Commits of the same repository that follow it.
    pub children: OrdSet<GlobalId>,
    /// Who asked for it.
    pub origin: Origin,
    /// Free text.
    pub description: Arc<str>,
    /// When it was started.
    pub started: Timestamp,
    /// When finish was asked for.
    pub finishing: Option<Timestamp>,
    /// When it was finished.
    pub finished: Option<Timestamp>,
    /// Why it failed; such a commit keeps its place but later ones do not build on its content.
    pub error: Option<Arc<str>>,
    /// Commits it was made from directly.
    pub provenance: Vec<CommitKey>,
    /// Commits made from it directly.
    pub subvenance: OrdSet<CommitKey>,
    /// Its files: so far, if it is open, without what is staged.
    pub content: Content,
    /// What was written to it and is not part of `content` yet; none once it is finished.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub staged: Vec<Staged>,
    /// Datum records; only on meta commits of jobs that recorded some.
    pub datums: Option<DatumIndex>,
    /// Ancestor to look at next when this commit failed: all between are failed, too. A short cut
    /// past long runs of failures; the parent links are the truth.
    pub skip_to: Option<GlobalId>,
    /// Order of creation over all entities.
    pub seq: u64,
}

impl Commit {
    /// Tells whether the commit is finished without an error, so that others may build on it.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.finished.is_some() && self.error.is_none()
    }

    /// Returns the last of the edits that are staged.
    #[must_use]
    pub fn last_staged(&self) -> Option<GlobalId> {
        self.staged.last().map(|staged| staged.id)
    }

    /// Tells whether certain edits are staged.
    #[must_use]
    pub fn has_staged(&self, id: GlobalId) -> bool {
        self.staged.iter().any(|staged| staged.id == id)
    }

    /// Returns the bytes of its files; of a commit with staged edits, at most so many: they may replace files.
    #[must_use]
    pub fn bytes_bound(&self) -> u64 {
        let staged: u64 = self.staged.iter().map(|staged| staged.bytes).sum();
        self.content.bytes + staged
    }

    /// Tells whether the commit is still open: finish has not been asked for.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.finishing.is_none()
    }
}

/// All commits of one id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommitSet {
    /// Repositories with a commit of this id, provenance before what depends on it.
    pub repos: Vec<RepoKey>,
    /// When its first commit was made.
    pub created: Timestamp,
    /// Order of creation over all entities.
    pub seq: u64,
}

/// Commands that wait to take effect together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transaction {
    /// Its id, which becomes the id of every commit made in it.
    pub id: GlobalId,
    /// When it was started.
    pub started: Timestamp,
    /// What was appended, and the answer each request was given.
    pub requests: Vec<TransactionStep>,
}

/// One request of a transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransactionStep {
    /// What was asked.
    pub command: Command,
    /// What was answered.
    pub reply: Reply,
}

/// A secret: a name and data this crate does not look into.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// Type word, such as `Opaque`.
    pub kind: String,
    /// The data, in whatever text form the caller chose.
    pub data: Arc<str>,
    /// When it was made.
    pub created: Timestamp,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
