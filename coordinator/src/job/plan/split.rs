//! How datums are grouped into datum sets (pipeline-spec: `datum_set_spec`). Pure.

use howdah_protocol::objects::SetConcurrency;
use howdah_spec::DatumSetSpec;

/// Sets per worker when the spec does not say.
const DEFAULT_SETS_PER_WORKER: u64 = 4;
/// Where workers do datums of a set at once, so many sets fill a worker's slots, and a set is no larger than leaves as
/// many of its size for each worker.
const SETS_AHEAD: u64 = 4;
/// Most datums of a set when the spec gives neither number nor size: what a worker holds in memory at a
/// time, and what is done again when one dies.
const MAX_DATUMS_PER_SHARE: u64 = 1_000;
/// How many datums are looked at before the first set is cut, so that sets of jobs up to this size are
/// equal shares. Larger jobs are cut while their datums are still being found.
pub const LOOK_AHEAD: usize = 4_096;

/// Cuts a row of datums into sets.
///
/// `size_bytes` wins over `number`, as users of older systems expect; with neither, the aim is
/// `per_worker` sets for each of `workers`. Where that would make very small sets, and a worker does datums of a set
/// at once, they are larger: up to a quarter of the slots of a worker. Towards the end of such a job sets become smaller
/// (guided self-scheduling, C. D. Polychronopoulos and D. J. Kuck, 1987), so that no worker has a set left that others
/// could help with; where there are more datums than are looked at ahead, sets are small in any case beside the job.
///
/// What is not known at the beginning, the number of datums of a
/// large job, is taken to be what has come so far: its first sets are small and later ones grow.
#[derive(Debug)]
pub struct Splitter {
    rule: Rule,
    /// Datums so far, or all of them where that is known.
    known: u64,
    /// Whether it is.
    are_all: bool,
    emitted: u64,
    in_set: u64,
    bytes: u64,
}

#[derive(Debug)]
enum Rule {
    Bytes(u64),
    Number(u64),
    Shares { shares: u64, concurrency: SetConcurrency },
}

impl Splitter {
    /// Prepares to cut. `ahead` is the number of datums found by looking ahead, and `are_all` tells that no more come.
    pub fn new(
        spec: Option<&DatumSetSpec>,
        workers: u64,
        concurrency: SetConcurrency,
        ahead: u64,
        are_all: bool,
    ) -> Self {
        let spec = spec.copied().unwrap_or_default();
        let shares = |per_worker, concurrency| Rule::Shares {
            shares: workers.max(1).saturating_mul(per_worker),
            concurrency,
        };
        let rule = match spec {
            DatumSetSpec { size_bytes: 1.., .. } => Rule::Bytes(spec.size_bytes),
            DatumSetSpec { number: 1.., .. } => Rule::Number(spec.number),
            DatumSetSpec { per_worker: 0, .. } => shares(DEFAULT_SETS_PER_WORKER, concurrency),
            DatumSetSpec { per_worker, .. } => shares(per_worker, SetConcurrency::Sequential),
        };
        Splitter {
            rule,
            known: ahead,
            are_all,
            emitted: 0,
            in_set: 0,
            bytes: 0,
        }
    }

    /// Takes in a datum with so many bytes of input; tells whether the set ends after it.
    pub fn push(&mut self, size: u64) -> bool {
        self.in_set += 1;
        self.bytes = self.bytes.saturating_add(size);
        let full = match self.rule {
            Rule::Bytes(limit) => self.bytes >= limit,
            Rule::Number(number) => self.in_set >= number,
            Rule::Shares { shares, concurrency } => {
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
    fn split(sizes: &[u64], spec: Option<&DatumSetSpec>, workers: u64) -> Vec<usize> {
        let mut splitter = Splitter::new(
            spec,
            workers,
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
    fn the_default_aims_at_four_sets_for_each_worker() {
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
        assert_eq!(sets[0], 16, "work for everybody at once");
        assert!(sets.windows(2).take(sets.len() - 2).all(|pair| pair[0] <= pair[1]));
        let sets = split(&[1; 100_000], None, 1);
        assert_eq!(sets[..99], [1000; 99]);
    }

    #[test]
    fn small_sets_are_larger_where_a_worker_does_their_datums_at_once_and_smaller_in_the_end() {
        let sizes = |datums: u64, workers: u64, slots: u64| {
            let concurrency = SetConcurrency::over(2 * workers * slots, &vec![slots; workers as usize]);
            let mut splitter = Splitter::new(None, 2 * workers * slots, concurrency, datums, true);
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
    fn datums_of_a_set_run_at_once_only_where_parallelism_bounds_nothing() {
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
            number in 0u64..50, size in 0u64..5000, per_worker in 0u64..9, workers in 0u64..9,
        ) {
            let sets = split(&sizes, Some(&spec(number, size, per_worker)), workers);
            prop_assert!(sets.iter().all(|set| *set > 0));
            prop_assert_eq!(sets.iter().sum::<usize>(), sizes.len());
        }
    }
}
