//! From a command to events.
//!
//! A command works on a clone of the state: each event is applied to it as it is made, so later
//! steps see earlier ones. Heads that change are noted and take effect downstream once, at the end
//! of the outermost command.

mod branch;
mod commit;
mod delete;
mod job;
mod pipeline;
mod project;
mod propagate;
mod remove;
mod repo;
mod transaction;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::apply::apply;
use crate::command::{Command, Envelope, Reply, Scope};
use crate::event::Event;
use crate::ids::GlobalId;
use crate::names::{BranchKey, RepoKey};
use crate::rejection::Rejection;
use crate::state::State;

/// What a command leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What happens, in order; to be stored as one. Empty if nothing changes.
    pub events: Vec<Event>,
    /// The state after.
    pub state: State,
    /// What to answer.
    pub reply: Reply,
}

/// Decides what a command leads to.
///
/// # Errors
/// When it is refused; nothing has happened then.
pub fn decide(state: &State, envelope: &Envelope) -> Result<Decision, Rejection> {
    let mut work = Work::new(state, envelope.at, envelope.id);
    let reply = work.run_outermost(&envelope.command)?;
    work.propagate()?;
    Ok(Decision {
        events: work.events,
        state: work.state,
        reply,
    })
}

type Outcome = Result<Reply, Rejection>;

/// A command being worked out.
struct Work {
    state: State,
    events: Vec<Event>,
    at: Timestamp,
    /// Id of the set that new commits go to.
    id: GlobalId,
    /// Whether commits of that id existed before.
    id_taken: bool,
    /// Branches whose head or provenance changed, and whether each must get a new commit if it
    /// has provenance.
    dirty: BTreeMap<BranchKey, bool>,
}

impl Work {
    fn new(state: &State, at: Timestamp, id: GlobalId) -> Self {
        Self {
            state: state.clone(),
            events: Vec::new(),
            at,
            id,
            id_taken: state.sets.contains_key(&id),
            dirty: BTreeMap::new(),
        }
    }

    fn emit(&mut self, event: Event) {
        apply(&mut self.state, &event);
        self.events.push(event);
    }

    /// Notes that a branch's head or provenance changed.
    fn touch(&mut self, branch: &BranchKey, force: bool) {
        *self.dirty.entry(branch.clone()).or_default() |= force;
    }

    /// Makes sure that a repository can get a commit of this set.
    fn claim(&self, repo: &RepoKey) -> Result<(), Rejection> {
        if self.id_taken {
            return Err(Rejection::IdInUse(self.id));
        }
        if self.state.commits.contains_key(&repo.commit(self.id)) {
            return Err(Rejection::CommitInTransaction(repo.clone()));
        }
        Ok(())
    }

    /// Runs a command that came by itself: only such may deal with transactions.
    fn run_outermost(&mut self, command: &Command) -> Outcome {
        match command {
            Command::StartTransaction => self.start_transaction(),
            Command::AppendTransaction { id, command } => self.append_transaction(*id, command),
            Command::FinishTransaction { id } => self.finish_transaction(*id),
            Command::DeleteTransaction { id } => self.delete_transaction(*id),
            Command::DeleteTransactions => Ok(self.delete_transactions()),
            Command::Batch { commands } => {
                let replies: Result<_, _> = commands.iter().map(|c| self.run(c)).collect();
                Ok(Reply::Batch(replies?))
            }
            command => self.run(command),
        }
    }

