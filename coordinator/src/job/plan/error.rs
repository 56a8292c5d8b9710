//! Why a plan could not be made, written or read.

use howdah_protocol::wire::WireError;
use howdah_store::StoreError;

/// Why a plan could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// An input cannot be turned into datums.
    #[error("input {name}: {message}")]
    Input {
        /// Name of the input.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// The spec uses a feature that is not implemented.
    #[error("not supported yet: {0}")]
    Unsupported(&'static str),
    /// A cross has too many combinations.
    #[error("the cross input has {count} datums, more than the {limit} that one job may have: narrow its globs")]
    TooMany {
        /// How many there would be.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The datum records of the base job cannot be decoded. Neither the spec nor this plan is the cause.
    #[error("the datum records of the job before cannot be understood (repeat with `update pipeline --reprocess`)")]
    Base(#[source] WireError),
    /// A glob of the input takes too many steps.
    #[error(transparent)]
    CostlyGlob(StoreError),
    /// The store failed.
    #[error("the plan could not be read or written")]
    Store(#[source] StoreError),
    /// A stored plan or set cannot be decoded.
    #[error("the plan could not be understood")]
    Wire(#[from] WireError),
}

impl From<StoreError> for PlanError {
    fn from(error: StoreError) -> Self {
        match error {
            costly @ StoreError::CostlyGlob { .. } => Self::CostlyGlob(costly),
            error => Self::Store(error),
        }
    }
}

impl PlanError {
    /// Tells whether the spec is the cause, so that planning again would fail in the same way.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Input { .. } | Self::Unsupported(_) | Self::TooMany { .. } | Self::CostlyGlob(_) => true,
            Self::Base(_) | Self::Store(_) | Self::Wire(_) => false,
        }
    }
}
