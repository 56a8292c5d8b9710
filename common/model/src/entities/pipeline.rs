//! Pipelines and their versions.

use std::sync::Arc;

use howdah_spec::PipelineSpec;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::entities::JobState;
use crate::ids::GlobalId;
use crate::names::{BranchKey, BranchName, PipelineKey};

/// State of a pipeline; the numbers are those of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PipelineState {
    /// Not known.
    Unknown = 0,
    /// No workers yet.
    #[default]
    Starting = 1,
    /// Workers are there.
    Running = 2,
    /// Being set up again.
    Restarting = 3,
    /// Cannot run at all; only an update helps.
    Failure = 4,
    /// Stopped by a user.
    Paused = 5,
    /// Autoscaling and idle.
    Standby = 6,
    /// Workers cannot come up, for the reason given.
    Crashing = 7,
}

/// What a pipeline does with its input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PipelineKind {
    /// Datums in, files out.
    #[default]
    Transform,
    /// Runs without input and writes commits itself.
    Spout,
    /// Serves its input over the network.
    Service,
}

/// An image as named in the spec and the digest it was resolved to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagePin {
    /// Reference as in the spec.
    pub reference: String,
    /// Digest in use.
    pub digest: String,
}

/// One version of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PipelineVersion {
    /// Number, from 1.
    pub version: u64,
    /// The spec in force.
    pub spec: Arc<PipelineSpec>,
    /// What the user gave, as JSON.
    pub user_json: Arc<str>,
    /// What came of it with all defaults, as JSON.
    pub effective_json: Arc<str>,
    /// Text mixed into datum hashes.
    pub salt: Arc<str>,
    /// Image in use, once resolved.
    pub image: Option<ImagePin>,
    /// Commit of the spec repository that holds it.
    pub spec_commit: GlobalId,
    /// When it was made.
    pub created: Timestamp,
}

/// A pipeline with all its versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    /// Its key.
    pub key: PipelineKey,
    /// What it does.
    pub kind: PipelineKind,
    /// Whether a user stopped it.
    pub stopped: bool,
    /// How it is.
    pub state: PipelineState,
    /// Why it is so.
    pub reason: Arc<str>,
    /// When it was first made.
    pub created: Timestamp,
    /// When it was last updated, stopped or started.
    pub updated: Timestamp,
    /// Order of creation over all entities.
    pub seq: u64,
    /// All versions, oldest first; never empty.
    pub versions: Vec<Arc<PipelineVersion>>,
    /// Number of jobs by state, indexed by the state's number.
    pub job_counts: [u64; 10],
    /// State of the newest job.
    pub last_job_state: Option<JobState>,
}

impl Pipeline {
    /// Gives the present version.
    ///
    /// # Panics
    /// Never on a pipeline of a [`crate::State`]: it always has a version.
    #[must_use]
    #[allow(clippy::missing_panics_doc)]
    pub fn current(&self) -> &Arc<PipelineVersion> {
        &self.versions[self.versions.len() - 1]
    }

    /// Gives the number of the present version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.current().version
    }

    /// Gives the present spec.
    #[must_use]
    pub fn spec(&self) -> &Arc<PipelineSpec> {
        &self.current().spec
    }

    /// Gives a version by its number.
    #[must_use]
    pub fn at_version(&self, version: u64) -> Option<&Arc<PipelineVersion>> {
        let index = usize::try_from(version.checked_sub(1)?).ok()?;
        self.versions.get(index)
    }

    /// Gives the name of the branch the present version writes to.
    #[must_use]
    pub fn output_branch_name(&self) -> BranchName {
        crate::spec_view::output_branch(self.spec())
    }

    /// Gives the branch the present version writes to.
    #[must_use]
    pub fn output_branch(&self) -> BranchKey {
        self.key.output_repo().branch(self.output_branch_name())
    }

    /// Gives the branch of the meta repository that goes with the output branch.
    #[must_use]
    pub fn meta_branch(&self) -> BranchKey {
        self.key.meta_repo().branch(self.output_branch_name())
    }
}
