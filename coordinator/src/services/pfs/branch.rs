//! Branches.

use howdah_api::pfs_v2 as pfs;
use howdah_model::{Command, query};
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

use super::convert::{branch_info, trigger};
use crate::core::Core;
use crate::services::change::apply_or_append;
use crate::services::reply::{self, StreamReply};
use crate::services::status::IntoStatus;
use crate::services::{find, wire};

/// Reads a request to make or move a branch.
pub fn create_branch_command(request: &pfs::CreateBranchRequest) -> Result<Command, Status> {
    if request
        .branch_propagation_specs
        .iter()
        .any(|spec| spec.propagation_spec.is_some_and(|spec| spec.never))
    {
        return Err(Status::unimplemented("not supported yet: branch_propagation_specs"));
    }
    Ok(Command::CreateBranch {
        branch: wire::branch_key(request.branch.as_ref())?,
        head: wire::optional_commit_ref(request.head.as_ref())?,
        provenance: request
            .provenance
            .iter()
            .map(|branch| wire::branch_key(Some(branch)))
            .collect::<Result<_, _>>()?,
        trigger: request.trigger.as_ref().map(trigger).transpose()?,
    })
}

/// Reads a request to delete a branch.
pub fn delete_branch_command(request: &pfs::DeleteBranchRequest) -> Result<Command, Status> {
    Ok(Command::DeleteBranch {
        branch: wire::branch_key(request.branch.as_ref())?,
        force: request.force,
    })
}

pub(super) async fn create_branch(
    core: &Core,
    metadata: &MetadataMap,
    request: pfs::CreateBranchRequest,
) -> Result<Response<()>, Status> {
    apply_or_append(core, metadata, create_branch_command(&request)?).await?;
    Ok(Response::new(()))
}

pub(super) fn inspect_branch(
    core: &Core,
    request: &pfs::InspectBranchRequest,
) -> Result<Response<pfs::BranchInfo>, Status> {
    let key = wire::branch_key(request.branch.as_ref())?;
    let state = core.state();
    Ok(Response::new(branch_info(find::branch(&state, &key)?)))
}

pub(super) fn list_branch(core: &Core, request: &pfs::ListBranchRequest) -> StreamReply<pfs::BranchInfo> {
    let repo = wire::repo_key(request.repo.as_ref())?;
    let branches = query::list_branches(&core.state(), &repo, request.reverse).map_err(IntoStatus::into_status)?;
    reply::lazily(branches.into_iter().map(|branch| Ok(branch_info(&branch))))
}

pub(super) async fn delete_branch(
    core: &Core,
    metadata: &MetadataMap,
    request: pfs::DeleteBranchRequest,
) -> Result<Response<()>, Status> {
    apply_or_append(core, metadata, delete_branch_command(&request)?).await?;
    Ok(Response::new(()))
}
