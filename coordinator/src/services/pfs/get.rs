//! Reading bytes: one file, or everything a path or glob matches as a tar.

use std::collections::HashMap;
use std::pin::pin;

use futures::{StreamExt, TryStreamExt, stream as futures_stream};
use howdah_api::pfs_v2 as pfs;
use howdah_store::{ChunkHash, FileEntry, FileKind, FileTree, Slice, StoreError};
use prost::bytes::Bytes;
use tonic::Status;

use super::files::glob;
use super::read::{Readable, file_of, readable};
use super::tar;
use crate::core::Core;
use crate::services::reply::{self, Ended, Sender, StreamReply};
use crate::services::status::IntoStatus;

/// How much is put into one message: large enough to be cheap, small enough to stay in the processor's cache on the way
/// to the socket.
const MESSAGE_BYTES: usize = 256 << 10;

pub(super) async fn get_file(core: &Core, request: pfs::GetFileRequest) -> StreamReply<Bytes> {
    refuse_url(&request)?;
    let offset = u64::try_from(request.offset).map_err(|_| Status::invalid_argument("offset cannot be negative"))?;
    let (file, reference) = file_of(request.file.as_ref())?;
    let commit = readable(core, &reference).await?;
    let entry = the_one_file(core, &commit, &file.path).await?;
    let bytes = core
        .store()
        .read_file(&entry.content, offset)
        .map_err(IntoStatus::into_status)
        .map_ok(|bytes| futures::stream::iter(cut(bytes).map(Ok)))
        .try_flatten();
    reply::from_stream(bytes)
}

/// Finds the one file that a pattern matches.
async fn the_one_file(core: &Core, commit: &Readable, path: &str) -> Result<FileEntry, Status> {
    let mut found = pin!(commit.tree(core).glob(&glob(path)?));
    let next =
        |node: Option<Result<howdah_store::FileNode, StoreError>>| node.transpose().map_err(IntoStatus::into_status);
    let Some(node) = next(found.next().await)? else {
        return Err(commit.no_file(path));
    };
    if let Some(second) = next(found.next().await)? {
        return Err(Status::unknown(format!(
            "{path} matches several files, among them {} and {}. Use GetFileTAR instead",
            node.path, second.path
        )));
    }
    node.entry
        .ok_or_else(|| Status::unknown(format!("{} is a directory. Use GetFileTAR instead", node.path)))
}

fn refuse_url(request: &pfs::GetFileRequest) -> Result<(), Status> {
    if request.url.is_empty() {
        return Ok(());
    }
    Err(Status::unimplemented(format!(
        "not supported yet: get file to a URL ({}); get the file and copy it there",
        request.url
    )))
}

/// Cuts bytes into pieces that fit a message.
fn cut(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        Some(bytes.split_to(bytes.len().min(MESSAGE_BYTES)))
    })
}

pub(super) async fn get_file_tar(core: &Core, request: pfs::GetFileRequest) -> StreamReply<Bytes> {
    refuse_url(&request)?;
    let (file, reference) = file_of(request.file.as_ref())?;
    let commit = readable(core, &reference).await?;
    let pattern = glob(&file.path)?;
    let tree = commit.tree(core);
    // Nothing matched is the first thing on the stream, before any bytes.
    let first = {
        let mut found = pin!(tree.glob(&pattern));
        found.next().await.transpose().map_err(IntoStatus::into_status)?
    };
    if first.is_none() {
        return Err(commit.no_file(&file.path));
    }
    let core = core.clone();
    reply::from_task(move |sender| async move {
        let mut archive = Archive::new(core, sender);
        let mut found = pin!(tree.glob(&pattern));
        // A folder brings everything below it, so matches below it add nothing.
        let mut covered: Option<String> = None;
        while let Some(node) = found.try_next().await.map_err(IntoStatus::into_status)? {
            if covered.as_ref().is_some_and(|folder| node.path.starts_with(folder)) {
                continue;
            }
            archive.add(&tree, &node.path).await?;
            if node.kind == FileKind::Directory {
                covered = Some(node.path);
            }
        }
        archive.finish().await
    })
}

