//! Names in messages as names of the model, and back.
//!
//! A client may leave out the project and the type of a repo. The defaults are filled in here and nowhere else; replies
//! have every field.

use howdah_api::{convert, pfs_v2 as pfs, pps_v2 as pps};
use howdah_model::limits::MAX_REFERENCE_BYTES;
use howdah_model::{
    BranchKey, BranchName, CommitKey, CommitRef, GlobalId, JobKey, NameError, PipelineKey, PipelineName, ProjectName,
    Rejection, RepoKey, RepoName, names,
};
use tonic::Status;

use super::status::IntoStatus;

/// Returns the status for a field that must be set.
pub(super) fn missing(field: &str) -> Status {
    Status::invalid_argument(format!("validate request: {field} must be set"))
}

/// Returns the status for a bad name. Clients search its text; its code is the general one.
#[expect(clippy::needless_pass_by_value, reason = "the form that map_err calls")]
pub(super) fn bad_name(error: NameError) -> Status {
    Status::unknown(error.to_string())
}

/// Returns a text if it has at most `limit` bytes.
pub(super) fn bounded<'a>(field: &'static str, text: &'a str, limit: usize) -> Result<&'a str, Status> {
    check_size(field, text.len(), limit).map(|()| text)
}

/// Checks the number of bytes of a field.
pub(super) fn check_size(field: &'static str, bytes: usize, limit: usize) -> Result<(), Status> {
    if bytes <= limit {
        return Ok(());
    }
    Err(Rejection::TooLong { field, bytes, limit }.into_status())
}

/// Reads a project. Without a name it is the default one.
pub(super) fn project_name(project: Option<&pfs::Project>) -> Result<ProjectName, Status> {
    ProjectName::new(convert::project_name(project)).map_err(bad_name)
}

/// Reads a project that must be named.
pub(super) fn named_project(project: Option<&pfs::Project>) -> Result<ProjectName, Status> {
    match project {
        None => Err(missing("project")),
        Some(project) => ProjectName::new(&project.name).map_err(bad_name),
    }
}

