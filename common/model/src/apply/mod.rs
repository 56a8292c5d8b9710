//! The effect of an event on a state.
//!
//! [`apply`] names every event once and calls the method that changes the state: of branches, commits, jobs and
//! pipelines in the submodules. Each index is updated by the method that changes what it indexes.
//!
//! [`apply`] never panics and never fails. An event that does not fit the state (`decide` never makes one) is applied
//! as far as its entities exist; the rest is ignored. So a restart can always replay the whole log.

mod branch;
mod commit;
mod job;
mod pipeline;

use std::sync::Arc;

use jiff::Timestamp;

use crate::command::{Transaction, TransactionStep};
use crate::entities::{DatumCounts, JobState, PipelineState, PipelineVersion, Project, Repo, Secret};
use crate::event::Event;
use crate::names::{ProjectName, RepoKey};
use crate::state::{NO_DEFAULTS, State};

use job::JobEnd;

/// Changes a state by an event.
///
/// The match has no wildcard: a new event does not compile until it has an effect here.
pub fn apply(state: &mut State, event: &Event) {
    match event {
        Event::ProjectCreated { name, description, at } => {
            let project = Project {
                name: name.clone(),
                description: description.clone(),
                created: *at,
                defaults: Arc::from(NO_DEFAULTS),
            };
            state.projects.insert(name.clone(), Arc::new(project));
        }
        Event::ProjectUpdated { name, description } => {
            state.edit_project(name, |project| project.description.clone_from(description));
        }
        Event::ProjectDeleted { name } => {
            state.projects.remove(name);
        }
        Event::RepoCreated { repo, description, at } => state.add_repo(repo, description, *at),
        Event::RepoUpdated { repo, description } => {
            if let Some(repo) = state.repos.get_mut(repo) {
                Arc::make_mut(repo).description = Arc::from(description.as_str());
            }
        }
        Event::RepoDeleted { repo, at } => state.remove_repo(repo, *at),
        Event::BranchSet {
            branch,
            head,
            provenance,
            trigger,
            at,
        } => {
            state.set_branch(branch, *head, provenance, trigger.as_ref(), *at);
        }
        Event::BranchDeleted { branch, at } => state.remove_branch(branch, *at),
        Event::CommitStarted {
            commit,
            branch,
            parent,
            description,
            at,
        } => {
            state.start_commit(commit, branch.as_ref(), *parent, description, *at);
        }
        Event::CommitWritten {
            branch,
            id,
            origin,
            description,
            content,
            at,
        } => {
            state.write_commit(branch, *id, *origin, description, *content, *at);
        }
        Event::ContentSet { commit, content } => {
            state.edit_commit(commit, |commit| {
                commit.content = *content;
                commit.staged.clear();
            });
        }
        Event::EditsStaged { commit, staged } => {
            state.edit_commit(commit, |commit| commit.staged.push(*staged));
        }
        Event::EditsSettled {
            commit,
            through,
            content,
        } => {
            state.edit_commit(commit, |commit| {
                commit.content = *content;
                // Edits staged after `through` are not in the new content and must stay.
                let last = commit.staged.iter().position(|staged| staged.id == *through);
                commit.staged.drain(..last.map_or(0, |last| last + 1));
            });
        }
        Event::CommitFinished {
            commit,
            description,
            error,
            at,
        } => {
            if let Some(description) = description {
                state.edit_commit(commit, |c| c.description = Arc::from(description.as_str()));
            }
            state.finish_commit(commit, error.as_deref(), *at);
        }
        Event::Propagated { id, branches, jobs, at } => {
            // In the order of the event: the provenance of a commit is read from the heads that precede it here.
            for branch in branches {
                state.propagate_to(branch, *id, *at);
            }
            for pipeline in jobs {
                state.add_job(&pipeline.job(*id), *at);
            }
        }
        Event::CommitsRemoved { commits, drop: _, at } => {
            for commit in commits {
                state.remove_commit(commit, *at);
            }
        }
        Event::PipelineVersionAdded {
            pipeline,
            kind,
            version,
            spec,
            user_json,
            effective_json,
            salt,
            spec_commit,
            at,
        } => {
            let version = PipelineVersion {
                version: *version,
                spec: spec.clone(),
                user_json: Arc::from(user_json.as_str()),
                effective_json: Arc::from(effective_json.as_str()),
                salt: Arc::from(salt.as_str()),
                image: None,
                spec_commit: *spec_commit,
                created: *at,
            };
            state.add_version(pipeline, *kind, version);
        }
        Event::PipelineStopped { pipeline, at } => {
            state.set_stopped(pipeline, true, PipelineState::Paused, *at);
        }
        Event::PipelineStarted { pipeline, at } => {
            state.set_stopped(pipeline, false, PipelineState::Starting, *at);
        }
        Event::PipelineStateSet {
            pipeline,
            state: new,
            reason,
        } => state.edit_pipeline(pipeline, |pipeline| {
            pipeline.state = *new;
            pipeline.reason = Arc::from(reason.as_str());
        }),
        Event::ImagePinned { pipeline, version, pin } => state.pin_image(pipeline, *version, pin),
        Event::PipelineDeleted { pipeline } => state.remove_pipeline(pipeline),
        Event::JobStarted { job, at } => state.edit_job(job, |job| {
            job.state = JobState::Starting;
            job.started = Some(*at);
        }),
        Event::JobPlanned { job, plan, counts, at } => state.edit_job(job, |job| {
            job.state = JobState::Running;
            job.reason = Arc::from("");
            job.plan = Some(Arc::from(plan.as_str()));
            job.counts = *counts;
            // A restarted job keeps the time of its first plan.
            job.running_since = job.running_since.or(Some(*at));
        }),
        Event::JobStateSet {
            job,
            state: new,
            reason,
            counts,
        } => state.edit_job(job, |job| {
            job.state = *new;
            job.reason = Arc::from(reason.as_str());
            job.counts = counts.unwrap_or(job.counts);
        }),
        Event::JobRestarted { job, reason } => state.edit_job(job, |job| {
            job.state = JobState::Starting;
            job.reason = Arc::from(reason.as_str());
            job.restart += 1;
            job.plan = None;
            job.counts = DatumCounts::default();
        }),
        Event::JobFinished {
            job,
            outcome,
            counts,
            stats,
            output,
            datums,
            at,
        } => {
            let end = JobEnd {
                outcome,
                counts,
                stats,
                output: *output,
                datums: *datums,
                at: *at,
            };
            state.finish_job(job, &end);
        }
        Event::JobDeleted { job } => state.remove_job(job),
        Event::SecretSet { name, kind, data, at } => {
            let secret = Secret {
                name: name.clone(),
                kind: kind.clone(),
                data: Arc::from(data.as_str()),
                created: *at,
            };
            state.secrets.insert(name.clone(), Arc::new(secret));
        }
        Event::SecretDeleted { name } => {
            state.secrets.remove(name.as_str());
        }
        Event::DefaultsSet {
            project: Some(name),
            json,
        } => {
            state.edit_project(name, |project| project.defaults = Arc::from(json.as_str()));
        }
        Event::DefaultsSet { project: None, json } => {
            state.cluster_defaults = Arc::from(json.as_str());
        }
        Event::TransactionStarted { id, at } => {
            let transaction = Transaction {
                id: *id,
                started: *at,
                requests: Vec::new(),
            };
            state.transactions.insert(*id, Arc::new(transaction));
        }
        Event::TransactionAppended { id, command, reply } => {
            if let Some(transaction) = state.transactions.get_mut(id) {
                let step = TransactionStep {
                    command: command.clone(),
                    reply: reply.clone(),
                };
                Arc::make_mut(transaction).requests.push(step);
            }
        }
        Event::TransactionClosed { id, finished: _ } => {
            state.transactions.remove(id);
        }
        Event::AllDeleted { at } => state.delete_all(*at),
    }
}

