//! How much work matching may take.

/// Most steps of one match. A step takes some nanoseconds.
const ONE_MATCH: u64 = 4_000_000;

/// Steps that a listing may take beyond those that its names add.
const LISTING: u64 = 100_000_000;

/// Steps that each name adds to those of its listing.
const EACH_NAME: u64 = 20_000;

/// A match was broken off, because it takes too many steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("matching takes too many steps")]
pub struct OutOfSteps;

/// The steps that matching may still take.
///
/// A pattern that people write takes some hundred steps for a path. `!( )` can take as many as the length of the
/// pattern times the square of the length of the path, which is hours for the longest ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchSteps {
    left: u64,
}

impl Default for MatchSteps {
    /// Enough for one match.
    fn default() -> Self {
        MatchSteps { left: ONE_MATCH }
    }
}

impl MatchSteps {
    /// Allows a number of steps.
    pub fn new(steps: u64) -> MatchSteps {
        MatchSteps { left: steps }
    }

    /// Allows the steps of a listing. [`MatchSteps::add_name`] adds those of each of its names.
    pub fn of_listing() -> MatchSteps {
        MatchSteps { left: LISTING }
    }

    /// Adds the steps for one more name of a listing.
    pub fn add_name(&mut self) {
        self.left = LISTING.min(self.left.saturating_add(EACH_NAME));
    }

    /// Returns how many steps are left.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Takes steps.
    ///
    /// # Errors
    /// When fewer are left. Then none are left afterwards.
    pub fn take(&mut self, steps: u64) -> Result<(), OutOfSteps> {
        let left = self.left.checked_sub(steps);
        self.left = left.unwrap_or_default();
        left.map(|_| ()).ok_or(OutOfSteps)
    }

    /// Takes the steps for a single match out of these.
    pub(crate) fn of_one_match(&self) -> MatchSteps {
        MatchSteps {
            left: self.left.min(ONE_MATCH),
        }
    }
}
