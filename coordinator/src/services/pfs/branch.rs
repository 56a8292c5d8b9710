//! Calls about branches.

use howdah_api::pfs_v2 as pfs;
use howdah_model::query;
use tonic::Response;
use tonic::metadata::MetadataMap;

use super::convert::branch_info;
use super::requests::{create_branch_command, delete_branch_command};
use crate::metadata::Core;
use crate::services::change::apply_or_append;
use crate::services::reply::{self, StreamReply, UnaryReply};
use crate::services::status::IntoStatus;
use crate::services::{find, wire};

pub(super) async fn create_branch(
    core: &Core,
    metadata: &MetadataMap,
    request: pfs::CreateBranchRequest,
) -> UnaryReply<()> {
    apply_or_append(core, metadata, create_branch_command(&request)?).await?;
    Ok(Response::new(()))
}

pub(super) fn inspect_branch(core: &Core, request: &pfs::InspectBranchRequest) -> UnaryReply<pfs::BranchInfo> {
    let key = wire::branch_key(request.branch.as_ref())?;
    let state = core.state();
    Ok(Response::new(branch_info(find::branch(&state, &key)?)))
}

pub(super) fn list_branch(core: &Core, request: &pfs::ListBranchRequest) -> StreamReply<pfs::BranchInfo> {
    let repo = wire::repo_key(request.repo.as_ref())?;
    let branches = query::list_branches(&core.state(), &repo, request.reverse).map_err(IntoStatus::into_status)?;
    reply::from_items(branches.into_iter().map(|branch| Ok(branch_info(&branch))))
}

pub(super) async fn delete_branch(
    core: &Core,
    metadata: &MetadataMap,
    request: pfs::DeleteBranchRequest,
) -> UnaryReply<()> {
    apply_or_append(core, metadata, delete_branch_command(&request)?).await?;
    Ok(Response::new(()))
}
