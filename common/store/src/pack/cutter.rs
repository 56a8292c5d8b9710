//! The part of a writer that cuts the stream: gathers its bytes and finds where chunks end.

use std::io;
use std::os::unix::fs::FileExt;

use super::MAX_CHUNK_FILES;
use super::batch::{Batch, Edge, Mark, Part};
use super::gear::CutFinder;
use super::piece::Piece;
use crate::chunk::HEADER;
use crate::memory::buffers::{Buffer, Buffers};

/// Bytes that are taken in at a time: few enough to be still in the processor's cache when they are searched.
const STEP: usize = 128 << 10;

/// An append to a file counts as so many files towards [`MAX_CHUNK_FILES`]: the hasher it brings along takes 2 KB.
const APPEND_WEIGHT: usize = 8;

/// Finds cuts; keeps what lies behind the last one.
#[derive(Debug)]
pub(super) struct Cutter {
    /// The chunk that is being gathered: room for a header, then its bytes.
    chunk: Buffer,
    buffers: Buffers,
    finder: CutFinder,
    /// Where in the stream the chunk begins.
    start: u64,
    /// Where in the chunk, or behind its last byte, files begin and end.
    edges: Vec<(usize, Edge)>,
    /// About how many files `edges` stand for.
    files: usize,
}

impl Cutter {
    /// Begins a stream. Its chunks are gathered in these buffers.
    pub(super) fn new(buffers: &Buffers) -> Self {
        Cutter {
            chunk: first_of(buffers, &[]),
            buffers: buffers.clone(),
            finder: CutFinder::default(),
            start: 0,
            edges: Vec::new(),
            files: 0,
        }
    }

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
                let now = part.split_to(part.len().min(until_mark).min(STEP));
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
            Mark::Edge(edge) => {
                self.files += weight(&edge);
                self.edges.push((self.waiting(), edge));
                if self.files >= MAX_CHUNK_FILES {
                    self.cut_to_the_end(pieces);
                }
            }
            Mark::Cut => self.cut_to_the_end(pieces),
        }
    }

    fn take_in(&mut self, part: &Part, pieces: &mut Vec<Piece>) -> io::Result<()> {
        match part {
            Part::Here(bytes) => self.chunk.extend(bytes),
            Part::InFile { file, offset, length } => {
                file.read_exact_at(self.chunk.room(*length), *offset)?;
                self.chunk.grow(*length);
            }
        }
        // Many small files are searched together.
        if self.waiting() - self.finder.searched() >= STEP {
            while let Some(length) = self.find() {
                pieces.push(self.split(length));
            }
        }
        Ok(())
    }

    fn find(&mut self) -> Option<usize> {
        self.finder.find(&self.chunk.as_ref()[HEADER..])
    }

    /// Takes everything gathered; a last piece may have nothing but edges.
    fn cut_to_the_end(&mut self, pieces: &mut Vec<Piece>) {
        while self.waiting() > 0 || !self.edges.is_empty() {
            let length = self.find().unwrap_or(self.waiting());
            pieces.push(self.split(length));
        }
    }

    /// Takes the first bytes as a chunk; what is behind them begins the next one.
    fn split(&mut self, length: usize) -> Piece {
        let end = HEADER + length;
        let next = first_of(&self.buffers, &self.chunk.as_ref()[end..]);
        self.chunk.truncate(end);
        let framed = std::mem::replace(&mut self.chunk, next);
        let start = self.start;
        self.start += length as u64;
        self.finder = CutFinder::default();
        let mut behind = self
            .edges
            .split_off(self.edges.partition_point(|(place, _)| *place <= length));
        for (place, _) in &mut behind {
            *place -= length;
        }
        let edges = std::mem::replace(&mut self.edges, behind);
        let files = edges.iter().map(|(_, edge)| weight(edge)).sum();
        self.files -= files;
        Piece {
            start,
            files,
            edges,
            framed,
        }
    }
}

/// Returns how much an edge counts towards [`MAX_CHUNK_FILES`].
fn weight(edge: &Edge) -> usize {
    match edge {
        Edge::Begin(None) => 0,
        Edge::Begin(Some(_)) => APPEND_WEIGHT,
        Edge::End => 1,
    }
}

/// Begins a chunk with its first bytes.
fn first_of(buffers: &Buffers, bytes: &[u8]) -> Buffer {
    let mut chunk = buffers.take();
    chunk.extend(&[0; HEADER]);
    chunk.extend(bytes);
    chunk
}

#[cfg(test)]
mod tests {
    use howdah_model::ContentHash;

    use super::*;
    use crate::pack::MAX_CHUNK;
    use crate::pack::piece::FileHasher;
    use crate::testing::noise;

