//! `pfs_v2.API`: projects, repos, branches, commits, files.

mod branch;
mod commit;
pub mod convert;
mod files;
mod find_commits;
mod fsck;
mod get;
mod modify;
mod read;
mod repo;
pub mod requests;
mod tar;
mod write_base;

pub use commit::going_down;
pub use repo::{one_page, selection};

use std::sync::Arc;

use howdah_api::file_broker::FileBroker;
use howdah_api::pfs_v2 as pfs;
use howdah_api::pfs_v2::api_server::Api;
use prost::bytes::Bytes;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use crate::core::Core;

/// Answers `pfs_v2.API`. Every call is handed to the module of its noun.
pub struct Pfs {
    core: Core,
    desk: Option<Arc<FileBroker>>,
}

impl Pfs {
    /// Makes the service; `desk` is where clients on this machine may lend files.
    pub fn new(core: Core, desk: Option<Arc<FileBroker>>) -> Self {
        Self { core, desk }
    }
}

type Answer<T> = Result<Response<T>, Status>;
type Streamed<T> = Result<Response<BoxStream<T>>, Status>;

#[tonic::async_trait]
impl Api for Pfs {
    async fn create_repo(&self, request: Request<pfs::CreateRepoRequest>) -> Answer<()> {
        let (metadata, _, request) = request.into_parts();
        repo::create_repo(&self.core, &metadata, request).await
    }

    async fn inspect_repo(&self, request: Request<pfs::InspectRepoRequest>) -> Answer<pfs::RepoInfo> {
        repo::inspect_repo(&self.core, request.get_ref())
    }

    async fn list_repo(&self, request: Request<pfs::ListRepoRequest>) -> Streamed<pfs::RepoInfo> {
        repo::list_repo(&self.core, request.get_ref())
    }

    async fn delete_repo(&self, request: Request<pfs::DeleteRepoRequest>) -> Answer<pfs::DeleteRepoResponse> {
        let (metadata, _, request) = request.into_parts();
        repo::delete_repo(&self.core, &metadata, request).await
    }

    async fn delete_repos(&self, request: Request<pfs::DeleteReposRequest>) -> Answer<pfs::DeleteReposResponse> {
        repo::delete_repos(&self.core, request.into_inner()).await
    }

    async fn repos_summary(&self, request: Request<pfs::ReposSummaryRequest>) -> Answer<pfs::ReposSummaryResponse> {
        repo::repos_summary(&self.core, request.get_ref())
    }

    async fn create_project(&self, request: Request<pfs::CreateProjectRequest>) -> Answer<()> {
        repo::create_project(&self.core, request.into_inner()).await
    }

    async fn inspect_project(&self, request: Request<pfs::InspectProjectRequest>) -> Answer<pfs::ProjectInfo> {
        let found = repo::inspect_project(&self.core, request.get_ref().project.as_ref())?;
        Ok(Response::new(found.info.unwrap_or_default()))
    }

    async fn inspect_project_v2(
        &self,
        request: Request<pfs::InspectProjectV2Request>,
    ) -> Answer<pfs::InspectProjectV2Response> {
        let found = repo::inspect_project(&self.core, request.get_ref().project.as_ref())?;
        Ok(Response::new(found))
    }

    async fn list_project(&self, _: Request<pfs::ListProjectRequest>) -> Streamed<pfs::ProjectInfo> {
        repo::list_project(&self.core)
    }

    async fn delete_project(&self, request: Request<pfs::DeleteProjectRequest>) -> Answer<()> {
        repo::delete_project(&self.core, request.into_inner()).await
    }

    async fn delete_all(&self, _: Request<()>) -> Answer<()> {
        repo::delete_all(&self.core).await
    }

    async fn start_commit(&self, request: Request<pfs::StartCommitRequest>) -> Answer<pfs::Commit> {
        let (metadata, _, request) = request.into_parts();
        commit::start_commit(&self.core, &metadata, request).await
    }

    async fn finish_commit(&self, request: Request<pfs::FinishCommitRequest>) -> Answer<()> {
        let (metadata, _, request) = request.into_parts();
        commit::finish_commit(&self.core, &metadata, request).await
    }

    async fn clear_commit(&self, request: Request<pfs::ClearCommitRequest>) -> Answer<()> {
        commit::clear_commit(&self.core, request.into_inner()).await
    }

    async fn inspect_commit(&self, request: Request<pfs::InspectCommitRequest>) -> Answer<pfs::CommitInfo> {
        commit::inspect_commit(&self.core, request.into_inner()).await
    }

