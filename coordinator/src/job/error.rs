//! Why a job driver stops before its job is over.

use std::io::{self, ErrorKind};

use howdah_protocol::wire::WireError;
use howdah_queue::QueueError;
use howdah_store::StoreError;

use super::merge::MergeError;
use super::plan::PlanError;
use super::retry::FailureKind;
use crate::metadata::SubmitError;
use crate::panics::Panic;

/// Why a driver stopped before its job was over. [`DriveError::kind`] tells whether the job is driven again.
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
    /// The plan does not fit its results, or workers cannot use it.
    #[error("{0}")]
    Mismatch(String),
    /// The driver cannot continue, for a reason outside of the job.
    #[error("{0}")]
    Interrupted(String),
    /// The driver panicked.
    #[error("{0}")]
    Panicked(Panic),
    /// No further try can help, or there were enough of them.
    #[error("{0}")]
    GivenUp(String),
}

impl DriveError {
    /// Tells whether the stored plan or results are the cause, so that driving the job again from them cannot help.
    pub fn invalidates_plan(&self) -> bool {
        match self {
            Self::Mismatch(_) | Self::Wire(_) | Self::Plan(PlanError::Wire(_)) => true,
            other => other.of_store().is_some_and(is_damaged_job_object),
        }
    }

    /// Tells what the failure says about the next try.
    pub fn kind(&self) -> FailureKind {
        if let Some(error) = self.of_store() {
            return kind_of_store_error(error);
        }
        match self {
            Self::GivenUp(_) | Self::Plan(PlanError::Base(_)) => FailureKind::Permanent,
            Self::Plan(error) if error.is_final() => FailureKind::Permanent,
            Self::Queue(_) | Self::Submit(SubmitError::Unavailable(_) | SubmitError::ShuttingDown) => {
                FailureKind::Outage
            }
            Self::Merge(MergeError::Scratch(error)) if is_disk_full(error) => FailureKind::Outage,
            Self::Plan(_)
            | Self::Merge(_)
            | Self::Store(_)
            | Self::Wire(_)
            | Self::Submit(_)
            | Self::Mismatch(_)
            | Self::Interrupted(_)
            | Self::Panicked(_) => FailureKind::Passing,
        }
    }

    /// Returns the error of the store that is the cause, if one is.
    pub fn of_store(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) | Self::Plan(PlanError::Store(error)) | Self::Merge(MergeError::Store(error)) => {
                Some(error)
            }
            _ => None,
        }
    }
}

fn kind_of_store_error(error: &StoreError) -> FailureKind {
    match error {
        // The plan is made again from the inputs.
        error if is_damaged_job_object(error) => FailureKind::Passing,
        error if error.is_damage() => FailureKind::Permanent,
        StoreError::Scratch { source, .. } if is_disk_full(source) => FailureKind::Outage,
        error if error.is_outage() => FailureKind::Outage,
        _ => FailureKind::Passing,
    }
}

/// Tells whether a plan, a set or a result is damaged or lost. All of them can be made again.
fn is_damaged_job_object(error: &StoreError) -> bool {
    error.damaged_object().is_some_and(howdah_store::keys::is_of_job)
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
