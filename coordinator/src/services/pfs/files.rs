//! Calls that read about files without their bytes: inspect, list, walk, glob, diff.

use std::pin::pin;

use futures::{Stream, StreamExt, TryStreamExt};
use howdah_api::pfs_v2 as pfs;
use howdah_model::{CommitRef, GlobalId};
use howdah_store::{FileNode, FileTree, ListingPage, StoreError, clean_path};
use tonic::{Response, Status};

use super::read::{ReadableCommit, file_of, glob, readable};
use crate::metadata::Core;
use crate::services::reply::{self, StreamReply, UnaryReply};
use crate::services::status::IntoStatus;
use crate::services::{find, wire};

/// Most files of one page.
const MAX_PAGE: i64 = 100_000;

pub(super) async fn inspect_file(core: &Core, request: pfs::InspectFileRequest) -> UnaryReply<pfs::FileInfo> {
    let (file, reference) = file_of(request.file.as_ref())?;
    let commit = readable(core, &reference).await?;
    let node = commit.tree(core).inspect(&file.path).await;
    match node.map_err(|error| commit.read_error(&file.path, error))? {
        Some(node) => Ok(Response::new(commit.file_info(&node))),
        None => Err(commit.no_file(&clean_path(&file.path))),
    }
}

/// Reads the page of a list that is wanted.
fn page(marker: Option<&pfs::File>, number: i64, reverse: bool) -> Result<ListingPage, Status> {
    if number > MAX_PAGE {
        return Err(Status::invalid_argument(format!(
            "number is {number}, the most that can be asked for at once is {MAX_PAGE}"
        )));
    }
    let limit = usize::try_from(number).map_err(|_| Status::invalid_argument("number cannot be negative"))?;
    if reverse && limit == 0 {
        return Err(Status::invalid_argument("number must be set to list in reverse"));
    }
    Ok(ListingPage {
        marker: marker.map(|file| file.path.clone()).filter(|path| !path.is_empty()),
        limit: (limit > 0).then_some(limit),
        reverse,
    })
}

/// Answers with the nodes of a stream.
fn nodes(
    commit: ReadableCommit,
    path: String,
    nodes: impl Stream<Item = Result<FileNode, StoreError>> + Send + 'static,
) -> StreamReply<pfs::FileInfo> {
    reply::from_stream(nodes.map(move |node| match node {
        Ok(node) => Ok(commit.file_info(&node)),
        Err(error) => Err(commit.read_error(&path, error)),
    }))
}

pub(super) async fn list_file(core: &Core, request: pfs::ListFileRequest) -> StreamReply<pfs::FileInfo> {
    let page = page(request.pagination_marker.as_ref(), request.number, request.reverse)?;
    let (file, reference) = file_of(request.file.as_ref())?;
    let commit = readable(core, &reference).await?;
    let found = commit.tree(core).list(&file.path, &page);
    nodes(commit, file.path.clone(), found)
}

pub(super) async fn walk_file(core: &Core, request: pfs::WalkFileRequest) -> StreamReply<pfs::FileInfo> {
    let page = page(request.pagination_marker.as_ref(), request.number, request.reverse)?;
    let (file, reference) = file_of(request.file.as_ref())?;
    let commit = readable(core, &reference).await?;
    let tree = commit.tree(core);
    let path = clean_path(&file.path);
    // The root of an empty commit is no error; any other missing path is one.
    if path != "/" && !exists(&tree, &path).await? {
        return Err(commit.no_item(&path));
    }
    let found = tree.walk(&path, &page);
    nodes(commit, path, found)
}

async fn exists(tree: &FileTree, path: &str) -> Result<bool, Status> {
    let mut first = pin!(tree.walk(
        path,
        &ListingPage {
            limit: Some(1),
            ..ListingPage::all()
        }
    ));
    let first = first.next().await.transpose();
    Ok(first.map_err(IntoStatus::into_status)?.is_some())
}

