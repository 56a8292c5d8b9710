//! Sends files to a client as one tar archive.
//!
//! ```text
//!  walk of the tree --window of files--> order by chunk --> stretches
//!     a stretch of few bytes of each chunk:   several files are read at once, each by itself
//!     any other stretch:                      file by file, with the next chunks read ahead
//! ```
//!
//! Files of one chunk are sent one after the other, so that the chunk is read once: files are stored in the order in
//! which they were put, which may differ from the order of their names. A tar archive may have its files in any order,
//! but a folder comes before its files.
//!
//! A slow client slows the reads down: every message is sent with `await`, so memory is bounded by one window of file
//! entries, the chunks read ahead, and the few messages that the reply buffers. When the client disconnects, the next
//! message fails and everything is dropped. After an error, the archive ends without its end marker: a client can tell
//! from this that it is incomplete.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use howdah_store::{ChunkHash, FileEntry, FileKind, FileTree, Slice};
use prost::bytes::Bytes;
use tonic::Status;

use super::read::ReadableCommit;
use super::tar;
use crate::metadata::Core;
use crate::services::reply::{ReplySender, StreamError};

/// Bytes of one message: enough to be cheap, few enough to stay in the processor's cache until they are on the socket.
const MESSAGE_BYTES: usize = 256 << 10;

/// A file of fewer bytes is copied into the message of its header; a larger one is sent in messages of its own.
const SMALL_FILE_BYTES: u64 = MESSAGE_BYTES as u64 / 2;

/// Files that are ordered together. Each costs some hundred bytes of memory.
const WINDOW: usize = 1 << 15;

/// Chunks read ahead of the one that is being sent.
const CHUNKS_AHEAD: usize = 4;

/// If at most this number of files of a chunk are wanted from a store on this machine, each is read by itself: reading,
/// unpacking and checking a chunk of 2 MiB takes as long as about thirty small reads.
const FEW_NEAR: usize = 32;
/// The same for a store across a network, where a small read takes longer.
const FEW_FAR: usize = 4;
/// If more bytes of a chunk are wanted, the whole chunk is read, whatever the number of files.
const FEW_BYTES: u64 = 256 << 10;

/// Files that are read at once, if each is read by itself.
const FILES_AHEAD: usize = 16;

/// An archive that is being sent. Small pieces are collected into messages, large files pass through.
pub(super) struct ArchiveSender {
    core: Core,
    /// The commit that is read, for errors.
    commit: Arc<ReadableCommit>,
    sender: ReplySender<Bytes>,
    /// Bytes of the next message.
    message: Vec<u8>,
}

/// A file of an archive.
struct ArchiveFile {
    path: String,
    entry: FileEntry,
}

impl ArchiveSender {
    /// Makes an archive of which nothing is sent yet.
    pub(super) fn new(core: Core, commit: ReadableCommit, sender: ReplySender<Bytes>) -> Self {
        Self {
            core,
            commit: Arc::new(commit),
            sender,
            message: Vec::new(),
        }
    }

    /// Adds a file, or a folder with everything below it.
    ///
    /// # Errors
    /// When a file cannot be read, or the client disconnects.
    pub(super) async fn add(&mut self, tree: &FileTree, path: &str) -> Result<(), StreamError> {
        // `files` and not `walk`: a walk computes the hash of every folder, which an archive does not show. The folders
        // follow from the paths of the files.
        let mut files = pin!(tree.files(path));
        let mut open_folders: Vec<String> = Vec::new();
        let top = if path.ends_with('/') { path } else { "" };
        let mut window = Vec::new();
        let commit = Arc::clone(&self.commit);
        while let Some((path, entry)) = files.try_next().await.map_err(|error| commit.read_error(path, error))? {
            open_folders.retain(|folder| path.starts_with(folder));
            for folder in folders(&path, top) {
                if !open_folders.iter().any(|known| known == folder) {
                    // At once, although the file itself waits in the window: a folder must come before its files.
                    self.put(&tar::header(folder, FileKind::Directory, 0)).await?;
                    open_folders.push(folder.to_owned());
                }
            }
            window.push(ArchiveFile { path, entry });
            if window.len() == WINDOW {
                self.add_files(std::mem::take(&mut window)).await?;
            }
        }
        self.add_files(window).await
    }

