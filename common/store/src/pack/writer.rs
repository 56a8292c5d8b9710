//! [`PackWriter`]: takes files, hands batches to the cutter and pieces to upload tasks.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::batch::{Batch, FileEdge, StreamMark};
use super::cutter::{Cutter, MAX_CHUNK_FILES};
use super::ledger::FileLedger;
use super::piece::{FileHasher, Piece};
use super::upload::{HashingTurn, StoredPiece, upload};
use crate::error::{Result, StoreError};
use crate::format::content::{FileContent, Slice};
use crate::offload::{INLINE_BYTES, hash_more};
use crate::store::{PERMIT_BYTES, Store};

/// Files of at least this size have chunks of their own.
pub const LARGE_FILE: u64 = 8 << 20;

/// Bound on the files in pieces that are being uploaded, unless it is one piece: their hashes take memory.
const MAX_UPLOAD_FILES: usize = 2 * MAX_CHUNK_FILES;
/// Number of marks that are handed to the cutter at a time, however few bytes are between them.
const BATCH_MARKS: usize = 16 << 10;
/// Number of bytes that are handed to the cutter at a time.
const BATCH: usize = 1 << 20;
/// Number of bytes of a local file that are handed to the cutter at a time: they take no memory before they are read.
const FILE_BATCH: u64 = 8 << 20;

/// Writes files into the store; see the head of the module [`pack`](super).
///
/// Nothing refers to the chunks until the contents are put into a tree: after a writer is dropped, its chunks stay in
/// the store without a reference.
#[derive(Debug)]
pub struct PackWriter<T> {
    store: Store,
    files: FileLedger<T>,
    open: Option<OpenFile>,
    /// Bytes and marks that have not been handed to the cutter.
    pending: Batch,
    /// Offset of `pending` in the stream.
    pending_start: u64,
    cutting: Cutting,
    /// Gives the hasher to the next piece.
    hasher: oneshot::Receiver<FileHasher>,
    uploads: VecDeque<Upload>,
    /// Sum of the files of `uploads`.
    upload_files: usize,
}

#[derive(Debug, Clone, Copy)]
struct OpenFile {
    start: u64,
    /// It is large, and a cut has been marked at its begin.
    large: bool,
}

#[derive(Debug)]
enum Cutting {
    Idle(Box<Cutter>),
    Busy(JoinHandle<(Box<Cutter>, io::Result<Vec<Piece>>)>),
    /// While the cutter is in use, and after it has failed or the future that used it was dropped.
    Gone,
}

#[derive(Debug)]
struct Upload {
    start: u64,
    length: u32,
    files: usize,
    task: JoinHandle<Result<StoredPiece>>,
}

