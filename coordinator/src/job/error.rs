//! Why a job driver stops before its job is over.

use howdah_protocol::wire::WireError;
use howdah_queue::QueueError;
use howdah_store::StoreError;

use super::merge::MergeError;
use super::plan::PlanError;
use crate::metadata::SubmitError;

/// A failure of infrastructure: the job is driven again, from what is stored.
///
/// Failures of the user's code or spec are not among them. They end the job.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The plan could not be made, written or read.
    #[error("planning failed")]
    Plan(#[from] PlanError),
    /// Outputs could not be merged.
    #[error("merging the output failed")]
    Merge(#[from] MergeError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The queue failed.
    #[error("the queue failed")]
    Queue(#[from] QueueError),
    /// An object that a worker or an earlier driver wrote cannot be decoded.
    #[error("a result could not be understood")]
    Wire(#[from] WireError),
    /// A command was refused or could not be written.
    #[error("{0}")]
    Submit(#[from] SubmitError),
    /// A result does not belong to the plan.
    #[error("{0}")]
    Mismatch(String),
    /// The driver cannot continue, for a reason outside of the job.
    #[error("{0}")]
    Interrupted(String),
}

impl DriveError {
    /// Tells whether the stored plan or results are the cause, so that driving the job again from them cannot help.
    pub fn invalidates_plan(&self) -> bool {
        matches!(self, Self::Mismatch(_) | Self::Wire(_) | Self::Plan(PlanError::Wire(_)))
    }
}
