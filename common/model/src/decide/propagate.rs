//! Propagation of changed heads: all downstream commits and jobs in one event (semantics 4).
//!
//! Runs once for each outermost command, over the branches that [`DecisionBuilder::touch`] noted. The event
//! [`Event::Propagated`] only names branches and pipelines; `apply` derives parents and provenance from the heads.

use std::collections::{BTreeMap, BTreeSet};

use crate::entities::{CommitOrigin, Content, JobOutcome, PipelineKind, PipelineState};
use crate::event::Event;
use crate::names::{BranchKey, CommitKey, PipelineKey};
use crate::query::{self, Readiness};
use crate::rejection::Rejection;

use super::builder::DecisionBuilder;

impl DecisionBuilder {
    /// Adds the commits and jobs for the branches noted so far.
    pub(super) fn propagate(&mut self) -> Result<(), Rejection> {
        let dirty = std::mem::take(&mut self.dirty);
        // Before the plan: a branch without a head would stop everything downstream of it from getting a commit.
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
        // In the order of provenance: a job that ends here as unrunnable makes those downstream of it unrunnable.
        for pipeline in &jobs {
            self.end_if_hopeless(pipeline);
        }
        Ok(())
    }

    /// Adds an empty commit to a branch without head and provenance.
    fn give_head(&mut self, key: &BranchKey) -> Result<(), Rejection> {
        let Some(branch) = self.state.branches.get(key).cloned() else {
            return Ok(());
        };
        if branch.head.is_some() || !branch.direct_provenance.is_empty() {
            return Ok(());
        }
        // A repository has one commit of a set. Several such branches of one repository therefore share the commit; a
        // second one would be rejected as a duplicate.
        let existing = self.state.commits.get(&key.repo.commit(self.id));
        let shareable = existing.is_some_and(|commit| {
            commit.origin == CommitOrigin::Auto
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
            origin: CommitOrigin::Auto,
            description: String::new(),
            content: Content::EMPTY,
            at: self.at,
        });
        Ok(())
    }

    /// Returns the branches that need a new commit, in the order of provenance, and the pipelines that get a job.
    fn plan(&self, dirty: &BTreeMap<BranchKey, bool>) -> Result<(Vec<BranchKey>, Vec<PipelineKey>), Rejection> {
        // A branch has more branches in its transitive provenance than any branch upstream of it. Sorted by that
        // number, every branch comes after those that it depends on, without a topological sort of the whole graph.
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
        // Branches that get a commit of this set. Those downstream compare with it: the state still has the old heads.
        let mut moved = BTreeSet::new();
        let mut repos = BTreeSet::new();
        for ((_, key), force) in affected {
            // Output and meta branch get a commit together, even if only one of them was touched: a job writes both,
            // and the base of the next job is searched along the meta commits.
            let twin = self.twin(&key);
            let needed = self.needs_commit(&key, force, &moved)
                || twin.is_some_and(|twin| self.needs_commit(&twin, force, &moved));
            if !needed {
                continue;
            }
            self.claim(&key.repo)?;
            // Two branches of one repository would share one commit id. `check_graph` rejects such a graph; this is for
            // commands of one transaction that reach a repository by separate graphs.
            if !repos.insert(key.repo.clone()) {
                return Err(Rejection::CommitInTransaction(key.repo));
            }
            jobs.extend(self.job_for(&key));
            moved.insert(key.clone());
            branches.push(key);
        }
        Ok((branches, jobs))
    }

    /// Returns the other branch that the jobs of a pipeline write to: the meta branch for the output branch, and the
    /// reverse.
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

    /// Returns whether a branch needs a commit of this set, because the heads of its provenance differ from those that
    /// its own head was derived from.
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
            // A head upstream is missing: there is nothing complete to derive from, even with `force`.
            return false;
        };
        if force {
            return true;
        }
        // As sets: the order of provenance is no difference.
        let head = branch.head.and_then(|id| self.state.commits.get(&key.repo.commit(id)));
        head.is_none_or(|head| head.provenance.iter().cloned().collect::<BTreeSet<_>>() != new)
    }

    /// Returns the pipeline that runs for a new commit on a branch.
    fn job_for(&self, key: &BranchKey) -> Option<PipelineKey> {
        let pipeline = self.state.pipelines.get(&key.repo.pipeline()?)?;
        let runs = pipeline.kind != PipelineKind::Spout && !pipeline.stopped && *key == pipeline.output_branch();
        runs.then(|| pipeline.key.clone())
    }

    /// Ends a new job if it is known already that it cannot run.
    fn end_if_hopeless(&mut self, pipeline: &PipelineKey) {
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

    /// Ends every open job that reads one of these failed commits, and every job that reads the output of those.
    ///
    /// Iterative: a long chain of pipelines would overflow the stack otherwise.
    pub(super) fn fail_downstream(&mut self, failed: Vec<CommitKey>) {
        let mut pending = failed;
        while let Some(key) = pending.pop() {
            let Some(commit) = self.state.commits.get(&key) else {
                continue;
            };
            // A clone: `close_job` changes the state that is walked.
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

/// Returns the reason of a job whose input failed.
fn unrunnable(failed: &[CommitKey]) -> String {
    let failed: Vec<_> = failed.iter().map(ToString::to_string).collect();
    format!(
        "unrunnable because the following upstream commits failed: {}",
        failed.join(", ")
    )
}
