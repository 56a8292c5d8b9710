//! Sorting more tree edits than memory should hold.
//!
//! Edits are gathered in one buffer. When it is full, it is sorted and written as a run to a temporary
//! file; in the end all runs are merged (external merge sort, Knuth, The Art of Computer Programming,
//! volume 3, 5.4).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use howdah_store::{Edit, Value};

/// Bytes read from a run at a time.
const READ_BYTES: usize = 256 << 10;

/// Gathers edits in any order.
#[derive(Debug)]
pub struct Sorter {
    /// Encoded edits, one after the other.
    buffer: Vec<u8>,
    /// Where each begins.
    starts: Vec<usize>,
    limit: usize,
    runs: Vec<Arc<File>>,
}

impl Sorter {
    /// Makes a sorter that keeps about `limit` bytes in memory.
    pub fn new(limit: usize) -> Self {
        Sorter {
            buffer: Vec::new(),
            starts: Vec::new(),
            limit,
            runs: Vec::new(),
        }
    }

    /// Adds an edit. May write to a temporary file.
    pub fn push(&mut self, key: &[u8], value: Option<&Value>) -> io::Result<()> {
        self.starts.push(self.buffer.len());
        encode(key, value, &mut self.buffer);
        if self.buffer.len() + self.starts.len() * size_of::<usize>() < self.limit {
            return Ok(());
        }
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

    /// Equal keys are put in order by their values, removals first, so that the order in which edits came
    /// does not matter.
    fn sort(&mut self) {
        let buffer = &self.buffer;
        self.starts
            .sort_unstable_by(|a, b| sort_key(buffer, *a).cmp(&sort_key(buffer, *b)));
    }

    /// Ends the gathering.
    pub fn finish(mut self) -> Sorted {
        self.sort();
        Sorted {
            runs: self.runs,
            buffer: Arc::new((self.buffer, self.starts)),
        }
    }
}

/// Edits in ascending order, which can be gone through as often as needed.
#[derive(Debug, Clone)]
pub struct Sorted {
    runs: Vec<Arc<File>>,
    /// The run that was still in memory.
    buffer: Arc<(Vec<u8>, Vec<usize>)>,
}

impl Sorted {
    /// Gives the edits in ascending order; keys that were pushed more than once come more than once.
    pub fn iter(&self) -> Edits {
        let mut sources: Vec<Source> = self.runs.iter().map(|file| Source::file(file.clone())).collect();
        sources.push(Source::Memory(self.buffer.clone(), 0));
        Edits { sources, heap: None }
    }
}

/// Merges all runs. Reads files with blocking calls of [`READ_BYTES`].
#[derive(Debug)]
pub struct Edits {
    sources: Vec<Source>,
    /// The next edit of each source; none before the first call.
    heap: Option<BinaryHeap<Reverse<(Record, usize)>>>,
}

impl Edits {
    fn fill(&mut self) -> io::Result<BinaryHeap<Reverse<(Record, usize)>>> {
        let mut heap = BinaryHeap::with_capacity(self.sources.len());
        for (index, source) in self.sources.iter_mut().enumerate() {
            heap.extend(source.next()?.map(|record| Reverse((record, index))));
        }
        Ok(heap)
    }

    fn step(&mut self) -> io::Result<Option<Edit>> {
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
        Ok(first.map(|Reverse((record, _))| record.into_edit()))
    }
}

impl Iterator for Edits {
    type Item = io::Result<Edit>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// An encoded edit, taken out of a run. Ordered by key, then by value.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    key: Bytes,
    rest: Bytes,
}

impl Record {
    fn new(bytes: Bytes) -> Self {
        let key_length = number(&bytes, 4) as usize;
        Record {
            key: bytes.slice(HEADER..HEADER + key_length),
            rest: bytes.slice(HEADER + key_length..),
        }
    }

