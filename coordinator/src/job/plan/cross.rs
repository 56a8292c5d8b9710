//! The combinations of a cross input.

use std::sync::Arc;

use super::error::PlanError;
use super::input_files::InputFiles;

/// Most datums of one cross. More are a mistake in most cases, such as a glob that is too wide.
const MAX_DATUMS: usize = 5_000_000;

/// A side of a cross: the lists of files that it selects, and which of them are combined.
#[derive(Clone)]
pub(super) struct CrossSide {
    /// All lists that it selects.
    pub(super) lists: Arc<[InputFiles]>,
    /// Positions of the lists that are combined; `None` = all.
    pub(super) chosen: Option<Arc<[u32]>>,
}

impl CrossSide {
    fn len(&self) -> usize {
        self.chosen.as_ref().map_or(self.lists.len(), |chosen| chosen.len())
    }

    fn get(&self, number: usize) -> &InputFiles {
        match &self.chosen {
            Some(chosen) => &self.lists[chosen[number] as usize],
            None => &self.lists[number],
        }
    }
}

impl From<Vec<InputFiles>> for CrossSide {
    fn from(lists: Vec<InputFiles>) -> Self {
        CrossSide {
            lists: lists.into(),
            chosen: None,
        }
    }
}

/// Returns the number of combinations of sides.
///
/// # Errors
/// When there are more than a job may have.
pub(super) fn count(sides: &[CrossSide]) -> Result<usize, PlanError> {
    let count = sides.iter().map(CrossSide::len).fold(1, usize::saturating_mul);
    within_limit(count)?;
    Ok(count)
}

/// Returns an error if `count` is more than a job may have.
pub(super) fn within_limit(count: usize) -> Result<(), PlanError> {
    let limit = MAX_DATUMS;
    if count > limit {
        return Err(PlanError::TooMany { count, limit });
    }
    Ok(())
}

/// Combines each list of every side with each list of the others. The first side changes slowest.
pub(super) fn cross(sides: Vec<CrossSide>) -> Result<impl Iterator<Item = InputFiles> + Send + use<>, PlanError> {
    Ok((0..count(&sides)?).map(move |number| {
        // A combination is a number with one digit for each side; the last digit changes fastest.
        let mut rest = number;
        let mut digits: Vec<usize> = sides.iter().rev().map(|side| digit(&mut rest, side.len())).collect();
        digits.reverse();
        let lists = sides.iter().zip(digits).map(|(side, digit)| side.get(digit));
        lists.flatten().cloned().collect()
    }))
}

fn digit(rest: &mut usize, base: usize) -> usize {
    let digit = *rest % base;
    *rest /= base;
    digit
}
