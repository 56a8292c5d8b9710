//! The files of a writer whose contents have not been taken yet, and the stored chunks that they have bytes in.

use std::collections::VecDeque;

use howdah_model::ContentHash;

use crate::format::chunk::ChunkHash;
use crate::format::content::{Slice, push_slice};

/// Files in the order in which they were begun.
#[derive(Debug)]
pub(super) struct FileLedger<T> {
    files: VecDeque<BegunFile<T>>,
    /// Hashes of the first of `files`: of those that end in a stored chunk.
    hashes: VecDeque<ContentHash>,
    /// Stored chunks that `files` may have bytes in, in order.
    chunks: VecDeque<StoredChunk>,
    /// Offset in the stream at which the last stored chunk ends.
    stored: u64,
}

/// A file, of which at least the beginning is in the stream.
#[derive(Debug)]
struct BegunFile<T> {
    tag: T,
    /// Offset in the stream.
    start: u64,
    /// Bytes of it in the stream; 0 until it is ended.
    length: u64,
    /// Slices of what it had before, if it was appended to.
    before: Vec<Slice>,
    before_size: u64,
}

/// A chunk that is durable.
#[derive(Debug, Clone, Copy)]
struct StoredChunk {
    /// Offset in the stream.
    start: u64,
    length: u32,
    hash: ChunkHash,
}

impl StoredChunk {
    fn end(&self) -> u64 {
        self.start + u64::from(self.length)
    }
}

/// A file that is durable.
#[derive(Debug)]
pub(super) struct StoredFile<T> {
    pub(super) tag: T,
    pub(super) size: u64,
    pub(super) hash: ContentHash,
    pub(super) slices: Vec<Slice>,
}

impl<T> Default for FileLedger<T> {
    fn default() -> Self {
        FileLedger {
            files: VecDeque::new(),
            hashes: VecDeque::new(),
            chunks: VecDeque::new(),
            stored: 0,
        }
    }
}

impl<T> FileLedger<T> {
    /// Notes a file that begins at an offset of the stream, and what it has before that.
    pub(super) fn begin(&mut self, tag: T, start: u64, before: Vec<Slice>, before_size: u64) {
        self.files.push_back(BegunFile {
            tag,
            start,
            length: 0,
            before,
            before_size,
        });
    }

    /// Notes how many bytes of the last file are in the stream.
    pub(super) fn end(&mut self, length: u64) {
        if let Some(file) = self.files.back_mut() {
            file.length = length;
        }
    }

    /// Notes that the next bytes of the stream are durable, in a chunk if there are any, and the hashes of the files
    /// that end in them.
    pub(super) fn add_stored(&mut self, start: u64, length: u32, chunk: Option<ChunkHash>, hashes: Vec<ContentHash>) {
        self.hashes.extend(hashes);
        self.stored = start + u64::from(length);
        self.chunks
            .extend(chunk.map(|hash| StoredChunk { start, length, hash }));
    }

    /// Takes the first file, if it is durable.
    pub(super) fn take_stored(&mut self) -> Option<StoredFile<T>> {
        let (file, hash) = (self.files.front()?, *self.hashes.front()?);
        if file.start + file.length > self.stored {
            return None;
        }
        while self.chunks.front().is_some_and(|chunk| chunk.end() <= file.start) {
            self.chunks.pop_front();
        }
        self.hashes.pop_front();
        let BegunFile {
            tag,
            start,
            length,
            before,
            before_size,
        } = self.files.pop_front()?;
        let mut slices = before;
        for slice in slices_of(&self.chunks, start, length) {
            push_slice(&mut slices, slice);
        }
        Some(StoredFile {
            tag,
            size: before_size + length,
            hash,
            slices,
        })
    }
}

/// Finds the parts of chunks that make up a stretch of the stream.
fn slices_of(chunks: &VecDeque<StoredChunk>, start: u64, length: u64) -> impl Iterator<Item = Slice> {
    let end = start + length;
    chunks
        .iter()
        .take_while(move |chunk| chunk.start < end && length > 0)
        .map(move |chunk| {
            let from = start.max(chunk.start);
            Slice {
                chunk: chunk.hash,
                offset: (from - chunk.start) as u32,
                len: (end.min(chunk.end()) - from) as u32,
            }
        })
}
