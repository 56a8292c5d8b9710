//! Invariants of every state (semantics 1-5, 17, 18).

#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use howdah_model::query::{self, Readiness};
use howdah_model::*;

/// Checks the invariants of one state.
pub(crate) fn check(state: &State) {
    branches(state);
    commits(state);
    sets(state);
    jobs(state);
    pipelines(state);
}

fn branches(state: &State) {
    for branch in state.branches() {
        let key = &branch.key;
        let repo = state.repo(&key.repo).unwrap_or_else(|| panic!("{key}: no repo"));
        assert!(repo.branches.contains(&key.name), "{key}: not listed in its repo");

        let mut closure = BTreeSet::new();
        let mut pending = branch.direct_provenance.clone();
        while let Some(next) = pending.pop() {
            if closure.insert(next.clone()) {
                let upstream = state.branch(&next).unwrap_or_else(|| panic!("{key}: no {next}"));
                pending.extend(upstream.direct_provenance.iter().cloned());
            }
        }
        assert!(!closure.contains(key), "{key}: in its own provenance");
        let kept: BTreeSet<_> = branch.provenance.iter().cloned().collect();
        assert_eq!(kept, closure, "{key}: provenance is not the closure");
        for upstream in &branch.provenance {
            assert!(
                state.branch(upstream).unwrap().subvenance.contains(key),
                "{key}: not below {upstream}"
            );
        }
        for below in &branch.subvenance {
            assert!(
                state.branch(below).unwrap().provenance.contains(key),
                "{key}: not above {below}"
            );
        }
        let repos: BTreeSet<_> = branch.provenance.iter().map(|b| &b.repo).chain([&key.repo]).collect();
        assert_eq!(
            repos.len(),
            branch.provenance.len() + 1,
            "{key}: two branches of one repo"
        );
        assert!(
            branch.trigger.is_none() || branch.direct_provenance.is_empty(),
            "{key}: trigger and provenance"
        );

        let head = branch.head.unwrap_or_else(|| panic!("{key}: no head"));
        let head = state
            .commit(&key.repo.commit(head))
            .unwrap_or_else(|| panic!("{key}: head is gone"));
        if !branch.direct_provenance.is_empty() {
            let made_from: BTreeSet<_> = head.provenance.iter().cloned().collect();
            let heads: BTreeSet<_> = branch
                .direct_provenance
                .iter()
                .map(|b| b.repo.commit(state.branch(b).unwrap().head.unwrap()))
                .collect();
            assert_eq!(
                made_from, heads,
                "{key}: head not derived from the heads of its provenance"
            );
        }
    }
    for repo in state.repos() {
        assert!(state.project(&repo.key.project).is_some(), "{}: no project", repo.key);
        for name in &repo.branches {
            assert!(state.branch(&repo.key.branch(name.clone())).is_some());
        }
    }
}

fn commits(state: &State) {
    for commit in state.commits() {
        let key = &commit.key;
        assert!(state.repo(&key.repo).is_some(), "{key}: no repo");
        if let Some(parent) = commit.parent {
            let parent = state
                .commit(&key.repo.commit(parent))
                .unwrap_or_else(|| panic!("{key}: no parent"));
            assert!(parent.children.contains(&key.id), "{key}: not a child of its parent");
            assert!(parent.seq < commit.seq, "{key}: older than its parent");
        }
        for child in &commit.children {
            let child = state
                .commit(&key.repo.commit(*child))
                .unwrap_or_else(|| panic!("{key}: no child"));
            assert_eq!(child.parent, Some(key.id), "{key}: not the parent of its child");
        }
        for upstream in &commit.provenance {
            let upstream = state.commit(upstream).unwrap_or_else(|| panic!("{key}: no {upstream}"));
            assert!(upstream.subvenance.contains(key), "{key}: not below {}", upstream.key);
        }
        for below in &commit.subvenance {
            let below = state.commit(below).unwrap_or_else(|| panic!("{key}: no {below}"));
            assert!(below.provenance.contains(key), "{key}: not above {}", below.key);
        }
        assert_eq!(commit.finishing.is_some(), commit.finished.is_some());
        assert!(
            commit.finished.is_some() || commit.error.is_none(),
            "{key}: open with an error"
        );
        assert!(
            commit.finished.is_none() || commit.staged.is_empty(),
            "{key}: finished without some of its edits"
        );
        let ids: BTreeSet<_> = commit.staged.iter().map(|staged| staged.id).collect();
        assert_eq!(ids.len(), commit.staged.len(), "{key}: edits staged twice");
    }
}

