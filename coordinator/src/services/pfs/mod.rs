//! `pfs_v2.API`: projects, repos, branches, commits, files.
//!
//! A file imports only files below it in this list:
//!
//! - [`branch`], [`commit`], [`files`], [`find_commits`], [`fsck`], [`get`], [`modify`], [`repo`]: the calls, by noun.
//! - [`edit_reader`]: messages of a write as edits.
//! - [`archive`], and below it [`tar`]: tar streams. [`read`]: the commit that a read looks at.
//! - [`wait`]: waiting for commits. [`write_base`]: the target of a write.
//! - [`requests`]: requests as commands and back.
//! - [`convert`]: the state as messages.

mod archive;
mod branch;
mod commit;
mod convert;
mod edit_reader;
mod files;
mod find_commits;
mod fsck;
mod get;
mod modify;
mod read;
mod repo;
pub(super) mod requests;
mod tar;
mod wait;
mod write_base;

use std::sync::Arc;

use howdah_api::file_broker::FileBroker;
use howdah_api::pfs_v2 as pfs;
use howdah_api::pfs_v2::api_server::Api;
use prost::bytes::Bytes;
use tonic::{Request, Response, Streaming};

use super::reply::{StreamReply, UnaryReply};
use crate::leadership::lease::Lease;
use crate::metadata::Core;

/// Answers `pfs_v2.API`. The file of its noun answers each call.
pub struct PfsService {
    core: Core,
    file_broker: Option<Arc<FileBroker>>,
    lease: Option<Lease>,
}

impl PfsService {
    /// Makes the service; `file_broker` receives the files that clients on this machine offer, `lease` is that of a leader.
    pub fn new(core: Core, file_broker: Option<Arc<FileBroker>>, lease: Option<Lease>) -> Self {
        Self {
            core,
            file_broker,
            lease,
        }
    }
}

#[tonic::async_trait]
impl Api for PfsService {
    async fn create_repo(&self, request: Request<pfs::CreateRepoRequest>) -> UnaryReply<()> {
        let (metadata, _, request) = request.into_parts();
        repo::create_repo(&self.core, &metadata, request).await
    }

    async fn inspect_repo(&self, request: Request<pfs::InspectRepoRequest>) -> UnaryReply<pfs::RepoInfo> {
        repo::inspect_repo(&self.core, request.get_ref())
    }

    async fn list_repo(&self, request: Request<pfs::ListRepoRequest>) -> StreamReply<pfs::RepoInfo> {
        repo::list_repo(&self.core, request.get_ref())
    }

    async fn delete_repo(&self, request: Request<pfs::DeleteRepoRequest>) -> UnaryReply<pfs::DeleteRepoResponse> {
        let (metadata, _, request) = request.into_parts();
        repo::delete_repo(&self.core, &metadata, request).await
    }

    async fn delete_repos(&self, request: Request<pfs::DeleteReposRequest>) -> UnaryReply<pfs::DeleteReposResponse> {
        repo::delete_repos(&self.core, request.into_inner()).await
    }

    async fn repos_summary(&self, request: Request<pfs::ReposSummaryRequest>) -> UnaryReply<pfs::ReposSummaryResponse> {
        repo::repos_summary(&self.core, request.get_ref())
    }

    async fn create_project(&self, request: Request<pfs::CreateProjectRequest>) -> UnaryReply<()> {
        repo::create_project(&self.core, request.into_inner()).await
    }

    async fn inspect_project(&self, request: Request<pfs::InspectProjectRequest>) -> UnaryReply<pfs::ProjectInfo> {
        let found = repo::inspect_project(&self.core, request.get_ref().project.as_ref())?;
        Ok(Response::new(found.info.unwrap_or_default()))
    }

    async fn inspect_project_v2(
        &self,
        request: Request<pfs::InspectProjectV2Request>,
    ) -> UnaryReply<pfs::InspectProjectV2Response> {
        let found = repo::inspect_project(&self.core, request.get_ref().project.as_ref())?;
        Ok(Response::new(found))
    }

    async fn list_project(&self, _: Request<pfs::ListProjectRequest>) -> StreamReply<pfs::ProjectInfo> {
        repo::list_project(&self.core)
    }

    async fn delete_project(&self, request: Request<pfs::DeleteProjectRequest>) -> UnaryReply<()> {
        repo::delete_project(&self.core, request.into_inner()).await
    }

    async fn delete_all(&self, _: Request<()>) -> UnaryReply<()> {
        repo::delete_all(&self.core).await
    }

    async fn start_commit(&self, request: Request<pfs::StartCommitRequest>) -> UnaryReply<pfs::Commit> {
        let (metadata, _, request) = request.into_parts();
        commit::start_commit(&self.core, &metadata, request).await
    }

    async fn finish_commit(&self, request: Request<pfs::FinishCommitRequest>) -> UnaryReply<()> {
        let (metadata, _, request) = request.into_parts();
        commit::finish_commit(&self.core, &metadata, request).await
    }

