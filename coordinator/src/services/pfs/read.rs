//! Which commit a read looks at, and when it may.

use howdah_api::pfs_v2 as pfs;
use howdah_model::query::{self, BaseCommit};
use howdah_model::{CommitKey, CommitRef, Content, DatumId, Rejection, TreeRoot};
use howdah_store::{FileKind, FileNode, FileTree};
use jiff::Timestamp;
use tonic::Status;

use super::commit::wait_for_commit;
use super::convert::signed;
use crate::metadata::Core;
use crate::services::status::IntoStatus;
use crate::services::{find, wire};

/// A commit whose files can be read.
#[derive(Debug, Clone)]
pub struct Readable {
    /// The commit.
    pub key: CommitKey,
    /// Its files.
    pub content: Content,
    /// When it began to finish; none while it is open.
    pub committed: Option<Timestamp>,
}

/// Finds the commit that a reference means, and waits until its files can be read.
///
/// A commit that is finishing is waited for. An open one shows what it holds so far, provided that
/// what it builds on is settled.
pub async fn readable(core: &Core, reference: &CommitRef) -> Result<Readable, Status> {
    let state = core.state();
    let mut commit = find::commit(&state, reference)?.clone();
    if commit.finishing.is_some() && commit.finished.is_none() {
        let exact = CommitRef::from(commit.key.clone());
        commit = wait_for_commit(core, &exact, pfs::CommitState::Finished as i32).await?;
    }
    if commit.finished.is_none()
        && let BaseCommit::Open(base) = query::base_commit(&state, &commit)
    {
        return Err(Status::unknown(format!(
            "base commit {base} for commit {} unfinished",
            commit.key
        )));
    }
    let content = if commit.staged.is_empty() {
        commit.content
    } else {
        let folded = core
            .staging()
            .fold(&commit.key)
            .await
            .map_err(IntoStatus::into_status)?;
        folded.ok_or_else(|| Rejection::NoCommit(commit.key.clone()).into_status())?
    };
    Ok(Readable {
        key: commit.key.clone(),
        content,
        committed: commit.finishing,
    })
}

impl Readable {
    /// Returns the tree of files.
    pub fn tree(&self, core: &Core) -> FileTree {
        FileTree::new(core.store(), self.content.root)
    }

    /// Returns the root of the tree of files.
    pub fn root(&self) -> Option<TreeRoot> {
        self.content.root
    }

    /// Writes one file or folder.
    pub fn file_info(&self, node: &FileNode) -> pfs::FileInfo {
        let file_type = match node.kind {
            FileKind::File => pfs::FileType::File,
            FileKind::Directory => pfs::FileType::Dir,
        };
        let mut file = wire::file(&self.key, &*node.path);
        let datum = node.entry.as_ref().and_then(|entry| entry.datum);
        file.datum = datum.as_ref().map(DatumId::to_string).unwrap_or_default();
        pfs::FileInfo {
            file: Some(file),
            file_type: file_type as i32,
            committed: self.committed.map(howdah_api::convert::to_timestamp),
            size_bytes: signed(node.size),
            hash: node.hash.as_bytes().to_vec(),
        }
    }

    /// Says that there is no such file.
    pub fn no_file(&self, path: &str) -> Status {
        Status::not_found(format!(
            "file {path} not found in repo {} at commit {}",
            self.key.repo, self.key.id
        ))
    }

    /// Says that there is nothing to walk.
    pub fn no_item(&self, path: &str) -> Status {
        Status::not_found(format!("commit/{} does not contain item: ({path})", self.key.id))
    }
}

/// Reads a file that must be named.
pub fn file_of(file: Option<&pfs::File>) -> Result<(&pfs::File, CommitRef), Status> {
    let file = file.ok_or_else(|| wire::missing("file"))?;
    Ok((file, wire::commit_ref(file.commit.as_ref())?))
}
