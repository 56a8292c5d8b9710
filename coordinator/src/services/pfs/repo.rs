//! Calls about projects and repos.

use howdah_api::pfs_v2 as pfs;
use howdah_model::{Command, DeletionScope, ProjectName, Reply, names, query};
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

use super::convert::{RepoSize, project_info, repo_info, repo_summaries};
use super::requests::{create_repo_command, delete_repo_command};
use crate::metadata::Core;
use crate::services::change::{apply, apply_or_append, transaction_of};
use crate::services::list_options::{ProjectSelection, one_page};
use crate::services::reply::{self, StreamReply, UnaryReply};
use crate::services::{find, wire};

pub(super) async fn create_repo(
    core: &Core,
    metadata: &MetadataMap,
    request: pfs::CreateRepoRequest,
) -> UnaryReply<()> {
    apply_or_append(core, metadata, create_repo_command(&request)?).await?;
    Ok(Response::new(()))
}

pub(super) fn inspect_repo(core: &Core, request: &pfs::InspectRepoRequest) -> UnaryReply<pfs::RepoInfo> {
    let key = wire::repo_key(request.repo.as_ref())?;
    let state = core.state();
    let repo = find::repo(&state, &key)?;
    Ok(Response::new(repo_info(&state, repo, RepoSize::Exact)))
}

pub(super) fn list_repo(core: &Core, request: &pfs::ListRepoRequest) -> StreamReply<pfs::RepoInfo> {
    let kind = match request.r#type.as_str() {
        "" => None,
        text => Some(names::repo_type(text).map_err(wire::bad_name)?),
    };
    let projects = wire::project_names(&request.projects)?;
    let state = core.state();
    let mut repos = query::list_repos(&state, &projects, kind);
    if let Some(page) = &request.page {
        repos.sort_by(|a, b| a.key.cmp(&b.key));
        repos = one_page(repos, page.page_size, page.page_index)?;
    }
    reply::from_items(
        repos
            .into_iter()
            .map(move |repo| Ok(repo_info(&state, &repo, RepoSize::Bound))),
    )
}

pub(super) async fn delete_repo(
    core: &Core,
    metadata: &MetadataMap,
    request: pfs::DeleteRepoRequest,
) -> UnaryReply<pfs::DeleteRepoResponse> {
    let pending = transaction_of(metadata)?.is_some();
    let reply = apply_or_append(core, metadata, delete_repo_command(&request)?).await?;
    // In a transaction it is not known yet whether the repo will exist; clients expect `true` then.
    let deleted = pending || matches!(&reply, Reply::DeletedRepos(repos) if !repos.is_empty());
    Ok(Response::new(pfs::DeleteRepoResponse { deleted }))
}

pub(super) async fn delete_repos(
    core: &Core,
    request: pfs::DeleteReposRequest,
) -> UnaryReply<pfs::DeleteReposResponse> {
    let force = request.force;
    let Some(projects) = ProjectSelection::new(request.all, &request.projects)?.for_command() else {
        return Ok(Response::new(Default::default()));
    };
    let reply = apply(core, Command::DeleteRepos { projects, force }).await?;
    let repos = match reply {
        Reply::DeletedRepos(repos) => repos.iter().map(wire::repo).collect(),
        _ => Vec::new(),
    };
    Ok(Response::new(pfs::DeleteReposResponse { repos }))
}

pub(super) async fn create_project(core: &Core, request: pfs::CreateProjectRequest) -> UnaryReply<()> {
    let command = Command::CreateProject {
        name: wire::named_project(request.project.as_ref())?,
        description: request.description,
        update: request.update,
    };
    apply(core, command).await?;
    Ok(Response::new(()))
}

pub(super) fn inspect_project(
    core: &Core,
    project: Option<&pfs::Project>,
) -> Result<pfs::InspectProjectV2Response, Status> {
    let name = wire::named_project(project)?;
    let state = core.state();
    let project = find::project(&state, &name)?;
    Ok(pfs::InspectProjectV2Response {
        info: Some(project_info(project)),
        defaults_json: project.defaults.to_string(),
    })
}

pub(super) fn list_project(core: &Core) -> StreamReply<pfs::ProjectInfo> {
    let state = core.state();
    let projects: Vec<_> = state.projects().cloned().collect();
    reply::from_items(projects.into_iter().map(|project| Ok(project_info(&project))))
}

pub(super) async fn delete_project(core: &Core, request: pfs::DeleteProjectRequest) -> UnaryReply<()> {
    let command = Command::DeleteProject {
        name: wire::named_project(request.project.as_ref())?,
        force: request.force,
    };
    apply(core, command).await?;
    Ok(Response::new(()))
}

pub(super) async fn delete_all(core: &Core) -> UnaryReply<()> {
    apply(
        core,
        Command::DeleteAll {
            scope: DeletionScope::Pfs,
        },
    )
    .await?;
    Ok(Response::new(()))
}

pub(super) fn repos_summary(core: &Core, request: &pfs::ReposSummaryRequest) -> UnaryReply<pfs::ReposSummaryResponse> {
    let state = core.state();
    let summaries = repo_summaries(&state);
    let mut found = Vec::new();
    for picker in &request.projects {
        let Some(pfs::project_picker::Picker::Name(name)) = &picker.picker else {
            return Err(wire::missing("project picker"));
        };
        let name = ProjectName::new(name).map_err(wire::bad_name)?;
        let (user_repo_count, size_bytes) = summaries.get(&name).copied().unwrap_or_default();
        found.push(pfs::ReposSummary {
            project: Some(wire::project(&name)),
            user_repo_count,
            size_bytes,
        });
    }
    Ok(Response::new(pfs::ReposSummaryResponse { summaries: found }))
}
