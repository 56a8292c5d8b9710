//! Reading bytes: one file, or everything a path or glob matches as a tar archive.

use std::pin::pin;

use futures::{StreamExt, TryStreamExt};
use howdah_api::pfs_v2 as pfs;
use howdah_store::{FileEntry, FileKind, FileNode, StoreError};
use prost::bytes::Bytes;
use tonic::Status;

use super::archive::{ArchiveSender, cut};
use super::read::{ReadableCommit, file_of, glob, readable};
use crate::metadata::Core;
use crate::services::reply::{self, StreamReply};

pub(super) async fn get_file(core: &Core, request: pfs::GetFileRequest) -> StreamReply<Bytes> {
    refuse_url(&request)?;
    let offset = u64::try_from(request.offset).map_err(|_| Status::invalid_argument("offset cannot be negative"))?;
    let (file, reference) = file_of(request.file.as_ref())?;
    let commit = readable(core, &reference).await?;
    let (path, entry) = the_one_file(core, &commit, &file.path).await?;
    let bytes = core
        .store()
        .read_file(&entry.content, offset)
        .map_err(move |error| commit.read_error(&path, error))
        .map_ok(|bytes| futures::stream::iter(cut(bytes).map(Ok)))
        .try_flatten();
    reply::from_stream(bytes)
}

/// Finds the one file that a pattern matches.
async fn the_one_file(core: &Core, commit: &ReadableCommit, path: &str) -> Result<(String, FileEntry), Status> {
    let mut found = pin!(commit.tree(core).glob(&glob(path)?));
    let next = |node: Option<Result<FileNode, StoreError>>| {
        let read = node.transpose();
        read.map_err(|error| commit.read_error(path, error))
    };
    let Some(node) = next(found.next().await)? else {
        return Err(commit.no_file(path));
    };
    if let Some(second) = next(found.next().await)? {
        return Err(Status::unknown(format!(
            "{path} matches several files, among them {} and {}. Use GetFileTAR instead",
            node.path, second.path
        )));
    }
    match node.entry {
        Some(entry) => Ok((node.path, entry)),
        None => Err(Status::unknown(format!(
            "{} is a directory. Use GetFileTAR instead",
            node.path
        ))),
    }
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

pub(super) async fn get_file_tar(core: &Core, request: pfs::GetFileRequest) -> StreamReply<Bytes> {
    refuse_url(&request)?;
    let (file, reference) = file_of(request.file.as_ref())?;
    let commit = readable(core, &reference).await?;
    let pattern = glob(&file.path)?;
    let tree = commit.tree(core);
    // The first match is looked for before the task begins: a client that asks for nothing gets the status as the
    // answer to its call, not an archive that breaks off.
    let first = {
        let mut found = pin!(tree.glob(&pattern));
        let first = found.next().await.transpose();
        first.map_err(|error| commit.read_error(&file.path, error))?
    };
    if first.is_none() {
        return Err(commit.no_file(&file.path));
    }
    let (core, path) = (core.clone(), file.path.clone());
    reply::from_task(move |sender| async move {
        let mut archive = ArchiveSender::new(core, commit.clone(), sender);
        let mut found = pin!(tree.glob(&pattern));
        // A folder is sent with everything below it, and comes before it. A match below it would be sent twice.
        let mut covered: Option<String> = None;
        while let Some(node) = found
            .try_next()
            .await
            .map_err(|error| commit.read_error(&path, error))?
        {
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