    async fn list_commit(&self, request: Request<pfs::ListCommitRequest>) -> Streamed<pfs::CommitInfo> {
        commit::list_commit(&self.core, request.get_ref())
    }

    async fn subscribe_commit(&self, request: Request<pfs::SubscribeCommitRequest>) -> Streamed<pfs::CommitInfo> {
        commit::subscribe_commit(&self.core, request.into_inner())
    }

    async fn squash_commit(&self, request: Request<pfs::SquashCommitRequest>) -> Answer<pfs::SquashCommitResponse> {
        commit::squash_commit(&self.core, request.into_inner()).await
    }

    async fn drop_commit(&self, request: Request<pfs::DropCommitRequest>) -> Answer<pfs::DropCommitResponse> {
        commit::drop_commit(&self.core, request.into_inner()).await
    }

    async fn inspect_commit_set(&self, request: Request<pfs::InspectCommitSetRequest>) -> Streamed<pfs::CommitInfo> {
        commit::inspect_commit_set(&self.core, request.get_ref())
    }

    async fn list_commit_set(&self, request: Request<pfs::ListCommitSetRequest>) -> Streamed<pfs::CommitSetInfo> {
        commit::list_commit_set(&self.core, request.get_ref())
    }

    async fn squash_commit_set(&self, request: Request<pfs::SquashCommitSetRequest>) -> Answer<()> {
        let (metadata, _, request) = request.into_parts();
        commit::squash_commit_set(&self.core, &metadata, request).await
    }

    async fn drop_commit_set(&self, request: Request<pfs::DropCommitSetRequest>) -> Answer<()> {
        commit::drop_commit_set(&self.core, request.into_inner()).await
    }

    async fn find_commits(&self, request: Request<pfs::FindCommitsRequest>) -> Streamed<pfs::FindCommitsResponse> {
        find_commits::find_commits(&self.core, request.into_inner())
    }

    async fn create_branch(&self, request: Request<pfs::CreateBranchRequest>) -> Answer<()> {
        let (metadata, _, request) = request.into_parts();
        branch::create_branch(&self.core, &metadata, request).await
    }

    async fn inspect_branch(&self, request: Request<pfs::InspectBranchRequest>) -> Answer<pfs::BranchInfo> {
        branch::inspect_branch(&self.core, request.get_ref())
    }

    async fn list_branch(&self, request: Request<pfs::ListBranchRequest>) -> Streamed<pfs::BranchInfo> {
        branch::list_branch(&self.core, request.get_ref())
    }

    async fn delete_branch(&self, request: Request<pfs::DeleteBranchRequest>) -> Answer<()> {
        let (metadata, _, request) = request.into_parts();
        branch::delete_branch(&self.core, &metadata, request).await
    }

    async fn modify_file(&self, request: Request<Streaming<pfs::ModifyFileRequest>>) -> Answer<()> {
        modify::modify_file(&self.core, self.desk.as_deref(), request.into_inner()).await
    }

    async fn get_file(&self, request: Request<pfs::GetFileRequest>) -> Streamed<Bytes> {
        get::get_file(&self.core, request.into_inner()).await
    }

    async fn get_file_tar(&self, request: Request<pfs::GetFileRequest>) -> Streamed<Bytes> {
        get::get_file_tar(&self.core, request.into_inner()).await
    }

    async fn inspect_file(&self, request: Request<pfs::InspectFileRequest>) -> Answer<pfs::FileInfo> {
        files::inspect_file(&self.core, request.into_inner()).await
    }

    async fn list_file(&self, request: Request<pfs::ListFileRequest>) -> Streamed<pfs::FileInfo> {
        files::list_file(&self.core, request.into_inner()).await
    }

    async fn walk_file(&self, request: Request<pfs::WalkFileRequest>) -> Streamed<pfs::FileInfo> {
        files::walk_file(&self.core, request.into_inner()).await
    }

    async fn glob_file(&self, request: Request<pfs::GlobFileRequest>) -> Streamed<pfs::FileInfo> {
        files::glob_file(&self.core, request.into_inner()).await
    }

    async fn diff_file(&self, request: Request<pfs::DiffFileRequest>) -> Streamed<pfs::DiffFileResponse> {
        files::diff_file(&self.core, request.into_inner()).await
    }

    async fn fsck(&self, request: Request<pfs::FsckRequest>) -> Streamed<pfs::FsckResponse> {
        fsck::fsck(&self.core, request.get_ref())
    }
}
