//! Pipelines: creation, update, stop, start (semantics 18).

use std::sync::Arc;

use howdah_spec::PipelineSpec;

use crate::command::Reply;
use crate::entities::{CommitOrigin, Content, ImagePin, JobOutcome, JobState, Pipeline, PipelineKind, PipelineState};
use crate::event::Event;
use crate::names::{BranchKey, BranchName, PipelineKey};
use crate::query;
use crate::rejection::Rejection;
use crate::spec_view::{self, InputLeaf};

use super::branch::distinct;
use super::builder::{CommandResult, DecisionBuilder};

/// A new version of a pipeline.
pub(super) struct NewVersion {
    pub spec: Arc<PipelineSpec>,
    pub user_json: String,
    pub effective_json: String,
    /// Whether the pipeline may exist.
    pub update: bool,
    /// Whether an update gives a new salt.
    pub reprocess: bool,
    /// Fresh random text.
    pub salt: String,
    /// Content of the spec commit.
    pub content: Content,
}

impl DecisionBuilder {
    fn require_pipeline(&self, key: &PipelineKey) -> Result<&Arc<Pipeline>, Rejection> {
        self.state
            .pipelines
            .get(key)
            .ok_or_else(|| Rejection::NoPipeline(key.clone()))
    }

    pub(super) fn create_pipeline(&mut self, new: &NewVersion) -> CommandResult {
        let spec = &new.spec;
        let key = spec_view::pipeline_key(spec)?;
        self.require_project(&key.project)?;
        if !spec.output_branch.is_empty() {
            BranchName::new(&spec.output_branch)?;
        }
        let former = self.state.pipelines.get(&key).cloned();
        if former.is_some() && !new.update {
            return Err(Rejection::PipelineExists(key));
        }
        let kind = spec_view::kind(spec);
        let leaves = spec_view::input_leaves(spec)?;
        self.check_inputs(&key, kind, &leaves, former.is_some())?;
        if former.is_none() && self.state.repos.contains_key(&key.output_repo()) {
            return Err(Rejection::RepoExists(key.output_repo()));
        }
        if former.is_some() {
            self.kill_jobs(&key, "all jobs killed because pipeline was updated");
        }
        self.put_repos(&key, kind, spec, &leaves);
        let version = former.as_ref().map_or(0, |pipeline| pipeline.version()) + 1;
        self.put_version(&key, kind, version, new, former.as_deref())?;
        if let Some(former) = former {
            self.detach_former_branches(&former, &key);
        }
        self.wire(&key)?;
        Ok(Reply::Pipeline { pipeline: key, version })
    }

    /// Checks that a pipeline has inputs, that they exist, and that none is its own output.
    fn check_inputs(
        &self,
        key: &PipelineKey,
        kind: PipelineKind,
        leaves: &[InputLeaf],
        exists: bool,
    ) -> Result<(), Rejection> {
        if leaves.is_empty() && kind != PipelineKind::Spout && !exists {
            return Err(Rejection::NoInput(key.clone()));
        }
        for leaf in leaves {
            let repo = &leaf.branch.repo;
            if repo.project == key.project && repo.name.as_str() == key.name.as_str() {
                return Err(Rejection::OwnInput(key.clone()));
            }
            self.require_project(&repo.project)?;
            if !leaf.cron {
                self.require_repo(repo)?;
            }
        }
        Ok(())
    }

    /// Creates the repositories of a pipeline and of its cron inputs.
    fn put_repos(&mut self, key: &PipelineKey, kind: PipelineKind, spec: &PipelineSpec, leaves: &[InputLeaf]) {
        let description = if spec.description.is_empty() {
            format!("Output repo for pipeline {key}.")
        } else {
            spec.description.clone()
        };
        self.put_repo(&key.output_repo(), &description);
        self.put_repo(&key.spec_repo(), &format!("Spec repo for pipeline {key}."));
        if kind != PipelineKind::Spout {
            self.put_repo(&key.meta_repo(), &format!("Meta repo for pipeline {key}."));
        }
        for leaf in leaves.iter().filter(|leaf| leaf.cron) {
            if !self.state.repos.contains_key(&leaf.branch.repo) {
                self.put_repo(&leaf.branch.repo, &format!("Cron tick repo for pipeline {key}."));
            }
        }
    }

    /// Adds the spec commit and the version.
    fn put_version(
        &mut self,
        key: &PipelineKey,
        kind: PipelineKind,
        version: u64,
        new: &NewVersion,
        former: Option<&Pipeline>,
    ) -> Result<(), Rejection> {
        let branch = key.spec_branch();
        self.claim(&branch.repo)?;
        self.emit(Event::CommitWritten {
            branch: branch.clone(),
            id: self.id,
            origin: CommitOrigin::User,
            description: String::new(),
            content: new.content,
            at: self.at,
        });
        self.touch(&branch, false);
        // The salt of the spec is used for the first version only. An update keeps the salt, so that datums are not
        // processed again, unless that is asked for.
        let salt = match former {
            Some(former) if !new.reprocess => former.current().salt.to_string(),
            Some(_) => new.salt.clone(),
            None => new
                .spec
                .salt
                .clone()
                .filter(|s| !s.is_empty())
                .unwrap_or(new.salt.clone()),
        };
        self.emit(Event::PipelineVersionAdded {
            pipeline: key.clone(),
            kind,
            version,
            spec: new.spec.clone(),
            user_json: new.user_json.clone(),
            effective_json: new.effective_json.clone(),
            salt,
            spec_commit: self.id,
            at: self.at,
        });
        Ok(())
    }

