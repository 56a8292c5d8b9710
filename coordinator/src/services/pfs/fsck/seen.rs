//! Sets of what was checked already, bounded in memory.

use std::collections::HashSet;

/// Hashes that fit, of some 20 bytes each.
const MOST: usize = 1 << 20;

/// A set of the first halves of hashes. Two different hashes with the same first half do not occur by chance.
///
/// When it is full, it starts again empty: what was forgotten is checked once more.
#[derive(Default)]
pub(super) struct Seen(HashSet<[u8; 16]>);

impl Seen {
    /// Adds a hash.
    pub(super) fn add(&mut self, hash: &[u8; 32]) {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(half(hash));
    }

    /// Tells whether a hash was added and is not forgotten.
    pub(super) fn has(&self, hash: &[u8; 32]) -> bool {
        self.0.contains(&half(hash))
    }
}

fn half(hash: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(hash.split_at(16).0);
    half
}