/// So many files are looked at together. Those whose bytes share a chunk are sent together, so that each chunk is
/// read once and not again for every file: files are stored in the order they were put, which need not be that of
/// their names. Costs some hundred bytes for each.
const WINDOW: usize = 1 << 15;

/// Chunks read ahead of the one that is being sent.
const CHUNKS_AHEAD: usize = 4;

/// Of a chunk that no more files than these are wanted of, at a time, each file is read by itself: reading, unpacking and
/// checking a chunk of 2 MiB costs as much as some thirty small reads on this machine, or a few across a network.
const FEW_NEAR: usize = 32;
const FEW_FAR: usize = 4;
/// Nor more bytes than these.
const FEW_BYTES: u64 = 256 << 10;

/// Files read ahead that are read by themselves.
const FILES_AHEAD: usize = 16;

/// An archive on its way to a client: small pieces are gathered, file data passes through.
struct Archive {
    core: Core,
    sender: Sender<Bytes>,
    waiting: Vec<u8>,
}

/// A file of an archive.
struct Member {
    path: String,
    entry: FileEntry,
}

impl Archive {
    fn new(core: Core, sender: Sender<Bytes>) -> Self {
        Self {
            core,
            sender,
            waiting: Vec::new(),
        }
    }

    /// Adds a file, or a folder with everything below it.
    async fn add(&mut self, tree: &FileTree, path: &str) -> Result<(), Ended> {
        // A walk costs a hash per folder, which nobody sees here: folders follow from the files.
        let mut files = pin!(tree.files(path));
        let mut open: Vec<String> = Vec::new();
        let top = if path.ends_with('/') { path } else { "" };
        let mut window = Vec::new();
        while let Some((path, entry)) = files.try_next().await.map_err(IntoStatus::into_status)? {
            open.retain(|folder| path.starts_with(folder));
            for folder in folders(&path, top) {
                if !open.iter().any(|known| known == folder) {
                    self.put(&tar::header(folder, FileKind::Directory, 0)).await?;
                    open.push(folder.to_owned());
                }
            }
            window.push(Member { path, entry });
            if window.len() == WINDOW {
                self.add_files(std::mem::take(&mut window)).await?;
            }
        }
        self.add_files(window).await
    }

    async fn add_files(&mut self, members: Vec<Member>) -> Result<(), Ended> {
        let (order, chunks) = by_chunk(&members, |member| member.entry.content.single_slice());
        let few = match self.core.store().capabilities().near {
            true => FEW_NEAR,
            false => FEW_FAR,
        };
        let hardly_wanted = |chunk: &WantedChunk| chunk.files <= few && chunk.bytes <= FEW_BYTES;
        let is_scattered =
            |(place, _): &(Option<usize>, usize)| place.is_some_and(|place| hardly_wanted(&chunks[place]));
        let mut ahead = 0;
        for stretch in order.chunk_by(|a, b| is_scattered(a) == is_scattered(b)) {
            if is_scattered(&stretch[0]) {
                self.add_scattered(stretch.iter().map(|(_, index)| &members[*index]))
                    .await?;
                continue;
            }
            for (place, index) in stretch {
                let Member { path, entry } = &members[*index];
                let wanted = place.map_or(ahead, |place| (place + 1 + CHUNKS_AHEAD).min(chunks.len()));
                for chunk in chunks.get(ahead..wanted).unwrap_or_default() {
                    if !hardly_wanted(chunk) {
                        self.core.store().prefetch_chunk(chunk.hash);
                    }
                }
                ahead = ahead.max(wanted);
                self.add_file(path, entry).await?;
            }
        }
        Ok(())
    }

