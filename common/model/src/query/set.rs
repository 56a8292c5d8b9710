//! Commit sets: members, and the commits that they are derived from.

use std::collections::BTreeSet;

use crate::ids::GlobalId;
use crate::names::CommitKey;
use crate::state::State;

/// Returns the commits of a set, each after those in its provenance; empty for an unknown id.
#[must_use]
pub fn set_members(state: &State, id: GlobalId) -> Vec<CommitKey> {
    state
        .sets
        .get(&id)
        .map(|set| set.repos.iter().map(|repo| repo.commit(id)).collect())
        .unwrap_or_default()
}

/// Returns the commits of a set and all commits that they are derived from, each after those in its provenance; empty
/// for an unknown id.
#[must_use]
pub fn commit_set(state: &State, id: GlobalId) -> Vec<CommitKey> {
    set_provenance_order(state, set_members(state, id))
}

/// Returns commits and all commits that they are derived from, each after those in its provenance.
#[must_use]
pub fn set_provenance_order(state: &State, commits: impl IntoIterator<Item = CommitKey>) -> Vec<CommitKey> {
    let mut seen = BTreeSet::new();
    let mut ordered = Vec::new();
    for commit in commits {
        if !seen.insert(commit.clone()) {
            continue;
        }
        // Depth first, with an explicit stack of commits and the position in their provenance: recursion would overflow
        // on a long chain of pipelines.
        let mut stack = vec![(commit, 0)];
        while let Some((key, next)) = stack.pop() {
            let provenance = state.commits.get(&key).map(|c| c.provenance.as_slice());
            match provenance.unwrap_or_default().get(next) {
                Some(upstream) => {
                    let upstream = upstream.clone();
                    stack.push((key, next + 1));
                    if seen.insert(upstream.clone()) {
                        stack.push((upstream, 0));
                    }
                }
                None => ordered.push(key),
            }
        }
    }
    ordered
}

/// Returns the other sets with a commit that is derived from one of this set, directly or not, oldest first.
#[must_use]
pub fn subvenant_sets(state: &State, id: GlobalId) -> Vec<GlobalId> {
    let mut found = BTreeSet::new();
    let mut pending = vec![id];
    while let Some(id) = pending.pop() {
        for member in set_members(state, id) {
            let Some(commit) = state.commits.get(&member) else {
                continue;
            };
            for derived in &commit.subvenance {
                if derived.id != id && found.insert(derived.id) {
                    pending.push(derived.id);
                }
            }
        }
    }
    found.remove(&id);
    let mut sets: Vec<_> = found.into_iter().collect();
    sets.sort_by_key(|id| state.sets.get(id).map(|set| set.seq));
    sets
}
