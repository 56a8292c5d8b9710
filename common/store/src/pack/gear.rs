//! Finding where chunks end: content-defined chunking with FastCDC, resumable.
//!
//! The algorithm is that of W. Xia et al., "The Design of Fast Content-Defined Chunking for Data Deduplication Based
//! Storage Systems" (IEEE TPDS, 2020); its rolling hash, gear, is from their "Ddelta" (2014). A chunk ends before the
//! first byte at which certain bits of the hash are zero: many bits before the average size, fewer after it, so that
//! sizes are close to the average.
//!
//! The hash is shifted left by one bit for each byte, so a byte has no effect after 64 more bytes. From this follows
//! what is different here: a search can be resumed at any byte, and four stretches can be searched side by side, if
//! each begins with the hash of the 64 bytes before it. The cuts are exactly those of `fastcdc::v2020::cut`, whose
//! table is used; a test compares them. If they ever differed, files that are stored already would be stored again.

use std::sync::LazyLock;

use fastcdc::v2020::{self, Normalization};

use crate::format::chunk::{AVERAGE_CHUNK, MAX_CHUNK, MIN_CHUNK};

/// Number of bytes after which a byte has no more effect on the hash.
const MEMORY: usize = 64;
/// Stretches searched side by side. In a single one, each step of the hash waits for the step before.
const LANES: usize = 4;
/// Length of a stretch in bytes.
const LANE: usize = 1024;

/// Searches the end of one chunk while its bytes are gathered.
#[derive(Debug, Default)]
pub(super) struct CutFinder {
    /// Number of bytes that have been searched and do not end the chunk.
    searched: usize,
}

struct Tables {
    gear: [u64; 256],
    /// Bits that must be zero before the average size, and after it (fewer).
    strict: u64,
    lenient: u64,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let (strict, lenient) = v2020::select_masks(AVERAGE_CHUNK, Normalization::Level1);
    let (gear, _) = v2020::get_gear_with_seed(0);
    let mut tables = Tables {
        gear: [0; 256],
        strict,
        lenient,
    };
    tables.gear.copy_from_slice(&gear);
    tables
});

impl CutFinder {
    /// Returns how many bytes of the chunk have been searched.
    pub(super) fn searched(&self) -> usize {
        self.searched
    }

    /// Searches the bytes that were added. `chunk` has all bytes of the chunk so far, and perhaps bytes of the next
    /// one. Returns the length of the chunk when its end has been found.
    pub(super) fn find(&mut self, chunk: &[u8]) -> Option<usize> {
        let tables = &*TABLES;
        let end = chunk.len().min(MAX_CHUNK);
        for (until, mask) in [(AVERAGE_CHUNK, tables.strict), (MAX_CHUNK, tables.lenient)] {
            let from = self.searched.max(MIN_CHUNK);
            let until = until.min(end);
            // The hash begins at MIN_CHUNK, not at the begin of the chunk, as in the reference: starting it elsewhere
            // would give other cuts.
            if from < until
                && let Some(cut) = tables.search(&chunk[MIN_CHUNK..until], from - MIN_CHUNK, mask)
            {
                return Some(MIN_CHUNK + cut);
            }
            self.searched = self.searched.max(until);
        }
        (end == MAX_CHUNK).then_some(MAX_CHUNK)
    }
}

impl Tables {
    /// Returns the first index from `from` on at which the hash of `bytes`, begun at index 0, has zeros in the mask.
    fn search(&self, bytes: &[u8], mut from: usize, mask: u64) -> Option<usize> {
        let mut hash = self.hash_before(bytes, from);
        while bytes.len() - from >= LANES * LANE {
            let block = &bytes[from..from + LANES * LANE];
            let mut hashes = [hash; LANES];
            for (lane, hash) in hashes.iter_mut().enumerate().skip(1) {
                *hash = self.hash_before(block, lane * LANE);
            }
            let found = self.search_lanes(block, &mut hashes, mask);
            if found {
                return self.search_plain(block, hash, mask).map(|at| from + at);
            }
            hash = hashes[LANES - 1];
            from += LANES * LANE;
        }
        self.search_plain(&bytes[from..], hash, mask).map(|at| from + at)
    }