/// Reads a repo that must be set.
pub(super) fn repo_key(repo: Option<&pfs::Repo>) -> Result<RepoKey, Status> {
    let repo = repo.ok_or_else(|| missing("repo"))?;
    Ok(RepoKey {
        project: project_name(repo.project.as_ref())?,
        name: RepoName::new(&repo.name).map_err(bad_name)?,
        kind: names::repo_type(&repo.r#type).map_err(bad_name)?,
    })
}

/// Reads a branch that must be set.
pub(super) fn branch_key(branch: Option<&pfs::Branch>) -> Result<BranchKey, Status> {
    let branch = branch.ok_or_else(|| missing("branch"))?;
    Ok(BranchKey {
        repo: repo_key(branch.repo.as_ref())?,
        name: BranchName::new(&branch.name).map_err(bad_name)?,
    })
}

/// Reads a branch name that may be empty.
pub(super) fn branch_name(name: &str) -> Result<Option<BranchName>, Status> {
    match name {
        "" => Ok(None),
        name => BranchName::new(name).map(Some).map_err(bad_name),
    }
}

/// Reads a reference to a commit that must be set.
pub(super) fn commit_ref(commit: Option<&pfs::Commit>) -> Result<CommitRef, Status> {
    let commit = commit.ok_or_else(|| missing("commit"))?;
    let branch = commit.branch.as_ref();
    let repo = commit
        .repo
        .as_ref()
        .or_else(|| branch.and_then(|branch| branch.repo.as_ref()));
    let reference = CommitRef {
        repo: repo_key(repo)?,
        branch: branch_name(branch.map_or("", |branch| &branch.name))?,
        id_or_ref: bounded("commit.id", &commit.id, MAX_REFERENCE_BYTES)?.to_owned(),
    };
    if reference.branch.is_none() && reference.id_or_ref.is_empty() {
        return Err(missing("commit id or branch"));
    }
    Ok(reference)
}

/// Reads a reference to a commit that may be absent.
pub(super) fn optional_commit_ref(commit: Option<&pfs::Commit>) -> Result<Option<CommitRef>, Status> {
    match commit {
        // Some clients send an empty message for "none".
        None => Ok(None),
        Some(commit) if commit.id.is_empty() && commit.branch.is_none() => Ok(None),
        Some(commit) => commit_ref(Some(commit)).map(Some),
    }
}

/// Reads a global id. A text that is no id names nothing, so it is not found.
pub(super) fn global_id(text: &str, not_found: impl FnOnce() -> Status) -> Result<GlobalId, Status> {
    text.parse().map_err(|_| not_found())
}

/// Reads a pipeline that must be set.
pub(super) fn pipeline_key(pipeline: Option<&pps::Pipeline>) -> Result<PipelineKey, Status> {
    let pipeline = pipeline.ok_or_else(|| missing("pipeline"))?;
    if pipeline.name.is_empty() {
        return Err(missing("pipeline.name"));
    }
    Ok(PipelineKey {
        project: project_name(pipeline.project.as_ref())?,
        name: PipelineName::new(&pipeline.name).map_err(bad_name)?,
    })
}

/// Reads a job that must be set.
pub(super) fn job_key(job: Option<&pps::Job>) -> Result<JobKey, Status> {
    let job = job.ok_or_else(|| missing("job"))?;
    let pipeline = pipeline_key(job.pipeline.as_ref())?;
    let id = global_id(&job.id, || {
        Status::not_found(format!("jobs {pipeline}@{} not found", job.id))
    })?;
    Ok(JobKey { pipeline, id })
}

/// Reads the projects of a filter; none means all.
pub(super) fn project_names(projects: &[pfs::Project]) -> Result<Vec<ProjectName>, Status> {
    projects.iter().map(|project| project_name(Some(project))).collect()
}

/// Writes a project.
pub(super) fn project(name: &ProjectName) -> pfs::Project {
    convert::project(name.as_str())
}

/// Writes a repo.
pub(super) fn repo(key: &RepoKey) -> pfs::Repo {
    convert::typed_repo(key.project.as_str(), key.name.as_str(), key.kind.as_str())
}

/// Writes a branch.
pub(super) fn branch(key: &BranchKey) -> pfs::Branch {
    convert::branch_of(repo(&key.repo), key.name.as_str())
}

/// Writes a commit, without a branch, as clients expect.
pub(super) fn commit(key: &CommitKey) -> pfs::Commit {
    convert::commit(repo(&key.repo), key.id.to_string())
}

/// Writes a file of a commit.
pub(super) fn file(key: &CommitKey, path: impl Into<String>) -> pfs::File {
    convert::file(commit(key), path)
}

/// Writes a pipeline.
pub(super) fn pipeline(key: &PipelineKey) -> pps::Pipeline {
    convert::pipeline(key.project.as_str(), key.name.as_str())
}

/// Writes a job.
pub(super) fn job(key: &JobKey) -> pps::Job {
    convert::job(pipeline(&key.pipeline), key.id.to_string())
}

/// Writes a count as the signed number that the messages have for it; too large a count becomes the largest one.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_a_client_leaves_out_get_their_defaults() {
        let sent = pfs::Repo {
            name: "images".into(),
            ..Default::default()
        };
        let key = repo_key(Some(&sent)).unwrap();
        assert_eq!(key.to_string(), "default/images");
        assert_eq!(repo(&key), convert::repo("default", "images"));
    }

    #[test]
    fn a_commit_is_named_by_id_ancestry_or_branch() {
        let repo = convert::repo("p", "images");
        let by_id = commit_ref(Some(&convert::commit(repo.clone(), "master^2"))).unwrap();
        assert_eq!(by_id.to_string(), "p/images@master^2");
        let by_branch = pfs::Commit {
            branch: Some(convert::branch_of(repo.clone(), "master")),
            ..Default::default()
        };
        assert_eq!(commit_ref(Some(&by_branch)).unwrap().to_string(), "p/images@master");
        let nothing = convert::commit(repo, "");
        assert_eq!(
            commit_ref(Some(&nothing)).unwrap_err().code(),
            tonic::Code::InvalidArgument
        );
        assert_eq!(optional_commit_ref(Some(&nothing)).unwrap(), None);
    }

    #[test]
    fn the_status_of_a_bad_name_has_the_text_that_clients_search_for() {
        let status = repo_key(Some(&convert::repo("default", "a.b"))).unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unknown);
        assert_eq!(
            status.message(),
            "name (a.b) invalid: only alphanumeric characters, underscores, and dashes are allowed"
        );
    }
}
