//! A bounded set of hashes that something is to be done with.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use howdah_model::ContentHash;

/// Hashes that are kept, of some 50 bytes each.
const MOST: usize = 1 << 18;

/// Marked hashes. A hash that has no room is left out and logged.
#[derive(Debug, Default)]
pub(crate) struct MarkedHashes(Mutex<HashSet<ContentHash>>);

impl MarkedHashes {
    /// Marks a hash.
    pub(crate) fn add(&self, hash: ContentHash) {
        let mut marked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if marked.len() < MOST {
            marked.insert(hash);
        } else {
            tracing::warn!(%hash, "too many nodes are to be replaced: this one is left out");
        }
    }

    /// Tells whether a hash is marked.
    pub(crate) fn has(&self, hash: &ContentHash) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(hash)
    }

    /// Removes the mark of a hash.
    pub(crate) fn remove(&self, hash: &ContentHash) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(hash);
    }
}
