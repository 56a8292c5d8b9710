//! Identity of a plan: a job that is planned anew gets another one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Identity of one plan of a job.
///
/// A plan that does not fit its results is discarded, and the job is planned anew. The number of a set then means other
/// datums, so sets, results and events say of which plan they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PlanId(u64);

impl PlanId {
    /// The identity of plans that an earlier release has made. Their objects have no identity in their keys.
    pub const EARLIER: Self = Self(0);

    /// Makes an identity of a random number.
    pub fn from_random(number: u64) -> Self {
        Self(number.max(1))
    }

    /// Tells whether an earlier release has made the plan.
    pub fn is_earlier(&self) -> bool {
        *self == Self::EARLIER
    }

    /// Returns the folder of the plan's sets and results within those of its job: empty, or a name with a slash.
    pub(crate) fn folder(self) -> String {
        if self.is_earlier() {
            String::new()
        } else {
            format!("{self}/")
        }
    }
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for PlanId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}
