//! Arguments that name repos, branches, commits, files and jobs.
//!
//! The project is never part of an argument; the module `wire` adds it when it converts an argument to a message.

use thiserror::Error;

/// Why an argument does not name what it should.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum ArgumentError {
    /// There is no text before the `@`.
    #[error("invalid {what} {text:?}: repo cannot be empty")]
    EmptyRepo {
        /// The kind of thing that the argument has to name.
        what: &'static str,
        /// The argument.
        text: String,
    },
    /// A repo was expected, but more was given.
    #[error("invalid repo {text:?}: cannot specify a branch, commit or file path, only the name of a repo")]
    MoreThanRepo {
        /// The argument.
        text: String,
    },
    /// A path was given where none can be.
    #[error("invalid {what} {text:?}: cannot specify a file path")]
    UnexpectedPath {
        /// The kind of thing that the argument has to name.
        what: &'static str,
        /// The argument.
        text: String,
    },
    /// A commit was given where a branch is expected.
    #[error("invalid branch {text:?}: cannot specify a commit, name a branch (repo@branch)")]
    CommitForBranch {
        /// The argument.
        text: String,
    },
    /// The text behind the `@` of a job is not an id.
    #[error(
        "invalid job {text:?}: expected the form pipeline@id, and {id:?} is no id (32 hex digits); `list job -p {pipeline}` lists the pipeline's jobs"
    )]
    NotAJobId {
        /// The argument.
        text: String,
        /// The part before the `@`.
        pipeline: String,
        /// The part behind it.
        id: String,
    },
    /// There is no `@`, or nothing behind it.
    #[error("invalid {what} {text:?}: expected the form {form}")]
    Incomplete {
        /// The kind of thing that the argument has to name.
        what: &'static str,
        /// The argument.
        text: String,
        /// How it is written.
        form: &'static str,
    },
}

/// The type of repos that users make.
pub(crate) const USER_TYPE: &str = "user";

/// A repo: `name` or `name.type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RepoArgument {
    /// The repo's name.
    pub name: String,
    /// `user`, `meta` or `spec`.
    pub kind: String,
}

/// A branch: `repo@branch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BranchArgument {
    /// The repo of the branch.
    pub repo: RepoArgument,
    /// The branch's name.
    pub name: String,
}

/// A commit: `repo@branch`, `repo@id`, `repo@branch=id`, each with ancestry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommitArgument {
    /// The repo of the commit.
    pub repo: RepoArgument,
    /// The branch, if the text names one.
    pub branch: Option<String>,
    /// An id, or any text with ancestry marks; empty if only a branch is given.
    pub id: String,
}

/// A file: a commit, then `:path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileArgument {
    /// The commit that holds the file.
    pub commit: CommitArgument,
    /// The path as written; none without a colon.
    pub path: Option<String>,
}

/// A job: `pipeline@id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobArgument {
    /// The pipeline's name.
    pub pipeline: String,
    /// The job's id.
    pub id: String,
}

/// The parts of `repo@commit:path`: split at the first `@`, then at the first `:` behind it.
struct ArgumentParts<'a> {
    repo: &'a str,
    commit: Option<&'a str>,
    path: Option<&'a str>,
}

fn split(text: &str) -> ArgumentParts<'_> {
    match text.split_once('@') {
        Some((repo, rest)) => match rest.split_once(':') {
            Some((commit, path)) => ArgumentParts {
                repo,
                commit: Some(commit),
                path: Some(path),
            },
            None => ArgumentParts {
                repo,
                commit: Some(rest),
                path: None,
            },
        },
        None => match text.split_once(':') {
            Some((repo, path)) => ArgumentParts {
                repo,
                commit: None,
                path: Some(path),
            },
            None => ArgumentParts {
                repo: text,
                commit: None,
                path: None,
            },
        },
    }
}

