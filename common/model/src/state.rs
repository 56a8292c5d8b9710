//! The state: every entity, and indices over them.
//!
//! All maps are persistent: a clone takes constant time and shares all entries. A reader may keep a clone while the
//! writer continues. `apply` updates the indices with each event; nothing rebuilds them.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::command::Transaction;
use crate::entities::{Branch, Commit, CommitSet, Job, Pipeline, Project, Repo, Secret};
use crate::ids::GlobalId;
use crate::names::{BranchKey, CommitKey, JobKey, PipelineKey, ProjectName, RepoKey};

/// All metadata.
///
/// Read it through its methods and [`crate::query`]; only `apply` changes it.
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
    // Indices in the order of creation: the number is the `seq` of the entity.
    pub(crate) repo_commits: OrdMap<RepoKey, OrdMap<u64, GlobalId>>,
    pub(crate) set_order: OrdMap<u64, GlobalId>,
    pub(crate) job_order: OrdMap<u64, JobKey>,
    pub(crate) pipeline_jobs: OrdMap<PipelineKey, OrdMap<u64, GlobalId>>,
    pub(crate) open_jobs: OrdMap<PipelineKey, OrdMap<u64, GlobalId>>,
    /// The cron repositories of pipelines, each with the pipelines that use it.
    pub(crate) cron_repos: OrdMap<RepoKey, OrdSet<PipelineKey>>,
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

/// Defaults that were never set: an empty JSON object.
pub(crate) const NO_DEFAULTS: &str = "{}";

impl State {
    /// Returns the state of a new system: one empty project, `default`.
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

    /// Returns a project; `None` if it does not exist.
    #[must_use]
    pub fn project(&self, name: &ProjectName) -> Option<&Arc<Project>> {
        self.projects.get(name)
    }

    /// Returns all projects by name.
    pub fn projects(&self) -> impl DoubleEndedIterator<Item = &Arc<Project>> {
        self.projects.values()
    }

    /// Returns a repository; `None` if it does not exist.
    #[must_use]
    pub fn repo(&self, key: &RepoKey) -> Option<&Arc<Repo>> {
        self.repos.get(key)
    }

    /// Returns all repositories of all types by key.
    pub fn repos(&self) -> impl DoubleEndedIterator<Item = &Arc<Repo>> {
        self.repos.values()
    }

    /// Returns a branch; `None` if it does not exist.
    #[must_use]
    pub fn branch(&self, key: &BranchKey) -> Option<&Arc<Branch>> {
        self.branches.get(key)
    }

    /// Returns all branches by key.
    pub fn branches(&self) -> impl DoubleEndedIterator<Item = &Arc<Branch>> {
        self.branches.values()
    }

    /// Returns a commit; `None` if it does not exist.
    #[must_use]
    pub fn commit(&self, key: &CommitKey) -> Option<&Arc<Commit>> {
        self.commits.get(key)
    }

    /// Returns all commits by key.
    pub fn commits(&self) -> impl DoubleEndedIterator<Item = &Arc<Commit>> {
        self.commits.values()
    }

    /// Returns a commit set; `None` if it does not exist.
    #[must_use]
    pub fn set(&self, id: GlobalId) -> Option<&Arc<CommitSet>> {
        self.sets.get(&id)
    }

    /// Returns the ids of all commit sets, oldest first.
    pub fn set_ids(&self) -> impl DoubleEndedIterator<Item = GlobalId> {
        self.set_order.values().copied()
    }

    /// Returns a pipeline; `None` if it does not exist.
    #[must_use]
    pub fn pipeline(&self, key: &PipelineKey) -> Option<&Arc<Pipeline>> {
        self.pipelines.get(key)
    }

    /// Returns all pipelines by key.
    pub fn pipelines(&self) -> impl DoubleEndedIterator<Item = &Arc<Pipeline>> {
        self.pipelines.values()
    }

    /// Returns a job; `None` if it does not exist.
    #[must_use]
    pub fn job(&self, key: &JobKey) -> Option<&Arc<Job>> {
        self.jobs.get(key)
    }

    /// Returns all jobs, oldest first.
    pub fn jobs(&self) -> impl DoubleEndedIterator<Item = &Arc<Job>> {
        self.job_order.values().filter_map(|key| self.jobs.get(key))
    }

    /// Returns a transaction; `None` if it does not exist.
    #[must_use]
    pub fn transaction(&self, id: GlobalId) -> Option<&Arc<Transaction>> {
        self.transactions.get(&id)
    }

    /// Returns all open transactions by id.
    pub fn transactions(&self) -> impl DoubleEndedIterator<Item = &Arc<Transaction>> {
        self.transactions.values()
    }

    /// Returns a secret; `None` if it does not exist.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&Arc<Secret>> {
        self.secrets.get(name)
    }

    /// Returns all secrets by name.
    pub fn secrets(&self) -> impl DoubleEndedIterator<Item = &Arc<Secret>> {
        self.secrets.values()
    }

    /// Returns the defaults for all pipelines, a JSON object.
    #[must_use]
    pub fn cluster_defaults(&self) -> &str {
        &self.cluster_defaults
    }

    /// Returns the `seq` of the next entity. It rises with each one.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }
}
