//! Stretches of a writer's stream on their way to the cutter.

use std::fmt;

use bytes::Bytes;

/// What happens at some place of the stream.
pub(super) enum Mark {
    /// A file begins; if there is a hasher, it has seen what comes before the file's bytes in the stream.
    Begin(Option<Box<blake3::Hasher>>),
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

/// Shorter pieces are gathered into longer ones: keeping each would cost more than copying it.
const GATHERED: usize = 64 << 10;

/// A stretch of the stream.
#[derive(Debug, Default)]
pub(super) struct Batch {
    parts: Vec<Bytes>,
    /// Bytes behind the last part.
    tail: Vec<u8>,
    length: usize,
    /// What happens before which byte, in order.
    marks: Vec<(usize, Mark)>,
}

impl Batch {
    /// Returns the number of bytes.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Returns the number of things that happen.
    pub(super) fn marks(&self) -> usize {
        self.marks.len()
    }

    /// Adds bytes at the end; keeps them as they are if they are many.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if bytes.len() < GATHERED {
            return self.copy(&bytes);
        }
        self.close_tail();
        self.length += bytes.len();
        self.parts.push(bytes);
    }

    /// Adds a copy of bytes at the end.
    pub(super) fn copy(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        self.tail.extend_from_slice(bytes);
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.parts.push(std::mem::take(&mut self.tail).into());
        }
    }

    /// Lets something happen after the bytes so far.
    pub(super) fn mark(&mut self, mark: Mark) {
        self.marks.push((self.length, mark));
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
        self.close_tail();
        let mut before = std::mem::replace(
            self,
            Batch {
                marks,
                ..Batch::default()
            },
        );
        let mut end = 0;
        let mut parts = Vec::new();
        for mut part in std::mem::take(&mut before.parts) {
            let mine = part.len().min(at - end);
            let front = part.split_to(mine);
            end += mine;
            if !front.is_empty() {
                parts.push(front);
            }
            if !part.is_empty() {
                self.push(part);
            }
        }
        before.parts = parts;
        before.length = at;
        before
    }

    /// Returns the bytes in order, and what happens before which of them, in order.
    pub(super) fn into_parts(mut self) -> (Vec<Bytes>, Vec<(usize, Mark)>) {
        self.close_tail();
        (self.parts, self.marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_bytes_are_kept_where_they_were() {
        let large = Bytes::from(vec![b'x'; GATHERED + 1]);
        let mut whole = Batch::default();
        whole.mark(Mark::Begin(None));
        whole.copy(b"first");
        whole.mark(Mark::End);
        whole.mark(Mark::Begin(None));
        whole.copy(b"second");
        whole.push(large.clone());
        let front = whole.take_before(5);
        assert_eq!((front.len(), whole.len()), (5, 6 + large.len()));
        let (parts, marks) = front.into_parts();
        assert_eq!((parts.concat().as_slice(), marks.len()), (&b"first"[..], 2));
        whole.copy(b"!");
        let (parts, marks) = whole.into_parts();
        assert_eq!(parts.concat(), [b"second", &large[..], b"!"].concat());
        assert!(matches!(marks[..], [(0, Mark::Begin(None))]));
    }
}
