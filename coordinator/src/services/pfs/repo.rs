//! Projects and repos.

use howdah_api::pfs_v2 as pfs;
use howdah_model::{Command, DeletionScope, ProjectName, Reply, RepoType, query};
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

use super::convert::{RepoSize, project_info, repo_info, repo_summaries};
use crate::core::Core;
use crate::services::change::{apply, apply_or_append, transaction_of};
use crate::services::stream::{self, StreamReply};
use crate::services::{find, wire};

/// Reads a request to make a repo.
pub fn create_repo_command(request: &pfs::CreateRepoRequest) -> Result<Command, Status> {
    Ok(Command::CreateRepo {
        repo: wire::repo_key(request.repo.as_ref())?,
        description: request.description.clone(),
        update: request.update,
    })
}

/// Reads a request to delete a repo.
pub fn delete_repo_command(request: &pfs::DeleteRepoRequest) -> Result<Command, Status> {
    Ok(Command::DeleteRepo {
        repo: wire::repo_key(request.repo.as_ref())?,
        force: request.force,
    })
}

pub(super) async fn create_repo(
    core: &Core,
    metadata: &MetadataMap,
    request: pfs::CreateRepoRequest,
) -> Result<Response<()>, Status> {
    apply_or_append(core, metadata, create_repo_command(&request)?).await?;
    Ok(Response::new(()))
}

pub(super) fn inspect_repo(core: &Core, request: &pfs::InspectRepoRequest) -> Result<Response<pfs::RepoInfo>, Status> {
    let key = wire::repo_key(request.repo.as_ref())?;
    let state = core.state();
    let repo = find::repo(&state, &key)?;
    Ok(Response::new(repo_info(&state, repo, RepoSize::Exact)))
}

pub(super) fn list_repo(core: &Core, request: &pfs::ListRepoRequest) -> StreamReply<pfs::RepoInfo> {
    let kind = match request.r#type.as_str() {
        "" => None,
        text => Some(text.parse::<RepoType>().map_err(wire::bad_name)?),
    };
    let projects = wire::project_names(&request.projects)?;
    let state = core.state();
    let mut repos = query::list_repos(&state, &projects, kind);
    if let Some(page) = &request.page {
        repos.sort_by(|a, b| a.key.cmp(&b.key));
        repos = one_page(repos, page.page_size, page.page_index)?;
    }
    stream::lazily(
        repos
            .into_iter()
            .map(move |repo| Ok(repo_info(&state, &repo, RepoSize::Bound))),
    )
}

/// Cuts one page out of a list; a size of 0 is the whole list.
pub fn one_page<T>(items: Vec<T>, size: i64, index: i64) -> Result<Vec<T>, Status> {
    let bad = || Status::invalid_argument("page_size and page_index cannot be negative");
    let size = usize::try_from(size).map_err(|_| bad())?;
    let index = usize::try_from(index).map_err(|_| bad())?;
    if size == 0 {
        return Ok(items);
    }
    let start = size.saturating_mul(index);
    Ok(items.into_iter().skip(start).take(size).collect())
}

pub(super) async fn delete_repo(
    core: &Core,
    metadata: &MetadataMap,
    request: pfs::DeleteRepoRequest,
) -> Result<Response<pfs::DeleteRepoResponse>, Status> {
    let pending = transaction_of(metadata)?.is_some();
    let reply = apply_or_append(core, metadata, delete_repo_command(&request)?).await?;
    // In a transaction it is not known yet what there will be to delete.
    let deleted = pending || matches!(&reply, Reply::DeletedRepos(repos) if !repos.is_empty());
    Ok(Response::new(pfs::DeleteRepoResponse { deleted }))
}

pub(super) async fn delete_repos(
    core: &Core,
    request: pfs::DeleteReposRequest,
) -> Result<Response<pfs::DeleteReposResponse>, Status> {
    let projects = selection(request.all, &request.projects)?;
    let force = request.force;
    let Some(projects) = projects else {
        return Ok(Response::new(Default::default()));
    };
    let reply = apply(core, Command::DeleteRepos { projects, force }).await?;
    let repos = match reply {
        Reply::DeletedRepos(repos) => repos.iter().map(wire::repo).collect(),
        _ => Vec::new(),
    };
    Ok(Response::new(pfs::DeleteReposResponse { repos }))
}

/// Which projects something is to be done to: all of them, some, or (nothing was said) none.
pub type Selection = Option<Option<Vec<ProjectName>>>;

/// Reads which projects something is to be done to.
pub fn selection(all: bool, projects: &[pfs::Project]) -> Result<Selection, Status> {
    if all {
        return Ok(Some(None));
    }
    if projects.is_empty() {
        return Ok(None);
    }
    Ok(Some(Some(wire::project_names(projects)?)))
}

pub(super) async fn create_project(core: &Core, request: pfs::CreateProjectRequest) -> Result<Response<()>, Status> {
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
    stream::lazily(projects.into_iter().map(|project| Ok(project_info(&project))))
}

pub(super) async fn delete_project(core: &Core, request: pfs::DeleteProjectRequest) -> Result<Response<()>, Status> {
    let command = Command::DeleteProject {
        name: wire::named_project(request.project.as_ref())?,
        force: request.force,
    };
    apply(core, command).await?;
    Ok(Response::new(()))
}

pub(super) async fn delete_all(core: &Core) -> Result<Response<()>, Status> {
    apply(
        core,
        Command::DeleteAll {
            scope: DeletionScope::Pfs,
        },
    )
    .await?;
    Ok(Response::new(()))
}

pub(super) fn repos_summary(
    core: &Core,
    request: &pfs::ReposSummaryRequest,
) -> Result<Response<pfs::ReposSummaryResponse>, Status> {
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
