//! Jobs, their indices, and their counts by state.

use std::sync::Arc;

use jiff::Timestamp;

use crate::entities::{Content, DatumCounts, DatumIndex, Job, JobOutcome, JobState, JobStats};
use crate::names::{CommitKey, JobKey};
use crate::query::build_content;
use crate::state::State;

/// The fields of [`crate::Event::JobFinished`] but the job.
pub(super) struct JobEnd<'a> {
    pub(super) outcome: &'a JobOutcome,
    pub(super) counts: &'a DatumCounts,
    pub(super) stats: &'a JobStats,
    pub(super) output: Option<Content>,
    pub(super) datums: Option<DatumIndex>,
    pub(super) at: Timestamp,
}

impl State {
    /// Edits a job that has not ended, and updates the counts by state and the index of open jobs.
    pub(super) fn edit_job(&mut self, key: &JobKey, edit: impl FnOnce(&mut Job)) {
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

    /// Removes a job from the index of open jobs.
    fn close_job(&mut self, key: &JobKey, seq: u64) {
        if let Some(open) = self.open_jobs.get_mut(&key.pipeline) {
            open.remove(&seq);
            if open.is_empty() {
                self.open_jobs.remove(&key.pipeline);
            }
        }
    }

    /// Moves a job from one count to another, and updates the state of the newest job.
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
        // After the insertions: the count looks for the newest job of the pipeline in the index.
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

    pub(super) fn finish_job(&mut self, key: &JobKey, end: &JobEnd<'_>) {
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
        // Without own output, the commit gets the content of its base and not what it was opened with: the base may
        // have finished after this commit was opened.
        let content = end.output.or_else(|| self.inherited(&output));
        if let Some(content) = content {
            self.edit_commit(&output, |commit| commit.content = content);
        }
        self.finish_commit(&output, error, end.at);
        let meta = key.meta_commit();
        self.edit_commit(&meta, |commit| commit.datums = end.datums);
        self.finish_commit(&meta, error, end.at);
    }

    /// Returns the content that the commit of a job has without own output; `None` while its base is open.
    fn inherited(&self, key: &CommitKey) -> Option<Content> {
        let parent = self.commits.get(key)?.parent;
        build_content(self, &key.repo, parent)
    }
}
