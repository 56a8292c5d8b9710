//! Jobs, their order and their numbers by state.

use std::sync::Arc;

use jiff::Timestamp;

use crate::entities::{Content, DatumCounts, DatumIndex, Job, JobOutcome, JobState, JobStats};
use crate::event::Event;
use crate::names::{CommitKey, JobKey};
use crate::query::build_content;
use crate::state::State;

pub(super) fn apply(state: &mut State, event: &Event) {
    match event {
        Event::JobStarted { job, at } => state.edit_job(job, |job| {
            job.state = JobState::Starting;
            job.started = Some(*at);
        }),
        Event::JobPlanned { job, plan, counts, at } => state.edit_job(job, |job| {
            job.state = JobState::Running;
            job.reason = Arc::from("");
            job.plan = Some(Arc::from(plan.as_str()));
            job.counts = *counts;
            job.running_since = job.running_since.or(Some(*at));
        }),
        Event::JobStateSet {
            job,
            state: new,
            reason,
            counts,
        } => state.edit_job(job, |job| {
            job.state = *new;
            job.reason = Arc::from(reason.as_str());
            job.counts = counts.unwrap_or(job.counts);
        }),
        Event::JobRestarted { job, reason } => state.edit_job(job, |job| {
            job.state = JobState::Starting;
            job.reason = Arc::from(reason.as_str());
            job.restart += 1;
            job.plan = None;
            job.counts = DatumCounts::default();
        }),
        Event::JobFinished {
            job,
            outcome,
            counts,
            stats,
            output,
            datums,
            at,
        } => {
            let end = End {
                outcome,
                counts,
                stats,
                output: *output,
                datums: *datums,
                at: *at,
            };
            state.finish_job(job, &end);
        }
        Event::JobDeleted { job } => state.remove_job(job),
        _ => {}
    }
}

/// How a job ends.
struct End<'a> {
    outcome: &'a JobOutcome,
    counts: &'a DatumCounts,
    stats: &'a JobStats,
    output: Option<Content>,
    datums: Option<DatumIndex>,
    at: Timestamp,
}

impl State {
    /// Edits a job that has not ended, keeping the numbers and the list of open jobs.
    fn edit_job(&mut self, key: &JobKey, edit: impl FnOnce(&mut Job)) {
        let Some(job) = self.jobs.get_mut(key) else { return };
        if job.state.is_final() {
            return;
        }
        let before = job.state;
        let job = Arc::make_mut(job);
        edit(job);
        let (after, seq) = (job.state, job.seq);
        if after.is_final() {
            self.close_job(key, seq);
        }
        if before != after {
            self.count_job(key, Some(before), Some(after));
        }
    }

    fn close_job(&mut self, key: &JobKey, seq: u64) {
        if let Some(open) = self.open_jobs.get_mut(&key.pipeline) {
            open.remove(&seq);
            if open.is_empty() {
                self.open_jobs.remove(&key.pipeline);
            }
        }
    }

    fn count_job(&mut self, key: &JobKey, before: Option<JobState>, after: Option<JobState>) {
        let newest = self.pipeline_jobs.get(&key.pipeline).and_then(|jobs| jobs.get_max());
        let newest = newest.and_then(|(_, id)| self.jobs.get(&key.pipeline.job(*id)));
        let last_job_state = newest.map(|job| job.state);
        if let Some(pipeline) = self.pipelines.get_mut(&key.pipeline) {
            let pipeline = Arc::make_mut(pipeline);
            if let Some(before) = before {
                let count = &mut pipeline.job_counts[before as usize];
                *count = count.saturating_sub(1);
            }
            if let Some(after) = after {
                pipeline.job_counts[after as usize] += 1;
            }
            pipeline.last_job_state = last_job_state;
        }
    }

    pub(super) fn add_job(&mut self, key: &JobKey, at: Timestamp) {
        let Some(pipeline) = self.pipelines.get(&key.pipeline) else {
            return;
        };
        let version = pipeline.version();
        let job = Job {
            key: key.clone(),
            pipeline_version: version,
            state: JobState::Created,
            reason: Arc::from(""),
            restart: 0,
            counts: DatumCounts::default(),
            stats: JobStats::default(),
            created: at,
            started: None,
            running_since: None,
            finished: None,
            plan: None,
            output_commit: key.output_commit(),
            seq: self.take_seq(),
        };
        self.job_order.insert(job.seq, key.clone());
        for index in [&mut self.pipeline_jobs, &mut self.open_jobs] {
            index.entry(key.pipeline.clone()).or_default().insert(job.seq, key.id);
        }
        self.jobs.insert(key.clone(), Arc::new(job));
        self.count_job(key, None, Some(JobState::Created));
    }

    pub(super) fn remove_job(&mut self, key: &JobKey) {
        let Some(job) = self.jobs.remove(key) else { return };
        self.job_order.remove(&job.seq);
        self.close_job(key, job.seq);
        if let Some(jobs) = self.pipeline_jobs.get_mut(&key.pipeline) {
            jobs.remove(&job.seq);
            if jobs.is_empty() {
                self.pipeline_jobs.remove(&key.pipeline);
            }
        }
        self.count_job(key, Some(job.state), None);
    }

    fn finish_job(&mut self, key: &JobKey, end: &End<'_>) {
        if self.jobs.get(key).is_none_or(|job| job.state.is_final()) {
            return;
        }
        self.edit_job(key, |job| {
            job.state = end.outcome.state();
            job.reason = Arc::from(end.outcome.reason());
            job.counts = *end.counts;
            job.stats = *end.stats;
            job.started = job.started.or(Some(end.at));
            job.finished = Some(end.at);
        });
        let error = match end.outcome {
            JobOutcome::Success => None,
            failed => Some(failed.reason()),
        };
        let output = key.output_commit();
        let content = end.output.or_else(|| self.inherited(&output));
        if let Some(content) = content {
            self.edit_commit(&output, |commit| commit.content = content);
        }
        self.finish_commit(&output, error, end.at);
        let meta = key.meta_commit();
        self.edit_commit(&meta, |commit| commit.datums = end.datums);
        self.finish_commit(&meta, error, end.at);
    }

    fn inherited(&self, key: &CommitKey) -> Option<Content> {
        let parent = self.commits.get(key)?.parent;
        build_content(self, &key.repo, parent)
    }
}
