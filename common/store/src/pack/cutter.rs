//! The part of a writer that looks at every byte: hashes files and finds where chunks end.

use std::fmt;
use std::io;
use std::os::unix::fs::FileExt;

use howdah_model::ContentHash;

use super::batch::{Batch, Mark, Part};
use super::gear::CutFinder;
use super::{AVERAGE_CHUNK, MAX_CHUNK_FILES};
use crate::chunk::HEADER;

/// Bytes that are taken in at a time: few enough to be still in the processor's cache when they are looked at again.
const STEP: usize = 128 << 10;

/// Stretches that are in a file are read in steps of this size, and hashed by one thread while another looks for cuts:
/// large enough that making the thread does not matter.
pub(super) const FILE_STEP: usize = 1 << 20;

/// A chunk, and where in the stream it begins.
#[derive(PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: u64,
    /// About how many files ended in it.
    pub(super) files: usize,
    /// Room for the header of a stored object, then the bytes.
    framed: Vec<u8>,
}

impl Piece {
    /// Returns the bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.framed[HEADER..]
    }

    /// Returns room for a header, followed by the bytes.
    pub(super) fn into_framed(self) -> Vec<u8> {
        self.framed
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece of {} bytes at {}", self.bytes().len(), self.start)
    }
}

/// Hashes files and finds cuts; keeps what lies behind the last cut.
#[derive(Debug)]
pub(super) struct Cutter {
    /// The chunk that is being gathered: room for a header, then its bytes.
    chunk: Vec<u8>,
    finder: CutFinder,
    /// Where in the stream the chunk begins.
    start: u64,
    /// Files that have ended since the last cut was found.
    files: usize,
    hasher: blake3::Hasher,
    /// Hashes of the files that have ended.
    pub(super) hashes: Vec<ContentHash>,
}

impl Default for Cutter {
    fn default() -> Self {
        Cutter {
            chunk: vec![0; HEADER],
            finder: CutFinder::default(),
            start: 0,
            files: 0,
            hasher: blake3::Hasher::new(),
            hashes: Vec::new(),
        }
    }
}

impl Cutter {
    /// Returns the number of bytes behind the last cut.
    pub(super) fn waiting(&self) -> usize {
        self.chunk.len() - HEADER
    }