    impl PartialEq for Piece {
        fn eq(&self, other: &Self) -> bool {
            (self.start, self.bytes()) == (other.start, other.bytes())
        }
    }

    fn batch(bytes: &[u8]) -> Batch {
        let mut batch = Batch::default();
        batch.copy(bytes);
        batch
    }

    #[test]
    fn cuts_do_not_depend_on_how_the_stream_arrives() {
        let bytes = noise(1, 24 << 20);
        let mut whole = Cutter::new(&Buffers::default());
        let expected = whole.cut(batch(&bytes), true).unwrap();
        assert!(expected.len() > 4, "{}", expected.len());
        assert!(expected.iter().all(|piece| piece.bytes().len() <= MAX_CHUNK));
        for step in [777_777, 4 << 20] {
            let mut cutter = Cutter::new(&Buffers::default());
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
        let before = Cutter::new(&Buffers::default()).cut(batch(&bytes), true).unwrap();
        bytes.splice(12 << 20..12 << 20, *b"inserted");
        let after = Cutter::new(&Buffers::default()).cut(batch(&bytes), true).unwrap();
        let kept = after
            .iter()
            .filter(|new| before.iter().any(|old| old.bytes() == new.bytes()))
            .count();
        assert!(kept + 3 >= after.len(), "{kept} of {}", after.len());
    }

    fn hashes(pieces: Vec<Piece>) -> Vec<ContentHash> {
        let mut hasher = FileHasher::default();
        let hashes = pieces.into_iter().map(|mut piece| hasher.hash(&mut piece));
        hashes.collect::<Vec<_>>().concat()
    }

    fn hash(bytes: &[u8]) -> ContentHash {
        ContentHash::new(*blake3::hash(bytes).as_bytes())
    }

    #[test]
    fn files_are_hashed_and_cut_where_they_are_marked() {
        let mut whole = Batch::default();
        whole.mark(Mark::Edge(Edge::Begin(None)));
        whole.copy(b"first");
        whole.mark(Mark::Edge(Edge::End));
        whole.mark(Mark::Edge(Edge::Begin(None)));
        whole.copy(b"second");
        let front = whole.take_before(5);
        whole.cut_at(0);
        whole.mark(Mark::Edge(Edge::End));
        let mut cutter = Cutter::new(&Buffers::default());
        let mut pieces = cutter.cut(front, false).unwrap();
        pieces.extend(cutter.cut(whole, true).unwrap());
        let lengths: Vec<usize> = pieces.iter().map(|piece| piece.bytes().len()).collect();
        assert_eq!(lengths, [5, 6]);
        assert_eq!(hashes(pieces), [hash(b"first"), hash(b"second")]);
    }

    #[test]
    fn files_are_hashed_over_all_their_chunks_and_an_append_with_what_was_there() {
        let (large, added) = (noise(3, 9 << 20), noise(4, 70_000));
        let before = b"what was there";
        let mut hasher = blake3::Hasher::new();
        hasher.update(before);
        let mut whole = Batch::default();
        for (known, bytes) in [(None, &large[..]), (Some(Box::new(hasher)), &added), (None, &[])] {
            whole.mark(Mark::Edge(Edge::Begin(known)));
            whole.copy(bytes);
            whole.mark(Mark::Edge(Edge::End));
        }
        let pieces = Cutter::new(&Buffers::default()).cut(whole, true).unwrap();
        assert!(pieces.len() > 2, "{pieces:?}");
        let expected = [hash(&large), hash(&[&before[..], &added].concat()), hash(b"")];
        assert_eq!(hashes(pieces), expected);
    }

    #[test]
    fn files_do_not_gather_however_small_they_are() {
        let mut batch = Batch::default();
        for _ in 0..MAX_CHUNK_FILES + 1 {
            batch.mark(Mark::Edge(Edge::Begin(None)));
            batch.mark(Mark::Edge(Edge::End));
        }
        let mut cutter = Cutter::new(&Buffers::default());
        let pieces = cutter.cut(batch, false).unwrap();
        assert_eq!(hashes(pieces).len(), MAX_CHUNK_FILES);
        assert_eq!(hashes(cutter.cut(Batch::default(), true).unwrap()).len(), 1);
        let mut appends = Batch::default();
        for _ in 0..MAX_CHUNK_FILES / APPEND_WEIGHT {
            appends.mark(Mark::Edge(Edge::Begin(Some(Box::default()))));
            appends.copy(b"x");
            appends.mark(Mark::Edge(Edge::End));
        }
        assert_eq!(Cutter::new(&Buffers::default()).cut(appends, false).unwrap().len(), 1);
    }
}
