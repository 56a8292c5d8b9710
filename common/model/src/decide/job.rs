//! Jobs: changes of state (semantics 17).

use crate::command::Reply;
use crate::entities::{Content, DatumCounts, DatumIndex, Job, JobOutcome, JobState, JobStats};
use crate::event::Event;
use crate::ids::GlobalId;
use crate::names::{JobKey, PipelineKey};
use crate::query::{self, Readiness};
use crate::rejection::Rejection;

use super::builder::{CommandResult, DecisionBuilder};

/// Reason of a job that is stopped without a reason.
const DEFAULT_STOP_REASON: &str = "job stopped";

impl DecisionBuilder {
    fn require_job(&self, key: &JobKey) -> Result<&Job, Rejection> {
        self.state
            .jobs
            .get(key)
            .map(AsRef::as_ref)
            .ok_or_else(|| Rejection::NoJob(key.clone()))
    }

    /// Returns the state of a job, if it is one of those that may change to another.
    fn require_state(&self, key: &JobKey, from: &[JobState], to: JobState) -> Result<JobState, Rejection> {
        let job = self.require_job(key)?;
        if job.state.is_final() {
            return Err(Rejection::JobOver(key.clone()));
        }
        if !from.contains(&job.state) {
            return Err(Rejection::JobState {
                job: key.clone(),
                state: job.state,
                to,
            });
        }
        Ok(job.state)
    }

    /// Checks that all input commits of a job are finished without an error.
    fn require_input(&self, key: &JobKey) -> Result<(), Rejection> {
        match query::job_ready(&self.state, key) {
            Readiness::Ready => Ok(()),
            Readiness::Waiting(commits) | Readiness::Failed(commits) => {
                let commit = commits.into_iter().next();
                let commit = commit.unwrap_or_else(|| key.output_commit());
                Err(Rejection::JobInput {
                    job: key.clone(),
                    commit,
                })
            }
        }
    }

    pub(super) fn start_job(&mut self, key: &JobKey) -> CommandResult {
        let from = [JobState::Created, JobState::Starting];
        if self.require_state(key, &from, JobState::Starting)? == JobState::Created {
            self.emit(Event::JobStarted {
                job: key.clone(),
                at: self.at,
            });
        }
        Ok(Reply::Done)
    }

    pub(super) fn plan_job(&mut self, key: &JobKey, plan: &str, counts: DatumCounts) -> CommandResult {
        self.require_state(key, &[JobState::Starting], JobState::Running)?;
        self.require_input(key)?;
        let plan = plan.to_owned();
        self.emit(Event::JobPlanned {
            job: key.clone(),
            plan,
            counts,
            at: self.at,
        });
        Ok(Reply::Done)
    }

    pub(super) fn set_job_state(
        &mut self,
        key: &JobKey,
        to: JobState,
        reason: &str,
        counts: Option<DatumCounts>,
    ) -> CommandResult {
        use JobState::{Egressing, Finishing, Running, Starting};
        let from: &[JobState] = match to {
            Starting => &[Starting],
            Running => &[Running],
            Egressing => &[Running, Egressing],
            Finishing => &[Running, Egressing, Finishing],
            _ => &[],
        };
        self.require_state(key, from, to)?;
        self.emit(Event::JobStateSet {
            job: key.clone(),
            state: to,
            reason: reason.to_owned(),
            counts,
        });
        Ok(Reply::Done)
    }

    pub(super) fn restart_job(&mut self, key: &JobKey, reason: &str) -> CommandResult {
        use JobState::{Egressing, Finishing, Running, Starting};
        self.require_state(key, &[Starting, Running, Egressing, Finishing], Starting)?;
        self.emit(Event::JobRestarted {
            job: key.clone(),
            reason: reason.to_owned(),
        });
        Ok(Reply::Done)
    }

