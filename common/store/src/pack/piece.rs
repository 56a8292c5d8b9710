//! What a cutter makes of the stream: chunks, and the files that begin and end in them.

use std::fmt;

use howdah_model::ContentHash;

use super::batch::Edge;
use crate::chunk::HEADER;
use crate::memory::buffers::Buffer;

/// A chunk, and where in the stream it begins. It has no bytes where only empty files were written.
pub(super) struct Piece {
    pub(super) start: u64,
    /// About how many files ended in it; an append counts as several.
    pub(super) files: usize,
    /// Before which of its bytes, or behind the last one, files begin and end, in order.
    pub(super) edges: Vec<(usize, Edge)>,
    /// Room for the header of a stored object, then the bytes.
    pub(super) framed: Buffer,
}

impl Piece {
    /// Returns the bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.framed.as_ref()[HEADER..]
    }

    /// Returns room for a header, followed by the bytes.
    pub(super) fn into_framed(self) -> Buffer {
        self.framed
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece of {} bytes at {}", self.bytes().len(), self.start)
    }
}

/// Hashes files, whose bytes come piece by piece.
#[derive(Debug, Default)]
pub(super) struct FileHasher {
    /// Has seen the bytes of the open file.
    open: blake3::Hasher,
}

impl FileHasher {
    /// Takes the next piece of the stream, and its edges, and returns the hashes of the files that end in it.
    pub(super) fn hash(&mut self, piece: &mut Piece) -> Vec<ContentHash> {
        let edges = std::mem::take(&mut piece.edges);
        let bytes = piece.bytes();
        let mut hashes = Vec::new();
        let mut at = 0;
        for (place, edge) in edges {
            self.open.update(&bytes[at..place]);
            at = place;
            match edge {
                Edge::Begin(None) => {
                    self.open.reset();
                }
                Edge::Begin(Some(before)) => self.open = *before,
                Edge::End => hashes.push(ContentHash::new(*self.open.finalize().as_bytes())),
            }
        }
        self.open.update(&bytes[at..]);
        hashes
    }
}
