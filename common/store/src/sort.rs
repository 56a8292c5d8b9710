//! Sorting more records than memory should hold.
//!
//! Records are gathered in one buffer. When it is full, it is sorted and written as a run to a temporary
//! file; in the end all runs are merged (external merge sort, Knuth, The Art of Computer Programming,
//! volume 3, 5.4).

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

/// Gathers records in any order.
#[derive(Debug)]
pub struct Sorter {
    /// Encoded records, one after the other.
    buffer: Vec<u8>,
    /// Where each begins.
    starts: Vec<usize>,
    limit: usize,
    runs: Vec<Arc<File>>,
}

impl Sorter {
    /// Makes a sorter that is to keep about `limit` bytes in memory.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Sorter {
            buffer: Vec::new(),
            starts: Vec::new(),
            limit,
            runs: Vec::new(),
        }
    }

    /// Adds a record: a key, and what belongs to it, given in parts.
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

    /// Tells whether it is time to [`Sorter::spill`].
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.starts.is_empty() && self.bytes() >= self.limit
    }

    /// Moves what is in memory to a temporary file. Blocks for as long as that takes.
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

    /// Ends the gathering.
    #[must_use]
    pub fn finish(mut self) -> Sorted {
        self.sort();
        // All runs together are read through no more memory than they were gathered in.
        let runs = self.runs.len().max(1);
        Sorted {
            piece_bytes: (self.limit / runs).clamp(MIN_READ_BYTES, READ_BYTES),
            runs: self.runs,
            buffer: Arc::new((self.buffer, self.starts)),
        }
    }
}

/// Records in ascending order, which can be gone through as often as needed.
#[derive(Debug, Clone)]
pub struct Sorted {
    runs: Vec<Arc<File>>,
    piece_bytes: usize,
    /// The run that was still in memory.
    buffer: Arc<(Vec<u8>, Vec<usize>)>,
}

impl Sorted {
    /// Gives the records in ascending order: by key, then by the rest. What was pushed more than once comes
    /// more than once.
    #[must_use]
    pub fn iter(&self) -> Records {
        let mut sources: Vec<Source> = self
            .runs
            .iter()
            .map(|file| Source::file(file.clone(), self.piece_bytes))
            .collect();
        sources.push(Source::Memory(self.buffer.clone(), 0));
        Records { sources, heap: None }
    }
}

/// Merges all runs. Reads files with blocking calls of at most 256 KiB.
#[derive(Debug)]
pub struct Records {
    sources: Vec<Source>,
    /// The next record of each source; none before the first call.
    heap: Option<BinaryHeap<Reverse<(Record, usize)>>>,
}

impl Records {
    fn fill(&mut self) -> io::Result<BinaryHeap<Reverse<(Record, usize)>>> {
        let mut heap = BinaryHeap::with_capacity(self.sources.len());
        for (index, source) in self.sources.iter_mut().enumerate() {
            heap.extend(source.next()?.map(|record| Reverse((record, index))));
        }
        Ok(heap)
    }

    fn step(&mut self) -> io::Result<Option<Record>> {
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

impl Iterator for Records {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// A record. Ordered by key, then by the rest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// What it is sorted by.
    pub key: Bytes,
    /// What belongs to the key; empty if nothing does.
    pub rest: Bytes,
}

impl Record {
    fn new(bytes: &Bytes) -> Self {
        let key_length = number(bytes, 4) as usize;
        Record {
            key: bytes.slice(HEADER..HEADER + key_length),
            rest: bytes.slice(HEADER + key_length..),
        }
    }
}

/// Length of the whole record and of its key, four bytes each, stand in front of key and rest.
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
enum Source {
    Memory(Arc<(Vec<u8>, Vec<usize>)>, usize),
    File {
        file: Arc<File>,
        at: u64,
        piece: Bytes,
        piece_bytes: usize,
    },
}

impl Source {
    fn file(file: Arc<File>, piece_bytes: usize) -> Self {
        Source::File {
            file,
            at: 0,
            piece: Bytes::new(),
            piece_bytes,
        }
    }

    fn next(&mut self) -> io::Result<Option<Record>> {
        match self {
            Source::Memory(run, index) => {
                let (buffer, starts) = &**run;
                let Some(start) = starts.get(*index) else {
                    return Ok(None);
                };
                *index += 1;
                let record = Bytes::copy_from_slice(record(buffer, *start));
                Ok(Some(Record::new(&record)))
            }
            Source::File {
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
                    // What is left of the last piece is read again with what follows it.
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
                Ok(Some(Record::new(&piece.split_to(length))))
            }
        }
    }
}

/// Reads up to `wanted` bytes.
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

    fn push(sorter: &mut Sorter, key: &[u8], rest: &[&[u8]]) {
        sorter.push(key, rest);
        if sorter.is_full() {
            sorter.spill().unwrap();
        }
    }

    proptest! {
        #[test]
        fn records_come_back_sorted_whatever_fits_into_memory(
            records in prop::collection::vec((prop::collection::vec(0u8..4, 0..5), prop::collection::vec(any::<u8>(), 0..40)), 0..200),
            limit in 1usize..4000,
        ) {
            let mut sorter = Sorter::new(limit);
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
        fn large_records_are_read_whole(lengths in prop::collection::vec(0usize..600_000, 1..6)) {
            let mut sorter = Sorter::new(1);
            for (number, length) in lengths.iter().enumerate() {
                push(&mut sorter, &[number as u8], &[&vec![7; *length]]);
            }
            let found: Vec<usize> = sorter.finish().iter().map(|record| record.unwrap().rest.len()).collect();
            prop_assert_eq!(found, lengths);
        }
    }
}
