//! Pieces: the bytes of one chunk each, and the files that begin and end in them.

use std::fmt;

use howdah_model::ContentHash;

use super::batch::FileEdge;
use crate::format::frame::HEADER;
use crate::memory::buffers::ChunkBuffer;

/// The bytes of a chunk and their offset in the stream. Without bytes if only empty files were written.
pub(super) struct Piece {
    /// Offset in the stream.
    pub(super) start: u64,
    /// About how many files end in it; an append counts as several.
    pub(super) files: usize,
    /// Begins and ends of files, each with the offset of the byte before which it is, in order.
    pub(super) edges: Vec<(usize, FileEdge)>,
    /// Room for the header of a frame, then the bytes.
    pub(super) framed: ChunkBuffer,
}

impl Piece {
    /// Returns the bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.framed.as_ref()[HEADER..]
    }

    /// Returns room for a header, followed by the bytes.
    pub(super) fn into_framed(self) -> ChunkBuffer {
        self.framed
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece of {} bytes at {}", self.bytes().len(), self.start)
    }
}

/// Hashes files, piece by piece.
#[derive(Debug, Default)]
pub(super) struct FileHasher {
    /// Has seen the bytes of the open file so far.
    open: blake3::Hasher,
}

impl FileHasher {
    /// Hashes the next piece of the stream and returns the hashes of the files that end in it. Takes the edges of the
    /// piece.
    pub(super) fn hash(&mut self, piece: &mut Piece) -> Vec<ContentHash> {
        let edges = std::mem::take(&mut piece.edges);
        let bytes = piece.bytes();
        let mut hashes = Vec::new();
        let mut at = 0;
        for (place, edge) in edges {
            self.open.update(&bytes[at..place]);
            at = place;
            match edge {
                FileEdge::Begin(None) => {
                    self.open.reset();
                }
                FileEdge::Begin(Some(before)) => self.open = *before,
                FileEdge::End => hashes.push(ContentHash::new(*self.open.finalize().as_bytes())),
            }
        }
        self.open.update(&bytes[at..]);
        hashes
    }
}