pub(super) async fn glob_file(core: &Core, request: pfs::GlobFileRequest) -> StreamReply<pfs::FileInfo> {
    let glob = glob(&request.pattern)?;
    let range = request.path_range.unwrap_or_default();
    let commit = readable(core, &wire::commit_ref(request.commit.as_ref())?).await?;
    let found = commit.tree(core).glob(&glob);
    let in_range = move |node: &FileNode| {
        let path = node.path.as_str();
        path >= range.lower.as_str() && (range.upper.is_empty() || path < range.upper.as_str())
    };
    nodes(
        commit,
        request.pattern,
        found.try_filter(move |node| std::future::ready(in_range(node))),
    )
}

pub(super) async fn diff_file(core: &Core, request: pfs::DiffFileRequest) -> StreamReply<pfs::DiffFileResponse> {
    let (new_file, reference) = file_of(request.new_file.as_ref())?;
    let new = readable(core, &reference).await?;
    let new_path = clean_path(&new_file.path);
    let (old, old_path) = match &request.old_file {
        Some(file) if file.commit.is_some() => {
            let (file, reference) = file_of(Some(file))?;
            (Some(readable(core, &reference).await?), clean_path(&file.path))
        }
        _ => (parent_of(core, &new).await?, new_path.clone()),
    };
    let new_tree = new.tree(core);
    let old_tree = match &old {
        Some(old) => old.tree(core),
        None => FileTree::new(core.store(), None),
    };
    if old_path == new_path {
        let found = FileTree::diff(&old_tree, &new_tree, &new_path);
        return reply::from_stream(
            found
                .map_err(IntoStatus::into_status)
                .map_ok(move |found| pfs::DiffFileResponse {
                    new_file: found.new.map(|node| new.file_info(&node)),
                    old_file: found.old.and_then(|node| Some(old.as_ref()?.file_info(&node))),
                }),
        );
    }
    reply::from_task(move |sender| async move {
        // The two folders have other names, so the trees cannot be compared node by node: both are walked in parallel,
        // and paths relative to the folders are merged.
        let side = |tree: &FileTree, path: &str| tree.walk(path, &ListingPage::all());
        let mut old_nodes = pin!(side(&old_tree, &old_path).peekable());
        let mut new_nodes = pin!(side(&new_tree, &new_path).peekable());
        loop {
            let next = |node: Option<&Result<FileNode, StoreError>>, path: &str| {
                node.map(|node| node.as_ref().ok().map(|node| relative(&node.path, path).to_owned()))
            };
            let old_key = next(old_nodes.as_mut().peek().await, &old_path);
            let new_key = next(new_nodes.as_mut().peek().await, &new_path);
            let (take_old, take_new) = match (&old_key, &new_key) {
                (None, None) => return Ok(()),
                // `Some(None)` is an error of the walk. It is taken at once, so that it ends the stream.
                (Some(None), _) => (true, false),
                (_, Some(None)) => (false, true),
                (Some(_), None) => (true, false),
                (None, Some(_)) => (false, true),
                (Some(old_key), Some(new_key)) => (old_key <= new_key, new_key <= old_key),
            };
            let mut old_node = None;
            if take_old {
                old_node = old_nodes.next().await.transpose().map_err(IntoStatus::into_status)?;
            }
            let mut new_node = None;
            if take_new {
                new_node = new_nodes.next().await.transpose().map_err(IntoStatus::into_status)?;
            }
            let same = matches!((&old_node, &new_node), (Some(old), Some(new))
                if old.hash == new.hash && old.kind == new.kind);
            if !same {
                let response = pfs::DiffFileResponse {
                    new_file: new_node.map(|node| new.file_info(&node)),
                    old_file: old_node.and_then(|node| Some(old.as_ref()?.file_info(&node))),
                };
                sender.send(response).await?;
            }
        }
    })
}

/// Returns a path relative to the compared path, which itself becomes empty.
fn relative<'a>(path: &'a str, compared: &str) -> &'a str {
    path.strip_prefix(compared.trim_end_matches('/')).unwrap_or(path)
}

/// Returns the parent of a commit, if it has one.
async fn parent_of(core: &Core, commit: &ReadableCommit) -> Result<Option<ReadableCommit>, Status> {
    let parent: Option<GlobalId> = find::commit_by_key(&core.state(), &commit.key)?.parent;
    match parent {
        None => Ok(None),
        Some(id) => {
            let reference = CommitRef::id(commit.key.repo.clone(), id);
            readable(core, &reference).await.map(Some)
        }
    }
}
