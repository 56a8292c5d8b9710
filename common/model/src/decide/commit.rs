//! Commits: opening, writing, staged edits, finishing.

use crate::command::Reply;
use crate::entities::{Commit, CommitOrigin, Content, JobOutcome, PipelineKind, Staged};
use crate::event::Event;
use crate::ids::GlobalId;
use crate::names::{BranchKey, BranchName, CommitKey, JobKey, PipelineKey, RepoKey, RepoType};
use crate::query;
use crate::refs::CommitRef;
use crate::rejection::Rejection;

use super::builder::{CommandResult, DecisionBuilder};

impl DecisionBuilder {
    fn require_commit(&self, key: &CommitKey) -> Result<&Commit, Rejection> {
        self.require_repo(&key.repo)?;
        self.state
            .commits
            .get(key)
            .map(AsRef::as_ref)
            .ok_or_else(|| Rejection::NoCommit(key.clone()))
    }

    fn require_open(&self, key: &CommitKey) -> Result<&Commit, Rejection> {
        let commit = self.require_commit(key)?;
        if commit.is_open() {
            Ok(commit)
        } else {
            Err(Rejection::CommitFinished(key.clone()))
        }
    }

    /// Returns the job that writes a commit, as its output or its datum records.
    pub(super) fn job_of(&self, key: &CommitKey) -> Option<JobKey> {
        if key.repo.kind == RepoType::Spec {
            return None;
        }
        key.job().filter(|job| self.state.jobs.contains_key(job))
    }

    /// Returns the pipeline that a branch belongs to: output branch, or any branch of its meta or spec repository.
    pub(super) fn pipeline_of(&self, branch: &BranchKey) -> Option<PipelineKey> {
        let key = branch.repo.pipeline()?;
        let pipeline = self.state.pipelines.get(&key)?;
        let owned = match branch.repo.kind {
            RepoType::Meta | RepoType::Spec => true,
            RepoType::User => *branch == pipeline.output_branch(),
        };
        owned.then_some(key)
    }

    /// Checks that a user may write commits to a branch.
    fn require_writable(&self, branch: &BranchKey) -> Result<(), Rejection> {
        let derived = self
            .state
            .branches
            .get(branch)
            .is_some_and(|b| !b.direct_provenance.is_empty());
        let owner = self.pipeline_of(branch).and_then(|key| self.state.pipelines.get(&key));
        let written_by_pipeline =
            owner.is_some_and(|pipeline| pipeline.kind != PipelineKind::Spout || branch.repo.kind != RepoType::User);
        if derived || written_by_pipeline || branch.repo.kind == RepoType::Spec {
            return Err(Rejection::OutputBranch(branch.clone()));
        }
        Ok(())
    }