impl<T> PackWriter<T> {
    /// Begins a stream.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        let (first, hasher) = oneshot::channel();
        // Cannot fail: the receiver exists.
        let _ = first.send(FileHasher::default());
        PackWriter {
            store: store.clone(),
            files: FileLedger::default(),
            open: None,
            pending: Batch::default(),
            pending_start: 0,
            cutting: Cutting::Idle(Box::new(Cutter::new(&store.shared.buffers))),
            hasher,
            uploads: VecDeque::new(),
            upload_files: 0,
        }
    }

    /// Ends the open file and begins another one. The tag is returned with the content of the file.
    pub async fn begin(&mut self, tag: T) -> Result<()> {
        self.begin_after(tag, None, Vec::new(), 0).await
    }

    /// Ends the open file and begins one that starts with existing content. The existing bytes are read once, for the
    /// hash of the whole file; they are not written again.
    pub async fn begin_append(&mut self, tag: T, existing: &FileContent) -> Result<()> {
        let mut hasher = blake3::Hasher::new();
        let mut bytes = std::pin::pin!(self.store.read_file(existing, 0));
        while let Some(piece) = bytes.try_next().await? {
            hasher = hash_more(hasher, piece).await?;
        }
        let slices = self.store.slices(existing).await?;
        let hasher = Some(Box::new(hasher));
        self.begin_after(tag, hasher, slices, existing.size).await
    }

    async fn begin_after(
        &mut self,
        tag: T,
        hasher: Option<Box<blake3::Hasher>>,
        before: Vec<Slice>,
        before_size: u64,
    ) -> Result<()> {
        self.end().await?;
        let start = self.position();
        self.pending.mark(StreamMark::Edge(FileEdge::Begin(hasher)));
        self.files.begin(tag, start, before, before_size);
        self.open = Some(OpenFile { start, large: false });
        Ok(())
    }

    /// Adds bytes to the open file.
    ///
    /// # Errors
    /// When no file is open, or chunks of earlier bytes could not be stored.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.open.is_none() {
            return Err(StoreError::NoOpenFile);
        }
        for part in bytes.chunks(BATCH) {
            self.pending.copy(part);
            self.hand_over_if_full().await?;
        }
        Ok(())
    }

    /// Adds bytes to the open file as [`PackWriter::write`] does. Many bytes are not copied.
    ///
    /// # Errors
    /// The same as [`PackWriter::write`].
    pub async fn write_bytes(&mut self, mut bytes: Bytes) -> Result<()> {
        if self.open.is_none() {
            return Err(StoreError::NoOpenFile);
        }
        while !bytes.is_empty() {
            self.pending.push(bytes.split_to(bytes.len().min(BATCH)));
            self.hand_over_if_full().await?;
        }
        Ok(())
    }

    /// Adds `length` bytes of a local file to the open file. The cutter reads them directly into the chunk, without a
    /// copy. May return before all of them have been read.
    ///
    /// # Errors
    /// The same as [`PackWriter::write`], and when bytes of an earlier call could not be read.
    pub async fn write_from(&mut self, file: &Arc<File>, mut offset: u64, length: u64) -> Result<()> {
        if self.open.is_none() {
            return Err(StoreError::NoOpenFile);
        }
        let end = offset + length;
        while offset < end {
            let now = (end - offset).min(FILE_BATCH);
            self.pending.push_file(Arc::clone(file), offset, now as usize);
            offset += now;
            self.hand_over_if_full().await?;
        }
        Ok(())
    }

    /// Adds `length` zero bytes to the open file: a hole of a sparse file, which need not be read.
    ///
    /// # Errors
    /// The same as [`PackWriter::write`].
    pub async fn write_zeros(&mut self, mut length: u64) -> Result<()> {
        if self.open.is_none() {
            return Err(StoreError::NoOpenFile);
        }
        while length > 0 {
            let now = length.min(FILE_BATCH);
            self.pending.push_zeros(now as usize);
            length -= now;
            self.hand_over_if_full().await?;
        }
        Ok(())
    }

    async fn hand_over_if_full(&mut self) -> Result<()> {
        if self.pending.len() >= BATCH {
            self.hand_over_decided().await?;
        }
        Ok(())
    }

    /// Ends the open file, if there is one.
    pub async fn end(&mut self) -> Result<()> {
        let Some(open) = self.open else { return Ok(()) };
        self.note_size();
        let large = self.open.is_some_and(|open| open.large);
        let position = self.position();
        self.files.end(position - open.start);
        self.pending.mark(StreamMark::Edge(FileEdge::End));
        if large {
            self.pending.mark(StreamMark::Cut);
        }
        self.open = None;
        if self.pending.len() >= BATCH || self.pending.marks() >= BATCH_MARKS {
            let batch = self.pending.take();
            self.hand_over(batch, false).await?;
        }
        Ok(())
    }

    /// Returns the number of bytes of all files so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.pending_start + self.pending.len() as u64
    }

    /// Ends the stream and waits until everything is durable. Returns the contents that have not been taken, in the
    /// order in which the files were begun.
    ///
    /// # Errors
    /// When chunks could not be stored, or a local file could not be read.
    pub async fn finish(mut self) -> Result<Vec<(T, FileContent)>> {
        self.end().await?;
        let batch = self.pending.take();
        self.hand_over(batch, true).await?;
        let (_, pieces) = self.collect_cut().await?;
        self.accept(pieces).await?;
        while !self.uploads.is_empty() {
            self.collect_upload().await?;
        }
        self.take_stored().await
    }

    /// Takes the contents of the files that are durable, in the order in which they were begun. [`PackWriter::finish`]
    /// returns the others.
    pub async fn take_stored(&mut self) -> Result<Vec<(T, FileContent)>> {
        let mut contents = Vec::new();
        while let Some(file) = self.files.take_stored() {
            let content = self.store.content_of(file.size, file.hash, file.slices).await?;
            contents.push((file.tag, content));
        }
        Ok(contents)
    }

    /// Marks a cut at the begin of the open file if it is large by now.
    fn note_size(&mut self) {
        let position = self.position();
        if let Some(open) = &mut self.open
            && !open.large
            && position - open.start >= LARGE_FILE
        {
            open.large = true;
            // The begin of the file is still in `pending`: `hand_over_decided` does not hand over a file before it is
            // known whether it is large. Otherwise it could be too late for the cut, and the chunks of the file would
            // depend on the file before it.
            self.pending.cut_at((open.start - self.pending_start) as usize);
        }
    }

    /// Hands over all bytes of which it is known whether they belong to a large file.
    async fn hand_over_decided(&mut self) -> Result<()> {
        self.note_size();
        let undecided = self.open.filter(|open| !open.large);
        let batch = match undecided {
            None => self.pending.take(),
            // Only the open file is pending, and it may still become large.
            Some(open) if open.start == self.pending_start => return Ok(()),
            Some(open) => self.pending.take_before((open.start - self.pending_start) as usize),
        };
        self.hand_over(batch, false).await
    }

    /// Lets the cutter cut a batch, and begins to store the pieces of the batch before.
    async fn hand_over(&mut self, batch: Batch, last: bool) -> Result<()> {
        let (mut cutter, pieces) = self.collect_cut().await?;
        self.pending_start += batch.len() as u64;
        if !batch.has_to_read() && batch.len() + cutter.waiting() <= INLINE_BYTES {
            self.accept(pieces).await?;
            let cut = cutter.cut(batch, last);
            self.cutting = Cutting::Idle(cutter);
            self.accept(cut.map_err(StoreError::Source)?).await
        } else {
            // The next batch is cut while the pieces of this one wait for the write buffer: cutting and storing
            // overlap. It is started before the wait, so at most one batch of pieces waits, which bounds memory.
            self.cutting = Cutting::Busy(tokio::task::spawn_blocking(move || {
                let pieces = cutter.cut(batch, last);
                (cutter, pieces)
            }));
            self.accept(pieces).await
        }
    }

    /// Waits until the cutter is idle, and takes it and the pieces that it has cut.
    async fn collect_cut(&mut self) -> Result<(Box<Cutter>, Vec<Piece>)> {
        let done = match &mut self.cutting {
            // Awaited by reference: if this future is dropped here, the task stays in `cutting` and the cutter with its
            // bytes is not lost.
            Cutting::Busy(task) => Some(task.await),
            _ => None,
        };
        match (done, std::mem::replace(&mut self.cutting, Cutting::Gone)) {
            (None, Cutting::Idle(cutter)) => Ok((cutter, Vec::new())),
            (Some(done), _) => {
                let (cutter, pieces) = done.map_err(|error| StoreError::task(&error))?;
                Ok((cutter, pieces.map_err(StoreError::Source)?))
            }
            (None, _) => Err(StoreError::Task(
                "the cutter of a file writer has failed before".to_owned(),
            )),
        }
    }

    /// Begins to store pieces. Waits until the write buffer has room for each.
    async fn accept(&mut self, pieces: Vec<Piece>) -> Result<()> {
        for piece in pieces {
            // Finished uploads are collected here, in order, and not only at the end: an error of the store must stop
            // the writer before it has read gigabytes more.
            while let Some(first) = self.uploads.front()
                && (first.task.is_finished() || self.upload_files + piece.files > MAX_UPLOAD_FILES)
            {
                self.collect_upload().await?;
            }
            let length = piece.bytes().len() as u32;
            let permits = length / PERMIT_BYTES as u32 + 1;
            // Pieces take their room in the order of the stream, and a piece hashes its files only after the piece
            // before. The other way round, later pieces could take all room and wait for the hasher of a piece that has
            // none.
            let buffer = self.store.shared.write_buffer.clone();
            let room = buffer
                .acquire_many_owned(permits)
                .await
                .map_err(|_| StoreError::Task("the store is closed".to_owned()))?;
            let (start, files) = (piece.start, piece.files);
            let (pass_on, next) = oneshot::channel();
            let turn = HashingTurn {
                hasher: std::mem::replace(&mut self.hasher, next),
                pass_on,
            };
            let task = tokio::spawn(upload(self.store.clone(), piece, turn, room));
            self.upload_files += files;
            self.uploads.push_back(Upload {
                start,
                length,
                files,
                task,
            });
        }
        Ok(())
    }

    /// Waits until the first piece that is being uploaded is durable.
    async fn collect_upload(&mut self) -> Result<()> {
        if let Some(upload) = self.uploads.pop_front() {
            self.upload_files -= upload.files;
            let stored = upload.task.await.map_err(|error| StoreError::task(&error))??;
            self.files
                .add_stored(upload.start, upload.length, stored.chunk, stored.files);
        }
        Ok(())
    }
}
