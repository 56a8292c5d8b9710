//! What a call that reads files looks at: a commit whose files can be read, and the files that a request names.
//!
//! A commit that is finishing is waited for. An open commit shows what it holds so far; its staged edits are folded
//! into its tree first. A commit whose base is still open cannot be read.

use howdah_api::pfs_v2 as pfs;
use howdah_glob::Glob;
use howdah_model::query::{self, BaseCommit};
use howdah_model::{CommitKey, CommitRef, Content, DatumId, Rejection};
use howdah_store::{FileKind, FileNode, FileTree, StoreError};
use howdah_telemetry::error_chain;
use jiff::Timestamp;
use tonic::Status;

use super::wait::wait_for_commit;
use crate::metadata::Core;
use crate::services::status::IntoStatus;
use crate::services::wire::signed;
use crate::services::{find, wire};

/// A commit whose files can be read.
#[derive(Debug, Clone)]
pub(super) struct ReadableCommit {
    /// The commit.
    pub key: CommitKey,
    /// Its files.
    pub content: Content,
    /// When it began to finish; none while it is open.
    pub committed: Option<Timestamp>,
}

/// Finds the commit that a reference names, and waits until its files can be read.
///
/// # Errors
/// When there is no such commit, its base is open, its staged edits cannot be folded in, or the coordinator shuts down.
pub(super) async fn readable(core: &Core, reference: &CommitRef) -> Result<ReadableCommit, Status> {
    let state = core.state();
    let mut commit = find::commit(&state, reference)?.clone();
    if commit.finishing.is_some() && commit.finished.is_none() {
        // By its id: the branch that the reference may name can move during the wait.
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
    Ok(ReadableCommit {
        key: commit.key.clone(),
        content,
        committed: commit.finishing,
    })
}

impl ReadableCommit {
    /// Returns the tree of files.
    pub(super) fn tree(&self, core: &Core) -> FileTree {
        FileTree::new(core.store(), self.content.root)
    }

    /// Returns the status for a path whose files or bytes the store could not give: DATA_LOSS, with path and commit, if
    /// they are damaged.
    pub(super) fn read_error(&self, path: &str, error: StoreError) -> Status {
        if !error.is_damage() {
            return error.into_status();
        }
        let text = format!("cannot read {path} of commit {}: {}", self.key, error_chain(&error));
        tracing::warn!(error = %text, "a read met damaged data");
        Status::data_loss(text)
    }

    /// Writes one file or folder.
    pub(super) fn file_info(&self, node: &FileNode) -> pfs::FileInfo {
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

    /// Returns the status for a file that the commit does not have.
    pub(super) fn no_file(&self, path: &str) -> Status {
        Status::not_found(format!(
            "file {path} not found in repo {} at commit {}",
            self.key.repo, self.key.id
        ))
    }

    /// Returns the status for a folder to walk that the commit does not have.
    pub(super) fn no_item(&self, path: &str) -> Status {
        Status::not_found(format!("commit/{} does not contain item: ({path})", self.key.id))
    }
}

/// Reads a file that must be named.
pub(super) fn file_of(file: Option<&pfs::File>) -> Result<(&pfs::File, CommitRef), Status> {
    let file = file.ok_or_else(|| wire::missing("file"))?;
    Ok((file, wire::commit_ref(file.commit.as_ref())?))
}

/// Compiles a glob that a client sends.
pub(super) fn glob(pattern: &str) -> Result<Glob, Status> {
    let pattern = howdah_glob::clean(pattern);
    Glob::new(&pattern).map_err(|error| Status::invalid_argument(error.to_string()))
}