    /// Checks that a commit exists and is not open, so that others may follow it.
    fn require_closed_parent(&self, parent: &CommitKey) -> Result<(), Rejection> {
        match self.state.commits.get(parent) {
            None => Err(Rejection::NoCommit(parent.clone())),
            Some(commit) if commit.is_open() => Err(Rejection::ParentOpen(parent.clone())),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn start_commit(
        &mut self,
        repo: &RepoKey,
        branch: Option<&BranchName>,
        parent: Option<&CommitRef>,
        description: &str,
    ) -> CommandResult {
        self.require_repo(repo)?;
        let branch_key = branch.map(|name| repo.branch(name.clone()));
        if let Some(key) = &branch_key {
            self.require_writable(key)?;
        }
        let parent = match (parent, &branch_key) {
            (Some(reference), _) => Some(self.resolve_in(repo, reference)?),
            (None, Some(key)) => self
                .state
                .branches
                .get(key)
                .and_then(|b| b.head)
                .map(|id| repo.commit(id)),
            (None, None) => {
                return Err(Rejection::Invalid(format!(
                    "cannot start a commit in repo {repo}: name a branch or a parent"
                )));
            }
        };
        if let Some(parent) = &parent {
            self.require_closed_parent(parent)?;
        }
        self.claim(repo)?;
        let commit = repo.commit(self.id);
        self.emit(Event::CommitStarted {
            commit: commit.clone(),
            branch: branch.cloned(),
            parent: parent.map(|parent| parent.id),
            description: description.to_owned(),
            at: self.at,
        });
        if let Some(key) = &branch_key {
            self.touch(key, false);
        }
        Ok(Reply::Commit(commit))
    }

    /// Resolves a reference to a commit of this repository.
    pub(super) fn resolve_in(&self, repo: &RepoKey, reference: &CommitRef) -> Result<CommitKey, Rejection> {
        if reference.repo != *repo {
            return Err(Rejection::Invalid(format!(
                "commit {reference} is not in repo {repo}: parents and heads must be"
            )));
        }
        query::resolve_commit(&self.state, reference)
    }

    pub(super) fn write_commit(
        &mut self,
        branch: &BranchKey,
        expected: Option<GlobalId>,
        content: Content,
        description: &str,
    ) -> CommandResult {
        self.require_repo(&branch.repo)?;
        self.require_writable(branch)?;
        let found = self.state.branches.get(branch).and_then(|branch| branch.head);
        if found != expected {
            return Err(Rejection::HeadMoved {
                branch: branch.clone(),
                expected,
                found,
            });
        }
        // The content was computed from the head. That of an open head may still change.
        if let Some(head) = found {
            self.require_closed_parent(&branch.repo.commit(head))?;
        }
        self.claim(&branch.repo)?;
        self.emit(Event::CommitWritten {
            branch: branch.clone(),
            id: self.id,
            origin: CommitOrigin::User,
            description: description.to_owned(),
            content,
            at: self.at,
        });
        self.touch(branch, false);
        Ok(Reply::Commit(branch.repo.commit(self.id)))
    }

    /// Returns an open commit with this content that users write to.
    fn require_content(&self, key: &CommitKey, expected: &Content) -> Result<&Commit, Rejection> {
        let commit = self.require_open(key)?;
        if commit.content != *expected {
            return Err(Rejection::ContentMoved(key.clone()));
        }
        if self.job_of(key).is_some() {
            return Err(Rejection::WriteToOutput(key.clone()));
        }
        Ok(commit)
    }

    pub(super) fn set_content(&mut self, key: &CommitKey, expected: &Content, content: &Content) -> CommandResult {
        let commit = self.require_content(key, expected)?;
        if !commit.staged.is_empty() {
            return Err(Rejection::UnfoldedEdits(key.clone()));
        }
        if expected != content {
            self.emit(Event::ContentSet {
                commit: key.clone(),
                content: *content,
            });
        }
        Ok(Reply::Done)
    }

    pub(super) fn stage_edits(
        &mut self,
        key: &CommitKey,
        expected: &Content,
        after: Option<GlobalId>,
        staged: &Staged,
    ) -> CommandResult {
        let commit = self.require_content(key, expected)?;
        // The edits were checked against the tree as of `after`. Edits staged since may have made a directory of a
        // file.
        if commit.last_staged() != after {
            return Err(Rejection::ContentMoved(key.clone()));
        }
        // Two entries of one id would read the same object, and folding one of them would remove both.
        if commit.has_staged(staged.id) {
            return Err(Rejection::IdInUse(staged.id));
        }
        self.emit(Event::EditsStaged {
            commit: key.clone(),
            staged: *staged,
        });
        Ok(Reply::Done)
    }

    pub(super) fn settle_edits(
        &mut self,
        key: &CommitKey,
        expected: &Content,
        through: GlobalId,
        content: &Content,
    ) -> CommandResult {
        let commit = self.require_content(key, expected)?;
        if !commit.has_staged(through) {
            return Err(Rejection::ContentMoved(key.clone()));
        }
        self.emit(Event::EditsSettled {
            commit: key.clone(),
            through,
            content: *content,
        });
        Ok(Reply::Done)
    }

    pub(super) fn clear_commit(&mut self, key: &CommitKey) -> CommandResult {
        let commit = self.require_open(key)?;
        let base = query::build_content(&self.state, &key.repo, commit.parent).unwrap_or_default();
        let (content, has_staged) = (commit.content, !commit.staged.is_empty());
        self.require_content(key, &content)?;
        if has_staged || content != base {
            self.emit(Event::ContentSet {
                commit: key.clone(),
                content: base,
            });
        }
        Ok(Reply::Done)
    }

    pub(super) fn finish_commit(
        &mut self,
        key: &CommitKey,
        description: &str,
        error: Option<&str>,
        force: bool,
    ) -> CommandResult {
        let is_folded = self.require_open(key)?.staged.is_empty();
        let error = error.filter(|error| !error.is_empty());
        if let Some(job) = self.job_of(key) {
            if !force {
                return Err(Rejection::OutputCommit(key.clone()));
            }
            let reason = error.unwrap_or("output commit finished by force");
            self.end_job(&job, JobOutcome::Killed(reason.to_owned()));
            return Ok(Reply::Done);
        }
        if !is_folded {
            return Err(Rejection::UnfoldedEdits(key.clone()));
        }
        self.emit(Event::CommitFinished {
            commit: key.clone(),
            description: (!description.is_empty()).then(|| description.to_owned()),
            error: error.map(str::to_owned),
            at: self.at,
        });
        if error.is_some() {
            self.fail_downstream(vec![key.clone()]);
        }
        Ok(Reply::Done)
    }
}
