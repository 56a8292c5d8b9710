//! How datums are grouped into datum sets (pipeline-spec: `datum_set_spec`). Pure.

use std::ops::Range;

use howdah_spec::DatumSetSpec;

/// Sets per worker when the spec does not say.
const DEFAULT_SETS_PER_WORKER: u64 = 4;

/// Splits datums, given by their input sizes in bytes, into runs that become one set each.
///
/// `size_bytes` wins over `number`, as users of older systems expect; with neither, the aim is
/// `per_worker` sets for each of `workers`.
pub fn split(sizes: &[u64], spec: Option<&DatumSetSpec>, workers: u64) -> Vec<Range<usize>> {
    let spec = spec.copied().unwrap_or_default();
    let by_size = spec.size_bytes;
    if by_size > 0 {
        return split_by_size(sizes, by_size);
    }
    let number = match spec.number {
        0 => {
            let per_worker = match spec.per_worker {
                0 => DEFAULT_SETS_PER_WORKER,
                n => n,
            };
            sizes.len() as u64 / (workers.max(1) * per_worker)
        }
        n => n,
    };
    let number = usize::try_from(number.max(1)).unwrap_or(usize::MAX);
    (0..sizes.len())
        .step_by(number)
        .map(|start| start..sizes.len().min(start.saturating_add(number)))
        .collect()
}

fn split_by_size(sizes: &[u64], limit: u64) -> Vec<Range<usize>> {
    let mut sets = Vec::new();
    let (mut start, mut bytes) = (0, 0u64);
    for (index, size) in sizes.iter().enumerate() {
        bytes = bytes.saturating_add(*size);
        if bytes >= limit {
            sets.push(start..index + 1);
            (start, bytes) = (index + 1, 0);
        }
    }
    if start < sizes.len() {
        sets.push(start..sizes.len());
    }
    sets
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

    #[test]
    fn the_default_aims_at_four_sets_for_each_worker() {
        assert_eq!(split(&[1; 80], None, 2).len(), 8);
        assert_eq!(split(&[1; 3], None, 2).len(), 3, "never an empty set");
        assert_eq!(
            split(&[1; 80], Some(&spec(0, 0, 0)), 2).len(),
            8,
            "all zero means the default"
        );
        assert_eq!(split(&[1; 80], Some(&spec(0, 0, 10)), 2).len(), 20);
    }

    #[test]
    fn a_size_limit_overshoots_by_at_most_one_datum_and_beats_a_number() {
        assert_eq!(split(&[4, 4, 4, 4, 4], Some(&spec(1, 8, 0)), 1), vec![0..2, 2..4, 4..5]);
    }

    #[test]
    fn a_number_is_a_number_of_datums() {
        assert_eq!(split(&[0; 7], Some(&spec(3, 0, 0)), 9), vec![0..3, 3..6, 6..7]);
    }

    proptest! {
        #[test]
        fn sets_cover_every_datum_once_and_in_order(
            sizes in prop::collection::vec(0u64..1000, 0..200),
            number in 0u64..50, size in 0u64..5000, per_worker in 0u64..9, workers in 0u64..9,
        ) {
            let sets = split(&sizes, Some(&spec(number, size, per_worker)), workers);
            let mut next = 0;
            for set in &sets {
                prop_assert_eq!(set.start, next);
                prop_assert!(set.end > set.start);
                next = set.end;
            }
            prop_assert_eq!(next, sizes.len());
        }
    }
}