    /// Sends what is left of the last message, and the end marker.
    ///
    /// # Errors
    /// When the client has disconnected.
    pub(super) async fn finish(mut self) -> Result<(), StreamError> {
        self.put(&tar::end()).await?;
        self.flush().await
    }

    async fn add_files(&mut self, files: Vec<ArchiveFile>) -> Result<(), StreamError> {
        let few = match self.core.store().capabilities().near {
            true => FEW_NEAR,
            false => FEW_FAR,
        };
        let (order, chunks) = by_chunk(&files, |file| file.entry.content.single_slice());
        let is_little = |chunk: &ChunkDemand| chunk.files <= few && chunk.bytes <= FEW_BYTES;
        let is_scattered =
            |(place, _): &(Option<usize>, usize)| place.and_then(|at| chunks.get(at)).is_some_and(is_little);
        // Chunks before this place have been requested, or are not read as a whole.
        let mut requested = 0;
        for stretch in order.chunk_by(|a, b| is_scattered(a) == is_scattered(b)) {
            if stretch.first().is_some_and(is_scattered) {
                let scattered = stretch.iter().filter_map(|(_, index)| files.get(*index));
                self.add_scattered(scattered).await?;
                continue;
            }
            for (place, file) in stretch
                .iter()
                .filter_map(|(place, index)| Some((place, files.get(*index)?)))
            {
                let goal = place.map_or(requested, |place| (place + 1 + CHUNKS_AHEAD).min(chunks.len()));
                // Each chunk is requested once: the cache may have dropped it since, and would read it again.
                for chunk in chunks.get(requested..goal).unwrap_or_default() {
                    if !is_little(chunk) {
                        self.core.store().prefetch_chunk(chunk.hash);
                    }
                }
                requested = requested.max(goal);
                self.add_file(file).await?;
            }
        }
        Ok(())
    }

    /// Adds files whose chunks hold hardly anything else of the archive, reading several at once.
    async fn add_scattered(&mut self, files: impl Iterator<Item = &ArchiveFile>) -> Result<(), StreamError> {
        let core = self.core.clone();
        let reads = files.map(|file| {
            let (core, content) = (core.clone(), file.entry.content.clone());
            let commit = Arc::clone(&self.commit);
            async move {
                // A large file is not held in memory while it waits for the files before it.
                let bytes = match content.size < SMALL_FILE_BYTES {
                    true => {
                        let read = core.store().read_scattered(&content).await;
                        Some(read.map_err(|error| commit.read_error(&file.path, error))?)
                    }
                    false => None,
                };
                Ok::<_, Status>((file, bytes))
            }
        });
        // `buffered` keeps the order: the headers and the bytes must come in pairs.
        let mut reads = stream::iter(reads.collect::<Vec<_>>()).buffered(FILES_AHEAD);
        while let Some((file, bytes)) = reads.try_next().await? {
            match bytes {
                None => self.add_file(file).await?,
                Some(bytes) => self.put_small(file, &bytes).await?,
            }
        }
        Ok(())
    }

    async fn add_file(&mut self, file: &ArchiveFile) -> Result<(), StreamError> {
        let content = &file.entry.content;
        if let Some(slice) = content.single_slice().filter(|_| content.size < SMALL_FILE_BYTES) {
            let read = self.core.store().read_in_chunk(content, &slice).await;
            let bytes = read.map_err(|error| self.commit.read_error(&file.path, error))?;
            return self.put_small(file, &bytes).await;
        }
        self.put(&tar::header(&file.path, FileKind::File, content.size)).await?;
        let mut bytes = pin!(self.core.store().read_file(content, 0));
        while let Some(bytes) = bytes
            .try_next()
            .await
            .map_err(|error| self.commit.read_error(&file.path, error))?
        {
            if bytes.len() < MESSAGE_BYTES / 2 {
                self.put(&bytes).await?;
                continue;
            }
            // First what was collected: these bytes bypass the message, and would otherwise overtake the header.
            self.flush().await?;
            for piece in cut(bytes) {
                self.sender.send(piece).await?;
            }
        }
        self.put(tar::padding(content.size)).await
    }

    async fn put_small(&mut self, file: &ArchiveFile, bytes: &[u8]) -> Result<(), StreamError> {
        let size = file.entry.content.size;
        self.put(&tar::header(&file.path, FileKind::File, size)).await?;
        self.put(bytes).await?;
        self.put(tar::padding(size)).await
    }