    /// Returns the hash before `at`, which depends on the last 64 bytes only.
    fn hash_before(&self, bytes: &[u8], at: usize) -> u64 {
        let known = &bytes[at.saturating_sub(MEMORY)..at];
        known.iter().fold(0, |hash, byte| self.next(hash, *byte))
    }

    #[inline]
    fn next(&self, hash: u64, byte: u8) -> u64 {
        (hash << 1).wrapping_add(self.gear[usize::from(byte)])
    }

    /// Tells whether a cut is anywhere in a block. Only if there is none, `hashes` are set to those at the ends of the
    /// lanes: the search stops at the first cut that any lane meets, which need not be the first one in the block.
    fn search_lanes(&self, block: &[u8], hashes: &mut [u64; LANES], mask: u64) -> bool {
        let (a, rest) = block.split_at(LANE);
        let (b, rest) = rest.split_at(LANE);
        let (c, d) = rest.split_at(LANE);
        let [mut w, mut x, mut y, mut z] = *hashes;
        for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
            w = self.next(w, *a);
            x = self.next(x, *b);
            y = self.next(y, *c);
            z = self.next(z, *d);
            if w & mask == 0 || x & mask == 0 || y & mask == 0 || z & mask == 0 {
                return true;
            }
        }
        *hashes = [w, x, y, z];
        false
    }

    fn search_plain(&self, bytes: &[u8], mut hash: u64, mask: u64) -> Option<usize> {
        bytes.iter().position(|byte| {
            hash = self.next(hash, *byte);
            hash & mask == 0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    /// Returns the cut of the reference implementation.
    fn expected(bytes: &[u8]) -> usize {
        let (strict, lenient) = (TABLES.strict, TABLES.lenient);
        v2020::cut(
            bytes,
            MIN_CHUNK,
            AVERAGE_CHUNK,
            MAX_CHUNK,
            strict,
            lenient,
            strict << 1,
            lenient << 1,
        )
        .1
    }

    fn all_cuts(mut bytes: &[u8], cut: impl Fn(&[u8]) -> usize) -> Vec<usize> {
        let mut cuts = Vec::new();
        while !bytes.is_empty() {
            cuts.push(cut(bytes));
            bytes = &bytes[cuts[cuts.len() - 1]..];
        }
        cuts
    }

    #[test]
    fn cuts_are_those_of_fastcdc() {
        for seed in 0..4 {
            let length = (30 << 20) + 4097 * seed as usize;
            let bytes = noise(seed, length);
            let own = all_cuts(&bytes, |bytes| CutFinder::default().find(bytes).unwrap_or(bytes.len()));
            assert_eq!(own, all_cuts(&bytes, expected));
            assert!(own.len() > 8, "{own:?}");
        }
    }

    #[test]
    fn bytes_without_structure_are_cut_at_the_maximum() {
        let bytes = vec![7; MAX_CHUNK + 5];
        assert_eq!(CutFinder::default().find(&bytes), Some(MAX_CHUNK));
        assert_eq!(CutFinder::default().find(&bytes[..MAX_CHUNK - 1]), None);
    }

    #[test]
    fn a_search_in_steps_finds_the_same() {
        let bytes = noise(9, 9 << 20);
        let whole = CutFinder::default().find(&bytes);
        assert!(whole.is_some());
        for step in [777, 64 << 10, 1 << 20] {
            let mut finder = CutFinder::default();
            let mut ends = (step..bytes.len()).step_by(step);
            let found = ends.find_map(|end| finder.find(&bytes[..end]));
            assert_eq!(found, whole, "in steps of {step}");
        }
    }
}