    /// Adds files of whose chunks hardly anything else is wanted, reading several at once.
    async fn add_scattered(&mut self, members: impl Iterator<Item = &Member>) -> Result<(), Ended> {
        let (small, core) = (MESSAGE_BYTES as u64 / 2, self.core.clone());
        let reads = members.map(|member| {
            let (core, content) = (core.clone(), member.entry.content.clone());
            async move {
                let bytes = match content.size < small {
                    true => Some(core.store().read_scattered(&content).await?),
                    false => None,
                };
                Ok::<_, StoreError>((member, bytes))
            }
        });
        let mut reads = futures_stream::iter(reads.collect::<Vec<_>>()).buffered(FILES_AHEAD);
        while let Some((Member { path, entry }, bytes)) = reads.try_next().await.map_err(IntoStatus::into_status)? {
            let Some(bytes) = bytes else {
                self.add_file(path, entry).await?;
                continue;
            };
            self.put(&tar::header(path, FileKind::File, entry.content.size)).await?;
            self.put(&bytes).await?;
            self.put(tar::padding(entry.content.size)).await?;
        }
        Ok(())
    }

    async fn add_file(&mut self, path: &str, entry: &FileEntry) -> Result<(), Ended> {
        let size = entry.content.size;
        self.put(&tar::header(path, FileKind::File, size)).await?;
        if let Some(slice) = entry.content.single_slice().filter(|_| size < MESSAGE_BYTES as u64 / 2) {
            let read = self.core.store().read_slice(&slice).await;
            self.put(&read.map_err(IntoStatus::into_status)?).await?;
            return self.put(tar::padding(size)).await;
        }
        let mut bytes = pin!(self.core.store().read_file(&entry.content, 0));
        while let Some(bytes) = bytes.try_next().await.map_err(IntoStatus::into_status)? {
            if bytes.len() < MESSAGE_BYTES / 2 {
                self.put(&bytes).await?;
                continue;
            }
            self.flush().await?;
            for piece in cut(bytes) {
                self.sender.send(piece).await?;
            }
        }
        self.put(tar::padding(size)).await
    }

    async fn put(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= MESSAGE_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        for piece in cut(std::mem::take(&mut self.waiting).into()) {
            self.sender.send(piece).await?;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<(), Ended> {
        self.put(&tar::end()).await?;
        self.flush().await
    }
}

/// A chunk that files of an archive lie in.
struct WantedChunk {
    hash: ChunkHash,
    /// How many of them.
    files: usize,
    /// Their bytes.
    bytes: u64,
}

/// Puts items in an order in which those of one chunk stand together, and which otherwise stays as it is. Returns for
/// each the place of its chunk in the list of chunks, and its index; and that list.
fn by_chunk<T>(items: &[T], slice: impl Fn(&T) -> Option<Slice>) -> (Vec<(Option<usize>, usize)>, Vec<WantedChunk>) {
    let mut chunks: Vec<WantedChunk> = Vec::new();
    let mut places = HashMap::new();
    let mut order: Vec<(usize, Option<usize>, usize)> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let place = slice(item).map(|Slice { chunk: hash, len, .. }| {
            let place = *places.entry(hash).or_insert_with(|| {
                chunks.push(WantedChunk {
                    hash,
                    files: 0,
                    bytes: 0,
                });
                chunks.len() - 1
            });
            chunks[place].files += 1;
            chunks[place].bytes += u64::from(len);
            place
        });
        // What has no chunk of its own to wait for goes with what came before it.
        let group = place.unwrap_or(chunks.len().saturating_sub(1));
        order.push((group, place, index));
    }
    order.sort_by_key(|(group, ..)| *group);
    (
        order.into_iter().map(|(_, place, index)| (place, index)).collect(),
        chunks,
    )
}

/// Lists the folders that a file lies in, from `top` down; none if the archive is of that file only.
fn folders<'a>(path: &'a str, top: &'a str) -> impl Iterator<Item = &'a str> {
    path.match_indices('/')
        .map(|(at, _)| &path[..=at])
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
    fn files_of_one_chunk_stand_together() {
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
