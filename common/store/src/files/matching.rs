//! Matching the names of a listing against a glob, with a bound on the work.
//!
//! Cheap matches run on the caller's thread, and other tasks of the thread run now and then in between. A costly match
//! runs on a thread that may block. A listing that is dropped begins no further match, and one match is short
//! ([`MatchSteps`]).

use std::sync::Arc;

use howdah_glob::{Glob, MatchSteps, OutOfSteps};

use crate::error::{Result, StoreError};

/// Most steps of a match on the caller's thread.
const INLINE_STEPS: u64 = 20_000;

/// Steps on the caller's thread after which other tasks may run.
const STEPS_BETWEEN_PAUSES: u64 = 100_000;

/// A glob, with the steps that it may take for all names of a listing.
#[derive(Debug)]
pub(super) struct NameMatcher {
    glob: Arc<Glob>,
    steps: MatchSteps,
    since_pause: u64,
}

impl NameMatcher {
    pub(super) fn new(glob: &Glob) -> NameMatcher {
        NameMatcher {
            glob: Arc::new(glob.clone()),
            steps: MatchSteps::of_listing(),
            since_pause: 0,
        }
    }

    pub(super) fn glob(&self) -> &Glob {
        &self.glob
    }

    /// Tells whether a name matches.
    ///
    /// # Errors
    /// [`StoreError::CostlyGlob`].
    pub(super) async fn is_match(&mut self, path: &str) -> Result<bool> {
        self.steps.add_name();
        let mut inline = MatchSteps::new(INLINE_STEPS);
        let cheap = self.glob.is_match(path, &mut inline);
        let used = INLINE_STEPS - inline.left();
        self.steps.take(used).map_err(|error| self.costly(error))?;
        self.since_pause += used;
        if let Ok(matches) = cheap {
            if self.since_pause > STEPS_BETWEEN_PAUSES {
                self.since_pause = 0;
                tokio::task::yield_now().await;
            }
            return Ok(matches);
        }
        let (glob, path, mut steps) = (Arc::clone(&self.glob), path.to_owned(), self.steps.clone());
        let matching = tokio::task::spawn_blocking(move || (glob.is_match(&path, &mut steps), steps));
        let (matches, steps) = matching.await.map_err(|error| StoreError::task(&error))?;
        self.steps = steps;
        self.since_pause = 0;
        matches.map_err(|error| self.costly(error))
    }

    fn costly(&self, OutOfSteps: OutOfSteps) -> StoreError {
        StoreError::CostlyGlob {
            glob: self.glob.as_str().to_owned(),
        }
    }
}
