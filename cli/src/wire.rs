//! Conversions between the arguments of a command line and the messages of the API.

use howdah_api::{convert, pfs_v2, pps_v2};
use jiff::Timestamp;

use crate::refs::{BranchArgument, CommitArgument, FileArgument, JobArgument, RepoArgument, USER_TYPE};

/// Makes a repo's message.
pub(crate) fn repo(project: &str, repo: &RepoArgument) -> pfs_v2::Repo {
    convert::typed_repo(project, &repo.name, &repo.kind)
}

/// Makes a branch's message.
pub(crate) fn branch(project: &str, branch: &BranchArgument) -> pfs_v2::Branch {
    convert::branch_of(repo(project, &branch.repo), &branch.name)
}

/// Makes a commit's message.
pub(crate) fn commit(project: &str, commit: &CommitArgument) -> pfs_v2::Commit {
    let repo = repo(project, &commit.repo);
    pfs_v2::Commit {
        branch: commit
            .branch
            .as_ref()
            .map(|name| convert::branch_of(repo.clone(), name)),
        id: commit.id.clone(),
        repo: Some(repo),
    }
}

/// Makes the message of a commit named by a branch or an id within a repo.
pub(crate) fn commit_in(
    project: &str,
    repo: &RepoArgument,
    text: &str,
) -> Result<pfs_v2::Commit, crate::refs::ArgumentError> {
    let full = if text.contains('@') {
        text.to_owned()
    } else {
        format!("{}.{}@{text}", repo.name, repo.kind)
    };
    crate::refs::commit(&full).map(|reference| commit(project, &reference))
}

/// Makes a file's message; no path is the root.
pub(crate) fn file(project: &str, file: &FileArgument) -> pfs_v2::File {
    convert::file(commit(project, &file.commit), file.path.clone().unwrap_or_default())
}

/// Makes a job's message.
pub(crate) fn job(project: &str, job: &JobArgument) -> pps_v2::Job {
    convert::job(convert::pipeline(project, &job.pipeline), &job.id)
}

/// Returns a repo's name as arguments have it: `name`, or `name.type`.
pub(crate) fn repo_name(repo: Option<&pfs_v2::Repo>) -> String {
    match repo {
        None => String::new(),
        Some(repo) if repo.r#type.is_empty() || repo.r#type == USER_TYPE => repo.name.clone(),
        Some(repo) => format!("{}.{}", repo.name, repo.r#type),
    }
}

/// Returns the project of a repo.
pub(crate) fn repo_project(repo: Option<&pfs_v2::Repo>) -> String {
    convert::project_name(repo.and_then(|repo| repo.project.as_ref())).to_owned()
}

/// Returns the repo of a commit: that of the commit, else that of its branch.
pub(crate) fn commit_repo(commit: &pfs_v2::Commit) -> Option<&pfs_v2::Repo> {
    commit
        .repo
        .as_ref()
        .or_else(|| commit.branch.as_ref().and_then(|branch| branch.repo.as_ref()))
}

/// Returns `repo@id`.
pub(crate) fn commit_name(commit: &pfs_v2::Commit) -> String {
    let place = match (&commit.id, &commit.branch) {
        (id, Some(branch)) if id.is_empty() => &branch.name,
        (id, _) => id,
    };
    format!("{}@{place}", repo_name(commit_repo(commit)))
}

/// Returns `repo@branch`.
pub(crate) fn branch_name(branch: &pfs_v2::Branch) -> String {
    format!("{}@{}", repo_name(branch.repo.as_ref()), branch.name)
}

/// Returns `repo@id:path`.
pub(crate) fn file_name(file: &pfs_v2::File) -> String {
    match &file.commit {
        Some(commit) => format!("{}:{}", commit_name(commit), file.path),
        None => file.path.clone(),
    }
}

/// Returns a pipeline's name.
pub(crate) fn pipeline_name(pipeline: Option<&pps_v2::Pipeline>) -> &str {
    pipeline.map_or("", |pipeline| &pipeline.name)
}

/// Returns the project of a pipeline.
pub(crate) fn pipeline_project(pipeline: Option<&pps_v2::Pipeline>) -> &str {
    convert::project_name(pipeline.and_then(|pipeline| pipeline.project.as_ref()))
}

/// Returns `pipeline@id`.
pub(crate) fn job_name(job: Option<&pps_v2::Job>) -> String {
    job.map_or(String::new(), |job| {
        format!("{}@{}", pipeline_name(job.pipeline.as_ref()), job.id)
    })
}

/// Converts a time. The zero time of the wire means none.
pub(crate) fn moment(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    time.filter(|time| time.seconds != 0 || time.nanos != 0)
        .and_then(convert::from_timestamp)
}

/// Returns a duration in words; `-` if there is none.
pub(crate) fn duration(duration: Option<&prost_types::Duration>) -> String {
    match duration {
        None => crate::output::age::UNKNOWN.to_owned(),
        Some(duration) => {
            let duration = jiff::SignedDuration::new(duration.seconds, duration.nanos);
            crate::output::age::words(duration)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_may_be_named_within_their_repo() {
        let repo = RepoArgument {
            name: "images".to_owned(),
            kind: USER_TYPE.to_owned(),
        };
        let name = |text: &str| commit_in("default", &repo, text).map(|commit| commit_name(&commit));
        assert_eq!(name("master"), Ok("images@master".to_owned()));
        assert_eq!(name("master^"), Ok("images@master^".to_owned()));
        assert_eq!(name("other@dev"), Ok("other@dev".to_owned()));
    }
}
