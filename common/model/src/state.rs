//! The state: every entity, and the indices that keep questions cheap.
//!
//! All maps are persistent: a clone costs nothing and shares everything, so a reader may keep one
//! for as long as it likes while the writer goes on. Indices are kept by `apply`, never rebuilt.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::entities::{Branch, Commit, CommitSet, Job, Pipeline, Project, Repo, Secret, Transaction};
use crate::ids::GlobalId;
use crate::names::{BranchKey, CommitKey, JobKey, PipelineKey, ProjectName, RepoKey};

/// Everything there is to know except the bytes of files.
///
/// Read it through its methods and [`crate::query`]; only `apply` writes to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub(crate) projects: OrdMap<ProjectName, Arc<Project>>,
    pub(crate) repos: OrdMap<RepoKey, Arc<Repo>>,
    pub(crate) branches: OrdMap<BranchKey, Arc<Branch>>,
    pub(crate) commits: OrdMap<CommitKey, Arc<Commit>>,
    pub(crate) sets: OrdMap<GlobalId, Arc<CommitSet>>,
    pub(crate) pipelines: OrdMap<PipelineKey, Arc<Pipeline>>,
    pub(crate) jobs: OrdMap<JobKey, Arc<Job>>,
    pub(crate) transactions: OrdMap<GlobalId, Arc<Transaction>>,
    pub(crate) secrets: OrdMap<String, Arc<Secret>>,
    pub(crate) cluster_defaults: Arc<str>,
    pub(crate) next_seq: u64,
    // Indices, by order of creation.
    pub(crate) repo_commits: OrdMap<RepoKey, OrdMap<u64, GlobalId>>,
    pub(crate) set_order: OrdMap<u64, GlobalId>,
    pub(crate) job_order: OrdMap<u64, JobKey>,
    pub(crate) pipeline_jobs: OrdMap<PipelineKey, OrdMap<u64, GlobalId>>,
    pub(crate) open_jobs: OrdMap<PipelineKey, OrdMap<u64, GlobalId>>,
    /// Projects of pipelines' cron repositories and the pipelines they belong to.
    pub(crate) cron_repos: OrdMap<RepoKey, OrdSet<PipelineKey>>,
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

/// Text of defaults that were never set.
pub(crate) const NO_DEFAULTS: &str = "{}";

impl State {
    /// Makes the state of a new system: one empty project, `default`.
    #[must_use]
    pub fn new() -> Self {
        let mut state = Self {
            projects: OrdMap::new(),
            repos: OrdMap::new(),
            branches: OrdMap::new(),
            commits: OrdMap::new(),
            sets: OrdMap::new(),
            pipelines: OrdMap::new(),
            jobs: OrdMap::new(),
            transactions: OrdMap::new(),
            secrets: OrdMap::new(),
            cluster_defaults: Arc::from(NO_DEFAULTS),
            next_seq: 1,
            repo_commits: OrdMap::new(),
            set_order: OrdMap::new(),
            job_order: OrdMap::new(),
            pipeline_jobs: OrdMap::new(),
            open_jobs: OrdMap::new(),
            cron_repos: OrdMap::new(),
        };
        state.add_default_project(Timestamp::UNIX_EPOCH);
        state
    }

    pub(crate) fn add_default_project(&mut self, created: Timestamp) {
        let name = ProjectName::default_project();
        let project = Project {
            name: name.clone(),
            description: String::new(),
            created,
            defaults: Arc::from(NO_DEFAULTS),
        };
        self.projects.insert(name, Arc::new(project));
    }

    /// Looks a project up.
    #[must_use]
    pub fn project(&self, name: &ProjectName) -> Option<&Arc<Project>> {
        self.projects.get(name)
    }

    /// Gives all projects by name.
    pub fn projects(&self) -> impl DoubleEndedIterator<Item = &Arc<Project>> {
        self.projects.values()
    }

    /// Looks a repository up.
    #[must_use]
    pub fn repo(&self, key: &RepoKey) -> Option<&Arc<Repo>> {
        self.repos.get(key)
    }

    /// Gives all repositories of all types by key.
    pub fn repos(&self) -> impl DoubleEndedIterator<Item = &Arc<Repo>> {
        self.repos.values()
    }

    /// Looks a branch up.
    #[must_use]
    pub fn branch(&self, key: &BranchKey) -> Option<&Arc<Branch>> {
        self.branches.get(key)
    }

    /// Gives all branches by key.
    pub fn branches(&self) -> impl DoubleEndedIterator<Item = &Arc<Branch>> {
        self.branches.values()
    }

    /// Looks a commit up.
    #[must_use]
    pub fn commit(&self, key: &CommitKey) -> Option<&Arc<Commit>> {
        self.commits.get(key)
    }

    /// Gives all commits by key.
    pub fn commits(&self) -> impl DoubleEndedIterator<Item = &Arc<Commit>> {
        self.commits.values()
    }

    /// Looks a commit set up.
    #[must_use]
    pub fn set(&self, id: GlobalId) -> Option<&Arc<CommitSet>> {
        self.sets.get(&id)
    }

    /// Gives the ids of all commit sets, oldest first.
    pub fn set_ids(&self) -> impl DoubleEndedIterator<Item = GlobalId> {
        self.set_order.values().copied()
    }

    /// Looks a pipeline up.
    #[must_use]
    pub fn pipeline(&self, key: &PipelineKey) -> Option<&Arc<Pipeline>> {
        self.pipelines.get(key)
    }

    /// Gives all pipelines by key.
    pub fn pipelines(&self) -> impl DoubleEndedIterator<Item = &Arc<Pipeline>> {
        self.pipelines.values()
    }

    /// Looks a job up.
    #[must_use]
    pub fn job(&self, key: &JobKey) -> Option<&Arc<Job>> {
        self.jobs.get(key)
    }

    /// Gives all jobs, oldest first.
    pub fn jobs(&self) -> impl DoubleEndedIterator<Item = &Arc<Job>> {
        self.job_order.values().filter_map(|key| self.jobs.get(key))
    }

    /// Looks a transaction up.
    #[must_use]
    pub fn transaction(&self, id: GlobalId) -> Option<&Arc<Transaction>> {
        self.transactions.get(&id)
    }

    /// Gives all open transactions by id.
    pub fn transactions(&self) -> impl DoubleEndedIterator<Item = &Arc<Transaction>> {
        self.transactions.values()
    }

    /// Looks a secret up.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&Arc<Secret>> {
        self.secrets.get(name)
    }

    /// Gives all secrets by name.
    pub fn secrets(&self) -> impl DoubleEndedIterator<Item = &Arc<Secret>> {
        self.secrets.values()
    }

    /// Gives the defaults of all pipelines, a JSON object.
    #[must_use]
    pub fn cluster_defaults(&self) -> &str {
        &self.cluster_defaults
    }

    /// Gives a number that grows with every entity made.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }
}
