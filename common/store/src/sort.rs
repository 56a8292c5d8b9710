//! Sorting more records than fit into memory: an external merge sort.
//!
//! Records are gathered in one buffer. When it is full, it is sorted and written to a temporary file, as a run. At the
//! end all runs, and the last buffer, are merged through a heap (Knuth, The Art of Computer Programming, volume 3,
//! 5.4). Sorting is not stable by itself: equal keys are ordered by the rest of the record, so a caller that needs an
//! order among equal keys puts a number first.
//!
//! ```text
//! record = length of all (4 bytes) · length of the key (4) · key · rest
//! ```
//!
//! Temporary files have no name: the kernel removes them when the process ends, also after a crash.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

/// Most bytes read from a run at a time.
const READ_BYTES: usize = 256 << 10;
/// Fewest bytes read from a run at a time, however many runs there are.
const MIN_READ_BYTES: usize = 8 << 10;

/// Takes records in any order.
#[derive(Debug)]
pub struct RecordSorter {
    /// Encoded records, one after the other.
    buffer: Vec<u8>,
    /// Offset of each record.
    starts: Vec<usize>,
    limit: usize,
    runs: Vec<Arc<File>>,
}

impl RecordSorter {
    /// Returns a sorter that keeps about `limit` bytes in memory.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        RecordSorter {
            buffer: Vec::new(),
            starts: Vec::new(),
            limit,
            runs: Vec::new(),
        }
    }

    /// Adds a record: a key, and the parts of the rest, which are joined.
    pub fn push(&mut self, key: &[u8], rest: &[&[u8]]) {
        self.starts.push(self.buffer.len());
        let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        let rest_length: usize = rest.iter().map(|part| part.len()).sum();
        self.buffer.extend_from_slice(&length(HEADER + key.len() + rest_length));
        self.buffer.extend_from_slice(&length(key.len()));
        self.buffer.extend_from_slice(key);
        for part in rest {
            self.buffer.extend_from_slice(part);
        }
    }

    /// Returns the number of bytes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buffer.len() + self.starts.len() * size_of::<usize>()
    }

    /// Tells whether no record has been added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty() && self.runs.is_empty()
    }

    /// Tells whether [`RecordSorter::spill`] should be called now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.starts.is_empty() && self.bytes() >= self.limit
    }

    /// Moves the records in memory to a temporary file. Blocks the thread.
    ///
    /// # Errors
    /// When the file cannot be made or written.
    pub fn spill(&mut self) -> io::Result<()> {
        self.sort();
        let file = tempfile::tempfile()?;
        let mut writer = BufWriter::with_capacity(READ_BYTES, &file);
        for start in &self.starts {
            writer.write_all(record(&self.buffer, *start))?;
        }
        writer.flush()?;
        drop(writer);
        self.runs.push(Arc::new(file));
        self.buffer.clear();
        self.starts.clear();
        Ok(())
    }

    fn sort(&mut self) {
        let buffer = &self.buffer;
        self.starts
            .sort_unstable_by(|a, b| sort_key(buffer, *a).cmp(&sort_key(buffer, *b)));
    }

    /// Sorts the records in memory and returns all records.
    #[must_use]
    pub fn finish(mut self) -> SortedRecords {
        self.sort();
        // Every run has a read buffer during the merge. With a fixed size, a sort of many runs would take many times
        // the memory that the caller allowed.
        let runs = self.runs.len().max(1);
        SortedRecords {
            piece_bytes: (self.limit / runs).clamp(MIN_READ_BYTES, READ_BYTES),
            runs: self.runs,
            buffer: Arc::new((self.buffer, self.starts)),
        }
    }
}

/// Records in ascending order. They can be read several times.
#[derive(Debug, Clone)]
pub struct SortedRecords {
    runs: Vec<Arc<File>>,
    piece_bytes: usize,
    /// The run that was still in memory.
    buffer: Arc<(Vec<u8>, Vec<usize>)>,
}

impl SortedRecords {
    /// Returns the records in ascending order: by key, then by the rest. Duplicates are returned, too.
    #[must_use]
    pub fn iter(&self) -> MergedRecords {
        let mut sources: Vec<RecordSource> = self
            .runs
            .iter()
            .map(|file| RecordSource::file(file.clone(), self.piece_bytes))
            .collect();
        sources.push(RecordSource::Memory(self.buffer.clone(), 0));
        MergedRecords { sources, heap: None }
    }
}

/// The merge of all runs. Reads files with blocking calls of at most 256 KiB.
#[derive(Debug)]
pub struct MergedRecords {
    sources: Vec<RecordSource>,
    /// The next record of each source; none before the first call.
    heap: Option<BinaryHeap<Reverse<(SortRecord, usize)>>>,
}

impl MergedRecords {
    fn fill(&mut self) -> io::Result<BinaryHeap<Reverse<(SortRecord, usize)>>> {
        let mut heap = BinaryHeap::with_capacity(self.sources.len());
        for (index, source) in self.sources.iter_mut().enumerate() {
            heap.extend(source.next()?.map(|record| Reverse((record, index))));
        }
        Ok(heap)
    }