    pub(super) fn finish_job(
        &mut self,
        key: &JobKey,
        outcome: &JobOutcome,
        counts: DatumCounts,
        stats: JobStats,
        output: Option<Content>,
        datums: Option<DatumIndex>,
    ) -> CommandResult {
        use JobState::{Created, Egressing, Finishing, Running, Starting};
        let from: &[JobState] = match outcome {
            JobOutcome::Success => &[Running, Egressing, Finishing],
            JobOutcome::Failure(_) => &[Starting, Running, Egressing, Finishing],
            JobOutcome::Killed(_) => &[Created, Starting, Running, Egressing, Finishing],
            JobOutcome::Unrunnable(_) => &[Created, Starting],
        };
        self.require_state(key, from, outcome.state())?;
        if *outcome == JobOutcome::Success {
            self.require_input(key)?;
        }
        self.emit(Event::JobFinished {
            job: key.clone(),
            outcome: with_reason(outcome.clone()),
            counts,
            stats,
            output,
            datums,
            at: self.at,
        });
        if *outcome != JobOutcome::Success {
            self.fail_downstream(vec![key.output_commit(), key.meta_commit()]);
        }
        Ok(Reply::Done)
    }

    /// Ends a job without success. Keeps its counts, and does not look downstream.
    pub(super) fn close_job(&mut self, key: &JobKey, outcome: JobOutcome) {
        let Some(job) = self.state.jobs.get(key).filter(|job| !job.state.is_final()) else {
            return;
        };
        let (counts, stats) = (job.counts, job.stats);
        self.emit(Event::JobFinished {
            job: key.clone(),
            outcome: with_reason(outcome),
            counts,
            stats,
            output: None,
            datums: None,
            at: self.at,
        });
    }

    /// Ends a job without success, and the downstream jobs that cannot run without it. A job that has ended stays as it
    /// is.
    pub(super) fn end_job(&mut self, key: &JobKey, outcome: JobOutcome) {
        if self.state.jobs.get(key).is_none_or(|job| job.state.is_final()) {
            return;
        }
        self.close_job(key, outcome);
        self.fail_downstream(vec![key.output_commit(), key.meta_commit()]);
    }

    pub(super) fn stop_job(&mut self, key: &JobKey, reason: &str) -> CommandResult {
        self.require_job(key)?;
        self.end_job(key, JobOutcome::Killed(reason_or(reason)));
        Ok(Reply::Done)
    }

    pub(super) fn stop_job_set(&mut self, id: GlobalId, reason: &str) -> CommandResult {
        if !self.state.sets.contains_key(&id) {
            return Err(Rejection::NoCommitSet(id));
        }
        // Downstream jobs first, so that each is killed. After its upstream job, it would be unrunnable already.
        for job in query::jobs_of_set(&self.state, id).iter().rev() {
            self.end_job(&job.key, JobOutcome::Killed(reason_or(reason)));
        }
        Ok(Reply::Done)
    }

    pub(super) fn delete_job(&mut self, key: &JobKey) -> CommandResult {
        self.require_job(key)?;
        self.end_job(key, JobOutcome::Killed("job deleted".to_owned()));
        self.emit(Event::JobDeleted { job: key.clone() });
        Ok(Reply::Done)
    }

    /// Kills the unfinished jobs of a pipeline, the newest first.
    pub(super) fn kill_jobs(&mut self, pipeline: &PipelineKey, reason: &str) {
        let open: Vec<_> = query::open_jobs_of(&self.state, pipeline)
            .rev()
            .map(|job| job.key.clone())
            .collect();
        for job in open {
            self.end_job(&job, JobOutcome::Killed(reason.to_owned()));
        }
    }
}

fn reason_or(reason: &str) -> String {
    if reason.is_empty() {
        DEFAULT_STOP_REASON.to_owned()
    } else {
        reason.to_owned()
    }
}

/// Adds a reason to an outcome without one, because the reason becomes the error of the commits: an empty error would
/// be no error.
fn with_reason(outcome: JobOutcome) -> JobOutcome {
    match outcome {
        JobOutcome::Failure(reason) if reason.is_empty() => JobOutcome::Failure("job failed".to_owned()),
        JobOutcome::Killed(reason) if reason.is_empty() => JobOutcome::Killed(DEFAULT_STOP_REASON.to_owned()),
        JobOutcome::Unrunnable(reason) if reason.is_empty() => {
            JobOutcome::Unrunnable("an input commit has an error".to_owned())
        }
        outcome => outcome,
    }
}
