//! Writing files: one stream of bytes, cut into chunks wherever its content says so.
//!
//! ```text
//! files    | a | b |  c  |        d (large)        | e |
//! stream   aaabbbcccccc|ddddddddd|dddddddddddd|dddd|eee
//! chunks   -----------  ---------  ----------- ----  ---      one object each, named by its hash
//! ```
//!
//! Small files share chunks, so a hundred thousand of them make some fifty objects. A file of
//! [`LARGE_FILE`] bytes or more begins and ends with a chunk of its own: its chunks do not depend on
//! its neighbours, and writing it again beside others finds them all.
//!
//! ```text
//! write ──► pending ──► Cutter (one thread at a time) ──► upload tasks
//!            bytes       gathers, finds cuts               hash files, one piece after the other;
//!                                                          hash, compress, put; bounded by the store
//! ```
//!
//! Memory of one writer: up to 9 MiB pending, as much in the cutter and in chunks that wait for room, and what the
//! store's write buffer, shared by all writers, has room for. To that come some 200 bytes for each file that is not
//! stored yet (2 KB for one that is appended to), of which there are never many: a chunk ends after 32,768 files, or
//! some 3,600 that are appended to. Contents of
//! stored files are kept until they are taken ([`PackWriter::take_stored`]).

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use howdah_model::ContentHash;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::JoinHandle;

use crate::chunk::{INLINE_BYTES, frame, frame_in_place};
use crate::error::{Result, StoreError};
use crate::format::content::{ChunkHash, FileContent, MAX_DIRECT_SLICES, Placement, Slice, encode_slices};
use crate::store::{Kind, PERMIT_BYTES, Store};

use super::batch::{Batch, Edge, Mark};
use super::cutter::Cutter;
use super::piece::{FileHasher, Piece};

/// No chunk is smaller, but for the last of a stream or large file, and those of very small files.
pub const MIN_CHUNK: usize = 512 << 10;
/// Chunks of content without structure are about this large.
pub const AVERAGE_CHUNK: usize = 2 << 20;
/// No chunk is larger.
pub const MAX_CHUNK: usize = 8 << 20;
/// Files of this size or more have chunks of their own.
pub const LARGE_FILE: u64 = 8 << 20;

/// After so many files a chunk ends however small they are.
pub(super) const MAX_CHUNK_FILES: usize = 32 << 10;
/// Chunks on their way into the store have about so many files at most, or are one chunk.
const MAX_UPLOAD_FILES: usize = 2 * MAX_CHUNK_FILES;
/// So many beginnings and ends of files are handed to the cutter at a time, whatever lies between them.
const BATCH_MARKS: usize = 16 << 10;
/// So many bytes are handed to the cutter at a time.
const BATCH: usize = 1 << 20;
/// So many bytes that are in a file of this machine, and take no memory before they are read.
const FILE_BATCH: u64 = 8 << 20;

/// Writes files into the store; see the head of this module.
///
/// Nothing refers to what it wrote until its results are put into a tree: a writer that is dropped
/// leaves only unreferenced chunks behind.
#[derive(Debug)]
pub struct PackWriter<T> {
    store: Store,
    /// Files whose contents have not been taken, in order.
    files: VecDeque<FileRecord<T>>,
    open: Option<OpenFile>,
    /// Bytes not yet handed to the cutter, and what happens at which of them.
    pending: Batch,
    /// Where in the stream `pending` begins.
    pending_start: u64,
    cutting: Cutting,
    /// Gives the hasher to the piece whose turn it is.
    hasher: oneshot::Receiver<FileHasher>,
    uploads: VecDeque<Upload>,
    /// Sum of the files of `uploads`.
    upload_files: usize,
    /// Stored chunks that `files` may have bytes in, in order.
    chunks: VecDeque<StoredChunk>,
    /// Where in the stream the last stored chunk ends.
    stored: u64,
    /// Hashes of the first of `files`.
    hashes: VecDeque<ContentHash>,
}

#[derive(Debug)]
struct FileRecord<T> {
    tag: T,
    /// Where in the stream it begins.
    start: u64,
    /// Bytes of it in the stream.
    length: u64,
    /// What it had before, if it was appended to.
    before: Vec<Slice>,
    before_size: u64,
}

