//! The cutter: gathers the bytes of the stream in chunk buffers and finds where chunks end.

use std::io;
use std::os::unix::fs::FileExt;

use super::batch::{Batch, BatchPart, FileEdge, StreamMark};
use super::gear::CutFinder;
use super::piece::Piece;
use crate::format::frame::HEADER;
use crate::memory::buffers::{ChunkBuffer, ChunkBuffers};

/// Most files that end in one chunk: after this number it ends, however small they are.
pub(super) const MAX_CHUNK_FILES: usize = 32 << 10;

/// Bytes that are copied at a time: few enough to be in the processor's cache when they are searched for a cut.
const STEP: usize = 128 << 10;

/// Number of files as which an append counts towards [`MAX_CHUNK_FILES`], because its hasher takes 2 KB of memory.
const APPEND_WEIGHT: usize = 8;

/// Finds cuts, and keeps the bytes after the last one.
#[derive(Debug)]
pub(super) struct Cutter {
    /// The chunk that is being gathered: room for the header of a frame, then its bytes.
    chunk: ChunkBuffer,
    buffers: ChunkBuffers,
    finder: CutFinder,
    /// Offset of the chunk in the stream.
    start: u64,
    /// Begins and ends of files, each with its offset in the chunk.
    edges: Vec<(usize, FileEdge)>,
    /// About how many files have their end in `edges`; an append counts as several.
    files: usize,
}

impl Cutter {
    /// Begins a stream, whose chunks are gathered in these buffers.
    pub(super) fn new(buffers: &ChunkBuffers) -> Self {
        Cutter {
            chunk: first_of(buffers, &[]),
            buffers: buffers.clone(),
            finder: CutFinder::default(),
            start: 0,
            edges: Vec::new(),
            files: 0,
        }
    }

    /// Returns the number of bytes after the last cut.
    pub(super) fn waiting(&self) -> usize {
        self.chunk.len() - HEADER
    }

    /// Takes the next bytes of the stream and returns the pieces that are complete.
    ///
    /// # Errors
    /// When a local file cannot be read. The cutter has lost bytes of the stream then and must not be used again.
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

    fn pass(&mut self, mark: StreamMark, pieces: &mut Vec<Piece>) {
        match mark {
            StreamMark::Edge(edge) => {
                self.files += weight(&edge);
                self.edges.push((self.waiting(), edge));
                if self.files >= MAX_CHUNK_FILES {
                    self.cut_to_the_end(pieces);
                }
            }
            StreamMark::Cut => self.cut_to_the_end(pieces),
        }
    }

    fn take_in(&mut self, part: &BatchPart, pieces: &mut Vec<Piece>) -> io::Result<()> {
        match part {
            BatchPart::Memory(bytes) => self.chunk.extend(bytes),
            BatchPart::InFile { file, offset, length } => {
                file.read_exact_at(self.chunk.room(*length), *offset)?;
                self.chunk.grow(*length);
            }
            BatchPart::Zeros(length) => {
                self.chunk.room(*length).fill(0);
                self.chunk.grow(*length);
            }
        }
        // Small files are searched together, once there are enough bytes: each search warms up its rolling hash first.
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

    /// Cuts all gathered bytes. A last piece may have edges only: files of no bytes must get their hashes, too.
    fn cut_to_the_end(&mut self, pieces: &mut Vec<Piece>) {
        while self.waiting() > 0 || !self.edges.is_empty() {
            let length = self.find().unwrap_or(self.waiting());
            pieces.push(self.split(length));
        }
    }

    /// Takes the first bytes as a piece. The bytes after them begin the next chunk.
    fn split(&mut self, length: usize) -> Piece {
        let end = HEADER + length;
        let next = first_of(&self.buffers, &self.chunk.as_ref()[end..]);
        self.chunk.truncate(end);
        let framed = std::mem::replace(&mut self.chunk, next);
        let start = self.start;
        self.start += length as u64;
        self.finder = CutFinder::default();
        // An edge exactly at the cut stays with this piece: the end of a file must be hashed with its last bytes. The
        // begin of the next file only resets the hasher, which is right in either piece.
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
fn weight(edge: &FileEdge) -> usize {
    match edge {
        FileEdge::Begin(None) => 0,
        FileEdge::Begin(Some(_)) => APPEND_WEIGHT,
        FileEdge::End => 1,
    }
}

/// Begins a chunk with its first bytes.
fn first_of(buffers: &ChunkBuffers, bytes: &[u8]) -> ChunkBuffer {
    let mut chunk = buffers.take();
    chunk.extend(&[0; HEADER]);
    chunk.extend(bytes);
    chunk
}

#[cfg(test)]
mod tests {
    use howdah_model::ContentHash;

    use super::*;
    use crate::format::chunk::MAX_CHUNK;
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
    fn cuts_do_not_depend_on_the_sizes_of_batches() {
        let bytes = noise(1, 24 << 20);
        let mut whole = Cutter::new(&ChunkBuffers::default());
        let expected = whole.cut(batch(&bytes), true).unwrap();
        assert!(expected.len() > 4, "{}", expected.len());
        assert!(expected.iter().all(|piece| piece.bytes().len() <= MAX_CHUNK));
        for step in [777_777, 4 << 20] {
            let mut cutter = Cutter::new(&ChunkBuffers::default());
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
        let before = Cutter::new(&ChunkBuffers::default()).cut(batch(&bytes), true).unwrap();
        bytes.splice(12 << 20..12 << 20, *b"inserted");
        let after = Cutter::new(&ChunkBuffers::default()).cut(batch(&bytes), true).unwrap();
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
        whole.mark(StreamMark::Edge(FileEdge::Begin(None)));
        whole.copy(b"first");
        whole.mark(StreamMark::Edge(FileEdge::End));
        whole.mark(StreamMark::Edge(FileEdge::Begin(None)));
        whole.copy(b"second");
        let front = whole.take_before(5);
        whole.cut_at(0);
        whole.mark(StreamMark::Edge(FileEdge::End));
        let mut cutter = Cutter::new(&ChunkBuffers::default());
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
            whole.mark(StreamMark::Edge(FileEdge::Begin(known)));
            whole.copy(bytes);
            whole.mark(StreamMark::Edge(FileEdge::End));
        }
        let pieces = Cutter::new(&ChunkBuffers::default()).cut(whole, true).unwrap();
        assert!(pieces.len() > 2, "{pieces:?}");
        let expected = [hash(&large), hash(&[&before[..], &added].concat()), hash(b"")];
        assert_eq!(hashes(pieces), expected);
    }

    #[test]
    fn a_chunk_ends_after_many_files_however_small_they_are() {
        let mut batch = Batch::default();
        for _ in 0..MAX_CHUNK_FILES + 1 {
            batch.mark(StreamMark::Edge(FileEdge::Begin(None)));
            batch.mark(StreamMark::Edge(FileEdge::End));
        }
        let mut cutter = Cutter::new(&ChunkBuffers::default());
        let pieces = cutter.cut(batch, false).unwrap();
        assert_eq!(hashes(pieces).len(), MAX_CHUNK_FILES);
        assert_eq!(hashes(cutter.cut(Batch::default(), true).unwrap()).len(), 1);
        let mut appends = Batch::default();
        for _ in 0..MAX_CHUNK_FILES / APPEND_WEIGHT {
            appends.mark(StreamMark::Edge(FileEdge::Begin(Some(Box::default()))));
            appends.copy(b"x");
            appends.mark(StreamMark::Edge(FileEdge::End));
        }
        assert_eq!(
            Cutter::new(&ChunkBuffers::default()).cut(appends, false).unwrap().len(),
            1
        );
    }
}