    async fn put(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        self.message.extend_from_slice(bytes);
        if self.message.len() >= MESSAGE_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StreamError> {
        for piece in cut(std::mem::take(&mut self.message).into()) {
            self.sender.send(piece).await?;
        }
        Ok(())
    }
}

/// Cuts bytes into pieces that fit a message.
pub(super) fn cut(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        Some(bytes.split_to(bytes.len().min(MESSAGE_BYTES)))
    })
}

/// What an archive wants of one chunk.
struct ChunkDemand {
    hash: ChunkHash,
    /// Number of files.
    files: usize,
    /// Sum of the sizes of these files.
    bytes: u64,
}

/// Orders items so that those of one chunk follow each other, and keeps their order otherwise.
///
/// Returns the index of each item, with the place of its chunk in the list of chunks if it has one chunk; and that
/// list.
fn by_chunk<T>(items: &[T], slice: impl Fn(&T) -> Option<Slice>) -> (Vec<(Option<usize>, usize)>, Vec<ChunkDemand>) {
    let mut chunks: Vec<ChunkDemand> = Vec::new();
    let mut places = HashMap::new();
    let mut order: Vec<(usize, Option<usize>, usize)> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let place = slice(item).map(|Slice { chunk: hash, len, .. }| {
            let place = *places.entry(hash).or_insert(chunks.len());
            if place == chunks.len() {
                chunks.push(ChunkDemand {
                    hash,
                    files: 0,
                    bytes: 0,
                });
            }
            if let Some(chunk) = chunks.get_mut(place) {
                chunk.files += 1;
                chunk.bytes += u64::from(len);
            }
            place
        });
        // An item that is empty or spans several chunks stays behind the item before it.
        let group = place.unwrap_or(chunks.len().saturating_sub(1));
        order.push((group, place, index));
    }
    // The sort is stable, which keeps the order inside a group.
    order.sort_by_key(|(group, ..)| *group);
    (
        order.into_iter().map(|(_, place, index)| (place, index)).collect(),
        chunks,
    )
}

/// Lists the folders that a file lies in, from `top` down; none if the archive is of that file only.
fn folders<'a>(path: &'a str, top: &'a str) -> impl Iterator<Item = &'a str> {
    path.match_indices('/')
        .filter_map(|(at, _)| path.get(..=at))
        .filter(move |folder| !top.is_empty() && folder.len() >= top.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_with_the_files_below_them() {
        let all = |path, top| folders(path, top).collect::<Vec<_>>();
        assert_eq!(all("/a/b/c", "/"), ["/", "/a/", "/a/b/"]);
        assert_eq!(all("/a/b/c", "/a/"), ["/a/", "/a/b/"]);
        assert_eq!(all("/a/b/c", ""), Vec::<&str>::new());
    }

    #[test]
    fn files_of_one_chunk_follow_each_other() {
        let slice = |chunk: &u8| {
            (*chunk > 0).then(|| Slice {
                chunk: ChunkHash(howdah_model::ContentHash::new([*chunk; 32])),
                offset: 0,
                len: 3,
            })
        };
        let order = |items: &[u8]| {
            by_chunk(items, slice)
                .0
                .iter()
                .map(|(_, index)| *index)
                .collect::<Vec<_>>()
        };
        assert_eq!(order(&[1, 1, 2, 2, 3]), [0, 1, 2, 3, 4]);
        assert_eq!(order(&[1, 2, 1, 0, 2]), [0, 2, 1, 3, 4]);
        assert_eq!(order(&[0, 1, 0]), [0, 1, 2]);
        let (_, chunks) = by_chunk(&[7, 8, 7, 0], slice);
        let wanted: Vec<_> = chunks.iter().map(|chunk| (chunk.files, chunk.bytes)).collect();
        assert_eq!(wanted, [(2, 6), (1, 3)]);
    }

    #[test]
    fn bytes_are_cut_into_messages() {
        let sizes: Vec<usize> = cut(vec![0; MESSAGE_BYTES * 2 + 1].into())
            .map(|piece| piece.len())
            .collect();
        assert_eq!(sizes, [MESSAGE_BYTES, MESSAGE_BYTES, 1]);
        assert_eq!(cut(Bytes::new()).count(), 0);
    }
}
