//! Stretches of a writer's stream on their way to the cutter.

use std::fmt;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;

/// What happens at some place of the stream.
#[derive(Debug)]
pub(super) enum Mark {
    /// A file begins or ends.
    Edge(Edge),
    /// A chunk ends.
    Cut,
}

/// Beginning or end of a file.
pub(super) enum Edge {
    /// A file begins; if there is a hasher, it has seen what comes before the file's bytes in the stream.
    Begin(Option<Box<blake3::Hasher>>),
    /// The open file ends.
    End,
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Edge::Begin(_) => "Begin",
            Edge::End => "End",
        })
    }
}

/// Shorter pieces are gathered into longer ones: keeping each would cost more than copying it.
const GATHERED: usize = 64 << 10;

/// Bytes of the stream.
#[derive(Debug)]
pub(super) enum Part {
    /// They are at hand.
    Here(Bytes),
    /// They are still in a file of this machine.
    InFile {
        file: Arc<File>,
        /// Where in the file they begin.
        offset: u64,
        length: usize,
    },
}

impl Part {
    /// Returns the number of bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Part::Here(bytes) => bytes.len(),
            Part::InFile { length, .. } => *length,
        }
    }

    /// Takes the first `at` bytes.
    pub(super) fn split_to(&mut self, at: usize) -> Part {
        match self {
            Part::Here(bytes) => Part::Here(bytes.split_to(at)),
            Part::InFile { file, offset, length } => {
                let front = Part::InFile {
                    file: Arc::clone(file),
                    offset: *offset,
                    length: at,
                };
                *offset += at as u64;
                *length -= at;
                front
            }
        }
    }
}

/// A stretch of the stream.
#[derive(Debug, Default)]
pub(super) struct Batch {
    parts: Vec<Part>,
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

    /// Tells whether some of the bytes are still to be read.
    pub(super) fn has_to_read(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::InFile { .. }))
    }

    /// Returns the number of things that happen.
    pub(super) fn marks(&self) -> usize {
        self.marks.len()
    }

    /// Adds bytes at the end; keeps them as they are if they are many.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.push_part(Part::Here(bytes));
    }

    /// Adds bytes of a file at the end.
    pub(super) fn push_file(&mut self, file: Arc<File>, offset: u64, length: usize) {
        self.push_part(Part::InFile { file, offset, length });
    }

    fn push_part(&mut self, part: Part) {
        match part {
            Part::Here(bytes) if bytes.len() < GATHERED => self.copy(&bytes),
            part => {
                self.close_tail();
                self.length += part.len();
                self.parts.push(part);
            }
        }
    }

    /// Adds a copy of bytes at the end.
    pub(super) fn copy(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        self.tail.extend_from_slice(bytes);
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.parts.push(Part::Here(std::mem::take(&mut self.tail).into()));
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
        let begin = |(place, mark): &(usize, Mark)| *place == at && matches!(mark, Mark::Edge(Edge::Begin(_)));
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
            if front.len() > 0 {
                parts.push(front);
            }
            if part.len() > 0 {
                self.push_part(part);
            }
        }
        before.parts = parts;
        before.length = at;
        before
    }

    /// Returns the bytes in order, and what happens before which of them, in order.
    pub(super) fn into_parts(mut self) -> (Vec<Part>, Vec<(usize, Mark)>) {
        self.close_tail();
        (self.parts, self.marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concat(parts: &[Part]) -> Vec<u8> {
        let bytes = parts.iter().map(|part| match part {
            Part::Here(bytes) => &bytes[..],
            Part::InFile { .. } => panic!("no file was pushed"),
        });
        bytes.collect::<Vec<_>>().concat()
    }

    #[test]
    fn marks_and_bytes_are_kept_where_they_were() {
        let large = Bytes::from(vec![b'x'; GATHERED + 1]);
        let mut whole = Batch::default();
        whole.mark(Mark::Edge(Edge::Begin(None)));
        whole.copy(b"first");
        whole.mark(Mark::Edge(Edge::End));
        whole.mark(Mark::Edge(Edge::Begin(None)));
        whole.copy(b"second");
        whole.push(large.clone());
        let front = whole.take_before(5);
        assert_eq!((front.len(), whole.len()), (5, 6 + large.len()));
        let (parts, marks) = front.into_parts();
        assert_eq!((concat(&parts).as_slice(), marks.len()), (&b"first"[..], 2));
        whole.copy(b"!");
        let (parts, marks) = whole.into_parts();
        assert_eq!(concat(&parts), [b"second", &large[..], b"!"].concat());
        assert!(matches!(marks[..], [(0, Mark::Edge(Edge::Begin(None)))]));
    }
}