    fn run(&mut self, command: &Command) -> Outcome {
        match command {
            Command::CreateProject {
                name,
                description,
                update,
            } => self.create_project(name, description, *update),
            Command::DeleteProject { name, force } => self.delete_project(name, *force),
            Command::CreateRepo {
                repo,
                description,
                update,
            } => self.create_repo(repo, description, *update),
            Command::DeleteRepo { repo, force } => self.delete_repo(repo, *force),
            Command::DeleteRepos { projects, force } => self.delete_repos(projects.as_deref(), *force),
            Command::StartCommit {
                repo,
                branch,
                parent,
                description,
            } => self.start_commit(repo, branch.as_ref(), parent.as_ref(), description),
            Command::SetContent {
                commit,
                expected,
                content,
            } => self.set_content(commit, expected, content),
            Command::StageEdits {
                commit,
                expected,
                after,
                staged,
            } => self.stage_edits(commit, expected, *after, staged),
            Command::SettleEdits {
                commit,
                expected,
                through,
                content,
            } => self.settle_edits(commit, expected, *through, content),
            Command::WriteCommit {
                branch,
                expected_head,
                content,
                description,
            } => self.write_commit(branch, *expected_head, *content, description),
            Command::FinishCommit {
                commit,
                description,
                error,
                force,
            } => self.finish_commit(commit, description, error.as_deref(), *force),
            Command::ClearCommit { commit } => self.clear_commit(commit),
            Command::SquashCommitSet { id } => self.remove_set(*id, remove::How::Squash),
            Command::DropCommitSet { id } => self.remove_set(*id, remove::How::Drop),
            Command::SquashCommit { commit, recursive } => self.remove_commit(commit, *recursive, remove::How::Squash),
            Command::DropCommit { commit, recursive } => self.remove_commit(commit, *recursive, remove::How::Drop),
            Command::CreateBranch {
                branch,
                head,
                provenance,
                trigger,
            } => self.create_branch(branch, head.as_ref(), provenance, trigger.as_ref()),
            Command::DeleteBranch { branch, force } => self.delete_branch(branch, *force),
            Command::CreatePipeline {
                spec,
                user_json,
                effective_json,
                update,
                reprocess,
                salt,
                spec_content,
            } => self.create_pipeline(&pipeline::NewVersion {
                spec: std::sync::Arc::new((**spec).clone()),
                user_json: user_json.clone(),
                effective_json: effective_json.clone(),
                update: *update,
                reprocess: *reprocess || (*update && spec.reprocess),
                salt: salt.clone(),
                content: *spec_content,
            }),
            Command::DeletePipeline {
                pipeline,
                force,
                keep_repo,
                must_exist,
            } => self.delete_pipeline(pipeline, *force, *keep_repo, *must_exist),
            Command::DeletePipelines {
                projects,
                force,
                keep_repo,
            } => self.delete_pipelines(projects.as_deref(), *force, *keep_repo),
            Command::StartPipeline { pipeline } => self.start_pipeline(pipeline),
            Command::StopPipeline { pipeline, must_exist } => self.stop_pipeline(pipeline, *must_exist),
            Command::RerunPipeline {
                pipeline,
                reprocess,
                salt,
            } => self.rerun_pipeline(pipeline, *reprocess, salt),
            Command::SetPipelineState {
                pipeline,
                version,
                state,
                reason,
            } => self.set_pipeline_state(pipeline, *version, *state, reason),
            Command::PinImage { pipeline, version, pin } => self.pin_image(pipeline, *version, pin),
            Command::StartJob { job } => self.start_job(job),
            Command::PlanJob { job, plan, counts } => self.plan_job(job, plan, *counts),
            Command::SetJobState {
                job,
                state,
                reason,
                counts,
            } => self.set_job_state(job, *state, reason, *counts),
            Command::RestartJob { job, reason } => self.restart_job(job, reason),
            Command::FinishJob {
                job,
                outcome,
                counts,
                stats,
                output,
                datums,
            } => self.finish_job(job, outcome, *counts, *stats, *output, *datums),
            Command::StopJob { job, reason } => self.stop_job(job, reason),
            Command::StopJobSet { id, reason } => self.stop_job_set(*id, reason),
            Command::DeleteJob { job } => self.delete_job(job),
            Command::CreateSecret { name, kind, data } => self.create_secret(name, kind, data),
            Command::DeleteSecret { name } => self.delete_secret(name),
            Command::SetDefaults { project, json } => self.set_defaults(project.as_ref(), json),
            Command::DeleteAll { scope: Scope::Pps } => self.delete_all_pipelines(),
            Command::DeleteAll { scope: Scope::Pfs } => {
                self.dirty.clear();
                self.emit(Event::AllDeleted { at: self.at });
                Ok(Reply::Done)
            }
            Command::StartTransaction
            | Command::AppendTransaction { .. }
            | Command::FinishTransaction { .. }
            | Command::DeleteTransaction { .. }
            | Command::DeleteTransactions
            | Command::Batch { .. } => Err(Rejection::NotInTransaction(command.name())),
        }
    }
}