fn sets(state: &State) {
    let mut members = BTreeSet::new();
    for id in state.set_ids() {
        let mut seen = BTreeSet::new();
        for key in query::set_members(state, id) {
            let commit = state
                .commit(&key)
                .unwrap_or_else(|| panic!("{key}: in its set but gone"));
            for upstream in commit.provenance.iter().filter(|upstream| upstream.id == id) {
                assert!(seen.contains(&upstream.repo), "{key}: before {upstream} in its set");
            }
            assert!(seen.insert(key.repo.clone()), "{key}: twice in its set");
            members.insert(key);
        }
        assert!(!seen.is_empty(), "{id}: empty set");
        let all = query::commit_set(state, id);
        let distinct: BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
    let all: BTreeSet<_> = state.commits().map(|commit| commit.key.clone()).collect();
    assert_eq!(members, all, "sets do not add up to the commits");
    for repo in state.repos() {
        let query = query::CommitQuery {
            repo: Some(repo.key.clone()),
            ..Default::default()
        };
        let listed: BTreeSet<_> = query::list_commits(state, &query)
            .unwrap()
            .iter()
            .map(|c| c.key.clone())
            .collect();
        let there: BTreeSet<_> = all.iter().filter(|c| c.repo == repo.key).cloned().collect();
        assert_eq!(listed, there, "{}: listing is not exact", repo.key);
    }
}

fn jobs(state: &State) {
    let mut open = BTreeSet::new();
    for job in state.jobs() {
        let key = &job.key;
        assert!(state.pipeline(&key.pipeline).is_some(), "{key}: no pipeline");
        assert!(query::job_version(state, key).is_some(), "{key}: no version");
        let output = state
            .commit(&key.output_commit())
            .unwrap_or_else(|| panic!("{key}: no output"));
        let meta = state
            .commit(&key.meta_commit())
            .unwrap_or_else(|| panic!("{key}: no meta"));
        for commit in [output, meta] {
            assert_eq!(
                commit.finished.is_some(),
                job.state.is_final(),
                "{key}: commit and job differ"
            );
            let failed = job.state.is_final() && job.state != JobState::Success;
            assert_eq!(commit.error.is_some(), failed, "{key}: error and state differ");
        }
        assert_eq!(output.provenance, meta.provenance, "{key}: output and meta differ");
        let readiness = query::job_ready(state, key);
        if !job.state.is_final() {
            open.insert(key.clone());
            assert!(
                !matches!(readiness, Readiness::Failed(_)),
                "{key}: should be unrunnable"
            );
        }
        if matches!(job.state, JobState::Running | JobState::Success) {
            assert_eq!(readiness, Readiness::Ready, "{key}: continued without its input");
        }
    }
    let listed: BTreeSet<_> = query::open_jobs(state).map(|job| job.key.clone()).collect();
    assert_eq!(listed, open, "open jobs are not exact");
}

fn pipelines(state: &State) {
    let mut counts: BTreeMap<PipelineKey, [u64; 10]> = BTreeMap::new();
    for job in state.jobs() {
        counts.entry(job.key.pipeline.clone()).or_default()[job.state as usize] += 1;
    }
    for pipeline in state.pipelines() {
        let key = &pipeline.key;
        assert_eq!(
            pipeline.job_counts,
            counts.get(key).copied().unwrap_or_default(),
            "{key}: job counts"
        );
        for (index, version) in pipeline.versions.iter().enumerate() {
            assert_eq!(version.version, index as u64 + 1, "{key}: versions");
            assert!(
                state.commit(&key.spec_repo().commit(version.spec_commit)).is_some(),
                "{key}: spec commit"
            );
        }
        let output = state
            .branch(&pipeline.output_branch())
            .unwrap_or_else(|| panic!("{key}: no output branch"));
        if pipeline.stopped {
            assert!(output.direct_provenance.is_empty(), "{key}: stopped but connected");
            assert!(
                query::open_jobs_of(state, key).next().is_none(),
                "{key}: stopped with open jobs"
            );
        }
        let meta = state
            .branch(&pipeline.meta_branch())
            .unwrap_or_else(|| panic!("{key}: no meta branch"));
        assert_eq!(
            output.direct_provenance, meta.direct_provenance,
            "{key}: meta is wired otherwise"
        );
    }
}

/// Checks the invariants of the change from one state to the next.
pub(crate) fn check_step(before: &State, after: &State) {
    for old in before.jobs() {
        let Some(new) = after.job(&old.key) else { continue };
        if old.state.is_final() {
            assert_eq!(old, new, "a job that had ended changed");
        }
        assert!(
            allowed(old.state, new.state),
            "{}: {} to {}",
            old.key,
            old.state,
            new.state
        );
        assert_eq!(old.pipeline_version, new.pipeline_version);
    }
    for old in before.commits() {
        let Some(new) = after.commit(&old.key) else { continue };
        if old.finished.is_some() {
            assert_eq!(old.content, new.content, "{}: a finished commit changed", old.key);
            assert_eq!((old.finished, &old.error), (new.finished, &new.error));
        }
    }
}

/// Returns whether a job may change from one state to another within one command. A batch may take several steps.
fn allowed(from: JobState, to: JobState) -> bool {
    use JobState::*;
    match from {
        Created => true,
        Starting => to != Created,
        Running | Egressing | Finishing => to != Created && to != Unrunnable,
        _ => from == to,
    }
}
