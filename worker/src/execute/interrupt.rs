//! Why the work on a set ends without a result.

use crate::error::InfraError;
use crate::set_handle::StopReason;

/// Why a set did not finish.
#[derive(Debug)]
pub(crate) enum Interrupt {
    /// It was stopped.
    Stopped(StopReason),
    /// Infrastructure failed.
    Infra(InfraError),
}

impl From<InfraError> for Interrupt {
    fn from(error: InfraError) -> Self {
        Self::Infra(error)
    }
}
