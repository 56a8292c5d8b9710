//! Questions about a state: references, readiness, bases, listings. Pure functions; nothing here changes the state.

mod commit;
mod job;
mod list;
mod set;

pub use commit::{
    BaseCommit, base_commit, base_content, build_content, commit_state, resolve_branch_or_commit, resolve_commit,
};
pub use job::{
    JobBase, JobInput, Readiness, job_base, job_inputs, job_ready, job_version, jobs_of_pipeline, jobs_of_set,
    open_jobs, open_jobs_of,
};
pub use list::{CommitQuery, list_branches, list_commits, list_pipelines, list_repos};
pub use set::{commit_set, set_members, set_provenance_order, subvenant_sets};
