//! Deletion of repositories and pipelines (semantics 22).

use std::cmp::Reverse;

use crate::command::Reply;
use crate::entities::JobOutcome;
use crate::event::Event;
use crate::names::{BranchKey, JobKey, PipelineKey, ProjectName, RepoKey, RepoType};
use crate::query;
use crate::rejection::Rejection;

use super::builder::{CommandResult, DecisionBuilder};

impl DecisionBuilder {
    pub(super) fn delete_repo(&mut self, repo: &RepoKey, force: bool) -> CommandResult {
        if !self.state.repos.contains_key(repo) {
            return Ok(Reply::DeletedRepos(Vec::new()));
        }
        if let Some(pipeline) = repo.pipeline()
            && self.state.pipelines.contains_key(&pipeline)
        {
            return Err(Rejection::RepoOfPipeline {
                repo: repo.clone(),
                pipeline,
            });
        }
        let mut deleted = vec![repo.clone()];
        // System repositories do not stay without the user repository.
        if repo.kind == RepoType::User {
            let system = [RepoType::Spec, RepoType::Meta].map(|kind| repo.with_kind(kind));
            deleted.extend(system.into_iter().filter(|r| self.state.repos.contains_key(r)));
        }
        if !force {
            self.check_unused(&deleted)?;
        }
        for repo in &deleted {
            self.drop_repo(repo);
        }
        Ok(Reply::DeletedRepos(deleted))
    }

    /// Checks that no branch of another repository depends on these.
    fn check_unused(&self, repos: &[RepoKey]) -> Result<(), Rejection> {
        for branch in repos.iter().flat_map(|repo| self.branches_of(repo)) {
            let mut dependants = self.direct_dependants(&branch);
            dependants.retain(|dependant| !repos.contains(&dependant.repo));
            if !dependants.is_empty() {
                return Err(Rejection::BranchInProvenance { branch, dependants });
            }
        }
        Ok(())
    }

    fn branches_of(&self, repo: &RepoKey) -> Vec<BranchKey> {
        let branches = self.state.repos.get(repo).map(|entity| entity.branches.clone());
        branches
            .unwrap_or_default()
            .into_iter()
            .map(|name| repo.branch(name))
            .collect()
    }

    /// Deletes a repository: kills the jobs that read from it and removes the provenance links to it.
    fn drop_repo(&mut self, repo: &RepoKey) {
        if !self.state.repos.contains_key(repo) {
            return;
        }
        for job in self.readers(repo) {
            let reason = format!("input repo {repo} was deleted");
            self.end_job(&job, JobOutcome::Killed(reason));
        }
        for branch in self.branches_of(repo) {
            self.detach(&branch);
        }
        self.emit(Event::RepoDeleted {
            repo: repo.clone(),
            at: self.at,
        });
    }

    /// Returns the open jobs that read from a repository.
    fn readers(&self, repo: &RepoKey) -> Vec<JobKey> {
        query::open_jobs(&self.state)
            .filter(|job| {
                let commit = self.state.commits.get(&job.output_commit);
                commit.is_some_and(|c| c.provenance.iter().any(|input| input.repo == *repo))
            })
            .map(|job| job.key.clone())
            .collect()
    }

    pub(super) fn delete_repos(&mut self, projects: Option<&[ProjectName]>, force: bool) -> CommandResult {
        self.require_projects(projects)?;
        let mut repos: Vec<RepoKey> = self
            .state
            .repos
            .keys()
            .filter(|repo| projects.is_none_or(|projects| projects.contains(&repo.project)))
            .filter(|repo| repo.kind == RepoType::User)
            .cloned()
            .collect();
        // Dependants first: without `force`, a repository with a dependant is rejected.
        repos.sort_by_cached_key(|repo| {
            let depth = |b: &BranchKey| self.state.branches.get(b).map_or(0, |b| b.provenance.len());
            Reverse(self.branches_of(repo).iter().map(depth).max())
        });
        let mut deleted = Vec::new();
        for repo in repos {
            if let Reply::DeletedRepos(more) = self.delete_repo(&repo, force)? {
                deleted.extend(more);
            }
        }
        Ok(Reply::DeletedRepos(deleted))
    }