    fn step(&mut self) -> io::Result<Option<SortRecord>> {
        let mut heap = match self.heap.take() {
            Some(heap) => heap,
            None => self.fill()?,
        };
        let first = heap.pop();
        if let Some(Reverse((_, index))) = &first {
            let next = self.sources[*index].next()?;
            heap.extend(next.map(|record| Reverse((record, *index))));
        }
        self.heap = Some(heap);
        Ok(first.map(|Reverse((record, _))| record))
    }
}

impl Iterator for MergedRecords {
    type Item = io::Result<SortRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// A record. Ordered by key, then by the rest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortRecord {
    /// Sorted by this first.
    pub key: Bytes,
    /// The rest of the record; may be empty.
    pub rest: Bytes,
}

impl SortRecord {
    fn new(bytes: &Bytes) -> Self {
        let key_length = number(bytes, 4) as usize;
        SortRecord {
            key: bytes.slice(HEADER..HEADER + key_length),
            rest: bytes.slice(HEADER + key_length..),
        }
    }
}

/// Bytes before the key: length of the whole record and of its key.
const HEADER: usize = 8;

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |number| u32::from_le_bytes(*number))
}

fn record(buffer: &[u8], start: usize) -> &[u8] {
    &buffer[start..start + number(buffer, start) as usize]
}

fn sort_key(buffer: &[u8], start: usize) -> (&[u8], &[u8]) {
    let record = record(buffer, start);
    record[HEADER..].split_at(number(record, 4) as usize)
}

#[derive(Debug)]
enum RecordSource {
    Memory(Arc<(Vec<u8>, Vec<usize>)>, usize),
    File {
        file: Arc<File>,
        at: u64,
        piece: Bytes,
        piece_bytes: usize,
    },
}

impl RecordSource {
    fn file(file: Arc<File>, piece_bytes: usize) -> Self {
        RecordSource::File {
            file,
            at: 0,
            piece: Bytes::new(),
            piece_bytes,
        }
    }

    fn next(&mut self) -> io::Result<Option<SortRecord>> {
        match self {
            RecordSource::Memory(run, index) => {
                let (buffer, starts) = &**run;
                let Some(start) = starts.get(*index) else {
                    return Ok(None);
                };
                *index += 1;
                let record = Bytes::copy_from_slice(record(buffer, *start));
                Ok(Some(SortRecord::new(&record)))
            }
            RecordSource::File {
                file,
                at,
                piece,
                piece_bytes,
            } => {
                let length = if piece.len() < HEADER {
                    usize::MAX
                } else {
                    number(piece, 0) as usize
                };
                if piece.len() < length {
                    // A record may span two pieces. Its first bytes are read again together with the others: keeping
                    // them would need a copy for each piece.
                    let wanted = if length == usize::MAX {
                        *piece_bytes
                    } else {
                        length.max(*piece_bytes)
                    };
                    *piece = read_piece(file, *at, wanted)?;
                }
                if piece.is_empty() {
                    return Ok(None);
                }
                let length = number(piece, 0) as usize;
                if piece.len() < length {
                    *piece = read_piece(file, *at, length)?;
                }
                if piece.len() < length.max(HEADER) {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *at += length as u64;
                Ok(Some(SortRecord::new(&piece.split_to(length))))
            }
        }
    }
}

/// Reads up to `wanted` bytes; fewer only at the end of the file.
fn read_piece(file: &File, at: u64, wanted: usize) -> io::Result<Bytes> {
    let mut piece = vec![0; wanted];
    let mut filled = 0;
    while filled < wanted {
        match file.read_at(&mut piece[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    piece.truncate(filled);
    Ok(piece.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn push(sorter: &mut RecordSorter, key: &[u8], rest: &[&[u8]]) {
        sorter.push(key, rest);
        if sorter.is_full() {
            sorter.spill().unwrap();
        }
    }

    proptest! {
        #[test]
        fn records_are_sorted_however_few_fit_into_memory(
            records in prop::collection::vec((prop::collection::vec(0u8..4, 0..5), prop::collection::vec(any::<u8>(), 0..40)), 0..200),
            limit in 1usize..4000,
        ) {
            let mut sorter = RecordSorter::new(limit);
            for (key, rest) in &records {
                let (front, back) = rest.split_at(rest.len() / 2);
                push(&mut sorter, key, &[front, back]);
            }
            prop_assert_eq!(sorter.is_empty(), records.is_empty());
            let sorted = sorter.finish();
            let mut expected = records;
            expected.sort();
            for _ in 0..2 {
                let found: Vec<_> = sorted.iter().map(|record| record.map(|record| (record.key.to_vec(), record.rest.to_vec())).unwrap()).collect();
                prop_assert_eq!(&found, &expected);
            }
        }

        #[test]
        fn large_records_are_read_completely(lengths in prop::collection::vec(0usize..600_000, 1..6)) {
            let mut sorter = RecordSorter::new(1);
            for (number, length) in lengths.iter().enumerate() {
                push(&mut sorter, &[number as u8], &[&vec![7; *length]]);
            }
            let found: Vec<usize> = sorter.finish().iter().map(|record| record.unwrap().rest.len()).collect();
            prop_assert_eq!(found, lengths);
        }
    }
}
