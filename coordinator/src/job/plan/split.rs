//! How datums are grouped into datum sets (`datum_set_spec` of the pipeline spec). Pure.

use howdah_protocol::objects::SetConcurrency;
use howdah_spec::DatumSetSpec;

/// Sets for each unit of parallelism when the spec has no number.
const DEFAULT_SETS_PER_WORKER: u64 = 4;
/// Used where workers run the datums of a set concurrently. A set has at least the number of slots of a worker divided
/// by this number, but never so many datums that fewer than this number of such sets remain for each worker.
const SETS_AHEAD: u64 = 4;
/// Most datums of a set when the spec gives neither number nor size. It bounds a worker's memory for one set, and what
/// runs again when a worker dies.
const MAX_DATUMS_PER_SHARE: u64 = 1_000;
/// How many datums are found before the first set ends. In jobs up to this size all sets are equal shares; larger jobs are
/// cut into sets while their datums are still being found.
pub const LOOK_AHEAD: usize = 4_096;

/// Decides where each datum set ends in a stream of datums.
///
/// `size_bytes` comes before `number`, as users of older systems expect. With neither, the aim is `per_worker` sets for
/// each unit of the pipeline's parallelism. Where that gives very small sets and a worker runs the datums of a set
/// concurrently, sets are larger: up to a quarter of the slots of a worker. Towards the end of such a job, sets become
/// smaller (guided self-scheduling, C. D. Polychronopoulos and D. J. Kuck, 1987), so that the workers end at about the
/// same time.
///
/// For a job of more than [`LOOK_AHEAD`] datums, the number of datums found so far replaces the unknown total: its
/// first sets are small and later ones grow.
#[derive(Debug)]
pub struct SetSplitter {
    rule: SplitRule,
    /// Datums found so far.
    known: u64,
    /// Whether these are all.
    are_all: bool,
    /// Datums in sets that have ended.
    emitted: u64,
    /// Datums in the open set.
    in_set: u64,
    /// Bytes of input of the open set.
    bytes: u64,
}

#[derive(Debug)]
enum SplitRule {
    Bytes(u64),
    Number(u64),
    Shares { shares: u64, concurrency: SetConcurrency },
}

impl SetSplitter {
    /// Makes a splitter. `parallelism` is that of the pipeline. `ahead` is the number of datums found by looking ahead;
    /// `are_all` means that no more come.
    pub fn new(
        spec: Option<&DatumSetSpec>,
        parallelism: u64,
        concurrency: SetConcurrency,
        ahead: u64,
        are_all: bool,
    ) -> Self {
        let spec = spec.copied().unwrap_or_default();
        let shares = |per_worker, concurrency| SplitRule::Shares {
            shares: parallelism.max(1).saturating_mul(per_worker),
            concurrency,
        };
        let rule = match spec {
            DatumSetSpec { size_bytes: 1.., .. } => SplitRule::Bytes(spec.size_bytes),
            DatumSetSpec { number: 1.., .. } => SplitRule::Number(spec.number),
            DatumSetSpec { per_worker: 0, .. } => shares(DEFAULT_SETS_PER_WORKER, concurrency),
            DatumSetSpec { per_worker, .. } => shares(per_worker, SetConcurrency::Sequential),
        };
        SetSplitter {
            rule,
            known: ahead,
            are_all,
            emitted: 0,
            in_set: 0,
            bytes: 0,
        }
    }

