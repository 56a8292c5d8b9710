//! The datum sets that workers could not run, and how often.

use std::collections::BTreeMap;
use std::time::Duration;

use howdah_protocol::messages::{SetFailed, SetFailure};
use tokio::time::Instant;

use super::error::DriveError;
use super::retry::{FailureKind, RetryBudget, RetryLimits, Verdict};

/// A budget for each set that has failed and has no result yet.
pub(super) struct FailingSets {
    limits: RetryLimits,
    budgets: BTreeMap<u32, RetryBudget>,
}

impl FailingSets {
    /// Makes the list of a job without failures.
    pub(super) fn new(limits: RetryLimits) -> Self {
        Self {
            limits,
            budgets: BTreeMap::new(),
        }
    }

    /// Counts a failure. Returns how often the set has failed, and the time until it is tried again.
    ///
    /// # Errors
    /// [`DriveError::GivenUp`] when the job must end, [`DriveError::Mismatch`] when the plan must be made anew.
    pub(super) fn failed(&mut self, failed: &SetFailed, now: Instant) -> Result<(u32, Duration), DriveError> {
        let (set, message) = (failed.set, &failed.message);
        let kind = match failed.failure {
            SetFailure::Plan => {
                return Err(DriveError::Mismatch(format!(
                    "workers cannot use the plan of datum set {set}: {message}"
                )));
            }
            SetFailure::Damage => FailureKind::Permanent,
            SetFailure::Passing => FailureKind::Passing,
            SetFailure::Outage => FailureKind::Outage,
        };
        let budget = self.budgets.entry(set).or_insert_with(|| RetryBudget::new(self.limits));
        match budget.failed(kind, message, now, 0.0) {
            Verdict::GiveUp(reason) => Err(DriveError::GivenUp(format!("datum set {set}: {reason}"))),
            Verdict::Retry { tries, pause } => Ok((tries, failed.retry_ms.map_or(pause, Duration::from_millis))),
        }
    }

    /// Notes the result of a set. Outages that lasted are over then.
    pub(super) fn result_came(&mut self, set: u32) {
        self.budgets.remove(&set);
        for budget in self.budgets.values_mut() {
            budget.outage_over();
        }
    }
}

#[cfg(test)]
mod tests {
    use howdah_model::GlobalId;
    use howdah_protocol::objects::PlanId;

    use super::*;

    fn failed(set: u32, failure: SetFailure) -> SetFailed {
        SetFailed {
            pipeline: "default/edges".parse().unwrap(),
            job: GlobalId::from_number(1),
            plan: PlanId::EARLIER,
            set,
            worker: "w".to_owned(),
            message: "no".to_owned(),
            needs_attention: false,
            failure,
            retry_ms: Some(700),
        }
    }

    #[test]
    fn each_set_is_tried_as_often_as_the_limit_says() {
        let limits = RetryLimits {
            tries: 3,
            ..RetryLimits::default()
        };
        let mut sets = FailingSets::new(limits);
        let now = Instant::now();
        for tries in 1..=2 {
            for set in 0..5 {
                let tried = sets.failed(&failed(set, SetFailure::Passing), now).unwrap();
                assert_eq!(tried, (tries, Duration::from_millis(700)));
            }
        }
        let error = sets.failed(&failed(3, SetFailure::Passing), now).unwrap_err();
        assert_eq!(error.to_string(), "datum set 3: gave up, tried 3 times, last error: no");
        sets.result_came(2);
        let (tries, _) = sets.failed(&failed(2, SetFailure::Passing), now).unwrap();
        assert_eq!(tries, 1);
    }

    #[test]
    fn damage_ends_the_job_and_an_unusable_plan_is_made_anew() {
        let mut sets = FailingSets::new(RetryLimits::default());
        let error = sets.failed(&failed(0, SetFailure::Damage), Instant::now()).unwrap_err();
        assert_eq!(error.to_string(), "datum set 0: no");
        assert_eq!(error.kind(), FailureKind::Permanent);
        let error = sets.failed(&failed(0, SetFailure::Plan), Instant::now()).unwrap_err();
        assert!(error.invalidates_plan(), "{error}");
    }

    #[test]
    fn an_outage_is_waited_for() {
        let mut sets = FailingSets::new(RetryLimits::default());
        for _ in 0..100 {
            sets.failed(&failed(0, SetFailure::Outage), Instant::now()).unwrap();
        }
    }
}
