//! The part of a writer that looks at every byte: hashes files and finds where chunks end.

use std::fmt;
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use fastcdc::v2020::{self, Normalization};
use howdah_model::ContentHash;

use super::{AVERAGE_CHUNK, MAX_CHUNK, MIN_CHUNK};

/// What happens at some place of the stream.
pub(super) enum Mark {
    /// A file begins; the hasher has seen what comes before its bytes in the stream.
    Begin(Box<blake3::Hasher>),
    /// The open file ends.
    End,
    /// A chunk ends.
    Cut,
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mark::Begin(_) => "Begin",
            Mark::End => "End",
            Mark::Cut => "Cut",
        })
    }
}

/// A stretch of the stream.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    /// What happens before which byte, in order.
    marks: Vec<(usize, Mark)>,
}

impl Batch {
    /// Lets something happen after the bytes so far.
    pub(super) fn mark(&mut self, mark: Mark) {
        self.marks.push((self.bytes.len(), mark));
    }

    /// Lets a chunk end before the byte at `at`, ahead of whatever else happens there.
    pub(super) fn cut_at(&mut self, at: usize) {
        let index = self.marks.partition_point(|(place, _)| *place < at);
        self.marks.insert(index, (at, Mark::Cut));
    }

    /// Takes everything.
    pub(super) fn take(&mut self) -> Batch {
        std::mem::take(self)
    }

    /// Takes the bytes before `at`, and what happens before the file that begins there.
    pub(super) fn take_before(&mut self, at: usize) -> Batch {
        let begin = |(place, mark): &(usize, Mark)| *place == at && matches!(mark, Mark::Begin(_));
        // Several files may begin at one place if they are empty; the open one is the last.
        let index = self.marks.iter().rposition(begin).unwrap_or(self.marks.len());
        let mut marks = self.marks.split_off(index);
        for (place, _) in &mut marks {
            *place -= at;
        }
        let bytes = self.bytes.split_off(at);
        std::mem::replace(self, Batch { bytes, marks })
    }
}

/// A chunk, and where in the stream it begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: u64,
    pub(super) bytes: Bytes,
}

/// Hashes files and finds cuts; keeps what lies behind the last cut.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    waiting: BytesMut,
    start: u64,
    hasher: blake3::Hasher,
    /// Hashes of the files that have ended.
    pub(super) hashes: Vec<ContentHash>,
}

impl Cutter {
    /// Returns the number of bytes behind the last cut.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the next stretch of the stream and returns the chunks that are complete.
    pub(super) fn cut(&mut self, batch: Batch, last: bool) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut done = 0;
        for (place, mark) in batch.marks {
            self.take_in(&batch.bytes[done..place]);
            done = place;
            match mark {
                Mark::Begin(hasher) => self.hasher = *hasher,
                Mark::End => {
                    self.hashes.push(ContentHash::new(*self.hasher.finalize().as_bytes()));
                }
                Mark::Cut => self.cut_waiting(true, &mut pieces),
            }
        }
        self.take_in(&batch.bytes[done..]);
        self.cut_waiting(last, &mut pieces);
        pieces
    }

    fn take_in(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.waiting.extend_from_slice(bytes);
    }

    fn cut_waiting(&mut self, to_the_end: bool, pieces: &mut Vec<Piece>) {
        while !self.waiting.is_empty() {
            let length = next_cut(&self.waiting);
            // A cut at the very end is no cut: more bytes might move it, unless no more may follow.
            if length == self.waiting.len() && length < MAX_CHUNK && !to_the_end {
                break;
            }
            let bytes = self.waiting.split_to(length).freeze();
            pieces.push(Piece {
                start: self.start,
                bytes,
            });
            self.start += length as u64;
        }
    }
}

fn next_cut(bytes: &[u8]) -> usize {
    static MASKS: LazyLock<(u64, u64)> = LazyLock::new(|| v2020::select_masks(AVERAGE_CHUNK, Normalization::Level1));
    let (short, long) = *MASKS;
    v2020::cut(
        bytes,
        MIN_CHUNK,
        AVERAGE_CHUNK,
        MAX_CHUNK,
        short,
        long,
        short << 1,
        long << 1,
    )
    .1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn batch(bytes: &[u8]) -> Batch {
        Batch {
            bytes: bytes.to_vec(),
            marks: Vec::new(),
        }
    }

    #[test]
    fn cuts_do_not_depend_on_how_the_stream_arrives() {
        let bytes = noise(1, 24 << 20);
        let mut whole = Cutter::default();
        let expected = whole.cut(batch(&bytes), true);
        assert!(expected.len() > 4, "{}", expected.len());
        assert!(expected.iter().all(|piece| piece.bytes.len() <= MAX_CHUNK));
        for step in [777_777, 4 << 20] {
            let mut cutter = Cutter::default();
            let mut pieces = Vec::new();
            for part in bytes.chunks(step) {
                pieces.extend(cutter.cut(batch(part), false));
            }
            pieces.extend(cutter.cut(Batch::default(), true));
            assert_eq!(pieces, expected);
        }
    }

    #[test]
    fn a_change_moves_only_the_cuts_around_it() {
        let mut bytes = noise(2, 24 << 20);
        let before = Cutter::default().cut(batch(&bytes), true);
        bytes.splice(12 << 20..12 << 20, *b"inserted");
        let after = Cutter::default().cut(batch(&bytes), true);
        let kept = after
            .iter()
            .filter(|new| before.iter().any(|old| old.bytes == new.bytes))
            .count();
        assert!(kept + 3 >= after.len(), "{kept} of {}", after.len());
    }

    #[test]
    fn marks_are_kept_where_they_were() {
        let mut whole = Batch::default();
        whole.mark(Mark::Begin(Box::default()));
        whole.bytes.extend_from_slice(b"first");
        whole.mark(Mark::End);
        whole.mark(Mark::Begin(Box::default()));
        whole.bytes.extend_from_slice(b"second");
        let front = whole.take_before(5);
        assert_eq!((&front.bytes[..], front.marks.len()), (&b"first"[..], 2));
        assert_eq!((&whole.bytes[..], whole.marks.len()), (&b"second"[..], 1));
        whole.cut_at(0);
        whole.mark(Mark::End);
        let mut cutter = Cutter::default();
        let mut pieces = cutter.cut(front, false);
        pieces.extend(cutter.cut(whole, true));
        assert_eq!(pieces.iter().map(|piece| piece.bytes.len()).collect::<Vec<_>>(), [5, 6]);
        let hash = |bytes: &[u8]| ContentHash::new(*blake3::hash(bytes).as_bytes());
        assert_eq!(cutter.hashes, [hash(b"first"), hash(b"second")]);
    }
}
