//! Small constructors of messages, and conversions of names, times and durations.

use jiff::Timestamp;

use crate::{pfs_v2, pps_v2};

/// Project of a name without one.
pub const DEFAULT_PROJECT: &str = "default";

/// Returns the message of a project.
pub fn project(name: impl Into<String>) -> pfs_v2::Project {
    pfs_v2::Project { name: name.into() }
}

/// Returns the message of a user repo.
pub fn repo(project_name: impl Into<String>, name: impl Into<String>) -> pfs_v2::Repo {
    typed_repo(project_name, name, "user")
}

/// Returns the message of a repo with a type: `user`, `meta` or `spec`.
pub fn typed_repo(project_name: impl Into<String>, name: impl Into<String>, kind: impl Into<String>) -> pfs_v2::Repo {
    pfs_v2::Repo {
        name: name.into(),
        r#type: kind.into(),
        project: Some(project(project_name)),
    }
}

/// Returns the message of a branch in a user repo.
pub fn branch(
    project_name: impl Into<String>,
    repo_name: impl Into<String>,
    name: impl Into<String>,
) -> pfs_v2::Branch {
    branch_of(repo(project_name, repo_name), name)
}

/// Returns the message of a branch in a repo.
pub fn branch_of(repo: pfs_v2::Repo, name: impl Into<String>) -> pfs_v2::Branch {
    pfs_v2::Branch {
        repo: Some(repo),
        name: name.into(),
    }
}

/// Returns the message of a commit with an id or with a reference (`master^2`).
pub fn commit(repo: pfs_v2::Repo, id: impl Into<String>) -> pfs_v2::Commit {
    pfs_v2::Commit {
        branch: None,
        id: id.into(),
        repo: Some(repo),
    }
}

/// Returns the message of the head of a branch.
pub fn head(repo: pfs_v2::Repo, branch_name: impl Into<String>) -> pfs_v2::Commit {
    pfs_v2::Commit {
        branch: Some(branch_of(repo.clone(), branch_name)),
        id: String::new(),
        repo: Some(repo),
    }
}

/// Returns the message of a file.
pub fn file(commit: pfs_v2::Commit, path: impl Into<String>) -> pfs_v2::File {
    pfs_v2::File {
        commit: Some(commit),
        path: path.into(),
        datum: String::new(),
    }
}

/// Returns the message of a pipeline.
pub fn pipeline(project_name: impl Into<String>, name: impl Into<String>) -> pps_v2::Pipeline {
    pps_v2::Pipeline {
        name: name.into(),
        project: Some(project(project_name)),
    }
}

/// Returns the message of a job.
pub fn job(pipeline: pps_v2::Pipeline, id: impl Into<String>) -> pps_v2::Job {
    pps_v2::Job {
        pipeline: Some(pipeline),
        id: id.into(),
    }
}

/// Returns the name of a project; `default` without one.
pub fn project_name(project: Option<&pfs_v2::Project>) -> &str {
    match project {
        Some(project) if !project.name.is_empty() => &project.name,
        _ => DEFAULT_PROJECT,
    }
}

/// Returns the message of a time.
pub fn to_timestamp(time: Timestamp) -> prost_types::Timestamp {
    // The nanoseconds of a protobuf time are never negative, also before 1970; those of jiff have the sign of the
    // seconds.
    let nanos = time.as_nanosecond();
    let seconds = nanos.div_euclid(1_000_000_000);
    prost_types::Timestamp {
        seconds: seconds as i64,
        nanos: nanos.rem_euclid(1_000_000_000) as i32,
    }
}

/// Returns the time of a message; `None` if it is out of range.
pub fn from_timestamp(time: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// Returns the message of a duration.
pub fn to_duration(duration: std::time::Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: duration.subsec_nanos() as i32,
    }
}

/// Returns the message of a duration in milliseconds.
pub fn millis_to_duration(millis: u64) -> prost_types::Duration {
    to_duration(std::time::Duration::from_millis(millis))
}

/// Returns the duration of a message; a negative one is zero.
pub fn from_duration(duration: &prost_types::Duration) -> std::time::Duration {
    match (u64::try_from(duration.seconds), u32::try_from(duration.nanos)) {
        (Ok(seconds), Ok(nanos)) => std::time::Duration::new(seconds, nanos.min(999_999_999)),
        _ => std::time::Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_round_trip_on_both_sides_of_1970() {
        for nanos in [0i128, 1, 1_500_000_000, -1, -1_500_000_000] {
            let time = Timestamp::from_nanosecond(nanos).unwrap();
            let message = to_timestamp(time);
            assert!(message.nanos >= 0);
            assert_eq!(from_timestamp(&message), Some(time));
        }
    }

    #[test]
    fn durations_survive_the_round_trip() {
        let duration = std::time::Duration::from_millis(1_234);
        assert_eq!(from_duration(&to_duration(duration)), duration);
        let negative = prost_types::Duration { seconds: -1, nanos: 0 };
        assert_eq!(from_duration(&negative), std::time::Duration::ZERO);
    }

    #[test]
    fn an_absent_or_unnamed_project_is_the_default_one() {
        assert_eq!(project_name(None), "default");
        assert_eq!(project_name(Some(&project(""))), "default");
        assert_eq!(project_name(Some(&project("vision"))), "vision");
    }
}
