//! The decision about a command: the events that it leads to, or a rejection.
//!
//! [`decide`] runs a command on a clone of the state ([`DecisionBuilder`]). Each event is applied to the clone when it
//! is made, so that later steps see earlier ones. Branches whose head or provenance changes are noted and propagate
//! once, at the end (`propagate`): a transaction that writes two inputs of a pipeline makes one job.
//!
//! The submodules have one command group each: `project`, `repo`, `commit`, `branch`, `pipeline`, `job`, `transaction`,
//! `delete`; `remove` is squash and drop; `texts` bounds the texts of all of them. A rejected command leaves nothing behind, because the clone is dropped.

mod branch;
mod builder;
mod commit;
mod delete;
mod job;
mod pipeline;
mod project;
mod propagate;
mod remove;
mod repo;
mod texts;
mod transaction;

use self::builder::{CommandResult, DecisionBuilder};
use crate::command::{Command, DeletionScope, Envelope, Reply};
use crate::event::Event;
use crate::rejection::Rejection;
use crate::state::State;

/// The effect of an accepted command.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The events, in order. The log must store all of them or none. Empty if nothing changes.
    pub events: Vec<Event>,
    /// The state after the events.
    pub state: State,
    /// The answer.
    pub reply: Reply,
}

/// Decides about a command.
///
/// # Errors
/// When the command is rejected.
pub fn decide(state: &State, envelope: &Envelope) -> Result<Decision, Rejection> {
    texts::check(&envelope.command)?;
    let mut work = DecisionBuilder::new(state, envelope.at, envelope.id);
    let reply = work.run_outermost(&envelope.command)?;
    work.propagate()?;
    Ok(Decision {
        events: work.events,
        state: work.state,
        reply,
    })
}

impl DecisionBuilder {
    /// Runs a command that is not part of a transaction or batch. Only such a command may open, change or close
    /// transactions.
    fn run_outermost(&mut self, command: &Command) -> CommandResult {
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

    fn run(&mut self, command: &Command) -> CommandResult {
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
            Command::SquashCommitSet { id } => self.remove_set(*id, remove::Removal::Squash),
            Command::DropCommitSet { id } => self.remove_set(*id, remove::Removal::Drop),
            Command::SquashCommit { commit, recursive } => {
                self.remove_commit(commit, *recursive, remove::Removal::Squash)
            }
            Command::DropCommit { commit, recursive } => self.remove_commit(commit, *recursive, remove::Removal::Drop),
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
            Command::SealSecrets { secrets } => self.seal_secrets(secrets),
            Command::DeleteSecret { name } => self.delete_secret(name),
            Command::SetDefaults { project, json } => self.set_defaults(project.as_ref(), json),
            Command::DeleteAll {
                scope: DeletionScope::Pps,
            } => self.delete_all_pipelines(),
            Command::DeleteAll {
                scope: DeletionScope::Pfs,
            } => {
                // The branches noted so far are deleted by this event; propagation would look for them.
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