    /// After an update to another output branch: removes the provenance of the former output and meta branches, which
    /// would otherwise still get commits without a job.
    fn detach_former_branches(&mut self, former: &Pipeline, key: &PipelineKey) {
        let present = self.state.pipelines.get(key).map(|pipeline| pipeline.output_branch());
        if present.is_some_and(|present| present != former.output_branch()) {
            self.unwire(&former.output_branch());
            self.unwire(&former.meta_branch());
        }
    }

    /// Sets the provenance of the output and meta branches of a pipeline to its inputs, so that they get a commit and
    /// the pipeline a job. Those of a stopped pipeline have no provenance.
    fn wire(&mut self, key: &PipelineKey) -> Result<(), Rejection> {
        let pipeline = self.require_pipeline(key)?.clone();
        let leaves = spec_view::input_leaves(pipeline.spec())?;
        for leaf in &leaves {
            if let Some(trigger) = &leaf.trigger {
                self.put_trigger(&leaf.branch, trigger)?;
            }
        }
        let mut provenance: Vec<BranchKey> = Vec::new();
        if !pipeline.stopped && pipeline.kind != PipelineKind::Spout {
            provenance.extend(leaves.into_iter().map(|leaf| leaf.branch));
            provenance.push(key.spec_branch());
            provenance = distinct(&provenance);
        }
        let mut branches = vec![pipeline.output_branch()];
        if pipeline.kind != PipelineKind::Spout {
            branches.push(pipeline.meta_branch());
        }
        for branch in &branches {
            self.put_branch(branch, None, &provenance, None)?;
            if !provenance.is_empty() {
                self.touch(branch, true);
            }
        }
        Ok(())
    }

    pub(super) fn start_pipeline(&mut self, key: &PipelineKey) -> CommandResult {
        if self.require_pipeline(key)?.stopped {
            for leaf in spec_view::input_leaves(self.require_pipeline(key)?.spec())? {
                self.require_repo(&leaf.branch.repo)?;
            }
            self.emit(Event::PipelineStarted {
                pipeline: key.clone(),
                at: self.at,
            });
            self.wire(key)?;
        }
        Ok(Reply::Done)
    }

    pub(super) fn stop_pipeline(&mut self, key: &PipelineKey, must_exist: bool) -> CommandResult {
        let Some(pipeline) = self.state.pipelines.get(key).cloned() else {
            return if must_exist {
                Err(Rejection::NoPipeline(key.clone()))
            } else {
                Ok(Reply::Done)
            };
        };
        if !pipeline.stopped {
            self.emit(Event::PipelineStopped {
                pipeline: key.clone(),
                at: self.at,
            });
            self.unwire(&pipeline.output_branch());
            self.unwire(&pipeline.meta_branch());
            self.kill_jobs(key, "all jobs killed because pipeline was stopped");
        }
        Ok(Reply::Done)
    }

    pub(super) fn rerun_pipeline(&mut self, key: &PipelineKey, reprocess: bool, salt: &str) -> CommandResult {
        let version = self.require_pipeline(key)?.current().clone();
        let spec_commit = key.spec_repo().commit(version.spec_commit);
        let content = self.state.commits.get(&spec_commit).map(|commit| commit.content);
        self.create_pipeline(&NewVersion {
            spec: version.spec.clone(),
            user_json: version.user_json.to_string(),
            effective_json: version.effective_json.to_string(),
            update: true,
            reprocess,
            salt: salt.to_owned(),
            content: content.unwrap_or_default(),
        })
    }

    pub(super) fn set_pipeline_state(
        &mut self,
        key: &PipelineKey,
        version: u64,
        state: PipelineState,
        reason: &str,
    ) -> CommandResult {
        let pipeline = self.require_pipeline(key)?.clone();
        let current = pipeline.version();
        if current != version {
            let pipeline = key.clone();
            return Err(Rejection::VersionMoved {
                pipeline,
                current,
                expected: version,
            });
        }
        if pipeline.stopped && state != PipelineState::Paused {
            return Err(Rejection::PipelineStopped(key.clone()));
        }
        if !pipeline.stopped && state == PipelineState::Paused {
            return Err(Rejection::Invalid(format!(
                "pipeline \"{key}\" is not stopped: use stop pipeline to pause it"
            )));
        }
        if pipeline.state == PipelineState::Failure && state != PipelineState::Failure {
            return Err(Rejection::PipelineFailed(key.clone()));
        }
        if pipeline.state == state && *pipeline.reason == *reason {
            return Ok(Reply::Done);
        }
        self.emit(Event::PipelineStateSet {
            pipeline: key.clone(),
            state,
            reason: reason.to_owned(),
        });
        if state == PipelineState::Failure {
            self.fail_jobs(key, reason);
        }
        Ok(Reply::Done)
    }

    /// Ends the open jobs of a pipeline in state FAILURE.
    fn fail_jobs(&mut self, key: &PipelineKey, reason: &str) {
        let reason = format!("pipeline failed: {reason}");
        let open: Vec<_> = query::open_jobs_of(&self.state, key).cloned().collect();
        for job in open.iter().rev() {
            let outcome = match job.state {
                JobState::Created => JobOutcome::Killed(reason.clone()),
                _ => JobOutcome::Failure(reason.clone()),
            };
            self.end_job(&job.key, outcome);
        }
    }

    pub(super) fn pin_image(&mut self, key: &PipelineKey, version: u64, pin: &ImagePin) -> CommandResult {
        let pipeline = self.require_pipeline(key)?;
        let Some(entry) = pipeline.at_version(version) else {
            return Err(Rejection::NoPipelineVersion(key.clone(), version));
        };
        if entry.image.as_ref() != Some(pin) {
            let pipeline = key.clone();
            self.emit(Event::ImagePinned {
                pipeline,
                version,
                pin: pin.clone(),
            });
        }
        Ok(Reply::Done)
    }
}