fn repo_of(what: &'static str, text: &str, repo: &str) -> Result<RepoArgument, ArgumentError> {
    let (name, kind) = match repo.split_once('.') {
        Some((name, kind)) if !kind.is_empty() => (name, kind),
        _ => (repo, USER_TYPE),
    };
    if name.is_empty() {
        return Err(ArgumentError::EmptyRepo {
            what,
            text: text.to_owned(),
        });
    }
    Ok(RepoArgument {
        name: name.to_owned(),
        kind: kind.to_owned(),
    })
}

/// Returns whether the text has the shape of an id: 32 lower-case hex digits, the 13th of them a 4.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 32
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && text.as_bytes()[12] == b'4'
}

fn is_branch_name(text: &str) -> bool {
    !text.is_empty()
        && !is_id(text)
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Reads a repo.
pub(crate) fn repo(text: &str) -> Result<RepoArgument, ArgumentError> {
    let parts = split(text);
    if parts.commit.is_some() || parts.path.is_some() {
        return Err(ArgumentError::MoreThanRepo { text: text.to_owned() });
    }
    repo_of("repo", text, parts.repo)
}

/// Reads a branch.
pub(crate) fn branch(text: &str) -> Result<BranchArgument, ArgumentError> {
    let parts = split(text);
    let repo = repo_of("branch", text, parts.repo)?;
    if parts.path.is_some() {
        return Err(ArgumentError::UnexpectedPath {
            what: "branch",
            text: text.to_owned(),
        });
    }
    match parts.commit {
        Some(name) if is_branch_name(name) => Ok(BranchArgument {
            repo,
            name: name.to_owned(),
        }),
        Some("") | None => Err(ArgumentError::Incomplete {
            what: "branch",
            text: text.to_owned(),
            form: "repo@branch",
        }),
        Some(_) => Err(ArgumentError::CommitForBranch { text: text.to_owned() }),
    }
}

/// Reads a commit.
pub(crate) fn commit(text: &str) -> Result<CommitArgument, ArgumentError> {
    let parts = split(text);
    if parts.path.is_some() {
        return Err(ArgumentError::UnexpectedPath {
            what: "commit",
            text: text.to_owned(),
        });
    }
    commit_of("commit", text, &parts, "repo@branch-or-id")
}

/// Reads a repo, or a repo with a branch or commit; the second part may be missing.
pub(crate) fn repo_or_commit(text: &str) -> Result<(RepoArgument, Option<CommitArgument>), ArgumentError> {
    let parts = split(text);
    if parts.path.is_some() {
        return Err(ArgumentError::UnexpectedPath {
            what: "commit",
            text: text.to_owned(),
        });
    }
    match parts.commit {
        None | Some("") => Ok((repo_of("repo", text, parts.repo)?, None)),
        Some(_) => commit(text).map(|commit| (commit.repo.clone(), Some(commit))),
    }
}

fn commit_of(
    what: &'static str,
    text: &str,
    parts: &ArgumentParts<'_>,
    form: &'static str,
) -> Result<CommitArgument, ArgumentError> {
    let repo = repo_of(what, text, parts.repo)?;
    let Some(named) = parts.commit.filter(|commit| !commit.is_empty()) else {
        return Err(ArgumentError::Incomplete {
            what,
            text: text.to_owned(),
            form,
        });
    };
    if let Some((branch, id)) = named.split_once('=') {
        return Ok(CommitArgument {
            repo,
            branch: Some(branch.to_owned()),
            id: id.to_owned(),
        });
    }
    Ok(if is_branch_name(named) {
        CommitArgument {
            repo,
            branch: Some(named.to_owned()),
            id: String::new(),
        }
    } else {
        CommitArgument {
            repo,
            branch: None,
            id: named.to_owned(),
        }
    })
}

/// Reads a file, or a commit for its root.
pub(crate) fn file(text: &str) -> Result<FileArgument, ArgumentError> {
    let parts = split(text);
    let commit = commit_of("file", text, &parts, "repo@branch-or-commit:path")?;
    Ok(FileArgument {
        commit,
        path: parts.path.map(str::to_owned),
    })
}

/// Reads a job.
pub(crate) fn job(text: &str) -> Result<JobArgument, ArgumentError> {
    let incomplete = || ArgumentError::Incomplete {
        what: "job",
        text: text.to_owned(),
        form: "pipeline@id",
    };
    let (pipeline, id) = text.split_once('@').ok_or_else(incomplete)?;
    if pipeline.is_empty() || id.is_empty() {
        return Err(incomplete());
    }
    if id.contains(':') {
        return Err(ArgumentError::UnexpectedPath {
            what: "job",
            text: text.to_owned(),
        });
    }
    if !is_id(id) {
        return Err(ArgumentError::NotAJobId {
            text: text.to_owned(),
            pipeline: pipeline.to_owned(),
            id: id.to_owned(),
        });
    }
    Ok(JobArgument {
        pipeline: pipeline.to_owned(),
        id: id.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789ab4def0123456789abcdef";

    #[test]
    fn repos_have_types() {
        assert_eq!(
            repo("images"),
            Ok(RepoArgument {
                name: "images".into(),
                kind: "user".into()
            })
        );
        assert_eq!(
            repo("edges.meta"),
            Ok(RepoArgument {
                name: "edges".into(),
                kind: "meta".into()
            })
        );
        assert!(repo("").unwrap_err().to_string().contains("repo cannot be empty"));
        assert!(
            repo("images@master")
                .unwrap_err()
                .to_string()
                .contains("only the name of a repo")
        );
    }

    #[test]
    fn branches_are_not_commits() {
        assert_eq!(branch("images@master").map(|branch| branch.name), Ok("master".into()));
        assert!(
            branch(&format!("images@{ID}"))
                .unwrap_err()
                .to_string()
                .contains("cannot specify a commit")
        );
        assert!(
            branch("images@master^")
                .unwrap_err()
                .to_string()
                .contains("cannot specify a commit")
        );
        assert!(
            branch("images@master:x")
                .unwrap_err()
                .to_string()
                .contains("cannot specify a file path")
        );
        assert!(branch("images").unwrap_err().to_string().contains("repo@branch"));
        assert!(
            branch("@master")
                .unwrap_err()
                .to_string()
                .contains("repo cannot be empty")
        );
    }

    #[test]
    fn commits_are_branches_ids_or_ancestry() {
        let parts = |text: &str| commit(text).map(|commit| (commit.branch, commit.id));
        assert_eq!(parts("images@master"), Ok((Some("master".into()), String::new())));
        assert_eq!(parts(&format!("images@{ID}")), Ok((None, ID.into())));
        assert_eq!(parts("images@master^2"), Ok((None, "master^2".into())));
        assert_eq!(parts("images@master.1"), Ok((None, "master.1".into())));
        assert_eq!(
            parts(&format!("images@master={ID}")),
            Ok((Some("master".into()), ID.into()))
        );
        assert!(
            commit("images@master:/a")
                .unwrap_err()
                .to_string()
                .contains("cannot specify a file path")
        );
        assert!(commit("images").is_err());
        assert!(
            commit("@master")
                .unwrap_err()
                .to_string()
                .contains("repo cannot be empty")
        );
    }

    #[test]
    fn paths_may_hold_both_separators() {
        let file = file("images@master:/a@b:c").expect("a file");
        assert_eq!(file.path.as_deref(), Some("/a@b:c"));
        assert_eq!(file.commit.branch.as_deref(), Some("master"));
    }

    #[test]
    fn jobs_need_a_pipeline() {
        assert_eq!(
            job(&format!("edges@{ID}")),
            Ok(JobArgument {
                pipeline: "edges".into(),
                id: ID.into()
            })
        );
        // The name of a branch is not accepted: a job has the id of its commit.
        assert_eq!(
            job("edges@master").unwrap_err().to_string(),
            "invalid job \"edges@master\": expected the form pipeline@id, and \"master\" is no id (32 hex digits); \
             `list job -p edges` lists the pipeline's jobs"
        );
        assert!(job(ID).unwrap_err().to_string().contains("pipeline@id"));
    }

    #[test]
    fn ids_are_recognised_by_their_shape() {
        assert!(is_id(ID));
        assert!(!is_id("0123456789ab1def0123456789abcdef"));
        assert!(!is_id("master"));
    }
}