#[derive(Debug, Clone, Copy)]
struct OpenFile {
    start: u64,
    /// It has been found to be large, and its beginning has been marked.
    large: bool,
}

#[derive(Debug)]
enum Cutting {
    Idle(Box<Cutter>),
    Busy(JoinHandle<(Box<Cutter>, io::Result<Vec<Piece>>)>),
    /// Only while a state is being replaced, and after a cutter's thread died.
    Gone,
}

#[derive(Debug)]
struct Upload {
    start: u64,
    length: u32,
    files: usize,
    task: JoinHandle<Result<Stored>>,
}

/// What comes of a piece.
#[derive(Debug)]
struct Stored {
    /// Nothing if the piece has no bytes.
    chunk: Option<ChunkHash>,
    /// Hashes of the files that ended in it.
    files: Vec<ContentHash>,
}

#[derive(Debug, Clone, Copy)]
struct StoredChunk {
    start: u64,
    length: u32,
    hash: ChunkHash,
}

impl<T> PackWriter<T> {
    /// Begins a stream.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        let (first, hasher) = oneshot::channel();
        // The receiver is there.
        let _ = first.send(FileHasher::default());
        PackWriter {
            store: store.clone(),
            files: VecDeque::new(),
            open: None,
            pending: Batch::default(),
            pending_start: 0,
            cutting: Cutting::Idle(Box::new(Cutter::new(&store.inner.buffers))),
            hasher,
            uploads: VecDeque::new(),
            upload_files: 0,
            chunks: VecDeque::new(),
            stored: 0,
            hashes: VecDeque::new(),
        }
    }

    /// Begins a file, and ends the one before. The tag comes back with the file's content.
    pub async fn begin(&mut self, tag: T) -> Result<()> {
        self.begin_after(tag, None, Vec::new(), 0).await
    }

    /// Begins a file that continues existing content. The existing bytes are read once, for the
    /// hash of the whole; they are not written again.
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
        self.pending.mark(Mark::Edge(Edge::Begin(hasher)));
        self.files.push_back(FileRecord {
            tag,
            start,
            length: 0,
            before,
            before_size,
        });
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
            self.hand_over_enough().await?;
        }
        Ok(())
    }

    /// Adds bytes to the open file as [`PackWriter::write`] does, without copying them if they are many.
    ///
    /// # Errors
    /// As those of [`PackWriter::write`].
    pub async fn write_bytes(&mut self, mut bytes: Bytes) -> Result<()> {
        if self.open.is_none() {
            return Err(StoreError::NoOpenFile);
        }
        while !bytes.is_empty() {
            self.pending.push(bytes.split_to(bytes.len().min(BATCH)));
            self.hand_over_enough().await?;
        }
        Ok(())
    }

    /// Adds `length` bytes of a file of this machine to the open file as [`PackWriter::write`] does. They are read where
    /// they are hashed: into the chunk that is stored, without a copy. It may return before all of them are read.
    ///
    /// # Errors
    /// As those of [`PackWriter::write`], and when bytes handed over earlier could not be read or were not there.
    pub async fn write_from(&mut self, file: &Arc<File>, mut offset: u64, length: u64) -> Result<()> {
        if self.open.is_none() {
            return Err(StoreError::NoOpenFile);
        }
        let end = offset + length;
        while offset < end {
            let now = (end - offset).min(FILE_BATCH);
            self.pending.push_file(Arc::clone(file), offset, now as usize);
            offset += now;
            self.hand_over_enough().await?;
        }
        Ok(())
    }

    async fn hand_over_enough(&mut self) -> Result<()> {
        if self.pending.len() >= BATCH {
            self.hand_over_settled().await?;
        }
        Ok(())
    }

    /// Ends the open file, if there is one.
    pub async fn end(&mut self) -> Result<()> {
        let Some(open) = self.open else { return Ok(()) };
        self.settle_size();
        let large = self.open.is_some_and(|open| open.large);
        let position = self.position();
        if let Some(file) = self.files.back_mut() {
            file.length = position - open.start;
        }
        self.pending.mark(Mark::Edge(Edge::End));
        if large {
            self.pending.mark(Mark::Cut);
        }
        self.open = None;
        if self.pending.len() >= BATCH || self.pending.marks() >= BATCH_MARKS {
            let batch = self.pending.take();
            self.hand_over(batch, false).await?;
        }
        Ok(())
    }

    /// Returns the number of bytes written so far, over all files.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.pending_start + self.pending.len() as u64
    }

    /// Ends the stream and waits until everything is durable. Contents come in the order the files
    /// were begun.
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

    /// Takes the contents of the files that are durable already and have not been taken, in the order in
    /// which they were begun; [`PackWriter::finish`] gives the others.
    pub async fn take_stored(&mut self) -> Result<Vec<(T, FileContent)>> {
        let mut contents = Vec::new();
        while let (Some(file), Some(hash)) = (self.files.front(), self.hashes.front()) {
            if file.start + file.length > self.stored {
                break;
            }
            while self.chunks.front().is_some_and(|chunk| chunk.end() <= file.start) {
                self.chunks.pop_front();
            }
            let added: Vec<Slice> = slices_of(&self.chunks, file.start, file.length).collect();
            let (size, hash) = (file.before_size + file.length, *hash);
            self.hashes.pop_front();
            let Some(FileRecord { tag, before, .. }) = self.files.pop_front() else {
                break;
            };
            let mut slices = before;
            for slice in added {
                push_slice(&mut slices, slice);
            }
            contents.push((tag, self.store.content_of(size, hash, slices).await?));
        }
        Ok(contents)
    }

    /// Marks the beginning of the open file if it has turned out large.
    fn settle_size(&mut self) {
        let position = self.position();
        if let Some(open) = &mut self.open
            && !open.large
            && position - open.start >= LARGE_FILE
        {
            open.large = true;
            // It cannot have been handed over, as that waits until this is known.
            self.pending.cut_at((open.start - self.pending_start) as usize);
        }
    }

    /// Hands over everything about which it is known whether it belongs to a large file.
    async fn hand_over_settled(&mut self) -> Result<()> {
        self.settle_size();
        let unsettled = self.open.filter(|open| !open.large);
        let batch = match unsettled {
            None => self.pending.take(),
            // Nothing but the open file is waiting, and it may still become large.
            Some(open) if open.start == self.pending_start => return Ok(()),
            Some(open) => self.pending.take_before((open.start - self.pending_start) as usize),
        };
        self.hand_over(batch, false).await
    }

    async fn hand_over(&mut self, batch: Batch, last: bool) -> Result<()> {
        let (mut cutter, pieces) = self.collect_cut().await?;
        self.pending_start += batch.len() as u64;
        if !batch.has_to_read() && batch.len() + cutter.waiting() <= INLINE_BYTES {
            self.accept(pieces).await?;
            let cut = cutter.cut(batch, last);
            self.cutting = Cutting::Idle(cutter);
            self.accept(cut.map_err(StoreError::Source)?).await
        } else {
            // The cutter goes on while there may be no room yet for what it made.
            self.cutting = Cutting::Busy(tokio::task::spawn_blocking(move || {
                let pieces = cutter.cut(batch, last);
                (cutter, pieces)
            }));
            self.accept(pieces).await
        }
    }

    /// Takes the cutter, once it is not at work any more, and what it has cut.
    async fn collect_cut(&mut self) -> Result<(Box<Cutter>, Vec<Piece>)> {
        let done = match &mut self.cutting {
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

    /// Begins to store what was cut.
    async fn accept(&mut self, pieces: Vec<Piece>) -> Result<()> {
        for piece in pieces {
            // Failures should stop the writer soon, not when it has read all it wants to write.
            while let Some(first) = self.uploads.front()
                && (first.task.is_finished() || self.upload_files + piece.files > MAX_UPLOAD_FILES)
            {
                self.collect_upload().await?;
            }
            let length = piece.bytes().len() as u32;
            let permits = length / PERMIT_BYTES as u32 + 1;
            let buffer = self.store.inner.write_buffer.clone();
            let room = buffer
                .acquire_many_owned(permits)
                .await
                .map_err(|_| StoreError::Task("the store is closed".to_owned()))?;
            let (start, files) = (piece.start, piece.files);
            let (pass_on, next) = oneshot::channel();
            let turn = Turn {
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

    /// Waits until the first chunk on its way is stored.
    async fn collect_upload(&mut self) -> Result<()> {
        if let Some(upload) = self.uploads.pop_front() {
            self.upload_files -= upload.files;
            let stored = upload.task.await.map_err(|error| StoreError::task(&error))??;
            self.hashes.extend(stored.files);
            self.stored = upload.start + u64::from(upload.length);
            self.chunks.extend(stored.chunk.map(|hash| StoredChunk {
                start: upload.start,
                length: upload.length,
                hash,
            }));
        }
        Ok(())
    }
}

impl StoredChunk {
    fn end(&self) -> u64 {
        self.start + u64::from(self.length)
    }
}

/// The turn to hash files: pieces have it in the order in which they follow each other.
struct Turn {
    hasher: oneshot::Receiver<FileHasher>,
    pass_on: oneshot::Sender<FileHasher>,
}

/// Hashes the files of a piece when it has its turn, hashes and packs its bytes, and stores them unless they are there.
async fn upload(store: Store, mut piece: Piece, turn: Turn, _room: OwnedSemaphorePermit) -> Result<Stored> {
    let Turn { hasher, pass_on } = turn;
    let gone = |_| StoreError::Task("the hasher of a file writer has failed before".to_owned());
    let mut hasher = hasher.await.map_err(gone)?;
    let known = store.clone();
    let small = piece.bytes().len() <= INLINE_BYTES;
    let prepare = move || {
        let files = hasher.hash(&mut piece);
        // Nobody takes it after the last piece.
        let _ = pass_on.send(hasher);
        if piece.bytes().is_empty() {
            return (files, None);
        }
        let hash = ContentHash::new(*blake3::hash(piece.bytes()).as_bytes());
        let framed = (!known.is_known(Kind::Chunk, &hash)).then(|| frame_in_place(piece.into_framed()));
        (files, Some((hash, framed)))
    };
    let (files, chunk) = if small {
        prepare()
    } else {
        tokio::task::spawn_blocking(prepare)
            .await
            .map_err(|error| StoreError::task(&error))?
    };
    if let Some((hash, Some(framed))) = &chunk {
        store.put_content(Kind::Chunk, hash, framed.clone()).await?;
    }
    Ok(Stored {
        chunk: chunk.map(|(hash, _)| ChunkHash(hash)),
        files,
    })
}

/// Feeds bytes to a hasher, on another thread if they are many.
pub(crate) async fn hash_more(mut hasher: blake3::Hasher, bytes: Bytes) -> Result<blake3::Hasher> {
    if bytes.len() <= INLINE_BYTES {
        hasher.update(&bytes);
        return Ok(hasher);
    }
    let hashing = tokio::task::spawn_blocking(move || {
        hasher.update(&bytes);
        hasher
    });
    hashing.await.map_err(|error| StoreError::task(&error))
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

/// Adds a slice to a list, joined to the last one where it continues it.
pub(crate) fn push_slice(slices: &mut Vec<Slice>, slice: Slice) {
    if let Some(last) = slices.last_mut()
        && last.chunk == slice.chunk
        && last.offset + last.len == slice.offset
    {
        last.len += slice.len;
    } else {
        slices.push(slice);
    }
}

impl Store {
    /// Makes a content of its slices; stores their list apart if it is long.
    pub(crate) async fn content_of(&self, size: u64, hash: ContentHash, slices: Vec<Slice>) -> Result<FileContent> {
        if slices.len() <= MAX_DIRECT_SLICES {
            return Ok(FileContent {
                size,
                hash,
                placement: Placement::Direct(slices),
            });
        }
        let mut list = Vec::new();
        encode_slices(&slices, &mut list);
        let list = Bytes::from(list);
        let parts = (0..list.len()).step_by(MAX_CHUNK).map(|at| {
            let bytes = list.slice(at..list.len().min(at + MAX_CHUNK));
            async move {
                let len = bytes.len() as u32;
                let hash = ContentHash::new(*blake3::hash(&bytes).as_bytes());
                self.put_content(Kind::Chunk, &hash, frame(&bytes)).await?;
                Ok::<_, StoreError>(Slice {
                    chunk: ChunkHash(hash),
                    offset: 0,
                    len,
                })
            }
        });
        let slices = futures::stream::iter(parts).buffered(2).try_collect().await?;
        Ok(FileContent {
            size,
            hash,
            placement: Placement::Listed(slices),
        })
    }
}
