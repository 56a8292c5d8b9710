//! Checks that the parts of the state agree with each other.
//!
//! The model keeps these rules with every change, so each finding is a bug of Howdah.

use howdah_model::{Branch, Commit, State};

/// Returns what does not agree, in sentences.
pub(super) fn contradictions(state: &State) -> Vec<String> {
    let mut findings = Vec::new();
    for branch in state.branches() {
        check_branch(state, branch, &mut findings);
    }
    for commit in state.commits() {
        check_commit(state, commit, &mut findings);
    }
    findings
}

fn check_branch(state: &State, branch: &Branch, findings: &mut Vec<String>) {
    let key = &branch.key;
    if let Some(head) = branch.head
        && state.commit(&key.repo.commit(head)).is_none()
    {
        findings.push(format!("branch {key} points to commit {head}, which is missing"));
    }
    for upstream in &branch.provenance {
        match state.branch(upstream) {
            None => findings.push(format!(
                "branch {key} has {upstream} in its provenance, which is missing"
            )),
            Some(other) if !other.subvenance.contains(key) => findings.push(format!(
                "branch {key} has {upstream} in its provenance, which does not have it in its \
                 subvenance"
            )),
            Some(other) => {
                for further in &other.provenance {
                    if !branch.provenance.contains(further) {
                        findings.push(format!(
                            "branch {key} lacks {further} in its provenance, which it has through \
                             {upstream}"
                        ));
                    }
                }
            }
        }
    }
}

fn check_commit(state: &State, commit: &Commit, findings: &mut Vec<String>) {
    let key = &commit.key;
    if let Some(parent) = commit.parent {
        match state.commit(&key.repo.commit(parent)) {
            None => findings.push(format!("commit {key} has parent {parent}, which is missing")),
            Some(other) if !other.children.contains(&key.id) => findings.push(format!(
                "commit {key} has parent {parent}, which does not have it as a child"
            )),
            Some(_) => {}
        }
    }
    for upstream in &commit.provenance {
        match state.commit(upstream) {
            None => findings.push(format!("commit {key} was made from {upstream}, which is missing")),
            Some(other) if !other.subvenance.contains(key) => {
                findings.push(format!("commit {key} was made from {upstream}, which does not know it"))
            }
            Some(_) => {}
        }
    }
}
