//! Batches: bytes of a writer's stream that are handed to the cutter together, with the marks between them.

use std::fmt;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;

/// An event at an offset of the stream.
#[derive(Debug)]
pub(super) enum StreamMark {
    /// A file begins or ends.
    Edge(FileEdge),
    /// A chunk ends.
    Cut,
}

/// Beginning or end of a file.
pub(super) enum FileEdge {
    /// A file begins. For an append, the hasher has seen the bytes that the file had before.
    Begin(Option<Box<blake3::Hasher>>),
    /// The open file ends.
    End,
}

impl fmt::Debug for FileEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileEdge::Begin(_) => "Begin",
            FileEdge::End => "End",
        })
    }
}

/// Shorter bytes are copied into one buffer: keeping each as an allocation of its own would cost more than the copy.
const GATHERED: usize = 64 << 10;

/// Bytes of the stream.
#[derive(Debug)]
pub(super) enum BatchPart {
    /// In memory.
    Memory(Bytes),
    /// In a local file, not read yet.
    InFile {
        file: Arc<File>,
        /// Offset in the file.
        offset: u64,
        length: usize,
    },
    /// So many zero bytes.
    Zeros(usize),
}

impl BatchPart {
    /// Returns the number of bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            BatchPart::Memory(bytes) => bytes.len(),
            BatchPart::InFile { length, .. } | BatchPart::Zeros(length) => *length,
        }
    }

    /// Takes the first `at` bytes.
    pub(super) fn split_to(&mut self, at: usize) -> BatchPart {
        match self {
            BatchPart::Memory(bytes) => BatchPart::Memory(bytes.split_to(at)),
            BatchPart::InFile { file, offset, length } => {
                let front = BatchPart::InFile {
                    file: Arc::clone(file),
                    offset: *offset,
                    length: at,
                };
                *offset += at as u64;
                *length -= at;
                front
            }
            BatchPart::Zeros(length) => {
                *length -= at;
                BatchPart::Zeros(at)
            }
        }
    }
}

/// Consecutive bytes of the stream, and their marks.
#[derive(Debug, Default)]
pub(super) struct Batch {
    parts: Vec<BatchPart>,
    /// Copied bytes after the last part.
    tail: Vec<u8>,
    length: usize,
    /// Marks, each with the offset of the byte before which it is, in order.
    marks: Vec<(usize, StreamMark)>,
}

impl Batch {
    /// Returns the number of bytes.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Tells whether some of the bytes must be read from a file.
    pub(super) fn has_to_read(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, BatchPart::InFile { .. }))
    }

    /// Returns the number of marks.
    pub(super) fn marks(&self) -> usize {
        self.marks.len()
    }

    /// Adds bytes at the end. Many bytes are not copied.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.push_part(BatchPart::Memory(bytes));
    }

    /// Adds bytes of a local file at the end.
    pub(super) fn push_file(&mut self, file: Arc<File>, offset: u64, length: usize) {
        self.push_part(BatchPart::InFile { file, offset, length });
    }

    /// Adds zero bytes at the end.
    pub(super) fn push_zeros(&mut self, length: usize) {
        self.push_part(BatchPart::Zeros(length));
    }

    fn push_part(&mut self, part: BatchPart) {
        match part {
            BatchPart::Memory(bytes) if bytes.len() < GATHERED => self.copy(&bytes),
            BatchPart::Zeros(length) if length < GATHERED => {
                self.length += length;
                self.tail.resize(self.tail.len() + length, 0);
            }
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
            self.parts
                .push(BatchPart::Memory(std::mem::take(&mut self.tail).into()));
        }
    }

    /// Adds a mark after the bytes so far.
    pub(super) fn mark(&mut self, mark: StreamMark) {
        self.marks.push((self.length, mark));
    }

    /// Adds the mark that a chunk ends before the byte at `at`, before other marks of that offset: the file that begins
    /// there must begin in the new chunk.
    pub(super) fn cut_at(&mut self, at: usize) {
        let index = self.marks.partition_point(|(place, _)| *place < at);
        self.marks.insert(index, (at, StreamMark::Cut));
    }

    /// Takes everything.
    pub(super) fn take(&mut self) -> Batch {
        std::mem::take(self)
    }

    /// Takes the bytes before `at`, and the marks before the file that begins there.
    pub(super) fn take_before(&mut self, at: usize) -> Batch {
        let begin =
            |(place, mark): &(usize, StreamMark)| *place == at && matches!(mark, StreamMark::Edge(FileEdge::Begin(_)));
        // Several files may begin at one offset if they are empty. The open file is the last of them: taking the first
        // would hold back files that have ended.
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

    /// Returns the bytes and the marks, in order.
    pub(super) fn into_parts(mut self) -> (Vec<BatchPart>, Vec<(usize, StreamMark)>) {
        self.close_tail();
        (self.parts, self.marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concat(parts: &[BatchPart]) -> Vec<u8> {
        let bytes = parts.iter().map(|part| match part {
            BatchPart::Memory(bytes) => &bytes[..],
            BatchPart::InFile { .. } | BatchPart::Zeros(_) => panic!("neither a file nor a hole was pushed"),
        });
        bytes.collect::<Vec<_>>().concat()
    }

    #[test]
    fn splitting_a_batch_keeps_bytes_and_marks_in_place() {
        let large = Bytes::from(vec![b'x'; GATHERED + 1]);
        let mut whole = Batch::default();
        whole.mark(StreamMark::Edge(FileEdge::Begin(None)));
        whole.copy(b"first");
        whole.mark(StreamMark::Edge(FileEdge::End));
        whole.mark(StreamMark::Edge(FileEdge::Begin(None)));
        whole.copy(b"second");
        whole.push(large.clone());
        let front = whole.take_before(5);
        assert_eq!((front.len(), whole.len()), (5, 6 + large.len()));
        let (parts, marks) = front.into_parts();
        assert_eq!((concat(&parts).as_slice(), marks.len()), (&b"first"[..], 2));
        whole.copy(b"!");
        let (parts, marks) = whole.into_parts();
        assert_eq!(concat(&parts), [b"second", &large[..], b"!"].concat());
        assert!(matches!(marks[..], [(0, StreamMark::Edge(FileEdge::Begin(None)))]));
    }
}