    /// Adds a datum with `size` bytes of input to the open set; tells whether the set ends after it.
    pub fn push(&mut self, size: u64) -> bool {
        self.in_set += 1;
        self.bytes = self.bytes.saturating_add(size);
        let full = match self.rule {
            SplitRule::Bytes(limit) => self.bytes >= limit,
            SplitRule::Number(number) => self.in_set >= number,
            SplitRule::Shares { shares, concurrency } => {
                let even = self.known / shares;
                let size = match concurrency {
                    SetConcurrency::Sequential => even,
                    SetConcurrency::Concurrent { workers, slots } => {
                        let left = if self.are_all {
                            self.known - self.emitted
                        } else {
                            self.known
                        };
                        even.max(slots / SETS_AHEAD).min(left / (workers.max(1) * SETS_AHEAD))
                    }
                };
                self.in_set >= size.clamp(1, MAX_DATUMS_PER_SHARE)
            }
        };
        if full {
            self.emitted += self.in_set;
            self.known = self.known.max(self.emitted);
            (self.in_set, self.bytes) = (0, 0);
        }
        full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spec(number: u64, size_bytes: u64, per_worker: u64) -> DatumSetSpec {
        DatumSetSpec {
            number,
            size_bytes,
            per_worker,
        }
    }

    /// Returns the numbers of datums in the sets.
    fn split(sizes: &[u64], spec: Option<&DatumSetSpec>, parallelism: u64) -> Vec<usize> {
        let mut splitter = SetSplitter::new(
            spec,
            parallelism,
            SetConcurrency::Sequential,
            sizes.len().min(LOOK_AHEAD) as u64,
            sizes.len() <= LOOK_AHEAD,
        );
        let (mut sets, mut open) = (Vec::new(), 0);
        for size in sizes {
            open += 1;
            if splitter.push(*size) {
                sets.push(std::mem::take(&mut open));
            }
        }
        sets.extend((open > 0).then_some(open));
        sets
    }

    #[test]
    fn the_default_aims_at_four_sets_for_each_unit_of_parallelism() {
        assert_eq!(split(&[1; 80], None, 2), [10; 8]);
        assert_eq!(split(&[1; 3], None, 2), [1; 3], "never an empty set");
        assert_eq!(
            split(&[1; 80], Some(&spec(0, 0, 0)), 2),
            [10; 8],
            "all zero means the default"
        );
        assert_eq!(split(&[1; 80], Some(&spec(0, 0, 10)), 2), [4; 20]);
    }

    #[test]
    fn large_jobs_get_sets_that_grow_to_a_limit() {
        let sets = split(&[1; 100_000], None, 64);
        assert_eq!(sets[0], 16, "work for all 64 at once");
        assert!(sets.windows(2).take(sets.len() - 2).all(|pair| pair[0] <= pair[1]));
        let sets = split(&[1; 100_000], None, 1);
        assert_eq!(sets[..99], [1000; 99]);
    }

    #[test]
    fn small_sets_are_larger_where_their_datums_run_concurrently_and_shrink_towards_the_end() {
        let sizes = |datums: u64, workers: u64, slots: u64| {
            let concurrency = SetConcurrency::over(2 * workers * slots, &vec![slots; workers as usize]);
            let mut splitter = SetSplitter::new(None, 2 * workers * slots, concurrency, datums, true);
            let ends: Vec<u64> = (1..=datums).filter(|_| splitter.push(1)).collect();
            ends.iter()
                .scan(0, |before, end| Some(end - std::mem::replace(before, *end)))
                .collect::<Vec<_>>()
        };
        let many = sizes(2000, 8, 32);
        assert_eq!(many[..218], [8; 218], "a quarter of the slots of a worker");
        assert!(many.is_sorted_by(|a, b| a >= b) && many.ends_with(&[1; 32]));
        assert_eq!(sizes(100, 8, 32)[..2], [3, 3], "four sets for each worker");
        assert_eq!(sizes(10, 8, 32), [1; 10]);
        assert_eq!(sizes(4000, 1, 8)[0], 62, "sets that are large already stay as they are");
    }

    #[test]
    fn datums_of_a_set_run_concurrently_only_where_parallelism_bounds_nothing() {
        let at_once =
            |parallelism, slots: &[u64]| SetConcurrency::over(parallelism, slots) != SetConcurrency::Sequential;
        assert!(at_once(8, &[4, 4]) && at_once(9, &[1, 4]));
        assert!(!at_once(7, &[4, 4]), "the number of sets that are out is the bound");
        assert!(!at_once(8, &[1, 1]), "no worker could");
        assert!(!at_once(8, &[]), "no worker is known");
    }

    #[test]
    fn a_size_limit_overshoots_by_at_most_one_datum_and_beats_a_number() {
        assert_eq!(split(&[4, 4, 4, 4, 4], Some(&spec(1, 8, 0)), 1), [2, 2, 1]);
    }

    #[test]
    fn a_number_is_a_number_of_datums() {
        assert_eq!(split(&[0; 7], Some(&spec(3, 0, 0)), 9), [3, 3, 1]);
    }

    proptest! {
        #[test]
        fn sets_cover_every_datum(
            sizes in prop::collection::vec(0u64..1000, 0..200),
            number in 0u64..50, size in 0u64..5000, per_worker in 0u64..9, parallelism in 0u64..9,
        ) {
            let sets = split(&sizes, Some(&spec(number, size, per_worker)), parallelism);
            prop_assert!(sets.iter().all(|set| *set > 0));
            prop_assert_eq!(sets.iter().sum::<usize>(), sizes.len());
        }
    }
}
