//! Sorts tree edits in bounded memory: [`howdah_store::sort`] with edits as records.

use std::io;

use bytes::Bytes;
use howdah_store::sort::{RecordSorter, SortRecord, SortedRecords};
use howdah_store::{TreeEdit, TreeValue};

/// Collects edits in any order.
#[derive(Debug)]
pub(super) struct EditSorter(RecordSorter);

impl EditSorter {
    /// Makes a sorter that keeps about `limit` bytes in memory.
    pub(super) fn new(limit: usize) -> Self {
        EditSorter(RecordSorter::new(limit))
    }

    /// Adds an edit. May write to a temporary file.
    pub(super) fn push(&mut self, key: &[u8], value: Option<&TreeValue>) -> io::Result<()> {
        match value {
            None => self.0.push(key, &[]),
            Some(value) => {
                let data_length = u32::try_from(value.data.len()).unwrap_or(u32::MAX);
                self.0.push(
                    key,
                    &[
                        &value.weight.to_le_bytes(),
                        &data_length.to_le_bytes(),
                        &value.data,
                        &value.placement,
                    ],
                );
            }
        }
        if self.0.is_full() { self.0.spill() } else { Ok(()) }
    }

    /// Returns the edits in order. May block while it sorts what is in memory.
    pub(super) fn finish(self) -> SortedEdits {
        SortedEdits(self.0.finish())
    }
}

/// Edits in ascending order of their keys. They can be read any number of times.
#[derive(Debug, Clone)]
pub(super) struct SortedEdits(SortedRecords);

impl SortedEdits {
    /// Iterates over the edits. A key that was pushed more than once comes more than once: removals first, then values in
    /// ascending order. So the order in which edits were pushed, which is that of the results, does not matter.
    pub(super) fn iter(&self) -> impl Iterator<Item = io::Result<TreeEdit>> + Send + use<> {
        self.0.iter().map(|record| record.map(edit))
    }
}

/// Decodes an edit: weight (8 bytes), length of the data (4 bytes), data, placement; nothing for a removal.
fn edit(record: SortRecord) -> TreeEdit {
    let SortRecord { key, rest } = record;
    let value = (!rest.is_empty()).then(|| {
        let (weight, data_length) = (array(&rest, 0), array(&rest, 8));
        let data_end = 12 + u32::from_le_bytes(data_length) as usize;
        TreeValue {
            weight: u64::from_le_bytes(weight),
            data: rest.slice(12..data_end),
            placement: rest.slice(data_end..),
        }
    });
    TreeEdit { key, value }
}

fn array<const N: usize>(bytes: &Bytes, at: usize) -> [u8; N] {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_come_back_sorted_with_removals_first() {
        let value = |text: &'static [u8]| TreeValue {
            data: Bytes::from_static(text),
            placement: Bytes::from_static(b"somewhere"),
            weight: text.len() as u64,
        };
        for limit in [1, 1 << 20] {
            let mut sorter = EditSorter::new(limit);
            sorter.push(b"b", Some(&value(b"one"))).unwrap();
            sorter.push(b"b", None).unwrap();
            sorter.push(b"a", Some(&value(b""))).unwrap();
            let sorted = sorter.finish();
            let expected = [
                TreeEdit::put("a", value(b"")),
                TreeEdit::remove("b"),
                TreeEdit::put("b", value(b"one")),
            ];
            for _ in 0..2 {
                let found: Vec<TreeEdit> = sorted.iter().map(Result::unwrap).collect();
                assert_eq!(found, expected);
            }
        }
    }
}
