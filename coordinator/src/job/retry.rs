//! How often and how long a job is tried: failures are counted, pauses grow, and at some point it is enough. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::RetryConfig;
use crate::live::times;

/// First pause after a failure; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause after a failure.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// The part of a pause that is random, so that many jobs do not try again at the same moment.
const RANDOM_PART: f64 = 0.25;

/// When a job that cannot go on is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryLimits {
    /// How often a job, or one of its datum sets, is tried without getting ahead.
    pub tries: u32,
    /// How long a job waits for the store or NATS as a whole, or for what a person must mend.
    pub outage: Duration,
}

impl Default for RetryLimits {
    fn default() -> Self {
        RetryConfig::default().into()
    }
}

impl From<RetryConfig> for RetryLimits {
    fn from(config: RetryConfig) -> Self {
        Self {
            tries: config.job_tries,
            outage: config.outage(),
        }
    }
}

/// What a failure says about the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The next try fails in the same way: data is damaged, or the request is invalid.
    Permanent,
    /// The next try may succeed.
    Passing,
    /// Not the fault of this job: the store, NATS or a container engine does not work at all at present.
    Outage,
}

/// What follows from a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try again.
    Retry {
        /// Failures so far.
        tries: u32,
        /// Time until the next try.
        pause: Duration,
    },
    /// End the job with this reason.
    GiveUp(String),
}

/// Counts the failures since something succeeded.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    limits: RetryLimits,
    /// All failures.
    failures: u32,
    /// Those that were no outage.
    counted: u32,
    /// Beginning of the outage that lasts.
    outage_since: Option<Instant>,
}

impl RetryBudget {
    /// Makes a budget of which nothing is used.
    pub fn new(limits: RetryLimits) -> Self {
        Self {
            limits,
            failures: 0,
            counted: 0,
            outage_since: None,
        }
    }

    /// Returns the number of failures since something succeeded.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts a failure. `random` is at least 0 and less than 1.
    pub fn failed(&mut self, kind: FailureKind, error: &str, now: Instant, random: f64) -> Verdict {
        self.failures = self.failures.saturating_add(1);
        match kind {
            FailureKind::Permanent => return Verdict::GiveUp(error.to_owned()),
            FailureKind::Passing => {
                self.counted += 1;
                self.outage_since = None;
                if self.counted >= self.limits.tries {
                    let tries = times(self.failures);
                    return Verdict::GiveUp(format!("gave up, tried {tries}, last error: {error}"));
                }
            }
            FailureKind::Outage => {
                let since = *self.outage_since.get_or_insert(now);
                let lasts = now.duration_since(since);
                if lasts >= self.limits.outage {
                    let (tries, seconds) = (times(self.failures), lasts.as_secs());
                    return Verdict::GiveUp(format!(
                        "gave up after waiting for {seconds} s, tried {tries}, last error: {error}"
                    ));
                }
            }
        }
        let doublings = (self.failures - 1).min(16);
        let longest = (FIRST_PAUSE * 2_u32.pow(doublings)).min(MAX_PAUSE);
        Verdict::Retry {
            tries: self.failures,
            pause: longest.mul_f64(1.0 - RANDOM_PART * random),
        }
    }

    /// Forgets all failures, because something succeeded.
    pub fn begin_anew(&mut self) {
        *self = Self::new(self.limits);
    }

    /// Notes that other work has succeeded: the next outage is another one.
    pub fn outage_over(&mut self) {
        self.outage_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::FailureKind::{Outage, Passing, Permanent};
    use super::*;

    const LIMITS: RetryLimits = RetryLimits {
        tries: 4,
        outage: Duration::from_secs(3600),
    };

    fn gives_up(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::GiveUp(_))
    }

    #[test]
    fn a_permanent_failure_ends_the_job_at_once_with_its_text() {
        let verdict = RetryBudget::new(LIMITS).failed(Permanent, "object x is corrupt", Instant::now(), 0.0);
        assert_eq!(verdict, Verdict::GiveUp("object x is corrupt".to_owned()));
    }

    #[test]
    fn passing_failures_are_tried_again_as_often_as_the_limit_says() {
        let mut budget = RetryBudget::new(LIMITS);
        let mut fail = || budget.failed(Passing, "refused", Instant::now(), 0.0);
        for (tries, pause) in [(1, 500), (2, 1000), (3, 2000)] {
            let pause = Duration::from_millis(pause);
            assert_eq!(fail(), Verdict::Retry { tries, pause });
        }
        assert_eq!(
            fail(),
            Verdict::GiveUp("gave up, tried 4 times, last error: refused".to_owned())
        );
    }

    #[test]
    fn pauses_grow_to_half_a_minute_and_differ_by_a_quarter_at_most() {
        let limits = RetryLimits { tries: 100, ..LIMITS };
        let pauses = |random: f64| {
            let mut budget = RetryBudget::new(limits);
            let mut pauses = Vec::new();
            while let Verdict::Retry { pause, .. } = budget.failed(Passing, "", Instant::now(), random) {
                pauses.push(pause);
            }
            pauses
        };
        let (longest, shortest) = (pauses(0.0), pauses(0.999));
        assert_eq!(longest.len(), 99);
        assert!(longest.is_sorted());
        assert_eq!(longest[98], Duration::from_secs(30));
        for (longest, shortest) in longest.iter().zip(&shortest) {
            assert!(shortest < longest && *shortest > *longest * 74 / 100, "{shortest:?}");
        }
    }

    #[test]
    fn an_outage_ends_the_job_only_after_its_own_limit() {
        let mut budget = RetryBudget::new(LIMITS);
        let start = Instant::now();
        for seconds in (0..3600).step_by(30) {
            let now = start + Duration::from_secs(seconds);
            assert!(!gives_up(&budget.failed(Outage, "no answer", now, 0.5)), "{seconds}");
        }
        let end = budget.failed(Outage, "no answer", start + Duration::from_secs(3600), 0.5);
        let text = "gave up after waiting for 3600 s, tried 121 times, last error: no answer";
        assert_eq!(end, Verdict::GiveUp(text.to_owned()));
    }

    #[test]
    fn failures_of_an_outage_do_not_count_as_tries_of_the_job() {
        let mut budget = RetryBudget::new(LIMITS);
        let now = Instant::now();
        for _ in 0..100 {
            budget.failed(Outage, "no answer", now, 0.0);
        }
        for _ in 0..3 {
            assert!(!gives_up(&budget.failed(Passing, "refused", now, 0.0)));
        }
        assert!(gives_up(&budget.failed(Passing, "refused", now, 0.0)));
    }

    #[test]
    fn a_success_and_the_end_of_an_outage_begin_anew() {
        let mut budget = RetryBudget::new(LIMITS);
        let start = Instant::now();
        let late = start + LIMITS.outage;
        budget.failed(Outage, "no answer", start, 0.0);
        budget.outage_over();
        assert!(!gives_up(&budget.failed(Outage, "no answer", late, 0.0)));
        for _ in 0..3 {
            budget.failed(Passing, "refused", late, 0.0);
        }
        budget.begin_anew();
        assert_eq!(budget.failures(), 0);
        assert!(!gives_up(&budget.failed(Passing, "refused", late, 0.0)));
    }
}
