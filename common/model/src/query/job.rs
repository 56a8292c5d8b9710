//! Jobs: their inputs, whether they can run, and their base.

use std::sync::Arc;

use crate::entities::{Commit, CommitState, Content, DatumIndex, Job, PipelineVersion};
use crate::ids::GlobalId;
use crate::names::{BranchKey, CommitKey, JobKey, PipelineKey, RepoType};
use crate::spec_view;
use crate::state::State;

use super::commit::{BaseCommit, commit_state, nearest_good};

/// One leaf of the input of a pipeline, with its commit in one job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobInput {
    /// Name of the input.
    pub name: String,
    /// Branch that it reads.
    pub branch: BranchKey,
    /// The commit.
    pub commit: CommitKey,
    /// State of the commit.
    pub state: CommitState,
    /// Error of the commit, if it failed.
    pub error: Option<Arc<str>>,
    /// Content of the commit; not final before it is finished.
    pub content: Content,
}

/// Whether a job can run.
#[derive(Clone, Debug, PartialEq)]
pub enum Readiness {
    /// All input commits are finished without an error.
    Ready,
    /// These input commits are not finished.
    Waiting(Vec<CommitKey>),
    /// These input commits have an error: the job is unrunnable.
    Failed(Vec<CommitKey>),
}

/// The base of a job: the earlier job whose results it may take over.
#[derive(Clone, Debug, PartialEq)]
pub enum JobBase {
    /// There is none: every datum is processed.
    Nothing,
    /// Unknown yet: this earlier job has not ended.
    Unfinished(JobKey),
    /// The nearest earlier job whose output and meta commits have no error.
    Job {
        /// Its key.
        job: JobKey,
        /// Its datum records.
        datums: DatumIndex,
        /// Its output.
        output: Content,
    },
}

/// Returns the inputs of a job, in the order of the leaves of its spec; empty without the job.
#[must_use]
pub fn job_inputs(state: &State, key: &JobKey) -> Vec<JobInput> {
    let Some(commit) = state.commits.get(&key.output_commit()) else {
        return Vec::new();
    };
    let leaves = job_version(state, key)
        .and_then(|version| spec_view::input_leaves(&version.spec).ok())
        .unwrap_or_default();
    leaves
        .into_iter()
        .filter_map(|leaf| {
            // `check_graph` allows one branch of a repository in a graph, so the repository identifies the commit.
            let input = commit.provenance.iter().find(|c| c.repo == leaf.branch.repo)?;
            let input = state.commits.get(input)?;
            Some(JobInput {
                name: leaf.name,
                branch: leaf.branch,
                commit: input.key.clone(),
                state: commit_state(state, input),
                error: input.error.clone(),
                content: input.content,
            })
        })
        .collect()
}

/// Returns whether a job can run, from the state of all commits that its output commit is derived from.
#[must_use]
pub fn job_ready(state: &State, key: &JobKey) -> Readiness {
    let provenance = state
        .commits
        .get(&key.output_commit())
        .map(|commit| commit.provenance.as_slice())
        .unwrap_or_default();
    let inputs = || provenance.iter().filter_map(|key| state.commits.get(key));
    let keys = |wanted: fn(&Commit) -> bool| -> Vec<CommitKey> {
        inputs().filter(|c| wanted(c)).map(|c| c.key.clone()).collect()
    };
    let failed = keys(|commit| commit.error.is_some());
    if !failed.is_empty() {
        return Readiness::Failed(failed);
    }
    let waiting = keys(|commit| commit.finished.is_none());
    if waiting.is_empty() {
        Readiness::Ready
    } else {
        Readiness::Waiting(waiting)
    }
}

/// Returns the base of a job (semantics 12): along the parents of its meta commit, the nearest job whose meta and
/// output commits have no error.
#[must_use]
pub fn job_base(state: &State, key: &JobKey) -> JobBase {
    let meta_repo = key.pipeline.meta_repo();
    let output_repo = key.pipeline.output_repo();
    // Along the meta commits and not the output commits: datum records and output must be of one job. After a change of
    // the output branch, or a squash of one of them, the two chains differ.
    let mut from = state.commits.get(&key.meta_commit()).and_then(|meta| meta.parent);
    loop {
        let meta = match nearest_good(state, &meta_repo, from) {
            BaseCommit::Nothing => return JobBase::Nothing,
            BaseCommit::Open(open) => return JobBase::Unfinished(key.pipeline.job(open.id)),
            BaseCommit::Good(meta) => meta,
        };
        let output = state.commits.get(&output_repo.commit(meta.key.id));
        if let (Some(output), Some(datums)) = (output.filter(|c| c.is_good()), meta.datums) {
            return JobBase::Job {
                job: key.pipeline.job(meta.key.id),
                datums,
                output: output.content,
            };
        }
        from = meta.parent;
    }
}

/// Returns the version of the pipeline that a job runs.
#[must_use]
pub fn job_version<'a>(state: &'a State, key: &JobKey) -> Option<&'a Arc<PipelineVersion>> {
    let job = state.jobs.get(key)?;
    state.pipelines.get(&key.pipeline)?.at_version(job.pipeline_version)
}

/// Returns the jobs of a commit set in the order of provenance; empty for an unknown id.
#[must_use]
pub fn jobs_of_set(state: &State, id: GlobalId) -> Vec<Arc<Job>> {
    let Some(set) = state.sets.get(&id) else {
        return Vec::new();
    };
    set.repos
        .iter()
        .filter(|repo| repo.kind == RepoType::User)
        .filter_map(|repo| state.jobs.get(&repo.pipeline()?.job(id)).cloned())
        .collect()
}

/// Returns the jobs of a pipeline, oldest first.
pub fn jobs_of_pipeline<'a>(
    state: &'a State,
    pipeline: &PipelineKey,
) -> impl DoubleEndedIterator<Item = &'a Arc<Job>> + use<'a> {
    in_order(state, pipeline, state.pipeline_jobs.get(pipeline))
}

/// Returns the jobs of a pipeline that have not ended, oldest first: the order in which they start.
pub fn open_jobs_of<'a>(
    state: &'a State,
    pipeline: &PipelineKey,
) -> impl DoubleEndedIterator<Item = &'a Arc<Job>> + use<'a> {
    in_order(state, pipeline, state.open_jobs.get(pipeline))
}

/// Returns all jobs that have not ended, by pipeline; those of a pipeline oldest first.
pub fn open_jobs(state: &State) -> impl Iterator<Item = &Arc<Job>> {
    state
        .open_jobs
        .keys()
        .flat_map(|pipeline| open_jobs_of(state, pipeline))
}

fn in_order<'a>(
    state: &'a State,
    pipeline: &PipelineKey,
    order: Option<&'a imbl::OrdMap<u64, GlobalId>>,
) -> impl DoubleEndedIterator<Item = &'a Arc<Job>> + use<'a> {
    let pipeline = pipeline.clone();
    order
        .into_iter()
        .flat_map(imbl::OrdMap::values)
        .filter_map(move |id| state.jobs.get(&pipeline.job(*id)))
}
