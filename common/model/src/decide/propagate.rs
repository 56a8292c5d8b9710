//! What changed heads lead to: downstream commits and jobs, all at once (semantics 4).

use std::collections::{BTreeMap, BTreeSet};

use crate::entities::{Content, JobOutcome, Origin, PipelineKind, PipelineState};
use crate::event::Event;
use crate::names::{BranchKey, CommitKey, PipelineKey};
use crate::query::{self, Readiness};
use crate::rejection::Rejection;

use super::Work;

impl Work {
    /// Makes the commits and jobs that the changes noted so far ask for.
    pub(super) fn propagate(&mut self) -> Result<(), Rejection> {
        let dirty = std::mem::take(&mut self.dirty);
        for key in dirty.keys() {
            self.give_head(key)?;
        }
        let (branches, jobs) = self.plan(&dirty)?;
        if branches.is_empty() {
            return Ok(());
        }
        self.emit(Event::Propagated {
            id: self.id,
            branches,
            jobs: jobs.clone(),
            at: self.at,
        });
        for pipeline in &jobs {
            self.settle_job(pipeline);
        }
        Ok(())
    }

    /// Gives a branch without head and provenance an empty commit.
    fn give_head(&mut self, key: &BranchKey) -> Result<(), Rejection> {
        let Some(branch) = self.state.branches.get(key).cloned() else {
            return Ok(());
        };
        if branch.head.is_some() || !branch.direct_provenance.is_empty() {
            return Ok(());
        }
        // Several such branches of one repository share the commit.
        let there = self.state.commits.get(&key.repo.commit(self.id));
        let shareable = there.is_some_and(|commit| {
            commit.origin == Origin::Auto
                && commit.is_good()
                && commit.parent.is_none()
                && commit.content == Content::EMPTY
        });
        if shareable && !self.id_taken {
            self.emit(Event::BranchSet {
                branch: key.clone(),
                head: Some(self.id),
                provenance: Vec::new(),
                trigger: branch.trigger.clone(),
                at: self.at,
            });
            return Ok(());
        }
        self.claim(&key.repo)?;
        self.emit(Event::CommitWritten {
            branch: key.clone(),
            id: self.id,
            origin: Origin::Auto,
            description: String::new(),
            content: Content::EMPTY,
            at: self.at,
        });
        Ok(())
    }

    /// Finds the branches that need a new commit, provenance first, and the pipelines that get a
    /// job by that.
    fn plan(&self, dirty: &BTreeMap<BranchKey, bool>) -> Result<(Vec<BranchKey>, Vec<PipelineKey>), Rejection> {
        // Whatever is downstream of a branch has more provenance than it, so this is an order in
        // which every branch comes after those it depends on.
        let mut affected: BTreeMap<(usize, BranchKey), bool> = BTreeMap::new();
        let mut add = |key: &BranchKey, force: bool| {
            for key in std::iter::once(key.clone()).chain(self.twin(key)) {
                if let Some(branch) = self.state.branches.get(&key) {
                    *affected.entry((branch.provenance.len(), key)).or_default() |= force;
                }
            }
        };
        for (key, force) in dirty {
            let Some(branch) = self.state.branches.get(key) else {
                continue;
            };
            if !branch.direct_provenance.is_empty() {
                add(key, *force);
            }
            for below in &branch.subvenance {
                add(below, false);
            }
        }
        let mut branches = Vec::new();
        let mut jobs = Vec::new();
        let mut moved = BTreeSet::new();
        let mut repos = BTreeSet::new();
        for ((_, key), force) in affected {
            let twin = self.twin(&key);
            let needed = self.needs_commit(&key, force, &moved)
                || twin.is_some_and(|twin| self.needs_commit(&twin, force, &moved));
            if !needed {
                continue;
            }
            self.claim(&key.repo)?;
            if !repos.insert(key.repo.clone()) {
                return Err(Rejection::CommitInTransaction(key.repo));
            }
            jobs.extend(self.job_for(&key));
            moved.insert(key.clone());
            branches.push(key);
        }
        Ok((branches, jobs))
    }

    /// Gives the other branch that a pipeline's jobs write to: records for output, output for
    /// records. Both get a commit or none does.
    fn twin(&self, key: &BranchKey) -> Option<BranchKey> {
        let pipeline = self.state.pipelines.get(&key.repo.pipeline()?)?;
        let (output, meta) = (pipeline.output_branch(), pipeline.meta_branch());
        let twin = match key {
            key if *key == output => meta,
            key if *key == meta => output,
            _ => return None,
        };
        self.state.branches.contains_key(&twin).then_some(twin)
    }

    fn needs_commit(&self, key: &BranchKey, force: bool, moved: &BTreeSet<BranchKey>) -> bool {
        let Some(branch) = self.state.branches.get(key) else {
            return false;
        };
        let head_of = |upstream: &BranchKey| -> Option<CommitKey> {
            let id = if moved.contains(upstream) {
                self.id
            } else {
                self.state.branches.get(upstream)?.head?
            };
            Some(upstream.repo.commit(id))
        };
        let Some(new) = branch
            .direct_provenance
            .iter()
            .map(head_of)
            .collect::<Option<BTreeSet<_>>>()
        else {
            return false;
        };
        if force {
            return true;
        }
        let head = branch.head.and_then(|id| self.state.commits.get(&key.repo.commit(id)));
        head.is_none_or(|head| head.provenance.iter().cloned().collect::<BTreeSet<_>>() != new)
    }

    /// Gives the pipeline that runs for a new commit on a branch.
    fn job_for(&self, key: &BranchKey) -> Option<PipelineKey> {
        let pipeline = self.state.pipelines.get(&key.repo.pipeline()?)?;
        let runs = pipeline.kind != PipelineKind::Spout && !pipeline.stopped && *key == pipeline.output_branch();
        runs.then(|| pipeline.key.clone())
    }

    /// Ends a new job at once if it can be told already that it will not run.
    fn settle_job(&mut self, pipeline: &PipelineKey) {
        let job = pipeline.job(self.id);
        if let Readiness::Failed(failed) = query::job_ready(&self.state, &job) {
            self.end_job(&job, JobOutcome::Unrunnable(unrunnable(&failed)));
            return;
        }
        let broken = self
            .state
            .pipelines
            .get(pipeline)
            .and_then(|pipeline| (pipeline.state == PipelineState::Failure).then(|| pipeline.reason.to_string()));
        if let Some(reason) = broken {
            self.end_job(&job, JobOutcome::Killed(format!("pipeline failed: {reason}")));
        }
    }

    /// Ends every open job that reads one of these failed commits, and those that read its output
    /// in turn.
    pub(super) fn fail_downstream(&mut self, failed: Vec<CommitKey>) {
        let mut pending = failed;
        while let Some(key) = pending.pop() {
            let Some(commit) = self.state.commits.get(&key) else {
                continue;
            };
            for below in commit.subvenance.clone() {
                let Some(job) = self.job_of(&below) else { continue };
                if self.state.jobs.get(&job).is_none_or(|job| job.state.is_final()) {
                    continue;
                }
                let Readiness::Failed(failed) = query::job_ready(&self.state, &job) else {
                    continue;
                };
                self.close_job(&job, JobOutcome::Unrunnable(unrunnable(&failed)));
                pending.extend([job.output_commit(), job.meta_commit()]);
            }
        }
    }
}

/// Words the reason of a job whose input failed.
fn unrunnable(failed: &[CommitKey]) -> String {
    let failed: Vec<_> = failed.iter().map(ToString::to_string).collect();
    format!(
        "unrunnable because the following upstream commits failed: {}",
        failed.join(", ")
    )
}