impl State {
    /// Returns the next number of the order of creation, and counts it up.
    fn take_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    fn edit_project(&mut self, name: &ProjectName, edit: impl FnOnce(&mut Project)) {
        if let Some(project) = self.projects.get_mut(name) {
            edit(Arc::make_mut(project));
        }
    }

    fn add_repo(&mut self, key: &RepoKey, description: &str, at: Timestamp) {
        if self.repos.contains_key(key) {
            return;
        }
        let repo = Repo {
            key: key.clone(),
            description: Arc::from(description),
            created: at,
            seq: self.take_seq(),
            branches: imbl::OrdSet::new(),
        };
        self.repos.insert(key.clone(), Arc::new(repo));
    }

    fn remove_repo(&mut self, key: &RepoKey, at: Timestamp) {
        let Some(repo) = self.repos.get(key).cloned() else {
            return;
        };
        for name in &repo.branches {
            self.remove_branch(&key.branch(name.clone()), at);
        }
        let commits = self.repo_commits.remove(key).unwrap_or_default();
        for id in commits.values() {
            self.forget_commit(&key.commit(*id));
        }
        self.cron_repos.remove(key);
        self.repos.remove(key);
    }

    /// Resets the state, except secrets, cluster defaults, open transactions and the creation counter.
    ///
    /// The counter continues, because listings are ordered by `seq` numbers: those of deleted entities
    /// must not be used again.
    fn delete_all(&mut self, at: Timestamp) {
        let mut state = Self::new();
        state.add_default_project(at);
        state.secrets = std::mem::take(&mut self.secrets);
        state.transactions = std::mem::take(&mut self.transactions);
        state.cluster_defaults = self.cluster_defaults.clone();
        state.next_seq = self.next_seq;
        *self = state;
    }
}
