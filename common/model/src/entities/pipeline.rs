//! Pipelines and their versions.

use std::sync::Arc;

use howdah_spec::PipelineSpec;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::entities::JobState;
use crate::ids::GlobalId;
use crate::names::{BranchKey, BranchName, PipelineKey};

/// State of a pipeline. The numbers are those of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PipelineState {
    /// Not known.
    Unknown = 0,
    /// No worker serves it yet.
    #[default]
    Starting = 1,
    /// Workers serve it.
    Running = 2,
    /// It is being set up again.
    Restarting = 3,
    /// It cannot run. Only an update of the pipeline changes that.
    Failure = 4,
    /// A user stopped it.
    Paused = 5,
    /// It has autoscaling and no work.
    Standby = 6,
    /// Its stages cannot start, for the reason in [`Pipeline::reason`]. Attempts continue.
    Crashing = 7,
}

/// Kind of a pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PipelineKind {
    /// Processes datums and writes files.
    #[default]
    Transform,
    /// Runs without input and writes commits itself.
    Spout,
    /// Serves its input over the network.
    Service,
}

/// An image reference of a spec, and the digest it was resolved to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagePin {
    /// Reference in the spec.
    pub reference: String,
    /// Digest.
    pub digest: String,
}

/// One version of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PipelineVersion {
    /// Number, from 1.
    pub version: u64,
    /// The effective spec.
    pub spec: Arc<PipelineSpec>,
    /// The spec as the user wrote it, in JSON.
    pub user_json: Arc<str>,
    /// The effective spec, with all defaults, in JSON.
    pub effective_json: Arc<str>,
    /// Text that is part of every datum hash.
    pub salt: Arc<str>,
    /// Image, once it is resolved.
    pub image: Option<ImagePin>,
    /// Commit of the spec repository with this version.
    pub spec_commit: GlobalId,
    /// When it was added.
    pub created: Timestamp,
}

/// A pipeline with all its versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    /// Its key.
    pub key: PipelineKey,
    /// Kind.
    pub kind: PipelineKind,
    /// Whether a user stopped it.
    pub stopped: bool,
    /// State.
    pub state: PipelineState,
    /// Reason of the state.
    pub reason: Arc<str>,
    /// When its first version was added.
    pub created: Timestamp,
    /// When it was last updated, stopped or started.
    pub updated: Timestamp,
    /// Order of creation over all entities.
    pub seq: u64,
    /// All versions, oldest first; never empty.
    pub versions: Vec<Arc<PipelineVersion>>,
    /// Number of jobs by state; the index is the number of the state.
    pub job_counts: [u64; 10],
    /// State of the newest job.
    pub last_job_state: Option<JobState>,
}

impl Pipeline {
    /// Returns the present version.
    ///
    /// # Panics
    /// When the pipeline has no version. A pipeline of a [`crate::State`] always has one.
    #[must_use]
    #[allow(clippy::missing_panics_doc)]
    pub fn current(&self) -> &Arc<PipelineVersion> {
        &self.versions[self.versions.len() - 1]
    }

    /// Returns the number of the present version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.current().version
    }

    /// Returns the present spec.
    #[must_use]
    pub fn spec(&self) -> &Arc<PipelineSpec> {
        &self.current().spec
    }

    /// Returns a version by its number.
    #[must_use]
    pub fn at_version(&self, version: u64) -> Option<&Arc<PipelineVersion>> {
        let index = usize::try_from(version.checked_sub(1)?).ok()?;
        self.versions.get(index)
    }

    /// Returns the name of the output branch of the present version; `master` if its spec has no legal one.
    #[must_use]
    pub fn output_branch_name(&self) -> BranchName {
        BranchName::new(&self.spec().output_branch).unwrap_or_else(|_| BranchName::master())
    }

    /// Returns the output branch of the present version.
    #[must_use]
    pub fn output_branch(&self) -> BranchKey {
        self.key.output_repo().branch(self.output_branch_name())
    }

    /// Returns the meta branch of the present version; it has the name of the output branch.
    #[must_use]
    pub fn meta_branch(&self) -> BranchKey {
        self.key.meta_repo().branch(self.output_branch_name())
    }
}
