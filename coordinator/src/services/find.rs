//! Look-ups in the state. What is not found gives the status that clients expect.

use std::sync::Arc;

use howdah_model::{
    Branch, BranchKey, Commit, CommitKey, CommitRef, GlobalId, Job, JobKey, Pipeline, PipelineKey, Project,
    ProjectName, Rejection, Repo, RepoKey, State, query,
};
use tonic::Status;

use super::status::IntoStatus;

/// Finds a project.
pub(super) fn project<'a>(state: &'a State, name: &ProjectName) -> Result<&'a Arc<Project>, Status> {
    state
        .project(name)
        .ok_or_else(|| Rejection::NoProject(name.clone()).into_status())
}

/// Finds a repo.
pub(super) fn repo<'a>(state: &'a State, key: &RepoKey) -> Result<&'a Arc<Repo>, Status> {
    state
        .repo(key)
        .ok_or_else(|| Rejection::NoRepo(key.clone()).into_status())
}

/// Finds a branch. The status of a missing repo names the repo.
pub(super) fn branch<'a>(state: &'a State, key: &BranchKey) -> Result<&'a Arc<Branch>, Status> {
    repo(state, &key.repo)?;
    state
        .branch(key)
        .ok_or_else(|| Rejection::NoBranch(key.clone()).into_status())
}

/// Finds the commit that a reference names.
pub(super) fn commit<'a>(state: &'a State, reference: &CommitRef) -> Result<&'a Arc<Commit>, Status> {
    let key = commit_key(state, reference)?;
    commit_by_key(state, &key)
}

/// Finds the key of the commit that a reference names.
pub(super) fn commit_key(state: &State, reference: &CommitRef) -> Result<CommitKey, Status> {
    query::resolve_commit(state, reference).map_err(IntoStatus::into_status)
}

/// Finds a commit by its key.
pub(super) fn commit_by_key<'a>(state: &'a State, key: &CommitKey) -> Result<&'a Arc<Commit>, Status> {
    state
        .commit(key)
        .ok_or_else(|| Rejection::NoCommit(key.clone()).into_status())
}

/// Finds the commits of a set, and the commits of earlier sets that they were made from.
pub(super) fn commit_set(state: &State, id: GlobalId) -> Result<Vec<CommitKey>, Status> {
    let commits = query::commit_set(state, id);
    if commits.is_empty() {
        return Err(Rejection::NoCommitSet(id).into_status());
    }
    Ok(commits)
}

/// Finds a pipeline.
pub(super) fn pipeline<'a>(state: &'a State, key: &PipelineKey) -> Result<&'a Arc<Pipeline>, Status> {
    state
        .pipeline(key)
        .ok_or_else(|| Rejection::NoPipeline(key.clone()).into_status())
}

/// Finds a job.
pub(super) fn job<'a>(state: &'a State, key: &JobKey) -> Result<&'a Arc<Job>, Status> {
    state
        .job(key)
        .ok_or_else(|| Rejection::NoJob(key.clone()).into_status())
}