    async fn clear_commit(&self, request: Request<pfs::ClearCommitRequest>) -> UnaryReply<()> {
        commit::clear_commit(&self.core, request.into_inner()).await
    }

    async fn inspect_commit(&self, request: Request<pfs::InspectCommitRequest>) -> UnaryReply<pfs::CommitInfo> {
        commit::inspect_commit(&self.core, request.into_inner()).await
    }

    async fn list_commit(&self, request: Request<pfs::ListCommitRequest>) -> StreamReply<pfs::CommitInfo> {
        commit::list_commit(&self.core, request.get_ref())
    }

    async fn subscribe_commit(&self, request: Request<pfs::SubscribeCommitRequest>) -> StreamReply<pfs::CommitInfo> {
        commit::subscribe_commit(&self.core, request.get_ref())
    }

    async fn squash_commit(&self, request: Request<pfs::SquashCommitRequest>) -> UnaryReply<pfs::SquashCommitResponse> {
        commit::squash_commit(&self.core, request.into_inner()).await
    }

    async fn drop_commit(&self, request: Request<pfs::DropCommitRequest>) -> UnaryReply<pfs::DropCommitResponse> {
        commit::drop_commit(&self.core, request.into_inner()).await
    }

    async fn inspect_commit_set(&self, request: Request<pfs::InspectCommitSetRequest>) -> StreamReply<pfs::CommitInfo> {
        commit::inspect_commit_set(&self.core, request.get_ref())
    }

    async fn list_commit_set(&self, request: Request<pfs::ListCommitSetRequest>) -> StreamReply<pfs::CommitSetInfo> {
        commit::list_commit_set(&self.core, request.get_ref())
    }

    async fn squash_commit_set(&self, request: Request<pfs::SquashCommitSetRequest>) -> UnaryReply<()> {
        let (metadata, _, request) = request.into_parts();
        commit::squash_commit_set(&self.core, &metadata, request).await
    }

    async fn drop_commit_set(&self, request: Request<pfs::DropCommitSetRequest>) -> UnaryReply<()> {
        commit::drop_commit_set(&self.core, request.into_inner()).await
    }

    async fn find_commits(&self, request: Request<pfs::FindCommitsRequest>) -> StreamReply<pfs::FindCommitsResponse> {
        find_commits::find_commits(&self.core, request.into_inner())
    }

    async fn create_branch(&self, request: Request<pfs::CreateBranchRequest>) -> UnaryReply<()> {
        let (metadata, _, request) = request.into_parts();
        branch::create_branch(&self.core, &metadata, request).await
    }

    async fn inspect_branch(&self, request: Request<pfs::InspectBranchRequest>) -> UnaryReply<pfs::BranchInfo> {
        branch::inspect_branch(&self.core, request.get_ref())
    }

    async fn list_branch(&self, request: Request<pfs::ListBranchRequest>) -> StreamReply<pfs::BranchInfo> {
        branch::list_branch(&self.core, request.get_ref())
    }

    async fn delete_branch(&self, request: Request<pfs::DeleteBranchRequest>) -> UnaryReply<()> {
        let (metadata, _, request) = request.into_parts();
        branch::delete_branch(&self.core, &metadata, request).await
    }

    async fn modify_file(&self, request: Request<Streaming<pfs::ModifyFileRequest>>) -> UnaryReply<()> {
        modify::modify_file(&self.core, self.file_broker.as_deref(), request).await
    }

    async fn get_file(&self, request: Request<pfs::GetFileRequest>) -> StreamReply<Bytes> {
        get::get_file(&self.core, request.into_inner()).await
    }

    async fn get_file_tar(&self, request: Request<pfs::GetFileRequest>) -> StreamReply<Bytes> {
        get::get_file_tar(&self.core, request.into_inner()).await
    }

    async fn inspect_file(&self, request: Request<pfs::InspectFileRequest>) -> UnaryReply<pfs::FileInfo> {
        files::inspect_file(&self.core, request.into_inner()).await
    }

    async fn list_file(&self, request: Request<pfs::ListFileRequest>) -> StreamReply<pfs::FileInfo> {
        files::list_file(&self.core, request.into_inner()).await
    }

    async fn walk_file(&self, request: Request<pfs::WalkFileRequest>) -> StreamReply<pfs::FileInfo> {
        files::walk_file(&self.core, request.into_inner()).await
    }

    async fn glob_file(&self, request: Request<pfs::GlobFileRequest>) -> StreamReply<pfs::FileInfo> {
        files::glob_file(&self.core, request.into_inner()).await
    }

    async fn diff_file(&self, request: Request<pfs::DiffFileRequest>) -> StreamReply<pfs::DiffFileResponse> {
        files::diff_file(&self.core, request.into_inner()).await
    }

    async fn fsck(&self, request: Request<pfs::FsckRequest>) -> StreamReply<pfs::FsckResponse> {
        fsck::fsck(&self.core, self.lease.clone(), request.get_ref())
    }
}