    /// Takes the next stretch of the stream and returns the chunks that are complete.
    ///
    /// # Errors
    /// When bytes that are in a file cannot be read. The cutter is of no use any more then.
    pub(super) fn cut(&mut self, batch: Batch, last: bool) -> io::Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        let (parts, marks) = batch.into_parts();
        let mut marks = marks.into_iter().peekable();
        let mut at = 0;
        for mut part in parts {
            while part.len() > 0 {
                while let Some((_, mark)) = marks.next_if(|(place, _)| *place <= at) {
                    self.pass(mark, &mut pieces);
                }
                let until_mark = marks.peek().map_or(usize::MAX, |(place, _)| *place - at);
                let step = match part {
                    Part::Here(_) => STEP,
                    Part::InFile { .. } => FILE_STEP,
                };
                let now = part.split_to(part.len().min(until_mark).min(step));
                at += now.len();
                self.take_in(&now, &mut pieces)?;
            }
        }
        for (_, mark) in marks {
            self.pass(mark, &mut pieces);
        }
        if last {
            self.cut_to_the_end(&mut pieces);
        }
        Ok(pieces)
    }

    fn pass(&mut self, mark: Mark, pieces: &mut Vec<Piece>) {
        match mark {
            Mark::Begin(None) => {
                self.hasher.reset();
            }
            Mark::Begin(Some(hasher)) => self.hasher = *hasher,
            Mark::End => {
                self.hashes.push(ContentHash::new(*self.hasher.finalize().as_bytes()));
                self.files += 1;
                if self.files >= MAX_CHUNK_FILES {
                    self.cut_to_the_end(pieces);
                }
            }
            Mark::Cut => self.cut_to_the_end(pieces),
        }
    }

    fn take_in(&mut self, part: &Part, pieces: &mut Vec<Piece>) -> io::Result<()> {
        let known = self.chunk.len();
        match part {
            Part::Here(bytes) => {
                self.hasher.update(bytes);
                self.chunk.extend_from_slice(bytes);
                // Many small files are searched together.
                if self.waiting() - self.finder.searched() >= STEP {
                    let found = self.finder.find(&self.chunk[HEADER..]);
                    self.split_all(found, pieces);
                }
            }
            Part::InFile { file, offset, length } => {
                self.chunk.resize(known + length, 0);
                file.read_exact_at(&mut self.chunk[known..], *offset)?;
                let Cutter {
                    chunk, finder, hasher, ..
                } = self;
                let found = std::thread::scope(|scope| {
                    scope.spawn(|| {
                        hasher.update(&chunk[known..]);
                    });
                    finder.find(&chunk[HEADER..])
                });
                self.split_all(found, pieces);
            }
        }
        Ok(())
    }

    /// Takes the chunk whose length was found, and those that are complete behind it.
    fn split_all(&mut self, mut found: Option<usize>, pieces: &mut Vec<Piece>) {
        while let Some(length) = found {
            pieces.push(self.split(length));
            found = self.finder.find(&self.chunk[HEADER..]);
        }
    }

    fn cut_to_the_end(&mut self, pieces: &mut Vec<Piece>) {
        self.files = if self.waiting() == 0 { 0 } else { self.files };
        while self.waiting() > 0 {
            let length = self.finder.find(&self.chunk[HEADER..]).unwrap_or(self.waiting());
            pieces.push(self.split(length));
        }
    }

    /// Takes the first bytes as a chunk; what is behind them begins the next one.
    fn split(&mut self, length: usize) -> Piece {
        let end = HEADER + length;
        let rest = &self.chunk[end..];
        let mut next = Vec::new();
        if !rest.is_empty() {
            // Where one chunk was filled, another will be.
            next.reserve_exact(HEADER + rest.len().max(AVERAGE_CHUNK + AVERAGE_CHUNK / 2));
        }
        next.resize(HEADER, 0);
        next.extend_from_slice(rest);
        self.chunk.truncate(end);
        let framed = std::mem::replace(&mut self.chunk, next);
        let start = self.start;
        self.start += length as u64;
        self.finder = CutFinder::default();
        let files = std::mem::take(&mut self.files);
        Piece { start, files, framed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::MAX_CHUNK;
    use crate::testing::noise;

    fn batch(bytes: &[u8]) -> Batch {
        let mut batch = Batch::default();
        batch.copy(bytes);
        batch
    }

    #[test]
    fn cuts_do_not_depend_on_how_the_stream_arrives() {
        let bytes = noise(1, 24 << 20);
        let mut whole = Cutter::default();
        let expected = whole.cut(batch(&bytes), true).unwrap();
        assert!(expected.len() > 4, "{}", expected.len());
        assert!(expected.iter().all(|piece| piece.bytes().len() <= MAX_CHUNK));
        for step in [777_777, 4 << 20] {
            let mut cutter = Cutter::default();
            let mut pieces = Vec::new();
            for part in bytes.chunks(step) {
                pieces.extend(cutter.cut(batch(part), false).unwrap());
            }
            pieces.extend(cutter.cut(Batch::default(), true).unwrap());
            assert_eq!(pieces, expected);
        }
    }

    #[test]
    fn a_change_moves_only_the_cuts_around_it() {
        let mut bytes = noise(2, 24 << 20);
        let before = Cutter::default().cut(batch(&bytes), true).unwrap();
        bytes.splice(12 << 20..12 << 20, *b"inserted");
        let after = Cutter::default().cut(batch(&bytes), true).unwrap();
        let kept = after
            .iter()
            .filter(|new| before.iter().any(|old| old.bytes() == new.bytes()))
            .count();
        assert!(kept + 3 >= after.len(), "{kept} of {}", after.len());
    }

    #[test]
    fn files_are_hashed_and_cut_where_they_are_marked() {
        let mut whole = Batch::default();
        whole.mark(Mark::Begin(None));
        whole.copy(b"first");
        whole.mark(Mark::End);
        whole.mark(Mark::Begin(None));
        whole.copy(b"second");
        let front = whole.take_before(5);
        whole.cut_at(0);
        whole.mark(Mark::End);
        let mut cutter = Cutter::default();
        let mut pieces = cutter.cut(front, false).unwrap();
        pieces.extend(cutter.cut(whole, true).unwrap());
        let lengths: Vec<usize> = pieces.iter().map(|piece| piece.bytes().len()).collect();
        assert_eq!(lengths, [5, 6]);
        let hash = |bytes: &[u8]| ContentHash::new(*blake3::hash(bytes).as_bytes());
        assert_eq!(cutter.hashes, [hash(b"first"), hash(b"second")]);
    }
}