    fn into_edit(self) -> Edit {
        let Record { key, rest } = self;
        let value = (!rest.is_empty()).then(|| {
            let weight = u64::from_le_bytes(rest[..8].try_into().unwrap_or_default());
            let data_length = number(&rest, 8) as usize;
            Value {
                weight,
                data: rest.slice(12..12 + data_length),
                placement: rest.slice(12 + data_length..),
            }
        });
        Edit { key, value }
    }
}

/// Length of the whole record and of its key, four bytes each, stand in front of an encoded edit. The
/// record goes on with the key and, unless it is a removal, weight (8), length of the data (4), data,
/// placement.
const HEADER: usize = 8;

fn encode(key: &[u8], value: Option<&Value>, out: &mut Vec<u8>) {
    let rest = value.map_or(0, |value| 12 + value.data.len() + value.placement.len());
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    out.extend_from_slice(&length(HEADER + key.len() + rest));
    out.extend_from_slice(&length(key.len()));
    out.extend_from_slice(key);
    if let Some(value) = value {
        out.extend_from_slice(&value.weight.to_le_bytes());
        out.extend_from_slice(&length(value.data.len()));
        out.extend_from_slice(&value.data);
        out.extend_from_slice(&value.placement);
    }
}

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
    File { file: Arc<File>, at: u64, piece: Bytes },
}

impl Source {
    fn file(file: Arc<File>) -> Self {
        let (at, piece) = (0, Bytes::new());
        Source::File { file, at, piece }
    }

    fn next(&mut self) -> io::Result<Option<Record>> {
        match self {
            Source::Memory(run, index) => {
                let (buffer, starts) = &**run;
                let Some(start) = starts.get(*index) else {
                    return Ok(None);
                };
                *index += 1;
                Ok(Some(Record::new(Bytes::copy_from_slice(record(buffer, *start)))))
            }
            Source::File { file, at, piece } => {
                let length = if piece.len() < HEADER {
                    usize::MAX
                } else {
                    number(piece, 0) as usize
                };
                if piece.len() < length {
                    // What is left of the last piece is read again with what follows it.
                    let wanted = if length == usize::MAX {
                        READ_BYTES
                    } else {
                        length.max(READ_BYTES)
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
                Ok(Some(Record::new(piece.split_to(length))))
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

    fn value(text: &[u8]) -> Value {
        Value {
            data: Bytes::copy_from_slice(text),
            placement: Bytes::from_static(b"somewhere"),
            weight: text.len() as u64,
        }
    }

    proptest! {
        #[test]
        fn edits_come_back_sorted_whatever_fits_into_memory(
            edits in prop::collection::vec((prop::collection::vec(0u8..4, 0..5), prop::option::of(prop::collection::vec(any::<u8>(), 0..40))), 0..200),
            limit in 1usize..4000,
        ) {
            let mut sorter = Sorter::new(limit);
            for (key, text) in &edits {
                sorter.push(key, text.as_deref().map(value).as_ref()).unwrap();
            }
            let sorted = sorter.finish();
            let mut expected: Vec<_> = edits.iter().map(|(key, text)| (key.clone(), text.as_deref().map(value))).collect();
            expected.sort_by_key(|(key, value)| (key.clone(), value.as_ref().map(|value| (value.weight, value.data.clone()))));
            for _ in 0..2 {
                let found: Vec<_> = sorted.iter().map(|edit| edit.map(|edit| (edit.key.to_vec(), edit.value)).unwrap()).collect();
                prop_assert_eq!(&found, &expected);
            }
        }

        #[test]
        fn large_records_are_read_whole(lengths in prop::collection::vec(0usize..600_000, 1..6)) {
            let mut sorter = Sorter::new(1);
            for (number, length) in lengths.iter().enumerate() {
                sorter.push(&[number as u8], Some(&value(&vec![7; *length]))).unwrap();
            }
            let found: Vec<usize> = sorter.finish().iter().map(|edit| edit.unwrap().value.unwrap().data.len()).collect();
            prop_assert_eq!(found, lengths);
        }
    }
}
