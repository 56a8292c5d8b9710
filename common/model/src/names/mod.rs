//! Names of projects, repositories, branches and pipelines, and the keys made of them.
//!
//! A value of a name type is always legal. Keys print in the form that clients know (`default/images`,
//! `default/edges.meta`, `default/images@master`), parse from it, and serialise as that string.
//!
//! `name` has the names, `key` the keys and the type of a repository, `string_serde` their serde form.

#[macro_use]
mod string_serde;

mod key;
mod name;

pub use key::{BranchKey, CommitKey, JobKey, PipelineKey, RepoKey, RepoType, repo_type};
pub use name::{BranchName, MAX_NAME, NameError, PipelineName, ProjectName, RepoName};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::GlobalId;

    #[test]
    fn keys_print_and_parse() {
        let id = GlobalId::from_number(1);
        for text in ["default/images", "default/edges.meta", "p-1/_x.spec"] {
            let repo: RepoKey = text.parse().unwrap();
            assert_eq!(repo.to_string(), text);
            let commit = repo.commit(id);
            assert_eq!(commit.to_string().parse(), Ok(commit));
            let branch = repo.branch(BranchName::master());
            assert_eq!(branch.to_string().parse(), Ok(branch));
        }
        let job: JobKey = format!("default/edges@{id}").parse().unwrap();
        assert_eq!(job.output_commit().job(), Some(job.clone()));
        assert_eq!(job.meta_commit().to_string(), format!("default/edges.meta@{id}"));
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(
            RepoName::new("a b").unwrap_err().to_string(),
            "name (a b) invalid: only alphanumeric characters, underscores, and dashes are allowed"
        );
        assert!(RepoName::new("").is_err());
        assert!(RepoName::new("-_x").is_ok());
        assert!(PipelineName::new("-x").is_err());
        assert!(ProjectName::new(&"x".repeat(51)).is_ok());
        assert!(ProjectName::new(&"x".repeat(52)).is_err());
        assert!(BranchName::new(&GlobalId::from_number(3).to_string()).is_err());
        assert!(BranchName::new("0123456789ab5def0123456789abcdef").is_ok());
        assert_eq!(
            "default/a.spec"
                .parse::<RepoKey>()
                .unwrap()
                .pipeline()
                .unwrap()
                .to_string(),
            "default/a"
        );
        assert!("default/a.cache".parse::<RepoKey>().is_err());
    }
}