    fn require_projects(&self, projects: Option<&[ProjectName]>) -> Result<(), Rejection> {
        projects
            .unwrap_or_default()
            .iter()
            .try_for_each(|name| self.require_project(name))
    }

    pub(super) fn delete_pipeline(
        &mut self,
        key: &PipelineKey,
        force: bool,
        keep_repo: bool,
        must_exist: bool,
    ) -> CommandResult {
        if !self.state.pipelines.contains_key(key) {
            return if must_exist {
                Err(Rejection::NoPipeline(key.clone()))
            } else {
                Ok(Reply::DeletedPipelines(Vec::new()))
            };
        }
        let (output, meta, spec) = (key.output_repo(), key.meta_repo(), key.spec_repo());
        if !force {
            let mut repos = vec![output.clone(), meta.clone(), spec.clone()];
            if keep_repo {
                // Other branches may depend on the kept output, but not on the meta and spec repository.
                repos = vec![meta.clone(), spec.clone()];
                self.check_unused_but(&repos, &output)?;
            } else {
                self.check_unused(&repos)?;
            }
        }
        self.kill_jobs(key, "pipeline deleted");
        // Cron repositories of this pipeline only. Read before the event, which removes the pipeline from the index.
        let cron: Vec<RepoKey> = self
            .state
            .cron_repos
            .iter()
            .filter(|(_, owners)| owners.len() == 1 && owners.contains(key))
            .map(|(repo, _)| repo.clone())
            .collect();
        self.emit(Event::PipelineDeleted { pipeline: key.clone() });
        if keep_repo {
            for branch in self.branches_of(&output) {
                self.unwire(&branch);
            }
        } else {
            self.drop_repo(&output);
        }
        self.drop_repo(&meta);
        self.drop_repo(&spec);
        for repo in cron {
            if force || self.check_unused(std::slice::from_ref(&repo)).is_ok() {
                self.drop_repo(&repo);
            }
        }
        Ok(Reply::DeletedPipelines(vec![key.clone()]))
    }

    /// Like [`DecisionBuilder::check_unused`], but a branch of `kept` may depend on them.
    fn check_unused_but(&self, repos: &[RepoKey], kept: &RepoKey) -> Result<(), Rejection> {
        for branch in repos.iter().flat_map(|repo| self.branches_of(repo)) {
            let mut dependants = self.direct_dependants(&branch);
            dependants.retain(|d| !repos.contains(&d.repo) && d.repo != *kept);
            if !dependants.is_empty() {
                return Err(Rejection::BranchInProvenance { branch, dependants });
            }
        }
        Ok(())
    }

    pub(super) fn delete_pipelines(
        &mut self,
        projects: Option<&[ProjectName]>,
        force: bool,
        keep_repo: bool,
    ) -> CommandResult {
        self.require_projects(projects)?;
        let mut keys: Vec<(Reverse<usize>, PipelineKey)> = self
            .state
            .pipelines
            .values()
            .filter(|p| projects.is_none_or(|projects| projects.contains(&p.key.project)))
            .map(|pipeline| {
                let branch = self.state.branches.get(&pipeline.output_branch());
                (Reverse(branch.map_or(0, |b| b.provenance.len())), pipeline.key.clone())
            })
            .collect();
        // Dependants first: without `force`, a pipeline with a dependant is rejected.
        keys.sort();
        let mut deleted = Vec::new();
        for (_, key) in keys {
            if let Reply::DeletedPipelines(more) = self.delete_pipeline(&key, force, keep_repo, false)? {
                deleted.extend(more);
            }
        }
        Ok(Reply::DeletedPipelines(deleted))
    }
}
